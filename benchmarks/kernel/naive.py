"""What a person writes by hand: an `asyncio.Queue` and a Task for each actor.

`textbook` runs the same with another queue, which is what the parameter `queue` is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from benchmarks.kernel.messages import Count, Get, Hop, Suspend
from benchmarks.kernel.timing import Longest, resident_bytes, stopwatch

Queue = Callable[[], Any]


class Actor:
    """Reads its queue in a Task of its own; an ask carries a future."""

    def __init__(self, queue: Any = None) -> None:
        self.queue: Any = asyncio.Queue() if queue is None else queue
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            message, reply = await self.queue.get()
            try:
                result = await self.receive(message)
            except Exception as error:
                if reply is not None and not reply.done():
                    reply.set_exception(error)
            else:
                if reply is not None and not reply.done():
                    reply.set_result(result)

    async def receive(self, message: Any) -> Any:
        raise NotImplementedError(message)

    def tell(self, message: Any) -> None:
        self.queue.put_nowait((message, None))

    async def ask(self, message: Any) -> Any:
        reply = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((message, reply))
        return await reply

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Counter(Actor):
    def __init__(self, queue: Any = None) -> None:
        super().__init__(queue)
        self.count = 0

    async def receive(self, message: Any) -> Any:
        if isinstance(message, Count):
            self.count += 1
        elif isinstance(message, Get):
            return self.count
        elif isinstance(message, Suspend):
            await asyncio.sleep(0)
            self.count += 1
        return None


class Link(Actor):
    next: Link
    done: asyncio.Event

    async def receive(self, message: Hop) -> None:
        if message.left:
            self.next.tell(Hop(message.left - 1))
        else:
            self.done.set()


class Source(Actor):
    sink: Actor
    times: int

    async def receive(self, message: Any) -> None:
        if isinstance(message, Count):
            tell = self.sink.tell
            for _ in range(self.times):
                tell(message)


class Asking(Actor):
    next: Asking | None = None

    async def receive(self, message: Get) -> Any:
        return 1 if self.next is None else await self.next.ask(message)


class Idle(Actor):
    async def receive(self, message: Any) -> None:
        pass


async def stop_all(actors: list[Any]) -> None:
    for actor in actors:
        actor.task.cancel()
    await asyncio.gather(*(actor.task for actor in actors), return_exceptions=True)


async def tell(size: int, queue: Queue = asyncio.Queue) -> float:
    counter = Counter(queue())
    message = Count()
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell(message)
        assert await counter.ask(Get()) == size
    await stop_all([counter])
    return watch.rate(size)


async def send(size: int, queue: Queue = lambda: asyncio.Queue(100)) -> float:
    """With back-pressure: the producer waits for room in a bounded queue."""
    counter = Counter(queue())
    message = Count()
    put = counter.queue.put
    with stopwatch() as watch:
        for _ in range(size):
            await put((message, None))
        assert await _asked(counter) == size
    await stop_all([counter])
    return watch.rate(size)


async def _asked(counter: Counter) -> Any:
    reply = asyncio.get_running_loop().create_future()
    await counter.queue.put((Get(), reply))
    return await reply


async def ask(size: int, queue: Queue = asyncio.Queue) -> float:
    counter = Counter(queue())
    message = Get()
    with stopwatch() as watch:
        for _ in range(size):
            await counter.ask(message)
    await stop_all([counter])
    return watch.rate(size)


async def ask_many(size: int, queue: Queue = asyncio.Queue) -> float:
    counter = Counter(queue())
    message = Get()

    async def asker() -> None:
        for _ in range(size // 100):
            await counter.ask(message)

    with stopwatch() as watch:
        await asyncio.gather(*(asker() for _ in range(100)))
    await stop_all([counter])
    return watch.rate(size)


async def ask_deadline(size: int, queue: Queue = asyncio.Queue) -> float:
    """`ask_many` with what each ask of Telestage has: a deadline of its own."""
    counter = Counter(queue())
    message = Get()

    async def asker() -> None:
        for _ in range(size // 100):
            async with asyncio.timeout(30.0):
                await counter.ask(message)

    with stopwatch() as watch:
        await asyncio.gather(*(asker() for _ in range(100)))
    await stop_all([counter])
    return watch.rate(size)


async def chain(size: int, queue: Queue = asyncio.Queue) -> float:
    """Asks through a chain of 1,000, each of which asks the next and hands its answer back."""
    links = [Asking(queue()) for _ in range(1000)]
    for link, following in pairwise(links):
        link.next = following
    message = Get()
    with stopwatch() as watch:
        for _ in range(size // 1000):
            assert await links[0].ask(message) == 1
    await stop_all(links)
    return watch.rate(size // 1000 * 1000)


async def ring(size: int, queue: Queue = asyncio.Queue) -> float:
    done = asyncio.Event()
    links = [Link(queue()) for _ in range(1000)]
    for link, following in zip(links, links[1:] + links[:1], strict=True):
        link.next = following
        link.done = done
    with stopwatch() as watch:
        links[0].tell(Hop(size))
        await done.wait()
    await stop_all(links)
    return watch.rate(size)


async def fan_out(size: int, queue: Queue = asyncio.Queue) -> float:
    counters = [Counter(queue()) for _ in range(1000)]
    message = Count()
    with stopwatch() as watch:
        for _ in range(size // 1000):
            for counter in counters:
                counter.tell(message)
        for counter in counters:
            assert await counter.ask(Get()) == size // 1000
    await stop_all(counters)
    return watch.rate(size)


async def fan_in(size: int, queue: Queue = asyncio.Queue) -> float:
    sink = Counter(queue())
    sources = [Source(queue()) for _ in range(1000)]
    message = Count()
    for source in sources:
        source.sink = sink
        source.times = size // 1000
    with stopwatch() as watch:
        for source in sources:
            source.tell(message)
        await sources[-1].ask(Get())
        assert await sink.ask(Get()) == size
    await stop_all([sink, *sources])
    return watch.rate(size)


class _ByPriority(asyncio.PriorityQueue[Any]):
    """Pairs of priority and message, first-in-first-out among equals."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def put_nowait(self, item: Any) -> None:
        (priority, message), reply = item
        self._number += 1
        super().put_nowait((-priority, self._number, message, reply))

    async def get(self) -> Any:
        _, _, message, reply = await super().get()
        return message, reply


