"""What the server saw: every call, every message it accepted, and how much was in flight at once.

Times are seconds on `time.monotonic`, made strictly increasing, so that two calls never seem simultaneous and
the number in flight at any moment can be computed afterwards, exactly, for whatever calls one is interested in.
"""

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from telestage.testing.loopback.errors import BadArgument

_UPKEEP = frozenset({
    "updates.getState", "updates.getDifference", "updates.getChannelDifference", "help.getConfig",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call of a client."""

    user_id: int | None
    """None while nobody is logged in."""
    auth_key_id: int
    method: str
    """The schema's name, such as `messages.sendMessage`; wrappers like invokeWithLayer are taken off."""
    started: float
    """When it was received, in seconds on the monotonic clock."""
    ended: float
    """When it was answered, or given up."""
    outcome: str
    """`ok`, an error's name such as `FLOOD_WAIT_3`, `unanswered`, or `disconnected`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a client sent and the server accepted, for the first time."""

    random_id: int
    sender_id: int
    peer: int
    """Marked id of where it went: a user id, or -100… of a channel."""
    message_id: int
    """As its sender sees it."""
    text: str
    at: float
    """Seconds on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Use:
    """An authorization key was used through one connection, from its first packet to its last, of whatever kind."""

    auth_key_id: int
    address: str
    """The client's, without its port."""
    first: float
    """Seconds on the monotonic clock, as is `last`."""
    last: float


class OpenUse:
    """A use that may go on."""

    __slots__ = ("address", "auth_key_id", "first", "last")

    def __init__(self, auth_key_id: int, address: str, now: float) -> None:
        self.auth_key_id = auth_key_id
        self.address = address
        self.first = self.last = now


class Calls(Sequence[Call]):
    """A live view of calls, oldest first: it grows as calls end, and can be indexed and sliced, not changed."""

    def __init__(self, calls: deque[Call]) -> None:
        self._calls = calls

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    @overload
    def __getitem__(self, index: int) -> Call: ...

    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...

    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        return list(self._calls)[index] if isinstance(index, slice) else self._calls[index]

    def __repr__(self) -> str:
        return f"<{len(self)} calls>"


class OpenCall:
    """A call that is received and not answered yet."""

    __slots__ = ("auth_key_id", "method", "started", "user_id")

    def __init__(self, user_id: int | None, auth_key_id: int, method: str, started: float) -> None:
        self.user_id = user_id
        self.auth_key_id = auth_key_id
        self.method = method
        self.started = started


class Record:
    """The server's memory of its clients' doings.

    Args:
        capacity: How many finished calls are kept; the oldest make room.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise BadArgument(f"a record of {capacity} calls keeps nothing; at least 1 is needed")
        self.calls: deque[Call] = deque(maxlen=capacity)
        self.early_calls: deque[Call] = deque(maxlen=capacity)
        self.deliveries: list[Delivery] = []
        self.total_calls = 0
        self.repeats = 0
        self.floods = 0
        self._open: dict[OpenCall, None] = {}
        self._uses: deque[OpenUse] = deque(maxlen=capacity)
        self._time = 0.0

    def clock(self) -> float:
        """The monotonic time, never the same twice."""
        self._time = max(time.monotonic(), self._time + 1e-8)
        return self._time

    def open(self, user_id: int | None, auth_key_id: int, method: str) -> OpenCall:
        """A call was received."""
        call = OpenCall(user_id, auth_key_id, method, self.clock())
        self._open[call] = None
        return call

    def close(self, call: OpenCall, outcome: str, *, early: bool = False) -> None:
        """A call was answered or given up; closing it a second time does nothing.

        Args:
            call: As `open` gave it.
            outcome: See `Call.outcome`.
            early: It was made before the deadline of a flood wait.
        """
        if call not in self._open:
            return
        del self._open[call]
        done = Call(call.user_id, call.auth_key_id, call.method, call.started, self.clock(), outcome)
        self.calls.append(done)
        self.total_calls += 1
        if early:
            self.early_calls.append(done)

    def used(self, auth_key_id: int, address: str) -> OpenUse:
        """A key is used through a connection for the first time. Who calls it notes each further packet by `clock`."""
        use = OpenUse(auth_key_id, address, self.clock())
        self._uses.append(use)
        return use

    def uses(self, auth_key_id: int | None) -> list[Use]:
        """The uses of a key (None: of all) that are kept, by their first packet."""
        return [
            Use(use.auth_key_id, use.address, use.first, use.last)
            for use in self._uses
            if auth_key_id is None or use.auth_key_id == auth_key_id
        ]

    def delivered(self, peers: Collection[int] | None, sender: int | None) -> list[Delivery]:
        """The deliveries to any of `peers` (None: to anybody) from `sender` (None: from anybody), in order."""
        return [
            delivery
            for delivery in self.deliveries
            if (peers is None or delivery.peer in peers) and (sender is None or delivery.sender_id == sender)
        ]

    def peak_in_flight(self, user_id: int | None, ignore: Collection[str]) -> int:
        """The most calls of `user_id` (None: of everybody) that were open at one moment.

        What clients do to keep themselves going does not count (auth.*, help.getConfig, the calls that fetch
        updates), nor do the methods in `ignore`. Looks at the calls still kept.
        """

        def counts(call: Call | OpenCall) -> bool:
            return (
                (user_id is None or call.user_id == user_id)
                and call.method not in _UPKEEP
                and not call.method.startswith("auth.")
                and call.method not in ignore
            )

        steps = [(call.started, 1) for call in self._open if counts(call)]
        for call in filter(counts, self.calls):
            steps += ((call.started, 1), (call.ended, -1))
        return _highest_sum(sorted(steps))


def _highest_sum(steps: Sequence[tuple[float, int]]) -> int:
    height = peak = 0
    for _, step in steps:
        height += step
        peak = max(peak, height)
    return peak
