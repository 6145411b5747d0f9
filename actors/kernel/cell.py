"""One cell per actor: its mailbox, its instance, and what the runtime must know of it.

Invariants:
- An idle cell has no inbox, no lanes and no task. A cell that is halted with mail waiting is parked.
- At any instant at most one worker is in a cell, so an actor's fields are touched by its own turns only.
- What goes by the system lane is never dropped for a bound, never counted, and comes first.
- Every ask is settled: answered, refused, or failed when the cell restarts or stops.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.current import WorkerTask, current_task, running
from telestage.actors.kernel.envelope import Envelope, bare
from telestage.actors.kernel.errors import ActorKilled, ActorStopped, WrongReply
from telestage.actors.kernel.family import Family
from telestage.actors.kernel.flags import AHEAD, CLOSED, FAILED, FINAL, PARKED, PAUSED, SIGNALLED
from telestage.actors.kernel.interrupting import interrupt
from telestage.actors.kernel.lanes import SYSTEM
from telestage.actors.kernel.lifecycle import fail
from telestage.actors.kernel.mailbox import Mailbox
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.steps import RESTART, START, STOP, Step
from telestage.actors.kernel.stopping import stop, vanish
from telestage.actors.kernel.waits import allow, forget_wait, note_wait
from telestage.actors.kernel.working import AT_REST

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.spec import Spec
    from telestage.actors.kernel.worker import Worker

__all__ = ["Arguments", "Cell"]

_INFINITE = math.inf

Arguments = tuple[tuple[object, ...], Mapping[str, object]]
"""What the class of an actor is called with, each time."""


class Cell(Mailbox):
    """The runtime's side of an actor, and the ref the world holds: one object, no hop between them."""

    __slots__ = (
        "actor",
        "arguments",
        "busy",
        "elder",
        "family",
        "label",
        "parent",
        "worker",
        "younger",
    )

    def set_up(
        self, dispatcher: Dispatcher, spec: Spec, parent: Cell | None, label: str | None, arguments: Arguments | None
    ) -> None:
        """To be called first of all. An `__init__` with arguments would cost 0.1 us more (3.11)."""
        self.dispatcher = dispatcher
        self.spec = spec
        self.limit = spec.limit
        self.flags = self.processed = 0
        self.busy = 0.0  # seconds its turns took
        self.inbox = self.rest = self.backlog = self.current = None
        self.parent = parent
        self.label = label  # its name; None until somebody asks for the name of one that was given none
        self.arguments = arguments
        self.actor: Any = None  # the instance, an `Actor`; None once stopped
        self.worker: Worker | None = None  # where the handler is suspended, if it is
        self.family: Family | None = None
        self.elder: Cell | None = None  # its neighbours among its siblings
        self.younger: Cell | None = None

    # -- what the ref promises -------------------------------------------------------------------

    @property
    def name(self) -> str:
        label = self.label
        if label is None:
            label = self.label = f"${self.dispatcher.next_name()}"
            if self.parent is not None and not self.final:
                self.parent.kin.children.name(self, label)
        return label

    @property
    def path(self) -> str:
        if self.parent is None:
            return "/"
        above = self.parent.path
        return f"{above}{self.name}" if above == "/" else f"{above}/{self.name}"

    @property
    def cell(self) -> Cell:
        return self

    def cell_for(self, message: object) -> Cell:
        return self

    def packed(self, message: object) -> object:
        """The message as it travels to this actor."""
        return message

    # `Ref` says keyword-only. CPython 3.11 looks such defaults up in a dict, 60 ns a call, so here they aren't.
    def tell(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self, message: object, priority: int = 0, sender: Ref | None = None
    ) -> None:
        if sender is not None:
            message = Envelope(message, sender)
        if priority == 0:
            inbox = self.inbox
            if inbox is None:
                self.inbox = [message]
                dispatcher = self.dispatcher
                dispatcher.ready.append(self)
                if not dispatcher.armed:
                    dispatcher.arm()
                return
            limit = self.limit
            if limit is None or len(inbox) < limit:
                inbox.append(message)
                return
        if refusal := self.admit(message, priority):
            self.dispatcher.dead_letters.add(bare(message), sender, self, str(refusal))

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        if self.final:
            self.dispatcher.dead_letters.add(message, sender, self, str(self.gone()))
        else:
            kin = self.kin
            if kin.control is None:
                kin.control = deque()
            kin.control.append(message if sender is None else Envelope(message, sender))
            self.flags |= SIGNALLED
            self.schedule()

    async def ask(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        expecting: type | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
        asker: Cell | None = None,
    ) -> Any:  # `Ref` says of what
        """`Ref.ask`, on behalf of `asker`, which the wait-for graph is told of. Default: whose task this runs in."""
        if not timeout < _INFINITE:
            raise ValueError(f"an ask needs a deadline in seconds, not {timeout}")
        dispatcher = self.dispatcher
        loop = dispatcher.loop
        task = current_task(loop)
        if asker is None and type(task) is WorkerTask and task.worker.dispatcher is dispatcher:
            asker = task.worker.cell
        if asker is not None:
            allow(asker, self)
            note_wait(asker, self)
        try:
            if (
                self.inbox is not None
                or self.flags
                or not (idle := dispatcher.for_asks)
                or (worker := idle.pop()).spoiled
            ):
                ask = Ask(message, self, asker, cancel)
                value = await self._answer(ask, timeout, priority, queue_timeout)
            else:
                # It is run at once, inside its asker. Order and one-at-a-time are kept: nothing else waits for the
                # cell, and nothing runs in it.
                ask = Ask(message, self, asker, cancel, True)
                running[loop] = worker.task
                run = worker.run  # as a name of its own: what looks like a method is sought in the class first
                try:
                    value = run(worker.step, ask)
                except BaseException as error:
                    dispatcher.broke(worker, error)
                    if ask.settled:
                        ask.shared().exception()  # looked at: what the asker gets is `error`
                    raise
                finally:
                    if task is not None:
                        running[loop] = task
                    else:
                        del running[loop]
                if self.current is not None:  # its handler has suspended
                    worker.adopt(value, self)
                    value = await self._answer(ask, timeout, priority, queue_timeout)
                else:
                    idle.append(worker)
                    if value is AT_REST:  # it hasn't answered, or not alone
                        value = await self._answer(ask, timeout, priority, queue_timeout)
        finally:
            if asker is not None:
                forget_wait(asker, ask.target)  # pyright: ignore[reportPossiblyUnboundVariable]  # nothing before raises
        if expecting is not None and not isinstance(value, expecting):
            raise WrongReply(ask.target.path, value, expecting)  # pyright: ignore[reportPossiblyUnboundVariable]  # as above
        return value

    async def _answer(self, ask: Ask, timeout: float, priority: int, queue_timeout: float | None) -> object:
        """Waits for the answer of an ask that may have begun."""
        dispatcher = self.dispatcher
        if ask.settled:  # by the handler, while it ran, or its failure
            return ask.shared().result()
        future = ask.future
        if future is None:  # else others know of it already
            future = ask.future = dispatcher.loop.create_future()
            if not ask.begun:
                inbox = self.inbox
                if (
                    inbox is not None
                    and not priority
                    and self.backlog is None
                    and ((limit := self.limit) is None or len(inbox) < limit)
                ):
                    inbox.append(ask)  # as `admit_ask`, without the calls
                elif refusal := self.admit_ask(ask, priority):
                    raise refusal.with_traceback(None)  # it may be shared: each raise would lengthen its traceback
        start_by = None
        if queue_timeout is not None:  # also if it has begun: it may yet wait elsewhere
            start_by = dispatcher.queue_deadlines[queue_timeout]
            start_by.add(ask)
        deadline = dispatcher.deadlines[timeout]
        deadline.add(ask)
        try:
            return await future
        except asyncio.CancelledError:
            if ask.settled and not future.cancelled():  # cancelled with the answer at the door
                self.late(ask, future.exception() or future.result())
            raise
        finally:
            if not ask.settled:
                ask.give_up()
            deadline.done(ask)
            if start_by is not None:
                start_by.done(ask)

    def stop(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self, drain: bool = False, grace: float = 5.0
    ) -> None:
        if not vanish(self):
            stop(self, None, drain=drain, grace=grace)

    def kill(self, reason: str = "killed") -> None:
        if self.closed:
            return
        error = ActorKilled(self.path, reason)
        orders = self.kin.orders
        if self.worker is not None:
            interrupt(self, error)
        elif START in orders or not self.flags & FAILED:  # else it has failed already
            orders.clear()
            self.flags |= FAILED | SIGNALLED
            self.kin.overdue = error
            self.order(Step.FAILED)

    def pause(self) -> None:
        self.flags |= PAUSED | SIGNALLED

    def resume(self) -> None:
        self.unhalt(PAUSED)

    def stopped(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self, timeout: float
    ) -> Coroutine[Any, Any, bool]:
        if self.flags & FINAL:
            return self.dispatcher.stopped
        return self._stopping(timeout)

    async def _stopping(self, timeout: float) -> bool:
        if not self.flags & FINAL:
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
        elif not self.flags & PARKED:
            return
        self.flags &= ~PARKED
        self.dispatcher.requeue(self)

    def order(self, step: Step) -> None:
        """Queues a step of the lifecycle: before the system lane, whatever halts the cell."""
        self.kin.orders.append(step)
        self.flags |= SIGNALLED
        self.schedule()

    def select(self) -> Iterator[object] | None:
        """The mail of this turn, if something is to be looked at first; None for the mailbox as usual."""
        flags = self.flags
        if flags & (FAILED | FINAL):
            return iter(())
        family = self.family
        if family is not None and family.control:
            if self.backlog is not None and self.backlog.lanes is not None:
                self.backlog.lanes.level = SYSTEM  # of what is handled now, should it be put aside
            self.flags = flags | AHEAD
            return _take_control(family.control)
        if flags & PAUSED or (flags & CLOSED and not self.kin.draining):
            return iter(())
        self.flags = flags & ~AHEAD if flags & CLOSED else flags & ~(AHEAD | SIGNALLED)
        return None

    def wants_turn(self, waiting: bool) -> bool:
        """Whether a signalled cell goes back to the run queue."""
        family = self.family
        flags = self.flags
        if family is not None and family.orders:
            return True
        if flags & FAILED:
            return False
        if family is not None and family.control is not None:
            if family.control:
                return True
            family.control = None  # an empty deque takes 0.7 KB
        if flags & CLOSED and self.kin.draining and not waiting:
            self.kin.draining = False
            self.kin.orders.append(STOP)
            return True
        return waiting and not flags & PAUSED

    def owe(self, ask: Ask) -> None:
        """The handler answers later: the ask is remembered, so that a restart or a stop can settle it."""
        if not ask.settled and self.current is ask:  # else it has been handed on or put aside
            self.kin.owed[ask] = None

    def count(self, *, refused: int = 0, dropped: int = 0) -> None:
        self.kin.refused += refused
        self.kin.dropped += dropped

    def abandoned_ask(self, ask: Ask) -> None:
        stash = None if self.family is None else self.family.stash
        if stash is None or not stash.discard(ask):
            super().abandoned_ask(ask)

    def release(self, ask: Ask) -> None:
        """An answer that was owed has been given, or isn't waited for any more."""
        if self.family is not None:
            self.family.owed.pop(ask, None)

    def late(self, ask: Ask, value: object) -> bool:
        """Nobody waits for this answer any more."""
        self.dispatcher.dead_letters.add(value, self, ask.asker, "answer came too late")
        return False

    def unhalt(self, why: int) -> None:
        """Takes one reason to halt away; the mailbox goes on when none is left."""
        self.flags &= ~why
        if not self.final and self.flags & PARKED:
            self.schedule()

    def halt(self) -> None:
        """Nothing is processed until the failure has been answered."""
        self.flags |= FAILED | SIGNALLED

    def recovered(self) -> None:
        """The failure has been answered."""
        self.unhalt(FAILED)

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
        self.flags |= FAILED | SIGNALLED
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
            interrupt(self, None)


def _take_control(control: deque[object]) -> Iterator[object]:
    while control:
        yield control.popleft()
