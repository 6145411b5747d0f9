"""Telethon's connections, but each begins with nothing left over from the one before, and sends only what it may.

Telethon reconnects with the same object. What lay in its queue when the link broke, sealed for the session
that ended with it, goes out first on the new link, and its requests are then sent once more as they should be:
Telegram gets one request twice at the same moment. (Seen in 1.45: a send repeated within 8 microseconds.)

Whether the session's lease is still valid is asked here, before each packet, since here everything passes: calls, those
of Telethon's own loops, acknowledgements. A process that was stopped wakes with packets to send and timers that are
overdue, and whatever of it runs first finds the lease ended.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from telethon.network.connection.connection import Connection

from telestage.actors.store import Lease

__all__ = ["leased", "starting_empty"]


class _StartingEmpty(Connection):
    async def connect(self, timeout: float | None = None, ssl: object = None) -> None:
        self._send_queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._recv_queue: asyncio.Queue[Any] = asyncio.Queue(1)
        await super().connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's


@cache
def starting_empty(connection: type[Connection]) -> type[Connection]:
    """The same kind of connection, whose queues are empty whenever it connects."""
    return type(connection.__name__, (_StartingEmpty, connection), {})


class _Leased(Connection):
    """A connection that sends nothing, and connects to nothing, without a valid lease."""

    lease: Lease

    async def connect(self, timeout: float | None = None, ssl: object = None) -> None:
        self._check()
        await super().connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's
        self.lease.cuts.add(self._abort)

    async def disconnect(self) -> None:
        self.lease.cuts.discard(self._abort)
        self._abort()
        await super().disconnect()  # type: ignore[no-untyped-call]  # Telethon's

    def _send(self, data: bytes) -> None:
        self._check()
        super()._send(data)  # type: ignore[no-untyped-call]  # Telethon's

    def _check(self) -> None:
        if not self.lease.valid:
            self._abort()
            if self.lease.on_lapse is not None:
                self.lease.on_lapse()  # Telethon doesn't tell: who waits for an answer would wait on
            raise ConnectionError(f"the lease of {self.lease.name!r} has ended")

    def _abort(self) -> None:
        """Without a lease what lies in the buffer isn't sent either."""
        writer: Any = self._writer
        if writer is not None and not self.lease.valid:
            writer.transport.abort()


def leased(connection: type[Connection], lease: Lease) -> type[Connection]:
    """The same kind of connection, for one lease. It is a class, since Telethon makes its connections of one."""
    return type(connection.__name__, (_Leased, connection), {"lease": lease})
