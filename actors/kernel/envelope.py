"""What a message wears on its way: nothing, or the name of its sender.

A message told without a sender, the common case, travels bare; one that is asked travels as an `Ask`.
"""

from __future__ import annotations

import msgspec

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.carried import unpacked
from telestage.actors.kernel.ref import Ref

__all__ = ["Envelope", "bare", "sender_of", "worn"]


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A message with its sender. Untracked by the garbage collector: a tracked one costs 10x (it wakes it)."""

    message: object
    sender: Ref | None


def bare(item: object) -> object:
    """The message itself, whichever way it travels."""
    return unpacked(worn(item))


def worn(item: object) -> object:
    """The message with what travels with it, if anything does."""
    return item.message if isinstance(item, Envelope | Ask) else item


def sender_of(item: object) -> Ref | None:
    """Who told or asked it, if that is known."""
    if isinstance(item, Envelope):
        return item.sender
    return item.asker if isinstance(item, Ask) else None
