"""Where the updates of a session stand: what was received, and up to where every monitor is done with it.

Invariants:
- `account` and `channels`, which are stored with the session, never pass an update that a monitor still has to handle.
  Whoever goes on from them gets it again.
- What was received, by which a session goes on that is made anew in this process, passes it: its monitors have it.
- `high`, up to where things were received, moves with each step; `rewound` is what it was when an earlier start, or an
  earlier process, was left: from the position to there, updates come a second time.
- A frozen checkpoint, and one that another has replaced, don't move, whoever is still at work.

The updates that came together are a step. Steps are a chain in the order of arrival; one that is done joins the one
before it, or moves the checkpoint if it is the first. So there are never more of them than updates that wait.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator

import msgspec

__all__ = [
    "ACCOUNT",
    "WIDTH",
    "Account",
    "Channel",
    "Checkpoint",
    "Mark",
    "Position",
    "Received",
    "Recent",
    "Step",
]

ACCOUNT = 0
"""Stands where channels have their id: for private chats and small groups, which share one pts."""

Mark = tuple[int, bool, int]
"""An update: the channel or `ACCOUNT`, whether it brings a new message, and that message's id; else the pts."""


WIDTH = 100
"""Of how many messages it is remembered whether they are there: a page of Telegram's."""

_MASK = (1 << WIDTH) - 1


