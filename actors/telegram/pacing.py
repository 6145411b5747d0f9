"""How fast a session may go: sliding windows, and who goes next. Pure: whoever asks says what time it is.

Invariants:
- Never more than `count` in any `seconds`, whenever they begin. What was let in and has not been done yet counts.
- Of those that wait, the one of the highest priority goes next, of these the first that came; each eighth time it is
  the one that came first of all, so nobody waits for ever. Who waits for one peer's window holds up nobody else.
- A flood halves a pace, to a sixteenth at least; from then on it rises evenly, from nothing to all of it in `recovery`
  seconds (additive increase, multiplicative decrease, as TCP does).
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable

from telestage.actors.telegram.limits import Pace

__all__ = ["Key", "Pacer", "Place", "Window"]

Key = tuple[Pace, int | None]
"""A window's: what it paces, and for windows of single peers whose it is, by the marked id."""

_LEAST = 1 / 16  # of a pace is left after floods
_AGEING = 8  # each eighth that is let in is the one that came first
_IDLE_LOOK = 64  # windows of peers before those that are idle are forgotten


class Window:
    """So many in any so many seconds."""

    __slots__ = ("_factor", "_recovery", "_since", "_stamps", "count", "reserved", "seconds")

    def __init__(self, count: int, seconds: float, recovery: float) -> None:
        self.count = count
        self.seconds = seconds
        self.reserved = 0  # let in, not done yet
        self._recovery = recovery
        self._factor = 1.0
        self._since = 0.0
        self._stamps: deque[float] = deque(maxlen=count)

    @property
    def stamps(self) -> list[float]:
        """When the last ones were done, as many as matter."""
        return list(self._stamps)

    def factor(self, now: float) -> float:
        """How much of its pace it has now: 1 is all."""
        if self._factor == 1.0:
            return 1.0
        return min(1.0, self._factor + max(0.0, now - self._since) / self._recovery)

    def ready_at(self, now: float) -> float:
        """When one more may be let in; infinite while that depends on one that was let in and isn't done yet."""
        stamps = self._stamps
        over = len(stamps) + self.reserved - self.count
        if over < 0:
            return now
        if over >= len(stamps):
            return math.inf
        return stamps[over] + self.seconds / self.factor(now)

    def earliest(self, now: float, ahead: int) -> float:
        """Before when one can't be let in that has `ahead` others before it, even if nothing holds these up."""
        stamps, count = self._stamps, self.count
        place = len(stamps) + self.reserved + ahead - count
        if place < 0:
            return now
        if place < len(stamps):
            return stamps[place] + self.seconds
        rounds = (place - len(stamps)) // count + 1
        first = place - rounds * count
        return now + rounds * self.seconds if first < 0 else stamps[first] + (rounds + 1) * self.seconds

    def use(self, now: float) -> None:
        """One that was let in is done now."""
        self.reserved -= 1
        self._stamps.append(now)

    def slow_down(self, now: float) -> None:
        """Halves its pace."""
        self._factor = max(_LEAST, self.factor(now) / 2)
        self._since = now

    def restore(self, factor: float, since: float, stamps: Iterable[float]) -> None:
        """Goes on where another left off."""
        self._factor, self._since = min(1.0, max(_LEAST, factor)), since
        self._stamps.extend(sorted(stamps))

    def is_idle(self, now: float) -> bool:
        """Whether it is as a new one."""
        if self.reserved or self.factor(now) < 1.0:
            return False
        return not self._stamps or self._stamps[-1] + self.seconds <= now


class Place:
    """Somebody's place in the queue, kept over all attempts; and what was let in for it and isn't done yet."""

    __slots__ = ("held", "needs", "priority", "seq", "wake")

    def __init__(self, needs: tuple[Key, ...], priority: int, seq: int) -> None:
        self.needs = needs
        self.priority = priority
        self.seq = seq
        self.held: list[Key] = []
        self.wake: Callable[[], None] | None = None
        """Is called when it is let in after a wait."""

    def __lt__(self, other: Place) -> bool:
        return (-self.priority, self.seq) < (-other.priority, other.seq)