async def priorities(size: int) -> float:
    counter = Counter(_ByPriority())
    message = Count()
    with stopwatch() as watch:
        for number in range(size):
            counter.tell((number & 3, message))
        while counter.count < size:
            await asyncio.sleep(0)
    await stop_all([counter])
    return watch.rate(size)


async def spawn(size: int, queue: Queue = asyncio.Queue) -> float:
    with stopwatch() as watch:
        for start in range(0, size, 1000):
            actors = [Idle(queue()) for _ in range(min(1000, size - start))]
            await asyncio.sleep(0)  # a Task that never ran ends without having been an actor
            await stop_all(actors)
    return watch.rate(size)


async def suspending_busy(size: int, queue: Queue = asyncio.Queue) -> float:
    counter = Counter(queue())
    message = Suspend()
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell(message)
        assert await counter.ask(Get()) == size
    await stop_all([counter])
    return watch.rate(size)


async def suspending_idle(size: int, queue: Queue = asyncio.Queue) -> float:
    rounds = size // 1000
    counters = [Counter(queue()) for _ in range(1000)]
    message = Suspend()
    with stopwatch() as watch:
        for _ in range(rounds):
            for counter in counters:
                counter.tell(message)
            await asyncio.sleep(0)
        for counter in counters:
            assert await counter.ask(Get()) == rounds
    await stop_all(counters)
    return watch.rate(size)


async def memory(size: int, queue: Queue = asyncio.Queue) -> float:
    before = resident_bytes()
    actors = [Idle(queue()) for _ in range(size)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    grown = resident_bytes() - before
    await stop_all(actors)
    return grown / size


async def stall(size: int, queue: Queue = asyncio.Queue) -> float:
    counter = Counter(queue())
    message = Count()
    for _ in range(size):
        counter.tell(message)
    longest = await Longest(lambda: counter.count == size).milliseconds()
    await stop_all([counter])
    return longest
