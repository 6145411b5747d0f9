"""xoscar: actors in its main pool, in this process; an actor of the pool drives, as calls from outside go by a socket."""

from __future__ import annotations

from typing import Any

import xoscar as xo

from benchmarks.kernel.timing import stopwatch


class Counter(xo.Actor):
    def __init__(self) -> None:
        self.count = 0

    async def add(self) -> None:
        self.count += 1

    async def get(self) -> int:
        return self.count


class Driver(xo.Actor):
    async def tell(self, counter: Any, size: int) -> float:
        with stopwatch() as watch:
            for _ in range(size):
                await counter.add.tell()
            assert await counter.get() == size
        return watch.rate(size)

    async def ask(self, counter: Any, size: int) -> float:
        with stopwatch() as watch:
            for _ in range(size):
                await counter.get()
        return watch.rate(size)

    async def spawn(self, address: str, size: int) -> float:
        with stopwatch() as watch:
            for start in range(0, size, 1000):
                refs = [
                    await xo.create_actor(Counter, address=address, uid=f"c{start + n}")
                    for n in range(min(1000, size - start))
                ]
                for ref in refs:
                    await xo.destroy_actor(ref)
        return watch.rate(size)


async def _drive(name: str, size: int) -> float:
    async with await xo.create_actor_pool("127.0.0.1", n_process=0) as pool:
        address = pool.external_address
        driver = await xo.create_actor(Driver, address=address, uid="driver")
        if name == "spawn":
            rate: float = await driver.spawn(address, size)
        else:
            counter = await xo.create_actor(Counter, address=address, uid="counter")
            rate = await getattr(driver, name)(counter, size)
        return rate


async def tell(size: int) -> float:
    return await _drive("tell", size)


async def ask(size: int) -> float:
    return await _drive("ask", size)


async def spawn(size: int) -> float:
    return await _drive("spawn", size)
