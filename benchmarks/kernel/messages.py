"""What is sent: the same objects for every contestant, so that making and telling them apart costs each the same."""

from __future__ import annotations

import msgspec

__all__ = ["Count", "Get", "Hop", "Suspend"]


class Count(msgspec.Struct, frozen=True):
    """Has an actor count one more."""


class Get(msgspec.Struct, frozen=True):
    """Asks for the count."""


class Hop(msgspec.Struct, frozen=True):
    """Goes on until none is left; made anew at each actor."""

    left: int


class Suspend(msgspec.Struct, frozen=True):
    """Has an actor wait for one turn of the loop, then count."""
