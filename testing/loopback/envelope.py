"""The encrypted envelope of MTProto 2.0, and the messages inside it, seen from the server.

What a client seals, `unseal` opens; what `seal` makes, a client opens. Every flaw is a `ProtocolViolation`.
(https://core.telegram.org/mtproto/description)
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from telethon.tl.core.gzippacked import GzipPacked
from telethon.tl.core.messagecontainer import MessageContainer
from telethon.tl.core.rpcresult import RpcResult
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.crypto import decrypt_ige, encrypt_ige
from telestage.testing.loopback.errors import ProtocolViolation
from telestage.testing.loopback.tl import parse, tl_bytes

MAX_UNPACKED = 16 * 1024 * 1024
"""Most bytes a gzip-packed object may unpack to."""
MAX_CONTAINED = 1024
"""Most messages in one container, Telegram's limit."""

_CONTAINER = struct.pack("<I", MessageContainer.CONSTRUCTOR_ID)
_GZIP = struct.pack("<I", GzipPacked.CONSTRUCTOR_ID)
_RPC_RESULT = struct.pack("<I", RpcResult.CONSTRUCTOR_ID)
_TO_SERVER, _TO_CLIENT = 0, 8  # offset into the auth key, so that no packet can be played back to its sender


@dataclass(frozen=True, slots=True)
class Letter:
    """An opened envelope: which session wrote, with which salt, and the one message in it."""

    salt: int
    session_id: int
    message_id: int
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message of a client, out of its containers and gzip."""

    message_id: int
    sequence: int
    body: TLObject


def unseal(key: bytes, packet: bytes) -> Letter:
    """The letter in `packet`, whose first 8 bytes, the key id, have led to `key`.

    Raises:
        ProtocolViolation: It was not sealed with this key, or not for a server.
    """
    digest, sealed = packet[8:24], packet[24:]
    if len(sealed) < 48 or len(sealed) % 16:
        raise ProtocolViolation(f"an encrypted message of {len(packet)} bytes")
    plain = decrypt_ige(sealed, *_aes(key, digest, _TO_SERVER))
    if sha256(key[88:120] + plain).digest()[8:24] != digest:
        raise ProtocolViolation("an encrypted message with a wrong msg_key")
    salt, session_id, message_id, sequence, length = struct.unpack_from("<qqqii", plain)
    padding = len(plain) - 32 - length
    if length < 4 or length % 4 or not 12 <= padding <= 1024:
        raise ProtocolViolation(f"a message of {length} bytes with {padding} bytes of padding")
    return Letter(salt, session_id, message_id, sequence, plain[32 : 32 + length])


def seal(key_id: bytes, key: bytes, letter: Letter) -> bytes:
    """`letter` as a packet that only the owner of `key` can open."""
    plain = struct.pack("<qqqii", letter.salt, letter.session_id, letter.message_id, letter.sequence, len(letter.body))
    plain += letter.body
    plain += os.urandom(-(len(plain) + 12) % 16 + 12)
    digest = sha256(key[96:128] + plain).digest()[8:24]
    return key_id + digest + encrypt_ige(plain, *_aes(key, digest, _TO_CLIENT))


def _aes(key: bytes, digest: bytes, offset: int) -> tuple[bytes, bytes]:
    a = sha256(digest + key[offset : offset + 36]).digest()
    b = sha256(key[offset + 40 : offset + 76] + digest).digest()
    return a[:8] + b[8:24] + a[24:], b[:8] + a[8:24] + b[24:]


def unpack(message_id: int, sequence: int, body: bytes) -> Iterator[Inbound]:
    """The messages in `body`, in order: gzip is unpacked and containers are split by their lengths.

    Raises:
        ProtocolViolation: A length, a nesting or an object is wrong. Messages already yielded were good.
    """
    if body.startswith(_GZIP):
        body = _gunzip(body)
    if not body.startswith(_CONTAINER):
        yield Inbound(message_id, sequence, parse(body))
        return
    (count,) = struct.unpack_from("<i", body.ljust(8, b"\0"), 4)
    if not 0 <= count <= MAX_CONTAINED:
        raise ProtocolViolation(f"a container of {count} messages")
    position = 8
    for _ in range(count):
        if len(body) < position + 16:
            raise ProtocolViolation("a container that ends too early")
        inner_id, inner_sequence, length = struct.unpack_from("<qii", body, position)
        inner = body[position + 16 : position + 16 + length]
        if length < 4 or len(inner) != length or inner.startswith(_CONTAINER):
            raise ProtocolViolation(f"a contained message of {length} bytes")
        position += 16 + length
        if inner.startswith(_GZIP):
            inner = _gunzip(inner)
        yield Inbound(inner_id, inner_sequence, parse(inner))


def container(messages: list[tuple[int, int, bytes]]) -> bytes:
    """Several messages (id, sequence, body) as the body of one."""
    parts = [_CONTAINER, struct.pack("<i", len(messages))]
    for message_id, sequence, body in messages:
        parts += (struct.pack("<qii", message_id, sequence, len(body)), body)
    return b"".join(parts)


def rpc_result(message_id: int, result: bytes) -> bytes:
    """The answer to the call `message_id`; a long one is gzip-packed, as Telegram does."""
    if len(result) > 1024:
        packed = zlib.compress(result, 1, 31)  # 31: with the gzip header
        if len(packed) < len(result):
            result = _GZIP + tl_bytes(packed)
    return _RPC_RESULT + struct.pack("<q", message_id) + result


def _gunzip(body: bytes) -> bytes:
    try:
        start, length = (8, int.from_bytes(body[5:8], "little")) if body[4] == 254 else (5, body[4])
        unpacker = zlib.decompressobj(31)
        unpacked = unpacker.decompress(body[start : start + length], MAX_UNPACKED)
    except (IndexError, zlib.error) as error:
        raise ProtocolViolation(f"a gzip-packed object that cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise ProtocolViolation(f"a gzip-packed object that is cut short, or over {MAX_UNPACKED} bytes")
    if unpacked.startswith(_GZIP):
        raise ProtocolViolation("gzip inside gzip")
    return unpacked
