"""Messages that an actor sends itself later.

A timer belongs to the instance that set it: a restart or a stop ends it. It tells by the ordinary
mailbox, so a due message still waits its turn. Set after its actor has stopped, the message is a dead
letter at once.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Timer"]


class Timer:
    """One message due later, once or at an interval. Made by `Actor.after` and `Actor.every`."""

    __slots__ = ("_cell", "_handle", "_interval", "_message", "_priority", "_when")

    def __init__(self, cell: Cell, delay: float, interval: float | None, message: object, priority: int) -> None:
        if not 0 <= delay < math.inf or interval == 0:
            raise ValueError(f"a timer needs a delay of 0 s or more, an interval of more than 0, not {delay}")
        self._cell = cell
        self._interval = interval
        self._message = message
        self._priority = priority
        self._handle: asyncio.TimerHandle | None = None
        if cell.final:  # a task that outlived its actor: nothing may be left running for it
            cell.tell(message, priority=priority)
        else:
            loop = cell.dispatcher.loop
            self._when = loop.time() + delay
            self._handle = loop.call_at(self._when, self._due)
            cell.kin.timers[self] = None

    @property
    def active(self) -> bool:
        """Whether the message is still to come."""
        return self._handle is not None

    def cancel(self) -> None:
        """Ends the timer. A message that is already in the mailbox stays there. Idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._cell.kin.timers.pop(self, None)

    def _due(self) -> None:
        if self._handle is None:
            return
        if self._interval is None:
            self._handle = None
            self._cell.kin.timers.pop(self, None)
        else:  # from when it was due, not from now: the rate doesn't drift
            loop = self._cell.dispatcher.loop
            self._when = max(self._when + self._interval, loop.time())
            self._handle = loop.call_at(self._when, self._due)
        self._cell.tell(self._message, priority=self._priority)
