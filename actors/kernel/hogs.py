"""Handlers that keep the event loop to themselves, so that all other actors and the program have to wait.

The time of a batch is known anyway. If it was too long, its actor is named in a WARNING, and which of the batch's
messages did it is found out next time: for a while that actor's messages are taken, and timed, one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from telestage.actors.kernel.envelope import bare
from telestage.actors.kernel.flags import WATCHED
from telestage.actors.kernel.forwarding import GivenAway

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Hogs"]

_log = logging.getLogger("telestage.dispatcher")

_WATCHED_FOR = 1000  # messages
_LOG_INTERVAL = 1.0  # seconds


class Hogs:
    """Looks out for them in one system.

    Args:
        limit: Seconds a handler may run on without letting go of the loop.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._next_log = 0.0
        self._unlogged = 0

    def note(self, cell: Cell, elapsed: float, alone: bool, item: object) -> None:
        """`cell` kept the loop for `elapsed`, with `item`, or with others, too, if that wasn't `alone`.

        `item` is None if a step of its lifecycle came first: which messages it handled then isn't known.
        """
        if not alone:
            cell.flags |= WATCHED
            cell.kin.watched = _WATCHED_FOR
        self._unlogged += 1
        now = monotonic()
        if now < self._next_log:
            return
        more = f" (one of {self._unlogged} times)" if self._unlogged > 1 else ""
        self._next_log = now + _LOG_INTERVAL
        self._unlogged = 0
        kind = type(bare(item))
        if kind is GivenAway:
            what = "handling a message that it has handed on or put aside"
        elif alone:
            handler: Callable[..., object] = cell.spec.handlers[kind]
            what = f"handling a {kind.__name__} in {getattr(handler, '__qualname__', handler)}"
        elif item is None:
            what = "starting, stopping or handling messages; the next time it is told which"
        else:
            what = f"handling messages, one of them a {kind.__name__}; the next time it is told which"
        _log.warning("%s kept the event loop for %.3f s%s, %s", cell.path, elapsed, more, what)

    def watched(self, cell: Cell) -> None:
        """A message of a watched actor has been handled."""
        cell.kin.watched -= 1
        if cell.kin.watched <= 0:
            cell.flags &= ~WATCHED
