"""The run queue, and the workers that work it off (see `working` for how).

Invariants:
- One `call_soon` is armed whenever a cell is ready, so an idle system costs the event loop nothing.
- A turn of the loop runs at most `TURN` messages, `throughput` of them a cell before the next cell
  has its turn: no actor starves another, nor the rest of the program.
- No error of a handler leaves here, but for KeyboardInterrupt and SystemExit, which end the program.

Context variables: each worker has a context of its own, copied from the one the system was started in.
What a handler sets and doesn't reset stays there, and is seen by later messages of any actor; unless the
system carries variables (see `carrying`).
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from asyncio.tasks import _enter_task, _leave_task
from itertools import count
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.current import current_task, running
from telestage.actors.kernel.deadlines import DeadlinesByTime
from telestage.actors.kernel.done import done
from telestage.actors.kernel.errors import ActorKilled
from telestage.actors.kernel.hogs import Hogs
from telestage.actors.kernel.room import WaitingSend
from telestage.actors.kernel.runqueue import RunQueue
from telestage.actors.kernel.worker import Worker
from telestage.actors.kernel.working import AT_REST

if TYPE_CHECKING:
    from telestage.actors.kernel.carrying import Carrier
    from telestage.actors.kernel.instruments import Hooks
    from telestage.actors.kernel.mailbox import Mailbox
    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["Dispatcher"]

_SPARE_WORKERS = 4
_MOST_IDLE_WORKERS = 64  # so deep may asks be run inside each other, too
_LARGEST_RESERVE = 1024  # workers a burst hired beyond that; half of them are let go each second
_TRIM_AFTER = 1.0
_MOST_WORKERS_A_TURN = 64  # handlers that suspend in one turn of the loop


class Dispatcher:
    """Runs the cells of one system on one event loop."""

    def __init__(
        self,
        system: ActorSystem,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskRegistry,
        *,
        throughput: int,
        rng: random.Random,
    ) -> None:
        self.system = system
        self.loop = loop
        self.dead_letters = system.dead_letters
        self.tasks = tasks
        self.rng = rng
        self.ready = self._run_queue()
        self.armed = False
        self.workers: dict[asyncio.Task[object], Worker] = {}
        self.throughput = throughput
        self._idle: list[Worker] = []
        self.for_asks: list[Worker] = self._idle  # who may run an ask at once; nobody when the loop is to have its turn
        self.context = contextvars.copy_context()
        self.cell_class: type[Cell] = Cell
        self.carrier: Carrier | None = None
        self.life: Hooks | None = None  # told when actors come and go
        self.hogs = Hogs(system.hog_limit)
        self._closing = False
        self._ending: bool | None = False  # None: no more looked for
        self.deadlines = DeadlinesByTime(loop, Ask.expire)
        self.queue_deadlines = DeadlinesByTime(loop, Ask.expire_in_queue)
        self.room_deadlines = DeadlinesByTime(loop, WaitingSend.expire)
        self.done = done(None, loop)  # what `send` returns where there is room
        self.stopped = done(True, loop)  # what `stopped` returns of an actor that has
        self._names = count(1)  # which a signal handler may enter twice
        self._resting: list[asyncio.Future[None]] = []  # who waits until no handler is suspended
        self._reserve: list[Worker] = []
        self._trim: asyncio.TimerHandle | None = None
        for _ in range(_SPARE_WORKERS):
            self._idle.append(self._hire())

    def next_name(self) -> int:
        """A number no other actor of this system was named by."""
        return next(self._names)

    def requeue(self, cell: Cell) -> None:
        """Puts a cell at the end of the run queue. It must not be there already."""
        self.ready.append(cell)
        if not self.armed:
            self.arm()

    def arm(self) -> None:
        """Has the run queue worked off in the next turn of the event loop."""
        if not self._closing and not self._ending:
            self.armed = True
            self.loop.call_soon(self._turn)

    def defer_asks(self) -> None:
        """Has asks go by the mailbox until the loop has had its turn, so that who only asks doesn't keep it."""
        self.for_asks = []
        self.loop.call_soon(self._refill)

    def _refill(self) -> None:
        self.for_asks = self._idle

    def hurry(self, cell: Mailbox) -> bool:
        """Has a full actor that is ready process a batch at once, inside who waits for room in it.

        That saves two turns of the event loop, which take longer than the batch of a quick handler. Only if it became
        ready last, so that one look finds it, and as long as asks are run at once, too.

        Returns:
            False, and nothing has run: it isn't its turn.
        """
        ready = self.ready
        if not ready or ready[-1] is not cell or not ready.waiting or not (idle := self.for_asks):
            return False
        worker = idle.pop()
        if worker.spoiled:
            return False
        ready.pop()
        loop = self.loop
        task = current_task(loop)
        running[loop] = worker.task
        try:
            self._step(worker, (cell,))
        finally:
            if task is not None:
                running[loop] = task
            else:
                del running[loop]
        return True

    def suspended(self) -> list[Worker]:
        """The workers whose handlers wait for something."""
        return [worker for worker in self.workers.values() if worker.detached and worker.cell is not None]

    async def rest(self) -> None:
        """Returns when no cell is ready and no handler is suspended, or nothing runs any more."""
        while not self._closing:
            if self.armed or self.ready.waiting:
                await asyncio.sleep(0)  # the queue is worked off in each turn of the loop
            elif self.suspended():
                waiter = self.loop.create_future()
                self._resting.append(waiter)
                await waiter
            else:
                return

    def look_up(self) -> None:
        """A handler is suspended no longer: who waits for `rest` looks whether others are."""
        for waiter in self._resting:
            if not waiter.done():
                waiter.set_result(None)
        self._resting.clear()

    def rehire(self, worker: Worker) -> bool:
        """A worker's Task has finished with a handler: back to the idle ones, if it may be used again."""
        if self._resting:
            self.look_up()
        if self._closing or worker.task.cancelling():
            return False
        worker.spoiled = False  # what cancelled it has taken that back, as `asyncio.timeout` does
        if len(self._idle) < _MOST_IDLE_WORKERS:
            self._idle.append(worker)
        elif len(self._reserve) < _LARGEST_RESERVE:
            self._reserve.append(worker)
            if self._trim is None:
                self._trim = self.loop.call_later(_TRIM_AFTER, self._trim_reserve)
        else:
            return False
        return True

    def _trim_reserve(self) -> None:
        """Lets half of the reserve go: those that have been of no use for longest."""
        reserve = self._reserve
        half = (len(reserve) + 1) // 2
        for worker in reserve[:half]:
            worker.leave()
        del reserve[:half]
        self._trim = self.loop.call_later(_TRIM_AFTER, self._trim_reserve) if reserve else None

    def dismiss(self, worker: Worker) -> None:
        """A worker's Task has ended."""
        self.workers.pop(worker.task, None)
        for workers in (self._idle, self._reserve):
            if not worker.leaving and worker in workers:
                workers.remove(worker)
        if self._resting:
            self.look_up()
        if worker.task.cancelling():
            self.ends()
        if self.ready and not self.armed:
            self.arm()

    def ends(self) -> bool:
        """Whether the event loop is ending, every task of it cancelled: nothing is to be begun then.

        A stray cancellation of one worker is no such end; `shutdown` begins what it needs to all the same.
        """
        if self._ending is False:
            self._ending = all(task.cancelling() for task in asyncio.all_tasks(self.loop))
        return bool(self._ending)

    def outlive(self) -> None:
        """The system is being shut down: what that takes is done even at the end of the loop."""
        self._ending = None
        if self.ready and not self.armed:
            self.arm()

    def broke(self, worker: Worker, error: BaseException) -> None:
        """A handler raised what ends the program: its actor has failed, and the worker is done for.

        The actor of one that was left behind knows nothing of it any more.
        """
        cell, worker.cell = worker.cell, None
        worker.task.cancel()
        worker.task.add_done_callback(_looked_at)
        if cell is not None:
            item, cell.current = cell.current, None
            cell.worker = None
            cell.failed(item, ActorKilled(cell.path, f"its handler raised {error!r}"))
            self.requeue(cell)

    def cancel(self) -> list[asyncio.Task[object]]:
        """Runs nothing any more; cancels every worker and returns their Tasks."""
        self._closing = True
        self.look_up()
        self.deadlines.cancel()
        self.queue_deadlines.cancel()
        self.room_deadlines.cancel()
        if self._trim is not None:
            self._trim.cancel()
        workers = list(self.workers)
        for task in workers:
            task.cancel()
        return workers

    def _run_queue(self) -> RunQueue:
        return RunQueue()

    def _hire(self) -> Worker:
        worker = Worker(self)
        self.workers[worker.task] = worker
        return worker

    def _turn(self) -> None:
        self.armed = False
        loop = self.loop
        ready = self.ready
        for _ in range(_MOST_WORKERS_A_TURN):
            if not ready or self._closing:
                return
            if self._idle:
                worker = self._idle.pop()
            elif self._reserve:
                worker = self._reserve.pop()
            else:
                youngest = next(reversed(self.workers.values()), None)
                if (youngest is None or youngest.spoiled) and self.ends():
                    return
                worker = self._hire()
            if worker.spoiled:
                continue
            task = worker.task
            _enter_task(loop, task)
            try:
                at_rest = self._step(worker, None)
            finally:
                _leave_task(loop, task)
            if at_rest:
                return
            if not ready.taking.__length_hint__():
                break
        if ready.trim() and not self.armed:
            self.arm()

    def _step(self, worker: Worker, what: Any) -> bool:
        """Has an idle worker work on the run queue; false if a handler suspended in it."""
        try:
            yielded = worker.run(worker.step, what)
        except BaseException as error:
            self.broke(worker, error)
            raise
        if yielded is AT_REST:
            self._idle.append(worker)
            return True
        if worker.cell is not None:
            worker.adopt(yielded, worker.cell)
        return False


def _looked_at(task: asyncio.Task[object]) -> None:
    """The error has gone its way already: asyncio needn't report it as never retrieved."""
    if not task.cancelled():
        task.exception()
