"""The order in which a cell that uses priorities takes its messages.

A cell whose messages all have priority 0 keeps them in a plain list (see `cell`) and never makes
`Lanes`. The first message of another priority moves what waits into lanes, one deque a level.

Order: the highest level first, first-in-first-out within a level, but for ageing: of every
`AGEING` messages taken, one is the longest-waiting of all. So a message with n older ones ahead of
it is taken after at most `AGEING * (n + 1)` others, however many higher ones keep arriving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["AGEING", "SYSTEM", "Lanes"]

AGEING = 8
"""Every eighth message taken is the longest-waiting one (R-Q3)."""

SYSTEM = 1 << 62
"""The level of what came by the system lane, was put aside and is put back."""

_MOST_EMPTY_LANES = 64  # callers choose the levels: don't keep a deque for each ever used


class Lanes:
    """Messages by priority level, with ageing. Knows nothing of bounds: the cell counts."""

    __slots__ = ("_arrivals", "_firsts", "_gone", "_levels", "_order", "level", "taken")

    def __init__(self) -> None:
        # level -> arrival number and message, flat: a tuple a message wakes the garbage collector
        self._levels: dict[int, deque[Any]] = {}
        self._order: list[int] = []  # the levels that have messages, ascending
        self._arrivals = 0
        self._firsts = 0  # the least arrival number
        self.taken = 1  # how many were taken, and one: never 0, so that its sign can be used
        self.level = 0  # of the message taken last
        self._gone = -1  # how many left without being taken, less those that came back, less that one

    def __len__(self) -> int:
        return self._arrivals - self.taken - self._gone

    @property
    def highest(self) -> int | None:
        """The highest level that has messages."""
        return self._order[-1] if self._order else None

    def push(self, message: object, priority: int) -> None:
        """Puts `message` behind its equals."""
        lane = self._levels.get(priority)
        if not lane:
            if lane is None:
                lane = self._levels[priority] = deque()
            self._order.append(priority)
            self._order.sort()
        self._arrivals = number = self._arrivals + 1
        lane.append(number)
        lane.append(message)

    def push_front(self, entries: Sequence[tuple[object, int]]) -> None:
        """Puts messages, each with its level, before their equals, in their order: the longest waiting of all."""
        for message, level in reversed(entries):
            lane = self._levels.setdefault(level, deque())
            if not lane:
                self._order.append(level)
            self._firsts -= 1
            lane.appendleft(message)
            lane.appendleft(self._firsts)
        self._order.sort()
        self._gone -= len(entries)

    def take_oldest(self, priority: int, may_go: Callable[[object], bool]) -> object:
        """Takes out the oldest message of the least level, up to `priority`, that has one that `may_go`, or None."""
        for level in [level for level in self._order if level <= priority]:
            lane = self._levels[level]
            for place in range(1, len(lane), 2):
                message = lane[place]
                if may_go(message):
                    del lane[place], lane[place - 1]
                    self._gone += 1
                    if not lane:
                        self._order.remove(level)
                    return message
        return None

    def take(self, most: int) -> Iterator[object]:
        """Yields up to `most` messages, the next one chosen when it is asked for."""
        order = self._order
        levels = self._levels
        while order and most > 0:
            most -= 1
            taken = self.taken = self.taken + 1
            level = order[-1]
            if not taken % AGEING and len(order) > 1:
                level = min(order, key=self._longest_waiting)
            lane = levels[level]
            self.level = level
            lane.popleft()
            message = lane.popleft()
            if not lane:
                order.remove(level)
                if len(levels) > _MOST_EMPTY_LANES:
                    del levels[level]
            yield message

    def _longest_waiting(self, level: int) -> int:
        number: int = self._levels[level][0]
        return number

    def purge(self, settled: Callable[[object], bool]) -> None:
        """Takes out every message for which `settled` says that nobody waits for it any more."""
        for level in list(self._order):
            lane = self._levels[level]
            kept: deque[Any] = deque()
            for place in range(1, len(lane), 2):
                if settled(lane[place]):
                    self._gone += 1
                else:
                    kept.append(lane[place - 1])
                    kept.append(lane[place])
            self._levels[level] = kept
            if not kept:
                self._order.remove(level)

    def __iter__(self) -> Iterator[object]:
        """What waits, highest level first, in order of arrival within a level."""
        for level in reversed(self._order):
            lane = self._levels[level]
            for place in range(1, len(lane), 2):
                yield lane[place]
