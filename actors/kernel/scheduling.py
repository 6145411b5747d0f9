"""Where a test kit takes hold of a system: what it may put in the place of the ordinary dispatcher.

Nothing of it is looked at again once the system has started, so that it costs nothing where there is none.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from telestage.actors.kernel.dispatcher import Dispatcher

if TYPE_CHECKING:
    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["Scheduling", "dispatcher_for"]


@runtime_checkable
class Scheduling(Protocol):
    """What decides the order of turns: a schedule of the test kit, or its event loop."""

    def dispatcher(
        self,
        system: ActorSystem,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskRegistry,
        *,
        throughput: int,
        rng: random.Random,
    ) -> Dispatcher:
        """The dispatcher of a system that starts on `loop`."""
        ...


def dispatcher_for(
    scheduling: Scheduling | None,
    system: ActorSystem,
    loop: asyncio.AbstractEventLoop,
    tasks: TaskRegistry,
    *,
    throughput: int,
    rng: random.Random,
) -> Dispatcher:
    """The dispatcher that `scheduling` makes; else the one that a loop for tests makes; else the usual one."""
    if scheduling is None and isinstance(loop, Scheduling):
        scheduling = loop
    make = Dispatcher if scheduling is None else scheduling.dispatcher
    return make(system, loop, tasks, throughput=throughput, rng=rng)
