"""A message together with what travels with it from its sender's context."""

from __future__ import annotations

import msgspec

__all__ = ["Carried", "unpacked"]


class Carried(msgspec.Struct, frozen=True, gc=False):
    """What goes through a mailbox in the place of `message`, in a system that carries something (see `carrying`)."""

    message: object
    values: tuple[object, ...]
    """Of the context variables that are carried."""
    notes: tuple[object, ...]
    """Of each instrument that has a word to say at the departure."""


def unpacked(message: object) -> object:
    """The message itself."""
    return message.message if type(message) is Carried else message
