"""The one door to Telethon's generated TL code: bytes to objects, objects to bytes, methods to names.

Whatever is wrong with the bytes, `parse` raises `ProtocolViolation`, so a caller has one error to handle.
"""

import difflib
import struct
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Protocol, TypeVar, cast

from telethon.extensions.binaryreader import BinaryReader
from telethon.tl.alltlobjects import tlobjects
from telethon.tl.tlobject import TLObject, TLRequest

from telestage.testing.loopback.errors import ProtocolViolation, UnknownMethod

T = TypeVar("T", bound=TLObject)

TRUE, FALSE = struct.pack("<I", 0x997275B5), struct.pack("<I", 0xBC799737)
_VECTOR = struct.pack("<I", 0x1CB5C415)


class _Reader(Protocol):
    position: int

    def tgread_object(self) -> object: ...


class _Serialize(Protocol):
    def __call__(self, data: bytes) -> bytes: ...


class _ReaderType(Protocol):
    def __call__(self, data: bytes) -> _Reader: ...


_serialize_bytes = cast(_Serialize, TLObject.serialize_bytes)
_reader = cast(_ReaderType, BinaryReader)  # Telethon's reader carries no annotations


class Encoded(TLObject):
    """An object that is already bytes, so that what many clients receive is encoded once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def _bytes(self) -> bytes:
        return self.body


def parse(data: bytes) -> TLObject:
    """The TL object at the start of `data`.

    Raises:
        ProtocolViolation: The bytes are no object of the schema.
    """
    try:
        value = _reader(data).tgread_object()
    except Exception as error:  # generated readers raise whatever the bytes provoke: struct.error, IndexError, …
        raise ProtocolViolation(f"unreadable TL object {data[:16].hex()}…: {error}") from error
    if not isinstance(value, TLObject):
        raise ProtocolViolation(f"a TL object was expected, not {type(value).__name__}")
    return value


def tl_bytes(data: bytes) -> bytes:
    """`data` as TL writes byte strings: with its length, padded to whole words."""
    return _serialize_bytes(data)


def encoded(value: T) -> T:
    """`value` with its bytes already made; fit only to be encoded again, which then costs nothing."""
    return cast(T, Encoded(bytes(value)))


def vector(items: Iterable[TLObject]) -> Encoded:
    """A bare `Vector<Object>`, the result of calls such as users.getUsers."""
    parts = [bytes(item) for item in items]
    return Encoded(b"".join((_VECTOR, struct.pack("<i", len(parts)), *parts)))


def encode(value: TLObject | bool) -> bytes:
    """A result as bytes; TL has its own constructors for true and false."""
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return bytes(value)


def now() -> datetime:
    """This moment as Telegram gives it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(time.time()), UTC)


def given(date: datetime | None) -> datetime | None:
    """A date out of a request: TL writes 0 where none is given, which reads as 1970."""
    return date if date is not None and date.timestamp() > 0 else None


def method_name(request: type[TLRequest]) -> str:
    """The schema's name of a request class: `messages.sendMessage` for SendMessageRequest."""
    return _schema_name(request.__module__, request.__name__)


@cache
def _schema_name(module: str, name: str) -> str:
    area = module.partition("telethon.tl.functions")[2].lstrip(".")
    bare = name.removesuffix("Request")
    bare = bare[0].lower() + bare[1:]
    return f"{area}.{bare}" if area else bare


@cache
def method_names() -> frozenset[str]:
    """The names of all methods in the schema Telethon speaks."""
    return frozenset(method_name(kind) for kind in tlobjects.values() if issubclass(kind, TLRequest))


def checked_method(name: str) -> str:
    """`name`, if the schema has that method.

    Raises:
        UnknownMethod: It has not; the error names those that come close.
    """
    names = method_names()
    if name in names:
        return name
    close: Sequence[str] = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; names look like 'messages.sendMessage'"
    raise UnknownMethod(f"Telegram has no method {name!r}{hint}")
