"""The checks a message makes of its own fields: each returns, or raises `InvalidMessage`.

A message calls them in `__post_init__`, which msgspec runs at construction and in decoding
alike; so a value is either refused in both places or in neither. msgspec's `Meta` on a field
says the same limits once more, for the exact path in a decode error and for whoever reads the type.
"""

import math
import reprlib
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from telestage.messages.errors import InvalidMessage

INT64 = 2**63
"""Telegram's ids and random ids are signed 64-bit: from -INT64 to INT64 - 1."""

INT32_MAX = 2**31 - 1
"""The largest message id and offset in Telegram's schema."""

SCALARS = (type(None), bool, int, float, str, bytes)
"""The types of a single value in open data."""

Text: TypeAlias = Annotated[str, Meta(min_length=1)]
"""A string that isn't blank: `check_text`."""

Int64: TypeAlias = Annotated[int, Meta(ge=-INT64, le=INT64 - 1)]
"""A signed 64-bit integer: `check_whole` with the same bounds."""

Seconds: TypeAlias = Annotated[float, Meta(gt=0)]
"""Seconds to wait at most, above zero and finite: `check_seconds`."""

Elapsed: TypeAlias = Annotated[float, Meta(ge=0)]
"""Seconds that have passed, or unix seconds; zero or above and finite: `check_seconds`, with zero."""

Member = TypeVar("Member", bound=Enum)


def invalid(message: msgspec.Struct, field: str, rule: str) -> InvalidMessage:
    """Return the error for a field: `rule` says what would be right."""
    value: object = getattr(message, field)
    return InvalidMessage(type(message).__name__, field, f"{rule}, not {shown(value)}")


def shown(value: object) -> str:
    """Return a value as an error text shows it: its repr, cut short so that no text is unbounded."""
    return reprlib.repr(value)


def check_text(message: msgspec.Struct, *fields: str) -> None:
    """Return if each field is a string with at least one character that isn't blank."""
    for field in fields:
        value: object = getattr(message, field)
        if not isinstance(value, str) or not value.strip():
            raise invalid(message, field, "must be a string that is not empty")


def check_string(message: msgspec.Struct, field: str) -> None:
    """Return if the field is a string; an empty one is one too."""
    if not isinstance(getattr(message, field), str):
        raise invalid(message, field, "must be a string")


def check_flag(message: msgspec.Struct, field: str) -> None:
    """Return if the field is True or False."""
    if not isinstance(getattr(message, field), bool):
        raise invalid(message, field, "must be True or False")


def check_whole(message: msgspec.Struct, field: str, low: int, high: int) -> None:
    """Return if the field is an int (a bool is none) from `low` to `high`, both included."""
    value: object = getattr(message, field)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(message, field, f"must be an integer from {low} to {high}")


def check_seconds(message: msgspec.Struct, field: str, *, zero: bool) -> None:
    """Return if the field is a finite number of seconds: above zero, or `zero` as well.

    Infinity is refused because every wait ends (R-D3).
    """
    value: object = getattr(message, field)
    # Compared, not math.isfinite: an int too big for a float would be an OverflowError there.
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    if not number or (value == 0 and not zero):
        raise invalid(message, field, f"must be a finite number of seconds {'from' if zero else 'above'} 0")


def settle_member(message: msgspec.Struct, field: str, members: type[Member]) -> None:
    """Leave a member of `members` in the field: the one that is there, or the one with that value."""
    value: object = getattr(message, field)
    if isinstance(value, members):
        return
    for member in members:
        if type(value) is type(member.value) and value == member.value:
            msgspec.structs.force_setattr(message, field, member)
            return
    values = ", ".join(repr(member.value) for member in members)
    raise invalid(message, field, f"must be one of {members.__name__} ({values})")


def settle_mapping(message: msgspec.Struct, field: str) -> None:
    """Leave a dict in the field: the one that is there, or one made of another Mapping.

    What is in it isn't looked at here; `opendata` does when it travels.
    """
    value: object = getattr(message, field)
    if not isinstance(value, Mapping):
        raise invalid(message, field, "must be a dict with string keys")
    if not isinstance(value, dict):
        msgspec.structs.force_setattr(message, field, dict(value))
