"""Telethon's connections, but each begins with nothing left over from the one before.

Telethon reconnects with the same object. What lay in its queue when the link broke, sealed for the session
that ended with it, goes out first on the new link, and its requests are then sent once more as they should be:
Telegram gets one request twice at the same moment. (Seen in 1.45: a send repeated within 8 microseconds.)
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from telethon.network.connection.connection import Connection

__all__ = ["starting_empty"]


class _StartingEmpty(Connection):
    async def connect(self, timeout: float | None = None, ssl: object = None) -> None:
        self._send_queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._recv_queue: asyncio.Queue[Any] = asyncio.Queue(1)
        await super().connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's


@cache
def starting_empty(connection: type[Connection]) -> type[Connection]:
    """The same kind of connection, whose queues are empty whenever it connects."""
    return type(connection.__name__, (_StartingEmpty, connection), {})
