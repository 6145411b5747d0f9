"""xoscar, all actors in the main pool of this process and called through local refs: no socket, nothing serialised.

`create_actor` returns a ref that goes over the pool's server even then; `actor_ref` of it returns the local one, which
calls the method in the caller's own task, under the actor's lock. What is timed runs inside an actor of the same pool.
A chain of 1,000 asks isn't measured: it is a stack of as many calls there, and Python's recursion limit ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import xoscar

from benchmarks.kernel.messages import Count, Get, Hop
from benchmarks.kernel.timing import resident_bytes, stopwatch


class Counter(xoscar.Actor):
    def __init__(self) -> None:
        self.count = 0

    async def receive(self, message: Any) -> Any:
        if isinstance(message, Count):
            self.count += 1
        elif isinstance(message, Get):
            return self.count
        return None


class Link(xoscar.Actor):
    next: Any = None

    async def link(self, following: Any) -> None:
        self.next = await xoscar.actor_ref(following)
        self.done = asyncio.Event()

    async def receive(self, message: Hop) -> None:
        if message.left:
            await self.next.receive.tell(Hop(message.left - 1))
        else:
            self.done.set()

    @xoscar.no_lock
    async def wait(self) -> None:
        await self.done.wait()


class Driver(xoscar.Actor):
    """Measures from the inside."""

    async def tell(self, counter: Any, size: int) -> float:
        counter = await xoscar.actor_ref(counter)
        message = Count()
        with stopwatch() as watch:
            tell = counter.receive.tell
            for _ in range(size):
                await tell(message)
            while await counter.receive(Get()) < size:
                await asyncio.sleep(0)
        return watch.rate(size)

    async def ask(self, counter: Any, size: int) -> float:
        counter = await xoscar.actor_ref(counter)
        message = Get()
        with stopwatch() as watch:
            for _ in range(size):
                await counter.receive(message)
        return watch.rate(size)

    async def ask_many(self, counter: Any, size: int) -> float:
        counter = await xoscar.actor_ref(counter)
        message = Get()

        async def asker() -> None:
            for _ in range(size // 100):
                await counter.receive(message)

        with stopwatch() as watch:
            await asyncio.gather(*(asker() for _ in range(100)))
        return watch.rate(size)

    async def ring(self, links: list[Any], size: int) -> float:
        first = await xoscar.actor_ref(links[0])
        last = await xoscar.actor_ref(links[size % len(links)])
        with stopwatch() as watch:
            await first.receive.tell(Hop(size))
            await last.wait()
        return watch.rate(size)

    async def fan_out(self, counters: list[Any], size: int) -> float:
        counters = [await xoscar.actor_ref(counter) for counter in counters]
        message = Count()
        with stopwatch() as watch:
            for _ in range(size // 1000):
                for counter in counters:
                    await counter.receive.tell(message)
            for counter in counters:
                while await counter.receive(Get()) < size // 1000:
                    await asyncio.sleep(0)
        return watch.rate(size)


@asynccontextmanager
async def _pool() -> AsyncIterator[str]:
    pool = await xoscar.create_actor_pool(address="test://127.0.0.1", n_process=0)
    async with pool:
        yield pool.external_address


async def tell(size: int) -> float:
    async with _pool() as address:
        driver = await xoscar.actor_ref(await xoscar.create_actor(Driver, address=address))
        return await driver.tell(await xoscar.create_actor(Counter, address=address), size)


async def ask(size: int) -> float:
    async with _pool() as address:
        driver = await xoscar.actor_ref(await xoscar.create_actor(Driver, address=address))
        return await driver.ask(await xoscar.create_actor(Counter, address=address), size)


async def ask_many(size: int) -> float:
    async with _pool() as address:
        driver = await xoscar.actor_ref(await xoscar.create_actor(Driver, address=address))
        return await driver.ask_many(await xoscar.create_actor(Counter, address=address), size)


async def ring(size: int) -> float:
    async with _pool() as address:
        driver = await xoscar.actor_ref(await xoscar.create_actor(Driver, address=address))
        links = [await xoscar.create_actor(Link, address=address) for _ in range(1000)]
        for link, following in zip(links, links[1:] + links[:1], strict=True):
            await link.link(following)
        return await driver.ring(links, size)


async def fan_out(size: int) -> float:
    async with _pool() as address:
        driver = await xoscar.actor_ref(await xoscar.create_actor(Driver, address=address))
        return await driver.fan_out([await xoscar.create_actor(Counter, address=address) for _ in range(1000)], size)


async def spawn(size: int) -> float:
    async with _pool() as address:
        with stopwatch() as watch:
            for start in range(0, size, 1000):
                refs = [await xoscar.create_actor(Counter, address=address) for _ in range(min(1000, size - start))]
                for ref in refs:
                    await xoscar.destroy_actor(ref)
        return watch.rate(size)


async def memory(size: int) -> float:
    async with _pool() as address:
        before = resident_bytes()
        refs = [await xoscar.create_actor(Counter, address=address) for _ in range(size)]
        grown = resident_bytes() - before
        assert len(refs) == size
        return grown / size
