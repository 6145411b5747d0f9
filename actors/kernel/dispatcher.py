"""The run queue, and the loop that works it off.

Invariants:
- One `call_soon` is armed whenever a cell is ready, so an idle system costs the event loop nothing.
- A turn of the loop runs at most `TURN` messages, `throughput` of them a cell before the next cell
  has its turn: no actor starves another, nor the rest of the program.
- Statistics cost two looks at the clock a batch, not a message.
- No error of a handler leaves here, but for KeyboardInterrupt and SystemExit, which end the program.

Context variables: each worker has a context of its own, copied from the one the system was started in.
What a handler sets and doesn't reset stays there, and is seen by later messages of any actor.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from asyncio import CancelledError, current_task
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Iterator
from itertools import islice
from time import perf_counter_ns
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import NO_REPLY, Ask
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.envelope import Envelope
from telestage.actors.kernel.errors import ActorKilled, ActorStopped
from telestage.actors.kernel.lifecycle import attend
from telestage.actors.kernel.worker import PARKED, Worker, park

if TYPE_CHECKING:
    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["Dispatcher"]

TURN = 512
"""Messages a turn of the event loop: about 0.1 ms of handlers that do nothing."""

_SPARE_WORKERS = 4
_MOST_IDLE_WORKERS = 64  # what a burst hired beyond that is let go
_MOST_WORKERS_A_TURN = 64  # handlers that suspend in one turn of the loop
_DEEPEST_ASK = 20  # asks run at once inside each other; deeper ones go by the run queue


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
        self.ready: deque[Cell] = deque()
        self.armed = False
        self.workers: dict[asyncio.Task[object], Worker] = {}
        self._throughput = throughput
        self._idle: list[Worker] = []
        self.context = contextvars.copy_context()
        self._closing = False
        self._ending: bool | None = False  # None: no more looked for
        self._depth = 0
        self._at_once = TURN
        self._names = 0
        for _ in range(_SPARE_WORKERS):
            self._idle.append(self._hire())

    def next_name(self) -> int:
        """A number no other actor of this system was named by."""
        self._names += 1
        return self._names

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

    def run_now(self, cell: Cell, ask: Ask) -> bool:
        """Runs one ask of an idle cell at once, inside its asker; false if it has to go by the mailbox.

        Order and one-at-a-time are kept: nothing else waits for the cell, and nothing runs in it.
        """
        self._at_once -= 1
        if self._at_once < 0 or not self._idle or self._depth >= _DEEPEST_ASK:
            self._at_once = TURN  # this one goes by the loop, so that a caller who only asks doesn't keep it
            return False
        worker = self._idle.pop()
        if worker.task.cancelling():  # by a stray; it is about to end
            return False
        cell.inbox = []  # no longer idle
        loop = self.loop
        task = worker.task
        asking = current_task(loop)
        if asking is not None:
            _leave_task(loop, asking)
        _enter_task(loop, task)
        self._depth += 1
        try:
            yielded = worker.context.run(worker.coroutine.send, ask)
        except BaseException as error:
            self.broke(worker, error)
            raise
        finally:
            self._depth -= 1
            _leave_task(loop, task)
            if asking is not None:
                _enter_task(loop, asking)
        if yielded is PARKED:
            self._idle.append(worker)
        else:
            worker.adopt(yielded, cell)
        return True

    def suspended(self) -> list[Worker]:
        """The workers whose handlers wait for something."""
        return [worker for worker in self.workers.values() if worker.detached and worker.cell is not None]

    def rehire(self, worker: Worker) -> bool:
        """A worker's Task has finished with a handler: back to the idle ones, if it may be used again."""
        if self.ready and not self.armed:
            self.arm()
        if self._closing or worker.task.cancelling() or len(self._idle) >= _MOST_IDLE_WORKERS:
            return False
        self._idle.append(worker)
        return True

    def dismiss(self, worker: Worker) -> None:
        """A worker's Task has ended."""
        self.workers.pop(worker.task, None)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.task.cancelling():
            self.ends()
        if self.ready and not self.armed:
            self.arm()

    def ends(self) -> bool:
        """Whether the event loop is ending, every task of it cancelled: nothing is to be begun then.

        A stray cancellation of one worker is no such end; `shutdown` begins what it needs to all the same.
        """
        if self._ending is False and not self._closing:
            self._ending = all(task.cancelling() for task in asyncio.all_tasks(self.loop))
        return self._closing or bool(self._ending)

    def outlive(self) -> None:
        """The system is being shut down: what that takes is done even at the end of the loop."""
        self._ending = None
        if self.ready and not self.armed:
            self.arm()

    def broke(self, worker: Worker, error: BaseException) -> None:
        """A handler raised what ends the program: its actor has failed, and the worker is done for."""
        cell, worker.cell = worker.cell, None
        worker.task.cancel()
        worker.task.add_done_callback(_looked_at)
        if cell is not None and not worker.abandoned:
            item, cell.current = cell.current, None
            cell.worker = None
            cell.taking = False
            cell.failed(item, ActorKilled(cell.path, f"its handler raised {error!r}"))
            cell.signalled = True
            self.requeue(cell)
        elif self.ready and not self.armed:
            self.arm()

    def cancel(self) -> list[asyncio.Task[object]]:
        """Runs nothing any more; cancels every worker and returns their Tasks."""
        self._closing = True
        workers = list(self.workers)
        for task in workers:
            task.cancel()
        return workers

    def _hire(self) -> Worker:
        worker = Worker(self)
        self.workers[worker.task] = worker
        return worker

    def _turn(self) -> None:
        self.armed = False
        loop = self.loop
        for _ in range(_MOST_WORKERS_A_TURN):
            if not self.ready or self._closing:
                return
            worker = self._idle.pop() if self._idle else self._hire()
            task = worker.task
            if task.cancelling():
                continue
            _enter_task(loop, task)
            try:
                yielded = worker.context.run(worker.coroutine.send, None)
            except BaseException as error:
                self.broke(worker, error)
                raise
            finally:
                _leave_task(loop, task)
            if yielded is PARKED:
                self._idle.append(worker)
                return
            if worker.cell is not None:
                worker.adopt(yielded, worker.cell)
        if self.ready and not self.armed:
            self.arm()

    # The hot loop. Written out in one piece: an `async` call a message costs as much as all of the rest.
    async def work(self, worker: Worker) -> None:
        """The life of a worker's coroutine: waits for work, does it, waits again."""
        ready = self.ready
        throughput = self._throughput
        clock = perf_counter_ns
        while True:
            ask = await park()
            result: Any
            if ask is not None:
                cell = worker.cell = ask.target
                cell.current = ask
                ask.begun = True
                began = clock()
                try:
                    result = cell.handlers[type(ask.message)](cell.actor, ask.message)
                    if type(result) is CoroutineType:
                        result = await result
                        if worker.abandoned:
                            return
                    if result is NO_REPLY:
                        cell.owe(ask)
                    elif not ask.answer(result):
                        cell.late(ask, result)
                except BaseException as error:
                    if worker.abandoned:
                        return
                    self._raised(worker, cell, ask, error)
                cell.current = None
                cell.processed += 1
                if worker.detached:  # the time a handler waited isn't work
                    cell.worker = None
                else:
                    cell.busy_ns += clock() - began
                if cell.inbox or cell.signalled or cell.room is not None or cell.lanes is not None:
                    self._leave(worker, cell)
                    if worker.interrupted:
                        return
                    if ready and not self.armed:
                        self.arm()
                else:
                    cell.inbox = None
                continue
            left_of_turn = TURN
            now = clock()
            while ready:
                cell = ready.popleft()
                worker.cell = cell
                began = now
                done = 0
                rest: Any = None
                mail: Iterator[Any] | None = None
                if cell.signalled:
                    if cell.family is not None and cell.family.orders:
                        await attend(cell, worker)
                        if worker.abandoned:
                            return
                    mail = iter(()) if worker.interrupted else cell.select()
                if mail is None:
                    lanes = cell.lanes
                    if lanes is not None:
                        done = -lanes.taken
                        mail = lanes.take(throughput)
                    else:
                        rest = cell.rest
                        if rest is None:
                            batch = cell.inbox
                            assert batch is not None
                            cell.inbox = []
                            cell.rest = rest = iter(batch)
                            cell.limit = 0 if cell.closed else cell.capacity - len(batch)
                        done = rest.__length_hint__()
                        cell.taking = True
                        mail = islice(rest, throughput)
                handlers = cell.handlers
                actor = cell.actor
                item: Any  # a message, an Envelope or an Ask: told apart by class, which is quicker than isinstance
                plain: Any = None  # the class of the last bare message: most are alike, and need no second look-up
                handler: Any = None
                for item in mail:
                    cell.current = item
                    kind = type(item)
                    try:
                        if kind is plain:
                            result = handler(actor, item)
                            if type(result) is CoroutineType:
                                await result
                                if worker.abandoned:
                                    return
                        elif kind is Ask:
                            if item.settled:
                                cell.stale -= 1
                                continue  # its asker gave up: never executed
                            item.begun = True
                            result = handlers[type(item.message)](actor, item.message)
                            if type(result) is CoroutineType:
                                result = await result
                                if worker.abandoned:
                                    return
                            if result is NO_REPLY:
                                cell.owe(item)
                            elif not item.answer(result):
                                cell.late(item, result)
                        else:
                            if kind is Envelope:
                                result = handlers[type(item.message)](actor, item.message)
                            else:
                                plain = kind
                                handler = handlers[kind]
                                result = handler(actor, item)
                            if type(result) is CoroutineType:
                                await result
                                if worker.abandoned:
                                    return
                    except BaseException as error:
                        if worker.abandoned:
                            return
                        self._raised(worker, cell, item, error)
                    if cell.signalled:
                        break
                cell.current = None
                now = clock()
                if worker.detached:  # the time a handler waited isn't work
                    cell.worker = None
                else:
                    cell.busy_ns += now - began
                if rest is not None:  # from the inbox
                    cell.taking = False
                    if cell.rest is rest:
                        left = rest.__length_hint__()
                        done -= left
                        if not left:
                            cell.rest = None
                elif done < 0:  # from the lanes; a fresh `Lanes` starts counting at 1
                    lanes = cell.lanes
                    if lanes is not None:
                        done += lanes.taken
                        if not lanes:
                            cell.lanes = None
                            cell.limit = 0 if cell.closed else cell.capacity
                cell.processed += done
                left_of_turn -= done or 1
                if cell.signalled or cell.room is not None:
                    self._leave(worker, cell)
                    if worker.interrupted:
                        return
                elif cell.inbox or cell.rest is not None or cell.lanes is not None:
                    ready.append(cell)
                else:
                    cell.inbox = None
                if worker.detached or left_of_turn <= 0:
                    if ready and not self.armed:
                        self.arm()
                    break

    def _leave(self, worker: Worker, cell: Cell) -> None:
        """Where a cell goes after its turn: to the run queue, aside, or to rest."""
        if cell.room is not None:
            cell.make_room()
        if cell.signalled:
            self._end_turn(worker, cell)
        elif cell.inbox or cell.rest is not None or cell.lanes is not None:
            self.ready.append(cell)
        else:
            cell.inbox = None

    def _end_turn(self, worker: Worker, cell: Cell) -> None:
        """Where a cell goes after its turn, if its system lane or its flags want attention."""
        reason, worker.interruption = worker.interruption, None
        if isinstance(reason, ActorKilled):
            cell.failed(None, reason)  # the handler swallowed its cancellation and ended well
        if cell.final:
            return
        waiting = bool(cell.held())
        if cell.wants_turn(waiting):
            self.ready.append(cell)
        elif waiting:
            cell.parked = True
        else:
            cell.inbox = None

    def _raised(self, worker: Worker, cell: Cell, item: object, error: BaseException) -> None:
        """A handler raised: its supervisor's business, but for what ends the program."""
        if isinstance(error, CancelledError):
            self._cancelled(worker, cell, item)
        elif isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise error
        else:
            cell.failed(item, error)

    def _cancelled(self, worker: Worker, cell: Cell, item: object) -> None:
        """A handler ended by CancelledError."""
        if worker.interrupted:
            reason, worker.interruption = worker.interruption, None
            if isinstance(reason, ActorKilled):
                cell.failed(item, reason)
            elif isinstance(item, Ask):
                item.fail(cell.gone())
        elif worker.detached and worker.task.cancelling():
            worker.interrupted = True
            cell.signalled = True
            if not self.ends():
                cell.failed(item, ActorKilled(cell.path, "its task was cancelled from outside"))
            elif isinstance(item, Ask):
                item.fail(ActorStopped(cell.path))
        else:
            cell.failed(item, ActorKilled(cell.path, "what its handler waited for was cancelled"))


def _looked_at(task: asyncio.Task[object]) -> None:
    """The error has gone its way already: asyncio needn't report it as never retrieved."""
    if not task.cancelled():
        task.exception()
