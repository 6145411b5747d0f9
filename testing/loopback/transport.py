"""How packets lie in a TCP stream: the full, abridged, intermediate, padded and obfuscated transports.

Pure functions of bytes: a transport owns no socket. The first bytes a client sends tell which one it speaks.
(https://core.telegram.org/mtproto/mtproto-transports)
"""

import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol
from zlib import crc32

from telestage.testing.loopback.crypto import ctr
from telestage.testing.loopback.errors import ProtocolViolation

MAX_PACKET = 2 * 1024 * 1024
"""Largest packet accepted, in bytes; Telegram closes the connection at about half of it."""


class Transport(Protocol):
    """One connection's codec: bytes in, packets out, and the reverse."""

    def receive(self, data: bytes) -> list[bytes]:
        """The packets completed by `data`, in order; the rest waits for more.

        Raises:
            ProtocolViolation: The stream is not of this transport.
        """
        ...

    def frame(self, packet: bytes) -> bytes:
        """`packet` as it goes into the stream."""
        ...


class _Framed(ABC):
    """A transport whose packets lie in the stream as they are, each behind its length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """See `Transport.receive`."""
        self._buffer += data
        packets: list[bytes] = []
        while (found := self._next(self._buffer)) is not None:
            start, end, consumed = found
            packets.append(bytes(self._buffer[start:end]))
            del self._buffer[:consumed]
        return packets

    @abstractmethod
    def _next(self, buffer: bytearray) -> tuple[int, int, int] | None:
        """Start and end of the first whole packet, and how much of the buffer it used; None if incomplete."""


class Abridged(_Framed):
    """One length byte in words, or 0x7f and three."""

    def frame(self, packet: bytes) -> bytes:
        """See `Transport.frame`."""
        words = len(packet) >> 2
        head = bytes((words,)) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")
        return head + packet

    def _next(self, buffer: bytearray) -> tuple[int, int, int] | None:
        if not buffer:
            return None
        start, words = 1, buffer[0] & 0x7F  # the high bit asks for a quick acknowledgement
        if words == 0x7F:
            if len(buffer) < 4:
                return None
            start, words = 4, int.from_bytes(buffer[1:4], "little")
        end = start + _checked_length(words << 2)
        return (start, end, end) if len(buffer) >= end else None


class Intermediate(_Framed):
    """Four length bytes; the padded form ends each packet in up to 15 bytes that do not count."""

    def __init__(self, *, padded: bool = False) -> None:
        super().__init__()
        self._padded = padded

    def frame(self, packet: bytes) -> bytes:
        """See `Transport.frame`."""
        if self._padded:
            packet += random.randbytes(random.randrange(4))
        return struct.pack("<i", len(packet)) + packet

    def _next(self, buffer: bytearray) -> tuple[int, int, int] | None:
        if len(buffer) < 4:
            return None
        length = _checked_length(int.from_bytes(buffer[:4], "little", signed=True))
        if len(buffer) < 4 + length:
            return None
        return 4, 4 + (length - length % 4 if self._padded else length), 4 + length


class Full(_Framed):
    """Length, a counter and a CRC around each packet; Telethon's default."""

    def __init__(self) -> None:
        super().__init__()
        self._received = 0
        self._sent = 0

    def frame(self, packet: bytes) -> bytes:
        """See `Transport.frame`."""
        body = struct.pack("<ii", len(packet) + 12, self._sent) + packet
        self._sent += 1
        return body + struct.pack("<I", crc32(body))

    def _next(self, buffer: bytearray) -> tuple[int, int, int] | None:
        if len(buffer) < 12:
            return None
        length, counter = struct.unpack_from("<ii", buffer)
        if _checked_length(length) < 12 or counter != self._received:
            raise ProtocolViolation(f"full transport: length {length}, packet {counter} where {self._received} was due")
        if len(buffer) < length:
            return None
        if crc32(buffer[: length - 4]) != int.from_bytes(buffer[length - 4 : length], "little"):
            raise ProtocolViolation("full transport: wrong checksum")
        self._received += 1
        return 8, length - 4, length


class Obfuscated:
    """Another transport inside AES-CTR, keyed by the 64 bytes the client opens with."""

    def __init__(self, header: bytes) -> None:
        backwards = header[55:7:-1]
        self._decrypt = ctr(header[8:40], header[40:56])
        self._encrypt = ctr(backwards[:32], backwards[32:48])
        tag = self._decrypt(header)[56:60]
        inner = _TAGGED.get(tag)
        if inner is None:
            raise ProtocolViolation(f"obfuscated transport: unknown tag {tag.hex()}")
        self._inner = inner()

    def receive(self, data: bytes) -> list[bytes]:
        """See `Transport.receive`."""
        return self._inner.receive(self._decrypt(data))

    def frame(self, packet: bytes) -> bytes:
        """See `Transport.frame`."""
        return self._encrypt(self._inner.frame(packet))


_TAGGED: dict[bytes, Callable[[], Transport]] = {
    b"\xef" * 4: Abridged,
    b"\xee" * 4: Intermediate,
    b"\xdd" * 4: lambda: Intermediate(padded=True),
}


def detect(opening: bytes) -> tuple[Transport, int] | None:
    """The transport whose stream begins with `opening`, and how many of its bytes were the announcement.

    None means that more bytes are needed to tell.
    """
    if opening[:1] == b"\xef":
        return Abridged(), 1
    if len(opening) < 8:
        return None
    if (tagged := _TAGGED.get(bytes(opening[:4]))) is not None:
        return tagged(), 4
    if opening[4:8] == bytes(4):  # the counter of a first full packet; an obfuscated header never has it
        return Full(), 0
    if len(opening) < 64:
        return None
    return Obfuscated(bytes(opening[:64])), 64


def _checked_length(length: int) -> int:
    if not 4 <= length <= MAX_PACKET:
        raise ProtocolViolation(f"a packet of {length} bytes")
    return length
