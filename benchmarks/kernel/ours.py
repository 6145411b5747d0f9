"""Telestage, with every feature on: supervision, statistics, bounds where the workload has one."""

from __future__ import annotations

import asyncio

from benchmarks.kernel.messages import Count, Get, Hop, Suspend
from benchmarks.kernel.timing import Longest, resident_bytes, stopwatch
from telestage.actors import Actor, ActorSystem, Ref, handles


class Counter(Actor):
    def __init__(self) -> None:
        self.count = 0

    @handles(Count)
    async def on_count(self, message: Count) -> None:
        self.count += 1

    @handles(Suspend)
    async def on_suspend(self, message: Suspend) -> None:
        await asyncio.sleep(0)
        self.count += 1

    @handles(Get)
    async def on_get(self, message: Get) -> int:
        return self.count


class Link(Actor):
    def __init__(self, done: asyncio.Event) -> None:
        self.next: Ref | None = None
        self.done = done

    @handles(Ref)
    def on_next(self, ref: Ref) -> None:
        self.next = ref

    @handles(Hop)
    async def on_hop(self, hop: Hop) -> None:
        if hop.left and self.next is not None:
            self.next.tell(Hop(hop.left - 1))
        else:
            self.done.set()


class Asking(Actor):
    def __init__(self, following: Ref | None) -> None:
        self.next = following

    @handles(Get)
    async def on_get(self, message: Get) -> object:
        return 1 if self.next is None else await self.next.ask(message)


class Idle(Actor):
    pass


async def _counted(counter: Ref, size: int) -> None:
    """Waits until all that was told has been handled."""
    assert await counter.ask(Get(), timeout=600.0) == size


async def tell(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Count()
        with stopwatch() as watch:
            for _ in range(size):
                counter.tell(message)
            await _counted(counter, size)
        return watch.rate(size)


async def send(size: int) -> float:
    """With back-pressure: the producer waits for room in a bounded mailbox."""
    async with ActorSystem() as system:
        counter = system.spawn(Counter, capacity=100)
        message = Count()
        send = counter.send
        with stopwatch() as watch:
            for _ in range(size):
                await send(message)
            while counter.waiting:  # an ask of a full mailbox would be refused
                await asyncio.sleep(0)
            await _counted(counter, size)
        return watch.rate(size)


async def ask(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Get()
        with stopwatch() as watch:
            for _ in range(size):
                await counter.ask(message)
        return watch.rate(size)


async def ask_many(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Get()

        async def asker() -> None:
            for _ in range(size // 100):
                await counter.ask(message)

        with stopwatch() as watch:
            await asyncio.gather(*(asker() for _ in range(100)))
        return watch.rate(size)


ask_deadline = ask_many
"""Every ask has one."""


async def chain(size: int) -> float:
    """Asks through a chain of 1,000, each of which asks the next and hands its answer back."""
    async with ActorSystem() as system:
        first: Ref | None = None
        for _ in range(1000):
            first = system.spawn(Asking, first)
        assert first is not None
        message = Get()
        with stopwatch() as watch:
            for _ in range(size // 1000):
                assert await first.ask(message) == 1
        return watch.rate(size // 1000 * 1000)


async def ring(size: int) -> float:
    async with ActorSystem() as system:
        done = asyncio.Event()
        links = [system.spawn(Link, done) for _ in range(1000)]
        for link, following in zip(links, links[1:] + links[:1], strict=True):
            link.tell(following)
        with stopwatch() as watch:
            links[0].tell(Hop(size))
            await done.wait()
        return watch.rate(size)


async def fan_out(size: int) -> float:
    async with ActorSystem() as system:
        counters = [system.spawn(Counter) for _ in range(1000)]
        message = Count()
        with stopwatch() as watch:
            for _ in range(size // 1000):
                for counter in counters:
                    counter.tell(message)
            for counter in counters:
                await _counted(counter, size // 1000)
        return watch.rate(size)


class Source(Actor):
    def __init__(self, sink: Ref, times: int) -> None:
        self.sink = sink
        self.times = times

    @handles(Count)
    async def on_count(self, message: Count) -> None:
        tell = self.sink.tell
        for _ in range(self.times):
            tell(message)

    @handles(Get)
    def on_get(self, message: Get) -> None:
        """Answers once it has told all."""


async def fan_in(size: int) -> float:
    async with ActorSystem() as system:
        sink = system.spawn(Counter)
        sources = [system.spawn(Source, sink, size // 1000) for _ in range(1000)]
        message = Count()
        with stopwatch() as watch:
            for source in sources:
                source.tell(message)
            await sources[-1].ask(Get())
            await _counted(sink, size)
        return watch.rate(size)


async def priorities(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Count()
        with stopwatch() as watch:
            for number in range(size):
                counter.tell(message, priority=number & 3)
            await _emptied(counter)
        return watch.rate(size)


async def _emptied(counter: Ref) -> None:
    while counter.waiting:
        await asyncio.sleep(0)


async def spawn(size: int) -> float:
    async with ActorSystem() as system:
        with stopwatch() as watch:
            for start in range(0, size, 1000):
                refs = [system.spawn(Idle) for _ in range(min(1000, size - start))]
                for ref in refs:
                    ref.stop()
                for ref in refs:
                    await ref.stopped(10.0)
        return watch.rate(size)


async def suspending_busy(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Suspend()
        with stopwatch() as watch:
            for _ in range(size):
                counter.tell(message)
            await _counted(counter, size)
        return watch.rate(size)


async def suspending_idle(size: int) -> float:
    async with ActorSystem() as system:
        message = Suspend()
        rounds = size // 1000
        counters = [system.spawn(Counter) for _ in range(1000)]
        with stopwatch() as watch:
            for _ in range(rounds):
                for counter in counters:
                    counter.tell(message)
                await asyncio.sleep(0)
            for counter in counters:
                await _counted(counter, rounds)
        return watch.rate(size)


async def memory(size: int) -> float:
    async with ActorSystem() as system:
        before = resident_bytes()
        refs = [system.spawn(Idle) for _ in range(size)]
        grown = resident_bytes() - before
        assert len(refs) == size
        return grown / size


async def stall(size: int) -> float:
    async with ActorSystem() as system:
        counter = system.spawn(Counter)
        message = Count()
        for _ in range(size):
            counter.tell(message)
        return await Longest(lambda: not counter.waiting).milliseconds()
