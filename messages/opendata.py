"""Data without a schema (an event's `data`, a call's arguments) holds only what comes back equal.

msgspec would send more than that, and differently: a tuple arrives as a list, a set as a list, a message
as a dict. Here it is refused instead, on both ends and by the same rule, with its path.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple, TypeAlias, cast

from msgspec import inspect

from telestage.messages.base import Message
from telestage.messages.checks import INT64, shown
from telestage.messages.errors import WireError

MAX_DEPTH = 64
"""Lists and dicts that may lie in one another. It ends cycles, far below Python's recursion limit."""


_PLAIN = frozenset({type(None), bool, float, str, bytes})
_Trail: TypeAlias = "tuple[_Trail, str | int] | None"


class Openness(NamedTuple):
    """Which fields of a type to look at: those without a schema, and those that hold messages with such."""

    fields: tuple[str, ...]
    carriers: tuple[str, ...]


def openness(message_type: type) -> Openness:
    """Return which fields of a message type are open, as its annotations say."""
    info = inspect.type_info(message_type)
    assert isinstance(info, inspect.StructType)
    fields = tuple(field.name for field in info.fields if _is_open(field.type))
    carriers = tuple(field.name for field in info.fields if field.name not in fields and _carries(field.type))
    return Openness(fields, carriers)


def check_open(message: Message, table: Mapping[type[Message], Openness], root: str = "$") -> None:
    """Return if all the open data of a message, and of the messages in it, can travel and comes back equal.

    Args:
        message: A message of a type in the table.
        table: The openness of every registered type.
        root: The path of the message itself.

    Raises:
        WireError: Something can't; the error has the path of the first value that can't.
    """
    fields, carriers = table[type(message)]
    for name in fields:
        _check_value(getattr(message, name), f"{root}.{name}")
    for name in carriers:
        for path, inner in _messages(getattr(message, name), f"{root}.{name}"):
            check_open(inner, table, path)


def _is_open(kind: inspect.Type) -> bool:
    match kind:
        case inspect.AnyType():
            return True
        case inspect.CustomType(cls=custom):  # how msgspec calls an annotation of `object`
            return custom is object
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            return _is_open(inner)
        case _:
            return False


def _carries(kind: inspect.Type) -> bool:
    match kind:
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            return _carries(inner)
        case inspect.UnionType(types=choices):
            return any(_carries(choice) for choice in choices)
        case inspect.StructType(cls=message_type):
            return any(openness(message_type))
        case _:
            return False


def _messages(value: object, path: str) -> Iterator[tuple[str, Message]]:
    if isinstance(value, Message):
        yield path, value
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _messages(inner, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _messages(inner, f"{path}[{shown(key)}]")


def _check_value(root: object, path: str) -> None:
    # A step of a trail is (the trail before it, its key); only an error's is ever made into a text.
    walk: list[tuple[object, _Trail, int]] = [(root, None, 0)]
    while walk:
        value, trail, depth = walk.pop()
        kind = type(value)
        if kind in _PLAIN:
            continue
        if depth == MAX_DEPTH and isinstance(value, list | dict):
            raise WireError(f"lists and dicts must be at most {MAX_DEPTH} deep", path=_text(path, trail))
        if kind is list:
            items: list[object] = cast("list[object]", value)
            walk.extend((inner, (trail, index), depth + 1) for index, inner in enumerate(items))
        elif kind is dict:
            for key, inner in cast("dict[object, object]", value).items():
                if not isinstance(key, str):
                    raise WireError(f"keys must be strings, not {shown(key)}", path=_text(path, trail))
                walk.append((inner, (trail, key), depth + 1))
        elif isinstance(value, int) and (kind is int or isinstance(value, Enum)):
            if not -INT64 <= value < 2 * INT64:
                raise WireError(f"an integer must fit 64 bits, not {shown(value)}", path=_text(path, trail))
        elif not (isinstance(value, str) and isinstance(value, Enum)):
            rule = "must be None, bool, int, float, str, bytes, a list or a dict"
            raise WireError(f"{rule}, not {shown(value)} ({kind.__name__})", path=_text(path, trail))


def _text(path: str, trail: _Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, key = trail
        steps.append(f"[{shown(key)}]")
    return path + "".join(reversed(steps))
