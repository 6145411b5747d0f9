"""An event loop whose time jumps.

Invariants:
- Time stands still while anything is ready, and jumps to the next timer when nothing is. A test of hours takes
  as long as its own work, and what it measures by `loop.time()` is exact.
- Time doesn't jump over what the loop can't know the end of. While a socket or a pipe is registered, a job of an
  executor runs, or `hold` is in force, waiting takes as long as it does on the wall.
- A loop in which nothing is ready, nothing is to come, and nobody outside could change that ends with `Deadlock`.
- What asyncio documents is kept under a schedule. Callbacks run in the order of `call_soon`; only the steps of tasks,
  whose order among each other is promised nowhere, change places, and timers due at the same instant.

Only documented parts of asyncio are used: the selector, `time`, `call_soon`, `call_at`, `run_in_executor`. Python's own
clocks (`time.time`, `time.monotonic`) don't jump: what is a stamp stays one.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
from asyncio import Handle, Task, TimerHandle
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack, cast

from telestage.actors.kernel.dispatcher import Dispatcher
from telestage.actors.testkit.deadlock import Deadlock, dumps_of, what_waits

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry
    from telestage.actors.testkit.schedule import Schedule

__all__ = ["VirtualTimeLoop"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_MOST_DELAYS = 3  # turns of the loop by which a step comes later


class _Selector(selectors.BaseSelector):
    """The real one, but for when it would wait."""

    def __init__(self) -> None:
        self.real = selectors.DefaultSelector()
        self.now = 0.0
        self.internal = 0
        self.outside = 0  # jobs of executors and holds
        self.stuck: Callable[[], Exception] = RuntimeError

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self.real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self.real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self.real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self.real.select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.outside or len(self.real.get_map()) > self.internal:
            began = monotonic()
            events = self.real.select(timeout)
            passed = monotonic() - began
            self.now += passed if events or timeout is None else max(passed, timeout)
        elif timeout is None:
            raise self.stuck()
        else:
            self.now += timeout
        return events

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self.real.get_map()

    def close(self) -> None:
        self.real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop for tests, in which hours pass at once. It starts at 0 s.

    Args:
        schedule: Decides what asyncio and the actor systems started here leave open. Default: nothing is changed.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.schedule = schedule
        self._dispatchers: list[Dispatcher] = []
        self._steps: list[tuple[int, int, Callable[[], object]]] = []  # the era each may run in, its delays, and itself
        self._era = 0
        self._due_at = -1.0
        self._time_selector = _Selector()
        super().__init__(self._time_selector)
        self._time_selector.internal = len(self._time_selector.get_map())
        self._time_selector.stuck = self._deadlock

    def time(self) -> float:
        """Seconds since the loop was made, the waits jumped over included."""
        return self._time_selector.now

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Has time pass as on the wall meanwhile: for what a thread of one's own, or a process, is to tell the loop."""
        self._time_selector.outside += 1
        try:
            yield
        finally:
            self._time_selector.outside -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], R], *args: *Ts
    ) -> asyncio.Future[R]:
        """As ever; time doesn't jump while the job runs."""
        future = super().run_in_executor(executor, func, *args)
        self._time_selector.outside += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """As ever."""
        with self.hold():
            shutdown = cast("Callable[..., Awaitable[None]]", super().shutdown_default_executor)
            await shutdown(*timeout)  # Python 3.12 has a parameter more

    def dispatcher(
        self,
        system: ActorSystem,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskRegistry,
        *,
        throughput: int,
        rng: random.Random,
    ) -> Dispatcher:
        """What runs the actors of a system that starts here. The system calls it."""
        make = Dispatcher if self.schedule is None else self.schedule.dispatcher
        dispatcher = make(system, loop, tasks, throughput=throughput, rng=rng)
        self._dispatchers.append(dispatcher)
        return dispatcher

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """As ever; under a schedule, steps of tasks change places with each other, or come some turns later."""
        if self.schedule is None:
            return super().call_soon(callback, *args, context=context)
        if not isinstance(getattr(callback, "__self__", None), Task):  # as asyncio itself looks for one
            self._era += 1
            return super().call_soon(callback, *args, context=context)
        handle = Handle(callback, args, self, context)
        where = contextvars.copy_context() if context is None else context

        def step() -> None:
            if not handle.cancelled():
                where.run(callback, *args)

        self._add_step(step, _MOST_DELAYS)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """As ever; under a schedule, timers due at the same instant change places."""
        if self.schedule is None:
            return super().call_at(when, callback, *args, context=context)
        where = contextvars.copy_context() if context is None else context

        def step() -> None:
            if not handle.cancelled():
                where.run(callback, *args)

        def due() -> None:
            if self._due_at != when:
                self._due_at = when
                self._era += 1
            self._add_step(step, 0)

        handle = super().call_at(when, due)
        return handle

    # -- parts ------------------------------------------------------------------------------------

    def _add_step(self, step: Callable[[], object], delays: int) -> None:
        """Puts a step among those that change places, and a place for one of them into the queue of the loop."""
        self._steps.append((self._era, delays, step))
        super().call_soon(self._take_step, self._era)

    def _take_step(self, era: int) -> None:
        """Runs one of the steps of this era or an earlier one.

        There is one: the places come in the order of eras, and there are as many as steps. So no step runs before
        a callback that was registered before it.
        """
        schedule = self.schedule
        assert schedule is not None
        steps = self._steps
        eligible = sum(entry[0] <= era for entry in steps) if steps[-1][0] > era else len(steps)
        place = schedule.choose(eligible, "s")
        _, delays, step = steps.pop(place)
        if delays and schedule.choose(6, "l") == 1:
            steps.append((self._era, delays - 1, step))
            super().call_soon(self._take_step, self._era)
        else:
            step()

    def _job_done(self, _: asyncio.Future[R]) -> None:
        self._time_selector.outside -= 1

    def _deadlock(self) -> Deadlock:
        return Deadlock(what_waits(self, self._dispatchers), dumps_of(self._dispatchers))
