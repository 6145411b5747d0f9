"""Data without a schema (an event's `data`, a call's arguments) holds only what comes back equal.

msgspec would send more than that, and differently: a tuple arrives as a list, a set as a list, a message
as a dict. Here it is refused instead, on both ends and by the same rule, with its path.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from msgspec import inspect

from telestage.messages.base import Message
from telestage.messages.checks import INT64, shown
from telestage.messages.errors import WireError

MAX_DEPTH = 64
"""Lists and dicts that may lie in one another. It ends cycles, far below Python's recursion limit."""


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


def _check_value(value: object, path: str) -> None:
    walk: list[tuple[str, object, int]] = [(path, value, 0)]
    while walk:
        path, value, depth = walk.pop()
        if value is None or type(value) in (str, bytes, float, bool):
            continue
        if type(value) is int or (isinstance(value, Enum) and isinstance(value, int)):
            if not -INT64 <= value < 2 * INT64:
                raise WireError(f"an integer must fit 64 bits, not {shown(value)}", path=path)
        elif isinstance(value, Enum) and isinstance(value, str):
            continue
        elif depth == MAX_DEPTH:
            raise WireError(f"lists and dicts must not lie more than {MAX_DEPTH} deep", path=path)
        else:
            walk.extend((inner_path, inner, depth + 1) for inner_path, inner in _inside(value, path))


def _inside(value: object, path: str) -> Iterator[tuple[str, object]]:
    if type(value) is list:
        yield from ((f"{path}[{index}]", inner) for index, inner in enumerate(value))
    elif type(value) is dict:
        for key, inner in value.items():
            if not isinstance(key, str):
                raise WireError(f"a dict's keys must be strings, not {shown(key)}", path=path)
            yield f"{path}[{shown(key)}]", inner
    else:
        raise WireError(
            f"must be None, bool, int, float, str, bytes, a list or a dict, not {shown(value)}"
            f" (a {type(value).__name__})",
            path=path,
        )
