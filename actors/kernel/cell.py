"""One cell per actor: its mailbox, its instance, and what the runtime must know of it.

Invariants:
- An idle cell has no inbox, no lanes and no task. A cell that is halted with mail waiting is `parked`.
- At any instant at most one worker is in a cell, so an actor's fields are touched by its own turns only.
- What goes by the system lane is never dropped for a bound, never counted, and comes first.
- Every ask is settled: answered, refused, or failed when the cell restarts or stops.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import asyncio
import math
from asyncio import current_task
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import Envelope, bare
from telestage.actors.kernel.errors import ActorKilled, ActorStopped, WrongReply
from telestage.actors.kernel.family import Family
from telestage.actors.kernel.lifecycle import fail
from telestage.actors.kernel.mailbox import Mailbox
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.steps import FAILED, RESTART, START, STOP, Step
from telestage.actors.kernel.stopping import out_of_grace, stop
from telestage.actors.kernel.waits import allow, forget_wait, note_wait

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.spawning import Spec
    from telestage.actors.kernel.worker import Worker

__all__ = ["PATIENCE", "Cell"]

R = TypeVar("R")

PATIENCE = 4.0
"""Seconds a cancelled handler gets to end before it is abandoned: within the 5 s of R-Q8 and R-M4."""

_PAUSED = 1
_FAILED = 2


class Cell(Mailbox):
    """The runtime's side of an actor, and the ref the world holds: one object, no hop between them."""

    __slots__ = (
        "__weakref__",
        "_name",
        "actor",
        "busy_ns",
        "control",
        "current",
        "family",
        "final",
        "halts",
        "handlers",
        "parent",
        "signalled",
        "spec",
        "waits_on",
        "worker",
    )

    def __init__(self, dispatcher: Dispatcher, parent: Cell | None, name: str | int, spec: Spec) -> None:
        super().__init__(dispatcher, spec.capacity)
        self.parent = parent
        self._name = name
        self.spec = spec
        self.actor: Any = None  # the instance, an `Actor`; None once stopped
        self.handlers = spec.handlers
        self.control: deque[object] | None = None  # the system lane
        self.current: object = None  # the message, Envelope or Ask being handled
        self.worker: Worker | None = None  # where the handler is suspended, if it is
        self.waits_on: Cell | list[Cell] | None = None  # the edges of the wait-for graph
        self.family: Family | None = None
        self.signalled = False  # look at the system lane and the flags below before the next message
        self.halts = 0
        self.final = False
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
        if refusal := self.admit(message, priority):
            self.dispatcher.dead_letters.add(bare(message), sender, self, str(refusal))

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        if self.final:
            self.dispatcher.dead_letters.add(message, sender, self, str(self.gone()))
        else:
            if self.control is None:
                self.control = deque()
            self.control.append(message if sender is None else Envelope(message, sender))
            self.signalled = True
            self.schedule()

    def ask(  # not itself a coroutine: one less a call
        self,
        message: object,
        *,
        expecting: type[R] | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> Any:  # a coroutine; `Ref` says of what
        return self.ask_as(None, message, expecting, timeout, priority, queue_timeout, cancel)

    async def ask_as(
        self,
        asker: Cell | None,
        message: object,
        expecting: type | None,
        timeout: float,
        priority: int,
        queue_timeout: float | None,
        cancel: bool,
    ) -> Any:
        """`ask` on behalf of `asker`, which the wait-for graph is told of. Default: whose task this runs in."""
        if not timeout < math.inf:
            raise ValueError(f"an ask needs a deadline in seconds, not {timeout}")
        dispatcher = self.dispatcher
        task = current_task(dispatcher.loop)
        if asker is None and task is not None and (worker := dispatcher.workers.get(task)) is not None:
            asker = worker.cell
        ask = Ask(message, self, asker, cancel)
        if asker is not None:
            allow(asker, self)
            note_wait(asker, self)
        try:
            if self.inbox is None and not self.signalled and dispatcher.run_now(self, ask, task) and ask.settled:
                if ask.error is not None:
                    raise ask.error
                value = ask.value
            else:
                value = await self._answer(ask, timeout, priority, queue_timeout)
        finally:
            if asker is not None:
                forget_wait(asker, self)
        if expecting is not None and not isinstance(value, expecting):
            raise WrongReply(self.path, value, expecting)
        return value

    async def _answer(self, ask: Ask, timeout: float, priority: int, queue_timeout: float | None) -> object:
        """Waits for the answer of an ask that may have begun."""
        loop = self.dispatcher.loop
        future: asyncio.Future[object] = loop.create_future()
        ask.future = future
        if not ask.begun and (refusal := self.admit(ask, priority)):
            raise refusal.with_traceback(None)  # it may be shared: each raise would lengthen its traceback
        deadline = loop.call_later(timeout, ask.expire, timeout)
        start_by = None
        if queue_timeout is not None and not ask.begun:
            start_by = loop.call_later(queue_timeout, ask.expire_in_queue, queue_timeout)
        try:
            return await future
        except asyncio.CancelledError:
            if ask.settled and not future.cancelled():  # cancelled with the answer at the door
                self.late(ask, future.exception() or future.result())
            raise
        finally:
            if not ask.settled:
                ask.give_up()
            deadline.cancel()
            if start_by is not None:
                start_by.cancel()

    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        stop(self, None, drain=drain, grace=grace)

    def kill(self, reason: str = "killed") -> None:
        if self.closed:
            return
        error = ActorKilled(self.path, reason)
        orders = self.kin.orders
        if self.worker is not None:
            self.interrupt(error)
        elif START in orders or not self.halts & _FAILED:  # else it has failed already
            orders.clear()
            self.halts |= _FAILED
            self.kin.overdue = error
            self.order(FAILED)

    def pause(self) -> None:
        self.halts |= _PAUSED
        self.signalled = True

    def resume(self) -> None:
        self.unhalt(_PAUSED)

    async def stopped(self, timeout: float) -> bool:
        if not self.final:
            waiter: asyncio.Future[None] = self.dispatcher.loop.create_future()
            waiters = self.kin.stop_waiters
            waiters.append(waiter)
            try:
                await asyncio.wait({waiter}, timeout=timeout)
            finally:
                if waiter in waiters:
                    waiters.remove(waiter)
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

    def order(self, step: Step) -> None:
        """Queues a step of the lifecycle: before the system lane, whatever halts the cell."""
        self.kin.orders.append(step)
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

    def release(self, ask: Ask) -> None:
        """An answer that was owed has been given, or isn't waited for any more."""
        if self.family is not None:
            self.family.owed.discard(ask)

    def late(self, ask: Ask, value: object) -> bool:
        """Nobody waits for this answer any more."""
        self.dispatcher.dead_letters.add(value, self, ask.asker, "answer came too late")
        return False

    def unhalt(self, why: int) -> None:
        """Takes one reason to halt away; the mailbox goes on when none is left."""
        self.halts &= ~why
        if not self.final and self.parked:
            self.schedule()

    def halt(self) -> None:
        """Nothing is processed until the failure has been answered."""
        self.halts |= _FAILED
        self.signalled = True

    def recovered(self) -> None:
        """The failure has been answered."""
        self.unhalt(_FAILED)

    @property
    def restart_due(self) -> bool:
        """Whether a failure has been answered by a restart that is still to come, or waits for its answer."""
        family = self.family
        if family is None:
            return False
        grouped = family.group is not None and family.group.covers(self)
        return grouped or family.escalated or family.backoff is not None or RESTART in family.orders

    def begin(self) -> None:
        """Queues the `started` hook ahead of all mail."""
        self.halts |= _FAILED
        self.order(START)

    def failed(self, item: object, error: BaseException) -> None:
        """A handler, a hook or a child's escalation failed this cell; the supervisor decides what follows."""
        if isinstance(item, Ask):
            item.fail(error)
        fail(self, error, item)

    def gone(self) -> Exception:
        """What an ask of this stopped cell fails with."""
        error = self.family.stop_error if self.family is not None else None
        return error if error is not None else ActorStopped(self.path)

    def interrupt_ask(self, ask: Ask) -> None:
        """The asker gave up and wants the running handler cancelled."""
        if self.current is ask:
            self.interrupt(None)

    def interrupt(self, reason: Exception | None) -> None:
        """Cancels the suspended handler or hook, if there is one; `reason` is what it then failed with."""
        worker = self.worker
        if worker is None:
            return
        if not worker.interrupted:
            self.signalled = True  # what comes next is for another worker
            worker.interrupt(reason, PATIENCE, self)
        elif worker.interruption is None:
            worker.interruption = reason

    def suspends(self) -> None:
        """A handler is about to wait: one that was killed or ran out of grace before is interrupted now."""
        family = self.family
        if family is not None and family.overdue is not None and not family.stopping:
            reason, family.overdue = family.overdue, None
            if FAILED in family.orders:
                family.orders.remove(FAILED)
                self.recovered()
            self.interrupt(reason)

    def out_of_grace(self) -> None:
        """The grace of a stop is over."""
        out_of_grace(self)

    def abandon(self, worker: Worker) -> None:
        """The handler resists its cancellation: it is left behind, and the cell goes on without it."""
        if self.worker is not worker:
            return
        item, reason = self.current, worker.interruption
        worker.abandon()
        self.worker = self.current = None
        self.taking = False
        if isinstance(item, Ask):
            item.fail(reason or self.gone())
        if isinstance(reason, ActorKilled):
            self.failed(None, reason)
        self.signalled = True
        self.dispatcher.requeue(self)

    # -- parts ------------------------------------------------------------------------------------

    def _take_control(self) -> Iterator[object]:
        while self.control:
            yield self.control.popleft()
