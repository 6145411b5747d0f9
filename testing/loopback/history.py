"""The messages of one chat, by id, and the log of what happened to them, by pts.

Ids only grow and dates never fall, so both are searched by bisection: a page out of 50,000 costs what a page
out of 100 costs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from telethon.tl import types

from telestage.testing.loopback.tl import now


@dataclass(slots=True)
class Message:
    """One message as the owner of its history has it: a private message is stored once for each side."""

    id: int
    chat: int
    """Marked id of the chat: a user id, or -100… of a channel."""
    sender: int | None
    """User id of whom it shows as its writer; None where the channel itself speaks."""
    text: str
    date: datetime
    author: int | None = None
    """In a channel: who wrote it, shown or not. To him alone it is outgoing."""
    out: bool = False
    """In a private history: its owner wrote it."""
    entities: list[types.TypeMessageEntity] | None = None
    reply_to: int | None = None
    edited: datetime | None = None
    forwarded: "Origin | None" = None
    twin: tuple[int, int] | None = None
    """The other side's copy: (user id, message id)."""
    encoded: types.Message | None = None
    """It, encoded, for readers who did not write it; cleared when it changes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a forwarded message comes from."""

    chat: int
    message_id: int
    sender: int | None
    date: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a history a client asks for, with Telegram's meaning of each bound (0 and None: no bound).

    Messages older than `offset_id` (or, without one, than `offset_date`), newest first, skipping `add_offset`;
    a negative `add_offset` reaches that many newer ones. `max_id` and `min_id` are exclusive.
    """

    offset_id: int = 0
    offset_date: datetime | None = None
    add_offset: int = 0
    limit: int = 100
    max_id: int = 0
    min_id: int = 0


class History:
    """Messages of one chat in the order of their ids."""

    __slots__ = ("_ids", "_messages")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._messages: dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    @property
    def latest(self) -> Message | None:
        """The newest message, if there is any."""
        return self._messages[self._ids[-1]] if self._ids else None

    def add(self, message: Message) -> None:
        """Append `message`; its id is the highest so far."""
        self._ids.append(message.id)
        self._messages[message.id] = message

    def get(self, message_id: int) -> Message | None:
        """The message, unless it never was or is deleted."""
        return self._messages.get(message_id)

    def remove(self, message_id: int) -> bool:
        """Delete a message; False if there is none."""
        if self._messages.pop(message_id, None) is None:
            return False
        del self._ids[bisect_left(self._ids, message_id)]
        return True

    def unread(self, after: int) -> int:
        """How many messages are newer than the message id `after`."""
        return len(self._ids) - bisect_right(self._ids, after)

    def page(self, window: Window) -> list[Message]:
        """The messages in `window`, newest first."""
        if window.offset_id:
            older = bisect_left(self._ids, window.offset_id)
        elif window.offset_date is not None:
            older = bisect_left(self._ids, window.offset_date, key=lambda id: self._messages[id].date)
        else:
            older = len(self._ids)
        end = older - window.add_offset
        ids = self._ids[max(end - window.limit, 0) : max(end, 0)]
        return [
            self._messages[id]
            for id in reversed(ids)
            if id > window.min_id and (not window.max_id or id < window.max_id)
        ]


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a pts: `pts` is its value afterwards, `count` how far it moved, `date` when that was."""

    pts: int
    count: int
    date: datetime
    kind: Literal["new", "edited", "deleted", "other"]
    ids: tuple[int, ...] = ()
    update: types.TypeUpdate | None = None
    """The update itself where it is the same for every reader."""


class EventLog:
    """What a user, or a channel, went through, so that a client can fetch what it missed."""

    __slots__ = ("_events", "pts")

    def __init__(self) -> None:
        self.pts = 1  # Telegram's first value; 0 means "unknown" to clients
        self._events: list[Event] = []

    def append(
        self, kind: Literal["new", "edited", "deleted"], ids: tuple[int, ...], *, count: int | None = None
    ) -> Event:
        """Record that messages were written, edited or deleted; moves pts by one for each, or by `count`."""
        step = len(ids) if count is None else count
        self.pts += step
        event = Event(self.pts, step, now(), kind, ids)
        self._events.append(event)
        return event

    def append_update(self, make: Callable[[int], types.TypeUpdate]) -> Event:
        """Record an update that is the same for every reader; `make` gets its pts. Moves pts by one."""
        self.pts += 1
        event = Event(self.pts, 1, now(), "other", update=make(self.pts))
        self._events.append(event)
        return event

    def after(self, pts: int, limit: int) -> list[Event]:
        """The first `limit` events that a client at `pts` has not seen."""
        start = bisect_right(self._events, pts, key=lambda event: event.pts)
        return self._events[start : start + limit]
