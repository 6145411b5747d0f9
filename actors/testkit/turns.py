"""A dispatcher whose free choices are a schedule's.

What the ordinary one does is never changed, only when: it is the same code, on a run queue that is taken from in any
order and at times says that it is empty, by workers of different throughput, with asks of idle actors sent by the
mailbox at times.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, SupportsIndex

from telestage.actors.kernel.dispatcher import Dispatcher
from telestage.actors.kernel.runqueue import RunQueue

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry
    from telestage.actors.kernel.worker import Worker
    from telestage.actors.testkit.schedule import Schedule

__all__ = ["ScheduledDispatcher"]

_THROUGHPUTS = (1, 2, 3, 7)
"""Messages an actor may process, besides as many as the system was given."""


class AnyOrder:
    """Takes the actors that are ready in any order, the first by default, as many as run in this turn."""

    def __init__(self, ready: RandomRunQueue) -> None:
        self._ready = ready

    def __iter__(self) -> AnyOrder:
        return self

    def __length_hint__(self) -> int:
        return len(self._ready)

    def __next__(self) -> Cell:
        """Another one, unless the turn of the event loop is to end. If one is left, the next turn is arranged for."""
        ready = self._ready
        if not ready:
            raise StopIteration
        dispatcher = ready.dispatcher
        choose = dispatcher.schedule.choose
        if choose(3, "t") == 1:
            if not dispatcher.armed:
                dispatcher.arm()
            if dispatcher.armed:
                raise StopIteration
            # else the loop is ending, and there is no next turn
        return ready.pop(choose(len(ready), "a"))


class RandomRunQueue(RunQueue):
    """The actors that are ready. What is given is let go at once, and there may be more when a turn is over."""

    def __init__(self, dispatcher: ScheduledDispatcher) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.taking = AnyOrder(self)

    def renew(self) -> None:
        """A turn is over."""

    def trim(self) -> bool:
        """Whether others are ready."""
        return len(self) > 0


class Workers(list["Worker"]):
    """The workers without work. Those of a smaller throughput are kept apart, and taken only when one is due."""

    def __init__(self, workers: list[Worker]) -> None:
        super().__init__(workers)
        self.limits: dict[Worker, int] = {}
        self.limited: dict[int, list[Worker]] = {limit: [] for limit in _THROUGHPUTS}
        self.due: Worker | None = None

    def __bool__(self) -> bool:
        return self.due is not None or len(self) > 0

    def __contains__(self, worker: object) -> bool:
        return super().__contains__(worker) or any(worker in workers for workers in self.limited.values())

    def append(self, worker: Worker, /) -> None:
        """Puts it with its like."""
        limit = self.limits.get(worker)
        if limit is None:
            super().append(worker)
        else:
            self.limited[limit].append(worker)

    def pop(self, index: SupportsIndex = -1, /) -> Worker:
        """The one that is due, or the ordinary one that came last."""
        worker, self.due = self.due, None
        return super().pop(index) if worker is None else worker

    def remove(self, worker: Worker, /) -> None:
        """Takes it out of wherever it is."""
        limit = self.limits.get(worker)
        if limit is None:
            super().remove(worker)
        else:
            self.limited[limit].remove(worker)


class ScheduledDispatcher(Dispatcher):
    """Runs the cells of one system as `schedule` says."""

    def __init__(
        self,
        schedule: Schedule,
        system: ActorSystem,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskRegistry,
        *,
        throughput: int,
    ) -> None:
        self.schedule = schedule
        super().__init__(system, loop, tasks, throughput=throughput, rng=random.Random(schedule.seed))
        self._workers = Workers(self._idle)
        self._idle = self._workers
        self.for_asks = self._workers  # pyright: ignore[reportIncompatibleVariableOverride]  # it can be set, too

    @property
    def for_asks(self) -> list[Worker]:
        """As ever, or nobody."""
        return [] if self.schedule.choose(2, "q") else self._for_asks

    @for_asks.setter
    def for_asks(self, workers: list[Worker]) -> None:
        self._for_asks: list[Worker] = workers

    def _run_queue(self) -> RunQueue:
        return RandomRunQueue(self)

    def _turn(self) -> None:
        choice = self.schedule.choose(1 + len(_THROUGHPUTS), "w")
        if choice and self._workers.due is None:
            limit = _THROUGHPUTS[choice - 1]
            spare = self._workers.limited[limit]
            self._workers.due = spare.pop() if spare else self._hire_limited(limit)
        super()._turn()

    def _hire_limited(self, limit: int) -> Worker:
        ordinary, self.throughput = self.throughput, limit
        try:
            worker = self._hire()
        finally:
            self.throughput = ordinary
        self._workers.limits[worker] = limit
        return worker
