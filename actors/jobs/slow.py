"""Messages of a bulk send that wait for one peer each, whose slow mode lets nobody write to it now. Pure.

Invariant: those to one peer stay in their order, and none is given out before that peer's deadline.
"""

from __future__ import annotations

from collections import deque

from telestage.actors.jobs.work import Waiting
from telestage.actors.telegram.errors import FloodParked
from telestage.messages import Peer

__all__ = ["SlowPeers"]


class SlowPeers:
    """What one session has put off."""

    def __init__(self) -> None:
        self._queues: dict[Peer, deque[Waiting]] = {}
        self._parked: dict[Peer, FloodParked] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def holds(self, message: Waiting) -> bool:
        """Puts a message off if others to its peer are; says whether it did."""
        queue = self._queues.get(message.peer)
        if queue is None:
            return False
        queue.append(message)
        return True

    def put_back(self, message: Waiting, parked: FloodParked) -> None:
        """A message was refused until a deadline: it is the first of those to its peer."""
        self._queues.setdefault(message.peer, deque()).appendleft(message)
        self._parked[message.peer] = parked

    def due(self, now: float) -> Waiting | None:
        """Takes out the message that may be sent now; of several, the one that comes first in its job."""
        ready = [self._queues[peer][0] for peer, parked in self._parked.items() if parked.until <= now]
        message = min(ready, key=lambda each: each.place, default=None)
        if message is not None:
            queue = self._queues[message.peer]
            queue.popleft()
            if not queue:
                del self._queues[message.peer], self._parked[message.peer]
        return message

    def first(self) -> FloodParked:
        """What ends first; there is something."""
        return min(self._parked.values(), key=lambda parked: parked.until)
