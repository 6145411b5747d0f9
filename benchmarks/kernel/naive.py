"""What a person writes by hand: an `asyncio.Queue` and a Task for each actor."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.kernel.timing import Longest, resident_bytes, stopwatch


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
        if message == "count":
            self.count += 1
        elif message == "suspend":
            await asyncio.sleep(0)
            self.count += 1
        else:
            return self.count
        return None


class Link(Actor):
    next: Link
    done: asyncio.Event

    async def receive(self, message: int) -> None:
        if message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class Source(Actor):
    sink: Actor
    times: int

    async def receive(self, message: Any) -> None:
        if message == "count":
            tell = self.sink.tell
            for _ in range(self.times):
                tell(message)


class Idle(Actor):
    async def receive(self, message: Any) -> None:
        pass


async def stop_all(actors: list[Any]) -> None:
    for actor in actors:
        actor.task.cancel()
    await asyncio.gather(*(actor.task for actor in actors), return_exceptions=True)


async def tell(size: int) -> float:
    counter = Counter()
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell("count")
        assert await counter.ask("get") == size
    await stop_all([counter])
    return watch.rate(size)


async def ask(size: int) -> float:
    counter = Counter()
    with stopwatch() as watch:
        for _ in range(size):
            await counter.ask("get")
    await stop_all([counter])
    return watch.rate(size)


async def ask_many(size: int) -> float:
    counter = Counter()

    async def asker() -> None:
        for _ in range(size // 100):
            await counter.ask("get")

    with stopwatch() as watch:
        await asyncio.gather(*(asker() for _ in range(100)))
    await stop_all([counter])
    return watch.rate(size)


async def ring(size: int) -> float:
    done = asyncio.Event()
    links = [Link() for _ in range(1000)]
    for link, following in zip(links, links[1:] + links[:1], strict=True):
        link.next = following
        link.done = done
    with stopwatch() as watch:
        links[0].tell(size)
        await done.wait()
    await stop_all(links)
    return watch.rate(size)


async def fan_out(size: int) -> float:
    counters = [Counter() for _ in range(1000)]
    with stopwatch() as watch:
        for _ in range(size // 1000):
            for counter in counters:
                counter.tell("count")
        for counter in counters:
            assert await counter.ask("get") == size // 1000
    await stop_all(counters)
    return watch.rate(size)


async def fan_in(size: int) -> float:
    sink = Counter()
    sources = [Source() for _ in range(1000)]
    for source in sources:
        source.sink = sink
        source.times = size // 1000
    with stopwatch() as watch:
        for source in sources:
            source.tell("count")
        await sources[-1].ask("told?")
        assert await sink.ask("get") == size
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
    with stopwatch() as watch:
        for number in range(size):
            counter.tell((number & 3, "count"))
        while counter.count < size:
            await asyncio.sleep(0)
    await stop_all([counter])
    return watch.rate(size)


async def spawn(size: int) -> float:
    with stopwatch() as watch:
        for start in range(0, size, 1000):
            actors = [Idle() for _ in range(min(1000, size - start))]
            await asyncio.sleep(0)  # a Task that never ran ends without having been an actor
            await stop_all(actors)
    return watch.rate(size)


async def suspending_busy(size: int) -> float:
    counter = Counter()
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell("suspend")
        assert await counter.ask("get") == size
    await stop_all([counter])
    return watch.rate(size)


async def suspending_idle(size: int) -> float:
    rounds = size // 1000
    counters = [Counter() for _ in range(1000)]
    with stopwatch() as watch:
        for _ in range(rounds):
            for counter in counters:
                counter.tell("suspend")
            await asyncio.sleep(0)
        for counter in counters:
            assert await counter.ask("get") == rounds
    await stop_all(counters)
    return watch.rate(size)


async def memory(size: int) -> float:
    before = resident_bytes()
    actors = [Idle() for _ in range(size)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    grown = resident_bytes() - before
    await stop_all(actors)
    return grown / size


async def stall(size: int) -> float:
    counter = Counter()
    for _ in range(size):
        counter.tell("count")
    longest = await Longest(lambda: counter.count == size).milliseconds()
    await stop_all([counter])
    return longest
