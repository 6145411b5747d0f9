"""How a message gets into the mailbox of a cell, and what waits there.

Invariants:
- `inbox is None` means that nothing waits and that the cell isn't scheduled.
- Never more than `capacity` messages wait. Asks whose askers gave up don't count, and go when room is needed.
- `limit` is how long the inbox may grow by the quick path of `tell`, None if without a bound: to look at a length
  costs 30 ns. It is never too high, and 0 sends every message the slow way (bound reached, priorities in use, or
  closed).
- Senders that wait for room get it in the order in which they came.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.done import raised
from telestage.actors.kernel.envelope import Envelope, bare
from telestage.actors.kernel.errors import MailboxFull
from telestage.actors.kernel.flags import AHEAD, CLOSED, FINAL
from telestage.actors.kernel.lanes import Lanes
from telestage.actors.kernel.overflow import Overflow, drop_oldest
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.room import WaitingAsk, WaitingSend
from telestage.actors.kernel.spec import UNBOUNDED, Spec

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher

__all__ = ["Backlog", "Mailbox"]

# by name, as `Overflow.BLOCK` takes 0.1 us to look up (3.11)
_BLOCK = Overflow.BLOCK
_DROP_OLDEST = Overflow.DROP_OLDEST
_AT_ONCE = (Overflow.DROP_NEWEST, Overflow.DROP_OLDEST)  # who sends doesn't wait for room


class Backlog:
    """What a mailbox needs only if priorities are in use, senders wait for room, or askers gave up."""

    __slots__ = ("lanes", "room", "stale")

    lanes: Lanes | None  # instead of `inbox` and `rest`, once priorities are in use
    room: deque[WaitingSend | WaitingAsk] | None  # who waits for room
    stale: int  # asks among the waiting whose askers gave up


class Mailbox(Ref):
    """The half of a cell that messages arrive at. Its fields are set by `Cell`: that saves a call an actor."""

    __slots__ = ("backlog", "current", "dispatcher", "flags", "inbox", "limit", "processed", "rest", "spec")

    dispatcher: Dispatcher
    spec: Spec
    limit: int | None
    flags: int
    inbox: list[object] | None  # arrivals; None while idle
    rest: Any  # an iterator: what is left of the batch being worked on
    backlog: Backlog | None
    current: Any  # the message, Envelope or Ask being handled
    processed: int

    @abstractmethod
    def gone(self) -> Exception:
        """What an ask of this stopped cell fails with."""

    @abstractmethod
    def schedule(self) -> None:
        """Puts an idle or parked cell on the run queue; does nothing if it is there or at work."""

    @property
    def capacity(self) -> int:
        """How many messages may wait."""
        return self.spec.capacity

    @property
    def closed(self) -> bool:
        """Whether the stop is decided."""
        return self.flags & CLOSED != 0

    @property
    def final(self) -> bool:
        """Whether it has stopped."""
        return self.flags & FINAL != 0

    @property
    def alive(self) -> bool:
        return not self.flags & CLOSED

    @property
    def waiting(self) -> int:
        return self.held() - (self.backlog.stale if self.backlog is not None else 0)

    @property
    def top_priority(self) -> int | None:
        if not self.waiting:
            return None
        lanes = None if self.backlog is None else self.backlog.lanes
        return 0 if lanes is None else lanes.highest

    # No coroutine function: a coroutine would cost more than all of this (docs/decisions/0014).
    def send(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> Coroutine[Any, Any, None]:
        if sender is not None:
            message = Envelope(message, sender)
        if priority == 0 and self.backlog is None:
            inbox = self.inbox
            if inbox is None:
                self.schedule()
                self.inbox = [message]
                return self.dispatcher.done
            limit = self.limit
            if limit is None or len(inbox) < limit:
                inbox.append(message)  # as `admit`, without the call
                return self.dispatcher.done
        if not self._full():
            try:
                if self._admit_now(message, priority):
                    return self.dispatcher.done
            except Exception as error:
                return raised(error)  # to who awaits, so that `gather` may collect it
        return self._admit_in_time(message, priority, timeout)

    def _admit_now(self, message: object, priority: int) -> bool:
        """Takes the message of a sender in; false if he has to wait for room.

        Raises:
            MailboxFull: He doesn't want to wait for any.
            Exception: The actor has stopped.
        """
        if self.backlog is not None and self.backlog.room is not None:
            return False
        refusal = self.admit(message, priority)
        if refusal is None:
            return True
        if not isinstance(refusal, MailboxFull) or self.spec.overflow in _AT_ONCE:
            try:
                raise refusal.with_traceback(None)  # it may be shared: each raise would lengthen its traceback
            finally:
                del refusal  # no circle with its own traceback
        self.count(refused=-1)  # not yet
        return False

    async def _admit_in_time(self, message: object, priority: int, timeout: float) -> None:
        """Waits for room, behind those who do already, and takes the message of a sender in."""
        dispatcher = self.dispatcher
        full = self._full()
        if full and dispatcher.hurry(self):
            full = self._full()
        if not full and self._admit_now(message, priority):
            return  # there is room by now
        future: asyncio.Future[None] = dispatcher.loop.create_future()
        waiting = WaitingSend(message, priority, self, future)
        self._wait_for_room(waiting)
        deadline = dispatcher.room_deadlines[timeout]
        deadline.add(waiting)
        try:
            await future
        except asyncio.CancelledError:
            self._leave_room(waiting)
            raise
        finally:
            deadline.done(waiting)

    def _full(self) -> bool:
        """Whether a sender surely has to wait: `admit` finds out, too, but makes an error of it, which takes longer."""
        return (
            self.backlog is None
            and not self.flags & CLOSED
            and self.spec.overflow not in _AT_ONCE
            and self.held() >= self.spec.capacity
        )

    def admit(self, message: object, priority: int) -> Exception | None:
        """Takes the message in, or says why not."""
        backlog = self.backlog
        inbox = self.inbox
        if backlog is None:
            if not priority and inbox is not None and ((limit := self.limit) is None or len(inbox) < limit):
                inbox.append(message)
                return None
        elif (
            (lanes := backlog.lanes) is not None
            and inbox is not None
            and not self.flags & CLOSED
            and (self.spec.capacity == UNBOUNDED or len(lanes) < self.spec.capacity)
        ):
            lanes.push(message, priority)
            return None
        if self.flags & CLOSED:
            return self.gone()
        if self.held() >= self.spec.capacity:
            if backlog is not None and backlog.stale:
                self._purge(backlog)
            if self.held() >= self.spec.capacity and not (
                self.spec.overflow is _DROP_OLDEST and drop_oldest(self, priority)
            ):
                self.count(refused=1)
                return MailboxFull(self.path, self.spec.capacity, bare(message))
        self._take_in(message, priority)
        return None

    def _take_in(self, message: object, priority: int) -> None:
        """Takes the message in; that there is room is known."""
        backlog = self.backlog
        inbox = self.inbox
        lanes = backlog.lanes if backlog is not None else None
        if priority and lanes is None:
            lanes = self._use_lanes()
        if lanes is not None:
            lanes.push(message, priority)
            if inbox is None:
                self.schedule()
        elif inbox is None:
            self.schedule()
            self.inbox = [message]
        else:
            inbox.append(message)
            limit = self.spec.limit
            self.limit = None if limit is None else limit - self._left_of_batch()

    def admit_ask(self, ask: Ask, priority: int) -> Exception | None:
        """`admit`; one that is to wait for room does."""
        room = None if self.backlog is None else self.backlog.room
        if self.spec.overflow is _BLOCK and room is not None and not self.flags & CLOSED:
            self._wait_for_room(WaitingAsk(ask, priority))
            return None
        refusal = self.admit(ask, priority)
        if self.spec.overflow is _BLOCK and isinstance(refusal, MailboxFull):
            self.count(refused=-1)
            self._wait_for_room(WaitingAsk(ask, priority))
            return None
        return refusal

    @abstractmethod
    def count(self, *, refused: int = 0, dropped: int = 0) -> None:
        """Counts messages that a full mailbox refused, or dropped for newer ones."""

    def take_oldest(self, priority: int, may_go: Callable[[object], bool]) -> object:
        """Takes out the oldest of the least urgent that `may_go`; None if all are more urgent than `priority`."""
        lanes = None if self.backlog is None else self.backlog.lanes
        if lanes is not None:
            return lanes.take_oldest(priority, may_go)
        if priority < 0:
            return None
        inbox = self.inbox
        if inbox and self.rest is None and may_go(inbox[0]):
            return inbox.pop(0)
        waiting = [*self._take_rest(), *(inbox or ())]
        place = next((place for place, item in enumerate(waiting) if may_go(item)), None)
        item = None if place is None else waiting.pop(place)
        self.inbox = waiting
        return item

    def abandoned_ask(self, ask: Ask) -> None:
        """The asker of a waiting message has given up: its place is free."""
        backlog = self.more()
        waiting = next((waiting for waiting in backlog.room or () if waiting.message is ask), None)
        if waiting is not None:
            self._leave_room(waiting)
            return
        backlog.stale += 1
        if backlog.room is not None:
            self.make_room()

    def dropped_ask(self) -> None:
        """A message whose asker had given up was come across, and is gone."""
        if self.backlog is not None:
            self.backlog.stale -= 1

    def make_room(self) -> None:
        """Takes in as many messages of waiting senders as there is room for; refuses all if closed."""
        backlog = self.backlog
        if backlog is None:
            return
        room = backlog.room
        if self.flags & CLOSED:
            while room:
                room.popleft().refuse(self.gone())
        elif room:
            capacity = self.spec.capacity
            if backlog.stale and self.held() >= capacity:
                self._purge(backlog)
            free = capacity - self.held()
            while room:
                if free <= 0:
                    return
                waiting = room.popleft()
                if waiting.let_in():
                    self._take_in(waiting.message, waiting.priority)
                    free -= 1
        backlog.room = None

    def put_back(self, entries: Sequence[tuple[object, int]]) -> None:
        """Puts items, each with its priority, ahead of all others of that priority, in their order.

        They come from the stash: the bound doesn't keep them out, only newcomers.
        """
        if self.inbox is None:
            self.schedule()
        lanes = None if self.backlog is None else self.backlog.lanes
        if lanes is None and any(priority for _, priority in entries):
            lanes = self._use_lanes()
        if lanes is not None:
            lanes.push_front(entries)
        else:
            self.inbox = [*(item for item, _ in entries), *self._take_rest(), *(self.inbox or ())]
            self.limit = 0 if self.flags & CLOSED else self.spec.limit

    def leftovers(self) -> list[object]:
        """Takes out all that waits."""
        backlog = self.backlog
        left = [*(self.rest or ()), *((backlog.lanes if backlog is not None else None) or ()), *(self.inbox or ())]
        self.rest = None
        if backlog is not None:
            backlog.lanes = None
            backlog.stale = 0
        self.inbox = []  # not idle: a final cell is never scheduled again
        return left

    # -- parts ------------------------------------------------------------------------------------

    def more(self) -> Backlog:
        """The backlog record, made when first needed."""
        backlog = self.backlog
        if backlog is None:
            backlog = self.backlog = Backlog()  # one without `__init__` is made in half of the time
            backlog.lanes = backlog.room = None
            backlog.stale = 0
        return backlog

    def tidy(self) -> None:
        """After a turn: makes room, and lets the backlog record go if it says nothing any more."""
        backlog = self.backlog
        if backlog is None:
            return
        if backlog.room is not None:
            self.make_room()
        if backlog.lanes is not None and not backlog.lanes:
            backlog.lanes = None
            self.limit = 0 if self.flags & CLOSED else self.spec.limit
        if backlog.lanes is None and backlog.room is None and not backlog.stale:
            self.backlog = None

    def held(self) -> int:
        """How many places are taken, those of abandoned asks included."""
        backlog = self.backlog
        if backlog is not None and backlog.lanes is not None:
            return len(backlog.lanes)
        inbox = self.inbox
        rest = self.rest
        return (len(inbox) if inbox else 0) + (0 if rest is None else rest.__length_hint__())

    def _left_of_batch(self) -> int:
        rest = self.rest
        return 0 if rest is None else rest.__length_hint__()

    def _take_rest(self) -> list[object]:
        """What is left of the batch, in order; the worker that is at it will find nothing more."""
        if self.current is not None and not self.flags & AHEAD:
            self.processed -= self._left_of_batch()  # it will take all of these for done
        left: list[object] = list(self.rest or ())
        self.rest = None
        return left

    def _use_lanes(self) -> Lanes:
        lanes = Lanes()
        for message in [*self._take_rest(), *(self.inbox or ())]:
            lanes.push(message, 0)
        if self.inbox is not None:
            self.inbox = []
        self.limit = 0
        self.more().lanes = lanes
        return lanes

    def _purge(self, backlog: Backlog) -> None:
        backlog.stale = 0
        if backlog.lanes is not None:
            backlog.lanes.purge(_settled)
        else:
            waiting = [*self._take_rest(), *(self.inbox or ())]
            self.inbox = [message for message in waiting if not _settled(message)]

    def _wait_for_room(self, waiting: WaitingSend | WaitingAsk) -> None:
        """Joins those who wait, as the last one."""
        backlog = self.more()
        if backlog.room is None:
            backlog.room = deque()
        backlog.room.append(waiting)

    def no_room(self, waiting: WaitingSend) -> None:
        """A sender has waited for as long as it may."""
        if not waiting.settled:
            self._leave_room(waiting)
            self.count(refused=1)
            waiting.refuse(MailboxFull(self.path, self.spec.capacity, bare(waiting.message)))

    def _leave_room(self, waiting: WaitingSend | WaitingAsk) -> None:
        backlog = self.backlog
        if backlog is not None and backlog.room is not None and waiting in backlog.room:
            backlog.room.remove(waiting)
            if not backlog.room:
                backlog.room = None


def _settled(message: object) -> bool:
    return isinstance(message, Ask) and message.settled
