"""What a handler may know of the event in its hand: what it is known by for ever, and how to be done with it in a
transaction of its own.

Invariant: an event has the same key whenever it comes: pushed or fetched, in this process or the next; one of a channel
from whichever session it comes, too.
"""

from __future__ import annotations

import sqlite3
from contextvars import ContextVar
from typing import Any

import msgspec

from telestage.actors.telegram.checkpoint import ACCOUNT, Mark
from telestage.actors.telegram.once import gone
from telestage.actors.telegram.positions import MarkRow, settle
from telestage.actors.telegram.updatebox import mark_of

__all__ = ["EventInHand", "event_in_hand", "event_key", "with_in_hand"]


class EventInHand(msgspec.Struct, frozen=True):
    """The event that a monitor's handler has in hand."""

    session: str
    monitor: str
    key: str | None
    """See `event_key`."""
    mark: Mark | None
    received: int
    """Up to which pts its session had received by then."""
    shared: bool
    """Whether it is had for all sessions of the monitor (`once=True`)."""
    gone: frozenset[int]
    """The ids of the messages whose deletion it tells, where it is had for all sessions."""

    def settle(self, connection: sqlite3.Connection) -> None:
        """Notes, within a transaction of the fleet's store, that the handler is done with this event.

        What else is written in that transaction is so exactly once, whenever the process is killed: either both are
        in the file, or neither is and the event comes again. Does nothing for an event without a key, which never comes
        again.

        Args:
            connection: What `Store.write` gives.
        """
        if self.mark is not None:
            entry, fresh, number = self.mark
            mark = MarkRow(self.session, self.monitor, entry, fresh, number)
            shared = self.shared and entry != ACCOUNT
            had = (self.mark, *(gone(self.mark, id) for id in self.gone)) if shared else ()
            settle(connection, mark, self.received, had)


_in_hand: ContextVar[EventInHand | None] = ContextVar("telestage_in_hand", default=None)


def event_in_hand() -> EventInHand:
    """The event in the hand of the handler that calls this.

    Raises:
        LookupError: It isn't called in a handler of a fleet that has a store.
    """
    in_hand = _in_hand.get()
    if in_hand is None:
        raise LookupError("there is no event in hand: call this in a monitor's handler, of a fleet with a store=")
    return in_hand


class with_in_hand:  # noqa: N801 - reads as a statement; a class costs a third of a generator
    """Has the block of a `with` know the event."""

    __slots__ = ("_event", "_token")

    def __init__(self, in_hand: EventInHand) -> None:
        self._event = in_hand

    def __enter__(self) -> None:
        self._token = _in_hand.set(self._event)

    def __exit__(self, *_: object) -> None:
        _in_hand.reset(self._token)


def event_key(event: object) -> str | None:
    """What an event is known by for ever, such as `channel/1234/message/56`; None for one that Telegram doesn't number.

    A handler that keeps the keys of what it has done does nothing twice. New messages have their own ids, edits and
    deletions the number of the change (`channel/1234/change/789`). In private chats and small groups each account
    counts for itself: `account/42/message/7`.

    Args:
        event: As a handler gets it, one of `events.Raw` included.
    """
    update: Any = getattr(event, "original_update", None) or event
    mark = mark_of(update)
    if mark is None:
        return None
    entry, fresh, number = mark
    whose = f"channel/{entry}" if entry != ACCOUNT else f"account/{getattr(update, '_account', None)}"
    return f"{whose}/{'message' if fresh else 'change'}/{number}"
