"""A coroutine that runs handlers, and the Task it lives in when one of them suspends.

A handler that never suspends should cost what a bare `await handler(message)` costs, yet
`asyncio.timeout`, `TaskGroup` and `current_task` must work from its first line, and a handler that
does suspend must be driven by a real Task. So every worker owns a Task parked on a future:

- While the worker's coroutine is stepped by the dispatcher, that Task is made the loop's current one
  (the hooks that asyncio documents for extending it).
- When the handler suspends, what it yielded is left in `first` and the Task is woken. It yields the very
  same future, so the Task waits for it as if it had run the coroutine from the start: continuation,
  errors and cancellation from there on are the Task's own.

A Task that was ever cancelled is not used again: its `cancelling()` count would mislead the next handler.
"""

from __future__ import annotations

import asyncio
import logging
import types
from asyncio import CancelledError
from collections.abc import Generator
from time import perf_counter
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast

from telestage.actors.kernel.current import WorkerTask
from telestage.actors.kernel.envelope import bare
from telestage.actors.kernel.flags import WATCHED
from telestage.actors.kernel.interrupting import suspends
from telestage.actors.kernel.working import AT_REST, work

if TYPE_CHECKING:
    from telestage.actors.kernel.ask import Ask
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.dispatcher import Dispatcher

__all__ = ["Worker"]

_log = logging.getLogger("telestage.dispatcher")

_NOTHING = object()


class Worker:
    """One coroutine of the dispatcher with its Task. In at most one cell at a time."""

    __slots__ = (
        "_adopted",
        "_driven",
        "_first",
        "_last",
        "_park",
        "abandoned",
        "began",
        "cell",
        "context",
        "coroutine",
        "deadline",
        "detached",
        "dispatcher",
        "interrupted",
        "interruption",
        "leaving",
        "run",
        "since",
        "spoiled",
        "step",
        "task",
    )

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.cell: Cell | None = None
        self._adopted: Any = None  # the cell whose handler its Task goes on with, even if it was abandoned
        self._last = False  # with what suspended first in it this turn ends
        self.detached = False  # its handler suspended, so its own Task drives it
        self.began = 0.0  # its turn in the cell, by the clock of `busy`
        self.since = 0.0  # when that handler suspended first, in loop time
        self.interrupted = False
        self.interruption: Exception | None = None
        self.abandoned = False
        self.spoiled = False  # its Task was cancelled: if it is idle, it is about to end
        self.leaving = False
        self._first: object = _NOTHING
        self._park: asyncio.Future[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.context = dispatcher.context.copy()
        self.coroutine = cast("Generator[object, Ask | None, None]", work(dispatcher, self))
        next(self.coroutine)  # to its first rest
        self._driven: Any = self.coroutine
        self.run = self.context.run
        self.step = self.coroutine.send
        life = self._live()
        life.send(None)  # begun already: what its Task is cancelled with before its first step is then seen in there
        self.task = WorkerTask(life, loop=dispatcher.loop, name="telestage worker", context=self.context)
        self.task.worker = self

    def adopt(self, yielded: object, cell: Cell) -> None:
        """The handler suspended on `yielded`: the Task takes over."""
        self.detached = True
        self._first = yielded
        dispatcher = self.dispatcher
        self.since = dispatcher.loop.time()
        cell.worker = self
        self._adopted = cell
        item = cell.current
        rest = cell.rest
        self._last = item is not None and cell.backlog is None and (rest is None or not rest.__length_hint__())
        elapsed = perf_counter() - self.began
        cell.busy += elapsed
        if elapsed > dispatcher.hogs.limit:
            self._too_long(cell, elapsed, item, self._last and rest is None)
        if cell.flags:
            suspends(cell)
        if self._park is not None and not self._park.done():
            self._park.set_result(None)

    def _too_long(self, cell: Cell, elapsed: float, item: object, alone: bool) -> None:
        """The step that has just ended, and began with `item`, took too long."""
        alone = item is not None and (alone or cell.flags & WATCHED != 0)  # if it is watched there is one a turn
        self.dispatcher.hogs.note(cell, elapsed, alone, item)

    def interrupt(self, reason: Exception | None) -> None:
        """Cancels the suspended handler. `deadline`, set by who calls this, is when it is abandoned."""
        self.interrupted = True
        self.interruption = reason
        self.task.cancel()

    def leave(self) -> None:
        """Ends the Task of an idle worker. It must not be used any more."""
        self.leaving = True
        if self._park is not None and not self._park.done():
            self._park.set_result(None)

    def abandon(self) -> None:
        """Leaves a handler behind that resists its cancellation. Its Task ends whenever it likes.

        From here on the Task goes on with the handler alone, not with what the worker does after it.
        """
        cell = self.cell
        self.abandoned = True
        self._driven = cast("GeneratorType[object, Ask | None, None]", self.coroutine).gi_yieldfrom
        self.cell = None
        self.dispatcher.look_up()
        if cell is not None:
            what = "hook" if cell.current is None else "handler"
            message = "" if cell.current is None else f": {type(bare(cell.current)).__name__}"
            self.task.set_name(f"abandoned {what} of {cell.path}{message}")
            age = self.dispatcher.loop.time() - self.since
            _log.warning(
                "abandoned a %s of %s that resists cancellation%s, running for %.1f s", what, cell.path, message, age
            )

    async def _live(self) -> None:
        try:
            await self._drive()
        finally:
            if self.deadline is not None:
                self.deadline.cancel()
            if self.abandoned:
                self.coroutine.close()
            self.dispatcher.dismiss(self)

    @types.coroutine
    def _drive(self) -> Generator[object, None, None]:
        dispatcher = self.dispatcher
        coroutine = self.coroutine
        clock = perf_counter
        too_long = dispatcher.hogs.limit
        begun = False
        while True:
            cancelled: CancelledError | None = None
            if self._first is _NOTHING:
                try:
                    if begun:
                        self._park = dispatcher.loop.create_future()
                        yield from self._park
                    else:  # until the first step of the Task
                        begun = True
                        yield None
                except CancelledError as error:
                    if self._first is _NOTHING:  # cancelled while idle: the end of the loop, or a stray
                        coroutine.close()
                        return
                    cancelled = error
                if self._first is _NOTHING:
                    if self.leaving:
                        coroutine.close()
                        return
                    continue
            yielded = self._first
            self._first = _NOTHING
            try:
                if cancelled is not None:  # between the suspension and now: as Task.cancel would do it
                    cancel = getattr(yielded, "cancel", None)
                    if cancel is None or not cancel():
                        yielded = coroutine.throw(cancelled)
                cell = self._adopted
                while yielded is not AT_REST:
                    item = cell.current
                    try:
                        value = yield yielded
                    except BaseException as error:
                        began = clock()
                        yielded = self._driven.throw(error)
                    else:
                        began = clock()
                        yielded = self._driven.send(value)
                    elapsed = clock() - began
                    cell.busy += elapsed
                    if elapsed > too_long:
                        self._too_long(cell, elapsed, item, self._last)
                    if cell.current is not item:  # the next one of its turn suspended
                        self.since = dispatcher.loop.time()
            except StopIteration:
                return  # the worker was interrupted; or this is the end of a handler that was left behind
            except BaseException as error:
                if self.abandoned and isinstance(error, Exception | CancelledError):
                    return  # nobody is interested any more
                if not isinstance(error, GeneratorExit):
                    dispatcher.broke(self, error)
                raise
            self.detached = False
            self.cell = self._adopted = None
            if not dispatcher.rehire(self):
                coroutine.close()
                return