class Pacer:
    """The windows of one session and the queue before them.

    Args:
        pace: Tells how many in how many seconds.
        recovery: Seconds in which a pace comes back from nothing to all of it.
    """

    def __init__(self, pace: Callable[[Pace], tuple[int, float]], recovery: float) -> None:
        self._pace = pace
        self._recovery = recovery
        self._windows: dict[Key, Window] = {}
        self._look = _IDLE_LOOK
        self._waiting: list[Place] = []
        self._seq = 0
        self._let_in = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def windows(self) -> dict[Key, Window]:
        """Those there are."""
        return dict(self._windows)

    def place(self, needs: tuple[Key, ...], priority: int) -> Place:
        """A place behind all that were given out before, of those with its priority."""
        self._seq += 1
        return Place(needs, priority, self._seq)

    def enter(self, place: Place, now: float) -> bool:
        """Whether it is let in at once; else it waits, until it is told by `wake` or `leave`s."""
        if not self._waiting and all(self.window(key, now).ready_at(now) <= now for key in place.needs):
            self._admit(place, now)
            return True
        insort(self._waiting, place)
        return place in self.let_in(now)

    def leave(self, place: Place) -> None:
        """It doesn't wait any more, and what was let in for it and isn't done will not be."""
        if place in self._waiting:
            self._waiting.remove(place)
        for key in place.held:
            self._windows[key].reserved -= 1
        place.held.clear()

    def use(self, place: Place, keys: Iterable[Key], now: float) -> None:
        """Something that it was let in for is done now."""
        for key in keys:
            place.held.remove(key)
            self._windows[key].use(now)

    def let_in(self, now: float) -> list[Place]:
        """Lets in whoever may be now."""
        admitted: list[Place] = []
        while self._waiting:
            eldest = (self._let_in + 1) % _AGEING == 0
            order = sorted(self._waiting, key=lambda place: place.seq) if eldest else self._waiting
            place = self._next(order, now)
            if place is None:
                break
            self._waiting.remove(place)
            self._admit(place, now)
            admitted.append(place)
        return admitted

    def due(self, now: float) -> float:
        """When somebody may be let in next; infinite if nobody waits, or only for what is about to be done."""
        times = (self._ready_at(place, now) for place in self._waiting)
        return min((when for when in times if when > now), default=math.inf)

    def earliest(self, place: Place, now: float) -> float:
        """Before when it can't be let in, as things stand."""
        before = [
            other
            for other in self._waiting
            if other.priority >= place.priority
            and other.seq < place.seq
            # one that waits for another peer may be overtaken
            and all(peer is None or (pace, peer) in place.needs for pace, peer in other.needs)
        ]
        return max(
            self.window(key, now).earliest(now, sum(key in other.needs for other in before)) for key in place.needs
        )

    def slow_down(self, keys: Iterable[Key], now: float) -> None:
        """Telegram had to ask for it: halves these paces."""
        for key in keys:
            self.window(key, now).slow_down(now)

    def window(self, key: Key, now: float) -> Window:
        """The window of that key; a new one if there is none."""
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._look:
                self._windows = {key: each for key, each in self._windows.items() if not each.is_idle(now)}
                self._look = max(_IDLE_LOOK, 2 * len(self._windows))
            window = self._windows[key] = Window(*self._pace(key[0]), self._recovery)
        return window

    def _admit(self, place: Place, now: float) -> None:
        self._let_in += 1
        for key in place.needs:
            self.window(key, now).reserved += 1
        place.held.extend(place.needs)
        if place.wake is not None:
            place.wake()

    def _next(self, order: Iterable[Place], now: float) -> Place | None:
        held_up: set[Key] = set()
        for place in order:
            short = [key for key in place.needs if key in held_up or self.window(key, now).ready_at(now) > now]
            if not short:
                return place
            # nobody overtakes it, but for those to other peers while it waits for one
            if all(peer is None for _, peer in short):
                held_up.update(key for key in place.needs if key[1] is None)
            else:
                held_up.update(key for key in short if key[1] is not None)
        return None

    def _ready_at(self, place: Place, now: float) -> float:
        return max(self.window(key, now).ready_at(now) for key in place.needs)
