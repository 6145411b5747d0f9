"""One cell per actor: its mailbox, its instance, and what the runtime must know of it.

Invariants:
- An idle cell has no inbox, no lanes and no task: `inbox is None` means that nothing waits and that the
  cell isn't scheduled. A cell that is halted with mail waiting is `parked`.
- `limit` is how long the inbox may grow by the quick path of `tell`; 0 sends every message the slow way
  (bound reached, priorities in use, or closed).
- At any instant at most one worker is in a cell, so an actor's fields are touched by its own turns only.
- What goes by the system lane is never dropped for a bound, never counted, and comes first.
- Every ask is settled: answered, refused, or failed when the cell restarts or stops.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from telestage.actors.kernel.ask import Ask, allow, forget_wait, note_wait
from telestage.actors.kernel.errors import ActorKilled, ActorStopped, MailboxFull, WrongReply
from telestage.actors.kernel.family import Family
from telestage.actors.kernel.lifecycle import RESTART, START, STOP, Failed, Order, decide
from telestage.actors.kernel.mailbox import Lanes
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.spawning import Spec
    from telestage.actors.kernel.worker import Worker

__all__ = ["UNBOUNDED", "Cell", "Envelope"]

R = TypeVar("R")

UNBOUNDED = 1 << 62
"""The capacity of a mailbox without a bound."""

PATIENCE = 4.0
"""Seconds a cancelled handler gets to end before it is abandoned: within the 5 s of R-Q8 and R-M4."""

_PAUSED = 1
_FAILED = 2


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A message with its sender. Untracked by the garbage collector: a tracked one costs 10x (it wakes it)."""

    message: object
    sender: Ref | None


