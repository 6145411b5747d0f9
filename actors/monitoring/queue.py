"""The bounded queue of a monitor.

Invariants:
- More urgent events leave before less urgent ones, equals in order of arrival. Hazard: a constant stream of urgent
  ones keeps the others waiting.
- Never more than `capacity` places are taken: an event waits in one, or is away for a retry and keeps it.
- `limit` is how long the normal level may grow by the quick path (`EventMonitor.queue_event`); it is never too high,
  and 0 sends every event the slow way: nobody is awake, or the queue is closed.
- Somebody waits for room only while there is none: whoever takes an event out lets the next one in (`admit`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from telestage.actors.kernel import MailboxFull
from telestage.actors.monitoring.policies import Overflow
from telestage.messages import EventPriority

__all__ = ["EventQueue", "Happening"]

_ROOM_AGAIN = 0.75  # of the warning's mark: below it the next crossing is another one


class Happening(Protocol):
    """What a monitor can handle: an `Event`, or a value of one's own."""

    @property
    def type(self) -> str:
        """Whose handlers it is for."""
        ...

    @property
    def priority(self) -> EventPriority:
        """How urgent it is."""
        ...


class EventQueue:
    """Waiting events by priority.

    Args:
        name: Of the monitor, for errors.
        capacity: Places.
        overflow: What becomes of an event there is no place for.
        warn_at: Places taken at which `crowded` becomes true.
    """

    __slots__ = (
        "_levels",
        "_name",
        "_overflow",
        "above",
        "awake",
        "away",
        "capacity",
        "closed",
        "crowded",
        "evicted",
        "limit",
        "mark",
        "normal",
        "refused",
        "waiters",
    )

    def __init__(self, name: str, capacity: int, overflow: Overflow, warn_at: float) -> None:
        self._name = name
        self._overflow = overflow
        self.capacity = capacity
        self.mark = capacity * warn_at
        self.normal: deque[Happening] = deque()
        # By rank. One that was never used isn't there: an empty deque takes 600 bytes, and monitors are many.
        self._levels: list[deque[Happening] | None] = [None, self.normal, None, None]
        self.above = 0  # events that wait and are more urgent than the normal ones
        self.away = 0  # events whose retry is due
        self.awake = False  # somebody takes events out, or has been told to
        self.closed = False
        self.crowded = False  # fuller than the mark
        self.limit = 0
        self.refused = 0
        self.evicted = 0
        self.waiters: list[tuple[asyncio.Future[None], Happening]] = []

    def __len__(self) -> int:
        """Places taken."""
        low = self._levels[0]
        return len(self.normal) + self.above + self.away + (len(low) if low else 0)

    def offer(self, event: Happening) -> bool | None:
        """Takes an event in as the policy says.

        Returns:
            True if it was taken in, False if it was dropped, None if its bringer is to wait (`wait_for_room`).

        Raises:
            MailboxFull: The policy is to fail.
        """
        if len(self) < self.capacity:
            self._put(event)
            return True
        if self._overflow is Overflow.BLOCK:
            return None
        if self._overflow is Overflow.DROP_OLDEST and self._evict(event.priority):
            self.evicted += 1
            self._put(event)
            return True
        self.refused += 1
        if self._overflow is Overflow.FAIL:
            raise MailboxFull(f"monitor {self._name}", self.capacity, event)
        return False

    async def wait_for_room(self, event: Happening, seconds: float) -> None:
        """Takes an event in when there is room, first come, first served.

        Raises:
            MailboxFull: There was none within `seconds`.
            MonitorStopped: The queue was closed meanwhile.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (waiter, event)
        self.waiters.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            if waiter.done() and not waiter.cancelled():  # room came with the deadline
                waiter.result()
                return
            self.refused += 1
            raise MailboxFull(f"monitor {self._name}", self.capacity, event) from None
        finally:
            if entry in self.waiters:
                self.waiters.remove(entry)

    def admit(self) -> None:
        """Takes in the events of those who wait, as far as there is room, and sets the quick path's limit."""
        while self.waiters and len(self) < self.capacity:
            waiter, event = self.waiters.pop(0)
            if not waiter.done():
                self._put(event)
                waiter.set_result(None)
        self.settle()

    def settle(self) -> None:
        """Sets the limit of the quick path, and `crowded`, by what is there now."""
        taken = len(self)
        if self.crowded and taken < self.mark * _ROOM_AGAIN:
            self.crowded = False
        if self.closed or not self.awake:
            self.limit = 0
        else:
            bound = self.capacity if self.crowded else int(self.mark)
            self.limit = bound - (taken - len(self.normal))

    def pop(self) -> Happening | None:
        """Takes the next event out."""
        if self.above:
            self.above -= 1
        for level in reversed(self._levels):
            if level:
                return level.popleft()
        return None

    def back(self, event: Happening) -> None:
        """Puts an event back that was taken out as the next."""
        self._level(event.priority).appendleft(event)

    def clear(self) -> None:
        """Drops all that waits or is away."""
        for level in self._levels:
            if level:
                level.clear()
        self.above = self.away = 0

    # -- parts ------------------------------------------------------------------------------------

    def _put(self, event: Happening) -> None:
        self._level(event.priority).append(event)

    def _level(self, priority: EventPriority) -> deque[Happening]:
        """The level for one more event."""
        if priority is EventPriority.NORMAL:
            return self.normal
        if priority > EventPriority.NORMAL:
            self.above += 1
        level = self._levels[priority]
        if level is None:
            level = self._levels[priority] = deque()
        return level

    def _evict(self, priority: EventPriority) -> bool:
        """Drops the oldest of the least urgent events, if it isn't more urgent than `priority`."""
        for rank, level in enumerate(self._levels[: priority + 1]):
            if level:
                level.popleft()
                self.above -= rank > EventPriority.NORMAL
                return True
        return False