class Recent(msgspec.Struct, frozen=True):
    """What is remembered of the last messages of a channel, or of all private chats: 16 bytes and a date."""

    alive: int = 0
    """Bit n: the message n before the last one is known, and not known to be deleted."""
    heard: int = 0
    """When what was heard of last was written, or edited: Telegram's Unix seconds."""

    def written(self, id: int, last: int, date: int) -> Recent:
        """After a message, new or edited; `last` was the last one before it."""
        alive = self.alive
        if id > last:
            alive = ((alive << min(id - last, WIDTH)) | 1) & _MASK
        elif last - id < WIDTH:
            alive |= 1 << (last - id)
        return Recent(alive, max(self.heard, date))

    def deleted(self, ids: Iterable[int], last: int) -> Recent:
        """After a deletion."""
        alive = self.alive
        for id in ids:
            if 0 <= last - id < WIDTH:
                alive &= ~(1 << (last - id))
        return Recent(alive, self.heard)

    def ids(self, last: int) -> list[int]:
        """Those known to be there, in order."""
        return [last - n for n in range(WIDTH - 1, -1, -1) if self.alive >> n & 1]

    def packed(self) -> bytes:
        """Its form in a file."""
        return self.heard.to_bytes(8, "big") + self.alive.to_bytes((WIDTH + 7) // 8, "big")

    @classmethod
    def unpacked(cls, data: bytes) -> Recent:
        """From that form."""
        return cls(int.from_bytes(data[8:], "big") & _MASK, int.from_bytes(data[:8], "big"))


_NOTHING = Recent()


class Account(msgspec.Struct, frozen=True):
    """Where the updates of the account stand."""

    pts: int
    qts: int
    date: datetime.datetime
    seq: int
    last_id: int = 0
    recent: Recent = _NOTHING


class Channel(msgspec.Struct, frozen=True):
    """Where those of a channel stand: its pts, and the last message known (0: none)."""

    pts: int
    last_id: int
    recent: Recent = _NOTHING


class Position(msgspec.Struct, frozen=True):
    """Where the account and some channels stand after a step."""

    account: Account | None
    channels: dict[int, Channel]


class Received(msgspec.Struct, frozen=True):
    """Where a client that is left stood, for the one that goes on."""

    account: Account
    channels: dict[int, Channel]
    last_ids: dict[int, int]
    hashes: dict[int, tuple[int, int]]
    """What Telethon knows the channels by."""
    recent: dict[int, Recent]


class Step:
    """Updates that came together, and how many deliveries of them are under way."""

    __slots__ = ("account", "after", "before", "channels", "checkpoint", "held")

    def __init__(self, checkpoint: Checkpoint, position: Position, before: Step | None) -> None:
        self.checkpoint = checkpoint
        self.account = position.account
        self.channels = position.channels
        self.held = 1
        self.before = before
        self.after: Step | None = None

    def hold(self) -> None:
        """One delivery more is under way."""
        self.held += 1

    def release(self) -> None:
        """One of them has come to its end."""
        self.held -= 1
        if not self.held:
            self.checkpoint.done(self)


class Checkpoint:
    """The checkpoint of one session, from a start of its fleet to the next.

    Args:
        rewound: What the one before had received when it was left: from there back, updates come a second time.
    """

    def __init__(self, rewound: dict[int, int] | None = None) -> None:
        self.account: Account | None = None
        self.channels: dict[int, Channel] = {}
        self.received: Received | None = None
        self.stored: Received | None = None
        self.resumed = False  # what is stored is known
        self.high: dict[int, int] = {}
        self.hash_of: Callable[[int], tuple[int, int] | None] = lambda _: None
        self.rewound = rewound or {}
        self.surveyed = False  # all channels of the account are known
        self.frozen = False
        self.on_move: Callable[[Iterable[int]], None] | None = None
        self._changed: set[int] = set()
        self._last: Step | None = None

    def base(self, position: Position) -> None:
        """Where a client begins; one that goes on where another was left changes nothing."""
        if self.account is None and position.account is not None:
            self.account = position.account
            self.channels = dict(position.channels)
            self._changed = {ACCOUNT, *position.channels}
            self._rise(position)
            if self.on_move is not None:
                self.on_move(self._changed)

    def begin(self, position: Position) -> Step:
        """Updates were received, after which things stand so. Who calls it holds the step once."""
        self._rise(position)
        step = Step(self, position, self._last)
        if self._last is not None:
            self._last.after = step
        self._last = step
        return step

    def done(self, step: Step) -> None:
        """All is done with the updates of a step."""
        before, after = step.before, step.after
        if after is not None:
            after.before = before
        else:
            self._last = before
        if before is None:
            self._move(step.account, step.channels)
            return
        before.after = after
        before.account = step.account or before.account
        before.channels.update(step.channels)

    def freeze(self) -> None:
        """The session ends: what waits for its monitors is given up, and is to come again."""
        self.frozen = True

    def changes(self) -> Iterator[tuple[int, Account | Channel]]:
        """What has moved since it was stored, by channel or `ACCOUNT`; each is forgotten when the next is asked for."""
        for entry in list(self._changed):
            state = self.account if entry == ACCOUNT else self.channels.get(entry)
            if state is not None:
                yield entry, state
            self._changed.discard(entry)

    def resume(self, stored: Received | None, high: dict[int, int]) -> None:
        """Goes on from what an earlier process has stored, or an earlier start: it had received up to `high`."""
        if self.resumed:  # somebody else has gone on meanwhile
            self.received = None
        self.resumed = True
        self.stored = stored
        for entry, pts in high.items():
            self.rewound[entry] = max(pts, self.rewound.get(entry, 0))

    def successor(self) -> Checkpoint:
        """The one of the next start."""
        rewound = dict(self.rewound)
        if self.received is not None:
            rewound[ACCOUNT] = self.received.account.pts
            rewound.update((id, channel.pts) for id, channel in self.received.channels.items())
        return Checkpoint(rewound)

    def reached(self, position: Position) -> None:
        """Things stand so: what comes after what came before has not come before.

        Pages of a history come while the pts stays what it was, so where it is reached exactly there may be more.
        """
        if not self.rewound:
            return
        account = position.account
        if account is not None and account.pts > self.rewound.get(ACCOUNT, 0):
            self.rewound.pop(ACCOUNT, None)
        for id, channel in position.channels.items():
            if channel.pts > self.rewound.get(id, 0):
                self.rewound.pop(id, None)

    def _move(self, account: Account | None, channels: dict[int, Channel]) -> None:
        if self.frozen:
            return
        if account is not None:
            self.account = account
            self._changed.add(ACCOUNT)
        self.channels.update(channels)
        self._changed.update(channels)
        if self.on_move is not None:
            self.on_move((ACCOUNT, *channels) if account is not None else channels)

    def _rise(self, position: Position) -> None:
        if position.account is not None:
            self.high[ACCOUNT] = position.account.pts
        for id, channel in position.channels.items():
            self.high[id] = channel.pts