class Cell(Ref):
    """The runtime's side of an actor, and the ref the world holds: one object, no hop between them."""

    __slots__ = (
        "__weakref__",
        "_name",
        "actor",
        "busy_ns",
        "capacity",
        "closed",
        "control",
        "current",
        "dispatcher",
        "family",
        "final",
        "halts",
        "handlers",
        "inbox",
        "lanes",
        "limit",
        "parent",
        "parked",
        "processed",
        "rest",
        "room",
        "signalled",
        "spec",
        "waits_on",
        "worker",
    )

    def __init__(self, dispatcher: Dispatcher, parent: Cell | None, name: str | int, spec: Spec) -> None:
        self.dispatcher = dispatcher
        self.parent = parent
        self._name = name
        self.spec = spec
        self.actor: Any = None  # the instance, an `Actor`; None once stopped
        self.handlers = spec.handlers
        self.capacity = self.limit = spec.capacity
        self.inbox: list[object] | None = None  # arrivals; None while idle
        self.rest: Any = None  # what is left of the batch being worked on
        self.lanes: Lanes | None = None  # instead of both, once priorities are in use
        self.control: deque[object] | None = None  # the system lane
        self.room: deque[asyncio.Future[None]] | None = None  # senders waiting for room
        self.current: object = None  # the message, Envelope or Ask being handled
        self.worker: Worker | None = None  # where the handler is suspended, if it is
        self.waits_on: Cell | list[Cell] | None = None  # the edges of the wait-for graph
        self.family: Family | None = None
        self.signalled = False  # look at the system lane and the flags below before the next message
        self.halts = 0
        self.parked = False  # halted with mail waiting, so not on the run queue
        self.closed = False
        self.final = False
        self.processed = 0
        self.busy_ns = 0

    # -- what the ref promises -------------------------------------------------------------------

    @property
    def name(self) -> str:
        name = self._name
        return name if isinstance(name, str) else f"${name}"

    @property
    def path(self) -> str:
        if self.parent is None:
            return "/"
        above = self.parent.path
        return f"{above}{self.name}" if above == "/" else f"{above}/{self.name}"

    @property
    def alive(self) -> bool:
        return not self.closed

    @property
    def waiting(self) -> int:
        if self.lanes is not None:
            return len(self.lanes)
        return (len(self.inbox) if self.inbox else 0) + self._left_of_batch()

    @property
    def ask_rank(self) -> int | None:
        return self.spec.cls.ask_rank

    def tell(self, message: object, *, priority: int = 0, sender: Ref | None = None) -> None:
        if sender is not None:
            message = Envelope(message, sender)
        if not priority:
            inbox = self.inbox
            if inbox is None:
                self.inbox = [message]
                dispatcher = self.dispatcher
                dispatcher.ready.append(self)
                if not dispatcher.armed:
                    dispatcher.arm()
                return
            if len(inbox) < self.limit:
                inbox.append(message)
                return
        if refusal := self._admit(message, priority):
            self.dispatcher.dead_letters.add(_bare(message), sender, self, str(refusal))

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        if self.final:
            self.dispatcher.dead_letters.add(message, sender, self, str(self.gone()))
        else:
            if self.control is None:
                self.control = deque()
            self.control.append(message if sender is None else Envelope(message, sender))
            self.signalled = True
            self.schedule()

    async def send(self, message: object, *, priority: int = 0, sender: Ref | None = None) -> None:
        if sender is not None:
            message = Envelope(message, sender)
        while refusal := self._admit(message, priority):
            if not isinstance(refusal, MailboxFull):
                raise refusal
            waiter: asyncio.Future[None] = self.dispatcher.loop.create_future()
            if self.room is None:
                self.room = deque()
            self.room.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self.make_room()  # the place this one was woken for, if it was, goes to the next
                raise

    async def ask(
        self,
        message: object,
        *,
        expecting: type[R] | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> Any:
        dispatcher = self.dispatcher
        task = current_task(dispatcher.loop)
        worker = dispatcher.workers.get(task) if task is not None else None
        value = await self.ask_as(
            None if worker is None else worker.cell,
            message,
            timeout=timeout,
            priority=priority,
            queue_timeout=queue_timeout,
            cancel=cancel,
        )
        if expecting is not None and not isinstance(value, expecting):
            raise WrongReply(self.path, value, expecting)
        return value

    async def ask_as(
        self,
        asker: Cell | None,
        message: object,
        *,
        timeout: float,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> object:
        """`ask` on behalf of `asker`, which the wait-for graph is told of."""
        if asker is not None:
            allow(asker, self)
        dispatcher = self.dispatcher
        ask = Ask(message, self, asker, cancel)
        if asker is not None:
            note_wait(asker, self)
        try:
            if self.inbox is None and not self.signalled and dispatcher.run_now(self, ask) and ask.settled:
                if ask.error is not None:
                    raise ask.error
                return ask.value
            loop = dispatcher.loop
            ask.future = loop.create_future()
            if not ask.begun and (refusal := self._admit(ask, priority)):
                raise refusal
            deadline = loop.call_later(timeout, ask.expire, timeout)
            start_by = None
            if queue_timeout is not None and not ask.begun:
                start_by = loop.call_later(queue_timeout, ask.expire_in_queue, queue_timeout)
            try:
                return await ask.future
            except asyncio.CancelledError:
                if not ask.settled:
                    ask.give_up()
                elif ask.future.done() and not ask.future.cancelled():  # cancelled with the answer at the door
                    self.late(ask, ask.future.exception() or ask.future.result())
                raise
            finally:
                deadline.cancel()
                if start_by is not None:
                    start_by.cancel()
        finally:
            if asker is not None:
                forget_wait(asker, self)

    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        self.stop_with(None, drain=drain, grace=grace)

    def kill(self, reason: str = "killed") -> None:
        if self.closed:
            return
        error = ActorKilled(self.path, reason)
        if self.worker is not None:
            self._interrupt(error)
        else:
            self.halts |= _FAILED
            self.order(Failed(error))

    def pause(self) -> None:
        self.halts |= _PAUSED
        self.signalled = True

    def resume(self) -> None:
        self.unhalt(_PAUSED)

    async def stopped(self, timeout: float) -> bool:
        if not self.final:
            waiter: asyncio.Future[None] = self.dispatcher.loop.create_future()
            self.kin.stop_waiters.append(waiter)
            await asyncio.wait({waiter}, timeout=timeout)
        return self.final

    # -- what the runtime does with it -----------------------------------------------------------

    @property
    def kin(self) -> Family:
        """The family record, made when first needed."""
        family = self.family
        if family is None:
            family = self.family = Family()
        return family

    def schedule(self) -> None:
        """Puts an idle or parked cell on the run queue; does nothing if it is there or at work."""
        if self.inbox is None:
            self.inbox = []
        elif not self.parked:
            return
        self.parked = False
        self.dispatcher.requeue(self)

    def order(self, order: Order) -> None:
        """Queues a step of the lifecycle: before the system lane, whatever halts the cell."""
        self.kin.orders.append(order)
        self.signalled = True
        self.schedule()

    def select(self) -> Iterator[object] | None:
        """The mail of this turn, if something is to be looked at first; None for the mailbox as usual."""
        if self.halts & _FAILED or self.final:
            return iter(())
        if self.control:
            return self._take_control()
        if self.halts or (self.closed and not self.kin.draining):
            return iter(())
        self.signalled = self.closed
        return None

    def wants_turn(self, waiting: bool) -> bool:
        """Whether a signalled cell goes back to the run queue."""
        if self.family is not None and self.family.orders:
            return True
        if self.halts & _FAILED:
            return False
        if self.control:
            return True
        if self.closed and self.kin.draining and not waiting:
            self.kin.draining = False
            self.kin.orders.append(STOP)
            return True
        return waiting and not self.halts

    def owe(self, ask: Ask) -> None:
        """The handler answers later: the ask is remembered, so that a restart or a stop can settle it."""
        if not ask.settled:
            self.kin.owed.add(ask)

    def unhalt(self, why: int) -> None:
        """Takes one reason to halt away; the mailbox goes on when none is left."""
        self.halts &= ~why
        if not self.final and self.parked:
            self.schedule()

    def recovered(self) -> None:
        """The failure has been answered."""
        self.unhalt(_FAILED)

    def stop_with(self, error: Exception | None, *, drain: bool = False, grace: float = 5.0) -> None:
        """`stop`; asks that wait or come later fail with `error` instead of `ActorStopped`."""
        if self.final:
            return
        kin = self.kin
        if not self.closed:
            self.closed = True
            self.limit = 0
            kin.stop_error = error
            kin.draining = drain
            kin.grace = self.dispatcher.loop.call_later(grace, self.out_of_grace)
        elif not kin.stopping and kin.grace is not None:
            kin.draining = kin.draining and drain
            kin.grace.cancel()
            if kin.grace.when() > self.dispatcher.loop.time() + grace:
                kin.grace = self.dispatcher.loop.call_later(grace, self.out_of_grace)
            else:
                kin.grace = self.dispatcher.loop.call_at(kin.grace.when(), self.out_of_grace)
        self.signalled = True
        if kin.draining:
            self.schedule()
        else:
            self.order(STOP)
        if grace <= 0:
            self.out_of_grace()

    def out_of_grace(self) -> None:
        """The grace of a stop is over: the running handler is cancelled, the mailbox not drained further."""
        kin = self.kin
        if self.final or kin.stopping:
            return
        if kin.draining:
            kin.draining = False
            self.order(STOP)
        if self.worker is not None:
            self._interrupt(ActorStopped(self.path))

    def interrupt_ask(self, ask: Ask) -> None:
        """The asker gave up and wants the running handler cancelled."""
        if self.current is ask and self.worker is not None:
            self._interrupt(None)

    def failed(self, item: object, error: BaseException) -> None:
        """A handler, a hook or a child's escalation failed this cell; the supervisor decides what follows."""
        if isinstance(item, Ask):
            item.fail(error)
        if self.closed:
            if self.kin.draining:  # nothing is restarted for the sake of a drain
                self.kin.draining = False
                self.order(STOP)
        else:
            self.halts |= _FAILED
            self.signalled = True
            decide(self, error)

    def restart_after(self, delay: float, error: BaseException) -> None:
        """Queues the restart, at once or when the backoff is over."""
        self.kin.cause = error
        if delay <= 0:
            self.order(RESTART)
        else:
            self.kin.later(self.dispatcher.loop, delay, self.order, RESTART)

    def begin(self) -> None:
        """Queues the `started` hook ahead of all mail."""
        self.halts |= _FAILED
        self.order(START)

    def release(self, ask: Ask) -> None:
        """An answer that was owed has been given."""
        if self.family is not None:
            self.family.owed.discard(ask)

    def late(self, ask: Ask, value: object) -> bool:
        """Nobody waits for this answer any more."""
        self.dispatcher.dead_letters.add(value, self, ask.asker, "answer came too late")
        return False

    def make_room(self) -> None:
        """Wakes as many waiting senders as there is room for."""
        waiters = self.room
        if waiters is None:
            return
        free = self.capacity - self.waiting
        while waiters and (free > 0 or self.closed):
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
        if not waiters:
            self.room = None

    def leftovers(self) -> list[object]:
        """Takes out all that waits, the system lane's user messages first."""
        left: list[object] = [] if self.control is None else list(self.control)
        left.extend(self.rest or ())
        left.extend(self.lanes or ())
        left.extend(self.inbox or ())
        self.control = self.rest = self.lanes = None
        self.inbox = []  # not idle: a final cell is never scheduled again
        return left

    def gone(self) -> Exception:
        """What an ask of this stopped cell fails with."""
        error = self.family.stop_error if self.family is not None else None
        return error if error is not None else ActorStopped(self.path)

    def abandon(self, worker: Worker) -> None:
        """The handler resists its cancellation: it is left behind, and the cell goes on without it."""
        if self.worker is not worker:
            return
        worker.abandon()
        self.worker = None
        item, self.current = self.current, None
        reason = worker.interruption
        if isinstance(item, Ask):
            item.fail(reason or self.gone())
        if isinstance(reason, ActorKilled):
            self.failed(None, reason)
        self.signalled = True
        self.dispatcher.requeue(self)

    # -- parts ------------------------------------------------------------------------------------

    def _interrupt(self, reason: Exception | None) -> None:
        worker = self.worker
        if worker is not None and not worker.interrupted:
            self.signalled = True  # what comes next is for another worker
            worker.interrupt(reason, PATIENCE, self)

    def _take_control(self) -> Iterator[object]:
        while self.control:
            yield self.control.popleft()

    def _left_of_batch(self) -> int:
        rest = self.rest
        return 0 if rest is None else int(rest.__length_hint__())

    def _admit(self, message: object, priority: int) -> Exception | None:
        """Takes the message in by the slow path, or says why not."""
        if self.closed:
            return self.gone()
        if self.waiting >= self.capacity:
            self._purge()
            if self.waiting >= self.capacity:
                return MailboxFull(self.path, self.capacity, _bare(message))
        if priority and self.lanes is None:
            self._use_lanes()
        if self.lanes is not None:
            self.lanes.push(message, priority)
            if self.inbox is None:
                self.schedule()
        elif self.inbox is None:
            self.inbox = [message]
            self.dispatcher.requeue(self)
        else:
            self.inbox.append(message)
            self.limit = self.capacity - self._left_of_batch()
        return None

    def _use_lanes(self) -> None:
        lanes = Lanes()
        self.processed -= self._left_of_batch()  # the dispatcher counts the batch by what is left of it
        for message in self.rest or ():
            lanes.push(message, 0)
        for message in self.inbox or ():
            lanes.push(message, 0)
        self.rest = None
        if self.inbox is not None:
            self.inbox = []
        self.limit = 0
        self.lanes = lanes

    def _purge(self) -> None:
        """Takes out the asks whose askers gave up: they don't count against the bound."""
        if self.lanes is not None:
            self.lanes.purge(_settled)
            return
        self.processed -= self._left_of_batch()  # as in _use_lanes
        waiting = [*(self.rest or ()), *(self.inbox or ())]
        self.rest = None
        self.inbox = [message for message in waiting if not _settled(message)]


def _settled(message: object) -> bool:
    return isinstance(message, Ask) and message.settled


def _bare(message: object) -> object:
    return message.message if isinstance(message, Envelope | Ask) else message
