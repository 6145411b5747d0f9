"""The deadlines of asks, and of senders that wait for room: one timer for all that have the same time to go.

`loop.call_later` and `cancel` cost 1.5 us an ask, a good part of what an ask costs. But of asks with the same time
the one made first is due first: a queue of them needs a timer for its head only, and who is answered before has
nothing to cancel.

Invariants:
- An ask that isn't settled when its time is over is expired, at most a clock tick early.
- Settled asks are let go as they come to the head, or when they are most of the queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

__all__ = ["Deadlines", "DeadlinesByTime", "Waits"]

_MOST_TIMES = 32  # queues before the empty ones are let go
_MOST_SETTLED = 64  # kept behind one that isn't


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """What `loop.time` reads, without the call in between where the loop has asyncio's own (80 ns an ask)."""
    own = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return monotonic if own else loop.time


class Waits(Protocol):
    """What can have a deadline: an ask, or a sender that waits for room."""

    @property
    def settled(self) -> bool:
        """Whether it is over, one way or another."""
        ...


W = TypeVar("W", bound=Waits)


class Deadlines(Generic[W]):
    """A queue of asks that have the same time, in order.

    Args:
        seconds: That time.
        expire: What is called with an ask that is due, and `seconds`.
    """

    __slots__ = ("_expire", "_longest", "_loop", "_queue", "_time", "_timer", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, expire: Callable[[W, float], None]) -> None:
        self.seconds = seconds
        self._loop = loop
        self._time = _clock_of(loop)
        self._expire = expire
        self._queue: deque[tuple[float, W]] = deque()
        self._longest = _MOST_SETTLED
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many asks are kept: those that wait, and some that are settled."""
        return len(self._queue)

    @property
    def empty(self) -> bool:
        """Whether nobody is waited for."""
        self._clear_head()
        return not self._queue

    def add(self, ask: W) -> None:
        """From now on the ask has its time."""
        queue = self._queue
        while queue and queue[0][1].settled:  # as `_clear_head`, without the call
            queue.popleft()
        due = self._time() + self.seconds
        queue.append((due, ask))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring, due)
        elif len(queue) > self._longest:
            self._purge()

    def done(self, ask: W) -> None:
        """The ask is settled: nothing of it is kept, if it was the last one added."""
        queue = self._queue
        if queue and queue[-1][1] is ask:
            queue.pop()

    def cancel(self) -> None:
        """Ends the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _clear_head(self) -> None:
        queue = self._queue
        while queue and queue[0][1].settled:
            queue.popleft()

    def _purge(self) -> None:
        """Lets the settled go, wherever they are; not again before as many have come as are left."""
        self._queue = deque(entry for entry in self._queue if not entry[1].settled)
        self._longest = max(_MOST_SETTLED, 2 * len(self._queue))

    def _ring(self, due: float) -> None:
        self._timer = None
        now = max(due, self._loop.time())  # a loop may be early by the resolution of its clock
        while self._queue:
            when, ask = self._queue[0]
            if ask.settled:
                self._queue.popleft()
            elif when <= now:
                self._queue.popleft()
                self._expire(ask, self.seconds)
            else:
                self._timer = self._loop.call_at(when, self._ring, when)
                return


class DeadlinesByTime(dict[float, Deadlines[W]]):
    """The queues of one kind of deadline by the time they are for: `deadlines[seconds]` makes what isn't there.

    Where each ask has another time, each has a queue, which goes when empty. A dict, so that a look costs no call.
    """

    __slots__ = ("_expire", "_loop", "_most")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[W, float], None]) -> None:
        super().__init__()
        self._loop = loop
        self._expire = expire
        self._most = _MOST_TIMES

    def __missing__(self, seconds: float) -> Deadlines[W]:
        if len(self) >= self._most:
            for other in list(self.values()):
                if other.empty:
                    other.cancel()
                    del self[other.seconds]
            self._most = max(_MOST_TIMES, 2 * len(self))
        deadlines = self[seconds] = Deadlines(self._loop, seconds, self._expire)
        return deadlines

    def cancel(self) -> None:
        """Ends every timer."""
        for deadlines in self.values():
            deadlines.cancel()
        self.clear()
