"""Finds the connections that are there and dead: the link is half open, or the server takes and never answers.

One timer for all sessions of a fleet looks at each connection, `LOOKS` times in `Limits.liveness` seconds. One that has
said nothing at three looks in a row is pinged; one that is still silent two looks later is dropped, and Telethon makes
another. What Telethon does itself (a ping a minute, and a new connection when the one before it has gone unanswered)
takes 60 to 120 s. A session to which something comes costs nothing but the look, and a quiet one a ping in two
thirds of `Limits.liveness`. A process that was stopped for long, or whose loop was kept, has missed looks, and drops
nothing for that.

Invariant: a connection that falls silent is dropped within `Limits.liveness` seconds of the last packet it brought.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from telestage.actors.telegram.connection import Connection

__all__ = ["LOOKS", "Liveness"]

_log = logging.getLogger("telestage.session")

LOOKS = 6
"""Looks at each connection in `Limits.liveness` seconds."""

_PING = 3  # silent looks before a ping
_DEAD = (
    5  # and before the connection is dropped: the first look may have come right after a packet, so one less than all
)


class Liveness:
    """Looks after all connections of a fleet, from `start` to `stop`.

    Args:
        seconds: Within which a dead connection is found.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._period = seconds / LOOKS
        self._timer: asyncio.TimerHandle | None = None
        self._connections: Callable[[], Iterable[Connection]] = tuple

    def start(self, connections: Callable[[], Iterable[Connection]]) -> None:
        """Begins to look, each time, at those that `connections` gives."""
        self._connections = connections
        self._timer = asyncio.get_running_loop().call_later(self._period, self._look)

    def stop(self) -> None:
        """Ends. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._look)
        for connection in self._connections():
            silent = connection.look()
            if silent == _PING:
                connection.client.ping()
            elif silent >= _DEAD:
                _log.warning(
                    "%s: no answer for %.3g s; this connection is dropped, for another",
                    connection.client.label,
                    self._seconds,
                )
                connection.drop()
