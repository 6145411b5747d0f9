"""What belongs at a place of a fleet file, in words, and what is there instead."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Mapping

from msgspec import inspect

__all__ = ["accepts", "bare", "described", "fields_of", "found", "item_of", "kinds_of", "nearest"]


def bare(expected: inspect.Type) -> inspect.Type:
    """The type itself, without its description and without `None`, which a file can't say."""
    while True:
        if isinstance(expected, inspect.Metadata):
            expected = expected.type
        elif isinstance(expected, inspect.UnionType):
            rest = [each for each in expected.types if not isinstance(each, inspect.NoneType)]
            if len(rest) != 1:
                return inspect.UnionType(tuple(rest))
            expected = rest[0]
        else:
            return expected


def kinds_of(expected: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types of which a value may be one."""
    kind = bare(expected)
    return tuple(map(bare, kind.types)) if isinstance(kind, inspect.UnionType) else (kind,)


def item_of(expected: inspect.Type) -> inspect.Type | None:
    """The type of the items, where a list may be."""
    lists = (kind.item_type for kind in kinds_of(expected) if isinstance(kind, inspect.ListType))
    return next(lists, None)


def described(expected: inspect.Type) -> str:
    """What would be right, such as "a whole number of 1 or more"."""
    match expected:
        case inspect.Metadata(extra_json_schema={"description": str(words)}):
            return words
        case inspect.Metadata(type=inner):
            return described(inner)
        case inspect.UnionType(types=kinds):
            return " or ".join(described(kind) for kind in kinds if not isinstance(kind, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.StrType() | inspect.CustomType():
            return "a text"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.EnumType(cls=members):
            return f"one of {', '.join(str(member.value) for member in members)}"
        case inspect.ListType(item_type=item):
            return f"a list, each {described(item)}"
        case _:
            return "a table"


def accepts(expected: inspect.Type, value: object) -> bool:
    """Whether a value from TOML is of the type, its bounds left aside."""
    match bare(expected):
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType() | inspect.CustomType() | inspect.LiteralType() | inspect.EnumType():
            return isinstance(value, str)
        case inspect.UnionType(types=kinds):
            return any(accepts(kind, value) for kind in kinds)
        case inspect.ListType():
            return isinstance(value, list)
        case _:
            return isinstance(value, Mapping)


def fields_of(expected: inspect.Type) -> dict[str, inspect.Field] | None:
    """The fields of a table by their keys; None if it isn't a table of fixed keys."""
    kind = bare(expected)
    if not isinstance(kind, inspect.StructType):
        return None
    return {field.encode_name: field for field in kind.fields}


def found(value: object) -> str:
    """What kind of thing a value from TOML is; never the value."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return "a text" if value else "an empty text"
        case int():
            return "a whole number"
        case float():
            return "a decimal number"
        case list():
            return "a list" if value else "an empty list"
        case Mapping():
            return "a table"
        case datetime.date() | datetime.time():
            return "a date or time"
        case _:
            return "nothing"


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or which ones there are."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known here"
