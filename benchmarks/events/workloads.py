"""The six headline figures of an event monitor, as the same code for both contestants.

Each function measures once and returns a figure that is the better the less it is. Events are made beforehand, and the
same ones are given to both as often; the clock runs from the first `queue_event` to the end of the last handler, or,
where only queueing is measured, to the end of the last `queue_event`.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.events import straightforward
from telestage.actors import Event, EventMonitor, EventMonitorConfig

__all__ = ["CONTESTANTS", "HEADLINES", "Headline"]


def _telestage(capacity: int, breaker: bool, statistics: bool) -> Any:
    config = EventMonitorConfig(max_queue_size=capacity, breaker_failures=3 if breaker else None)
    return EventMonitor("benchmark", config)  # its statistics are always on


def _straightforward(capacity: int, breaker: bool, statistics: bool) -> Any:
    config = straightforward.Config(max_queue_size=capacity, breaker=breaker, statistics=statistics)
    return straightforward.Monitor("benchmark", config)


CONTESTANTS: Mapping[str, tuple[Callable[[int, bool, bool], Any], Callable[[str, str], Any]]] = {
    "telestage": (_telestage, Event),
    "straightforward": (_straightforward, straightforward.Event),
}


async def _run(
    contestant: str, count: int, *, breaker: bool = True, statistics: bool = True, repeat: int = 15
) -> float:
    """Seconds from the first of `count` events to the end of the last handler: the median of `repeat` runs."""
    make, event_class = CONTESTANTS[contestant]
    monitor = make(2 * count, breaker, statistics)
    event = event_class("low_fuel", "user-123")
    handled = 0
    done = asyncio.Event()

    async def handler(event: object) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    monitor.register_handler("low_fuel", handler)
    await monitor.start_monitoring()
    times = []
    for _ in range(repeat + 2):
        handled = 0
        done.clear()
        gc.collect()
        began = time.perf_counter()
        for _ in range(count):
            await monitor.queue_event(event)
        await done.wait()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)  # what is left to do besides
    await monitor.stop_monitoring()
    return median(times[2:])


async def throughput(contestant: str) -> float:
    """Microseconds an event, of 10,000."""
    return await _run(contestant, 10_000, repeat=7) * 1e6 / 10_000


async def queueing(contestant: str) -> float:
    """Milliseconds for 1,000 events, into an empty queue of that size, the default one."""
    return await _queue(contestant, 1000)


async def queueing_with_room(contestant: str) -> float:
    """The same into a queue that they don't fill."""
    return await _queue(contestant, 2000)


async def _queue(contestant: str, capacity: int) -> float:
    make, event_class = CONTESTANTS[contestant]
    event = event_class("low_fuel", "user-123")
    times = []
    for _ in range(50):
        monitor = make(capacity, True, True)
        monitor.register_handler("low_fuel", lambda event: None)
        await monitor.start_monitoring()
        gc.collect()
        began = time.perf_counter()
        for _ in range(1000):
            await monitor.queue_event(event)
        times.append(time.perf_counter() - began)
        await monitor.stop_monitoring()
    return median(times) * 1e3


async def memory(contestant: str) -> float:
    """Kilobytes that 5,000 waiting events take, the events themselves left out."""
    make, event_class = CONTESTANTS[contestant]
    events = [event_class("low_fuel", "user-123") for _ in range(5000)]
    monitor = make(10_000, True, True)
    monitor.register_handler("low_fuel", lambda event: None)
    await monitor.start_monitoring()
    await asyncio.sleep(0.01)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for event in events:
        await monitor.queue_event(event)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    await monitor.stop_monitoring()
    return taken / 1000


async def handlers(contestant: str) -> float:
    """Milliseconds for one event with 10 async handlers that each sleep 10 ms."""
    make, event_class = CONTESTANTS[contestant]
    monitor = make(100, True, True)
    left = 0
    done = asyncio.Event()

    def new_handler() -> Callable[[object], Awaitable[None]]:
        async def handler(event: object) -> None:
            nonlocal left
            await asyncio.sleep(0.01)
            left -= 1
            if not left:
                done.set()

        return handler

    for _ in range(10):
        monitor.register_handler("low_fuel", new_handler())
    await monitor.start_monitoring()
    event = event_class("low_fuel", "user-123")
    times = []
    for _ in range(30):
        left = 10
        done.clear()
        began = time.perf_counter()
        await monitor.queue_event(event)
        await done.wait()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)
    await monitor.stop_monitoring()
    return median(times) * 1e3


async def breaker(contestant: str) -> float:
    """Milliseconds for 1,000 events through a circuit breaker, statistics off where they can be."""
    return await _run(contestant, 1000, statistics=False) * 1e3


async def without_breaker(contestant: str) -> float:
    """The same without it."""
    return await _run(contestant, 1000, breaker=False, statistics=False) * 1e3


async def statistics(contestant: str) -> float:
    """Milliseconds for 500 events with statistics, without a breaker."""
    return await _run(contestant, 500, breaker=False) * 1e3


async def without_statistics(contestant: str) -> float:
    """The same without them."""
    return await _run(contestant, 500, breaker=False, statistics=False) * 1e3


@dataclass(frozen=True)
class Headline:
    """One figure: what is measured, in which unit, what was published for the monitor this replaces, and the goal."""

    name: str
    title: str
    unit: str
    published: str
    goal: float | None
    """How many times less than the straightforward implementation it is to be; None for what explains another one."""
    without: str | None = None
    """The same without the feature: the difference is the added cost."""


HEADLINES = (
    Headline("throughput", "one event, queued and handled", "us", "96,481 events/s", 25),
    Headline("queueing", "1,000 events queued, which fills the queue", "ms", "32.3 ms", 15),
    Headline("queueing_with_room", "1,000 events queued, which doesn't", "ms", "", None),
    Headline("memory", "5,000 events wait", "KB", "42.4 KB", 1),
    Headline("handlers", "10 async handlers of one event, 10 ms each", "ms", "11.5 ms", 1),
    Headline("breaker", "1,000 events with a circuit breaker", "ms", "10.2 ms", 25, "without_breaker"),
    Headline("statistics", "500 events with statistics", "ms", "5.4 ms", 25, "without_statistics"),
)
