"""How a message gets into the mailbox of a cell, and what waits there.

Invariants:
- `inbox is None` means that nothing waits and that the cell isn't scheduled.
- Never more than `capacity` messages wait. Asks whose askers gave up don't count, and go when room is needed.
- `limit` is how long the inbox may grow by the quick path of `tell`; it is never too high, and 0 sends every
  message the slow way (bound reached, priorities in use, or closed).
- Senders that wait for room get it in the order in which they came.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import Envelope, bare
from telestage.actors.kernel.errors import MailboxFull
from telestage.actors.kernel.lanes import Lanes
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher

__all__ = ["UNBOUNDED", "Mailbox"]

UNBOUNDED = 1 << 62
"""The capacity of a mailbox without a bound."""


class Mailbox(Ref):
    """The half of a cell that messages arrive at."""

    __slots__ = (
        "capacity",
        "closed",
        "dispatcher",
        "inbox",
        "lanes",
        "limit",
        "parked",
        "processed",
        "rest",
        "room",
        "stale",
        "taking",
    )

    def __init__(self, dispatcher: Dispatcher, capacity: int) -> None:
        self.dispatcher = dispatcher
        self.capacity = self.limit = capacity
        self.inbox: list[object] | None = None  # arrivals; None while idle
        self.rest: Any = None  # an iterator: what is left of the batch being worked on
        self.taking = False  # a worker takes from `rest` now, and will count by what is left of it
        self.lanes: Lanes | None = None  # instead of both, once priorities are in use
        self.room: deque[tuple[asyncio.Future[None], object, int]] | None = None  # senders waiting for room
        self.stale = 0  # asks among the waiting whose askers gave up
        self.parked = False  # halted with mail waiting, so not on the run queue
        self.closed = False
        self.processed = 0

    @abstractmethod
    def gone(self) -> Exception:
        """What an ask of this stopped cell fails with."""

    @abstractmethod
    def schedule(self) -> None:
        """Puts an idle or parked cell on the run queue; does nothing if it is there or at work."""

    @property
    def waiting(self) -> int:
        return self.held() - self.stale

    async def send(
        self,
        message: object,
        *,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> None:
        if sender is not None:
            message = Envelope(message, sender)
        if self.room is None:
            refusal = self.admit(message, priority)
            if refusal is None:
                return
            if not isinstance(refusal, MailboxFull):
                raise refusal.with_traceback(None)
            self.room = deque()
        loop = self.dispatcher.loop
        waiter: asyncio.Future[None] = loop.create_future()
        entry = (waiter, message, priority)
        self.room.append(entry)
        deadline = loop.call_later(timeout, self._no_room, entry)
        try:
            await waiter
        except asyncio.CancelledError:
            self._leave_room(entry)
            raise
        finally:
            deadline.cancel()

    def admit(self, message: object, priority: int) -> Exception | None:
        """Takes the message in by the slow path, or says why not."""
        if self.closed:
            return self.gone()
        if self.held() >= self.capacity:
            if self.stale:
                self._purge()
            if self.held() >= self.capacity:
                return MailboxFull(self.path, self.capacity, bare(message))
        if priority and self.lanes is None:
            self._use_lanes()
        if self.lanes is not None:
            self.lanes.push(message, priority)
            if self.inbox is None:
                self.schedule()
        elif self.inbox is None:
            self.schedule()
            self.inbox = [message]
        else:
            self.inbox.append(message)
            self.limit = self.capacity - self._left_of_batch()
        return None

    def abandoned_ask(self) -> None:
        """The asker of a waiting message has given up: its place is free."""
        self.stale += 1
        if self.room is not None:
            self.make_room()

    def make_room(self) -> None:
        """Takes in as many messages of waiting senders as there is room for; refuses all if closed."""
        while self.room:
            if not self.closed and self.waiting >= self.capacity:
                return
            waiter, message, priority = self.room.popleft()
            if waiter.done():
                continue
            if refusal := self.admit(message, priority):
                waiter.set_exception(refusal)
            else:
                waiter.set_result(None)
        self.room = None

    def leftovers(self) -> list[object]:
        """Takes out all that waits."""
        left = [*(self.rest or ()), *(self.lanes or ()), *(self.inbox or ())]
        self.rest = self.lanes = None
        self.stale = 0
        self.inbox = []  # not idle: a final cell is never scheduled again
        return left

    # -- parts ------------------------------------------------------------------------------------

    def held(self) -> int:
        """How many places are taken, those of abandoned asks included."""
        if self.lanes is not None:
            return len(self.lanes)
        return (len(self.inbox) if self.inbox else 0) + self._left_of_batch()

    def _left_of_batch(self) -> int:
        rest = self.rest
        return 0 if rest is None else int(rest.__length_hint__())

    def _take_rest(self) -> list[object]:
        """What is left of the batch, in order; the worker that is at it will find nothing more."""
        if self.taking:
            self.processed -= self._left_of_batch()  # it will take all of these for done
        left: list[object] = list(self.rest or ())
        self.rest = None
        return left

    def _use_lanes(self) -> None:
        lanes = Lanes()
        for message in [*self._take_rest(), *(self.inbox or ())]:
            lanes.push(message, 0)
        if self.inbox is not None:
            self.inbox = []
        self.limit = 0
        self.lanes = lanes

    def _purge(self) -> None:
        self.stale = 0
        if self.lanes is not None:
            self.lanes.purge(_settled)
        else:
            waiting = [*self._take_rest(), *(self.inbox or ())]
            self.inbox = [message for message in waiting if not _settled(message)]

    def _no_room(self, entry: tuple[asyncio.Future[None], object, int]) -> None:
        waiter, message, _ = entry
        if not waiter.done():
            self._leave_room(entry)
            waiter.set_exception(MailboxFull(self.path, self.capacity, bare(message)))

    def _leave_room(self, entry: tuple[asyncio.Future[None], object, int]) -> None:
        if self.room is not None and entry in self.room:
            self.room.remove(entry)
            if not self.room:
                self.room = None


def _settled(message: object) -> bool:
    return isinstance(message, Ask) and message.settled
