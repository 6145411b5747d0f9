"""Telethon's connections, but a session reads and writes the socket itself, without queues and tasks in between.

Telethon's own has a task that takes packets from a queue and writes them, and one that reads them into another. Both
cost two turns of the event loop a packet, and 6 KB a session (benchmarks/telegram). And what lies in such a queue when
the link breaks, sealed for the session that ended with it, goes out first on the new link, and its requests are then
sent once more as they should be: Telegram gets one request twice at the same moment. (Seen in 1.45: a send repeated
within 8 microseconds.) Here a packet is on its way once it is sent, and nothing is left over from the link before.

A packet that came whole, while whoever reads waits for the next one, is offered to `take` first, in the step in which
it came: no task is woken for it, and it is not read from a stream in pieces. That is so for Telethon's usual kind of
connection; others have their packets read as ever.

Whether the session's lease is still valid is asked here, before each packet, since here everything passes: calls, those
of Telethon's own loops, acknowledgements. A process that was stopped wakes with packets to send and timers that are
overdue, and whatever of it runs first finds the lease ended. It is asked once more at the socket itself, with nothing
between that and the system call: so much of the time of a busy process passes on the way there (a packet is encoded,
the garbage collected) that it is where one in a hundred is stopped.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from telethon.network.connection.connection import Connection
from telethon.network.connection.tcpfull import FullPacketCodec

from telestage.actors.store import Lease

__all__ = ["direct", "leased", "replace_link"]


class _Direct(Connection):
    """Mixed into a kind of connection of Telethon's."""

    _connected: bool
    _writer: Any
    _send_queue: Any
    _recv_queue: Any
    heard = False
    """Whether anything came since somebody last set this to False."""
    on_first: Callable[[], None] | None = None
    """Is called once, when the first packet has come, or when there is to come none any more."""
    take: Callable[[bytes], bool] | None = None
    """Takes a packet, or returns false: then it is read as usual. Raises nothing."""
    _reader: Any
    _between = False
    """Whether whoever reads waits for a packet of which nothing has come yet."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # Telethon's
        self._send_queue = self._recv_queue = None

    async def connect(self, timeout: float | None = None, ssl: object = None) -> None:
        await super().connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's
        self._send_task = self._recv_task = None  # they end with their first step: see below
        if self.take is not None and type(self._codec) is FullPacketCodec:
            self._reader.feed_data = self._came

    async def send(self, data: bytes) -> None:
        """Writes a packet. Who sends waits while the kernel's buffer is full."""
        if not self._connected:
            raise ConnectionError("Not connected")
        self._send(data)  # type: ignore[no-untyped-call]  # Telethon's
        await self._writer.drain()

    @property
    def free(self) -> bool:
        """Whether a packet that is written now is on its way, and keeps nobody waiting."""
        return self._connected and not self._writer.transport.get_write_buffer_size()

    async def recv(self) -> Any:
        """Reads a packet. After an error the connection is of no further use: who reads is to disconnect it."""
        while self._connected:
            self._between = not self._reader._buffer
            try:
                packet = await self._recv()  # type: ignore[no-untyped-call]  # Telethon's
            finally:
                self._between = False
            if packet:
                self._note()
                return packet
        raise ConnectionError("Not connected")

    def _came(self, data: bytes) -> None:
        """What the reader is fed with; without the whole packets at its beginning, as far as they are taken."""
        take = self.take
        while self._between and take is not None and len(data) > 12:
            length = int.from_bytes(data[:4], "little")  # of all of it: length, number, body, checksum
            end = length - 4
            if not 12 < length <= len(data) or crc32(data[:end]) != int.from_bytes(data[end:length], "little"):
                break  # a piece of one, or none: for the codec to read, or to refuse
            self._note()
            if not take(data[8:end]):
                break
            data = data[length:]
        if data:
            self._between = False
            type(self._reader).feed_data(self._reader, data)

    def _note(self) -> None:
        """Somebody is there."""
        self.heard = True
        if self.on_first is not None:
            self._first()

    async def disconnect(self) -> None:
        """Ends the connection."""
        self._first()
        await super().disconnect()  # type: ignore[no-untyped-call]  # Telethon's

    def _first(self) -> None:
        first, self.on_first = self.on_first, None
        if first is not None:
            first()

    async def _send_loop(self) -> None:
        """Telethon's makes a task of it as it connects. Nothing is left for it to do."""

    async def _recv_loop(self) -> None:
        """As `_send_loop`."""


@cache
def direct(connection: type[Connection]) -> type[Connection]:
    """The same kind of connection, without queues and tasks."""
    return type(connection.__name__, (_Direct, connection), {})


def replace_link(sender: Any) -> None:
    """Has a sender of Telethon's make another connection in place of the one it has, from which nothing comes."""
    wire = sender._connection
    sender._start_reconnect(ConnectionError("no answer: the connection is dead"))
    if wire is not None and wire._writer is not None:
        wire._writer.transport.abort()  # closing would wait until what was written has left


class _Leased(Connection):
    """A connection that sends nothing, and connects to nothing, without a valid lease."""

    lease: Lease
    sockets: type[socket.socket]

    async def connect(self, timeout: float | None = None, ssl: object = None) -> None:
        self._check()
        await super().connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's
        self.lease.cuts.add(self._abort)

    async def _connect(self, timeout: float | None = None, ssl: object = None) -> None:
        await super()._connect(timeout=timeout, ssl=ssl)  # type: ignore[no-untyped-call]  # Telethon's
        writer: Any = self._writer
        inner = getattr(writer.get_extra_info("socket"), "_sock", None)
        if type(inner) is socket.socket:  # uvloop's transports have none
            # asyncio makes it, and takes no other kind; a class without slots of its own has its layout
            inner.__class__ = self.sockets

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
            raise _ended(self.lease)

    def _abort(self) -> None:
        """Without a lease what lies in the buffer isn't sent either."""
        writer: Any = self._writer
        if writer is not None and not self.lease.valid:
            writer.transport.abort()


class _LeasedSocket(socket.socket):
    """A socket that sends nothing without a valid lease, from the transport's buffer either."""

    __slots__ = ()
    lease: Lease

    def send(self, *arguments: Any) -> int:
        if not self.lease.valid:
            raise _ended(self.lease)  # to asyncio, which then closes the connection
        return super().send(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        if not self.lease.valid:
            raise _ended(self.lease)
        return super().sendmsg(*arguments)


def _ended(lease: Lease) -> ConnectionError:
    return ConnectionError(f"the lease of {lease.name!r} has ended")


def leased(connection: type[Connection], lease: Lease) -> type[Connection]:
    """The same kind of connection, for one lease. It is a class, since Telethon makes its connections of one."""
    sockets = type("LeasedSocket", (_LeasedSocket,), {"__slots__": (), "lease": lease})
    return type(connection.__name__, (_Leased, connection), {"lease": lease, "sockets": sockets})
