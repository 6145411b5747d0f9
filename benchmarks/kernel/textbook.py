"""The textbook form: a bounded `asyncio.PriorityQueue` read with `wait_for`, so that the loop can look at a flag."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.kernel import naive
from benchmarks.kernel.timing import stopwatch


class Queue(asyncio.PriorityQueue[Any]):
    """Takes plain pairs as priority 0 and reads with a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def put_nowait(self, item: Any) -> None:
        self._number += 1
        super().put_nowait((0, self._number, item))

    async def get(self) -> Any:
        while True:
            try:
                return (await asyncio.wait_for(super().get(), 1.0))[2]
            except TimeoutError:
                continue


async def tell(size: int) -> float:
    counter = naive.Counter(Queue())
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell("count")
        assert await counter.ask("get") == size
    await naive.stop_all([counter])
    return watch.rate(size)


async def ask(size: int) -> float:
    counter = naive.Counter(Queue())
    with stopwatch() as watch:
        for _ in range(size):
            await counter.ask("get")
    await naive.stop_all([counter])
    return watch.rate(size)


async def ask_many(size: int) -> float:
    counter = naive.Counter(Queue())

    async def asker() -> None:
        for _ in range(size // 100):
            await counter.ask("get")

    with stopwatch() as watch:
        await asyncio.gather(*(asker() for _ in range(100)))
    await naive.stop_all([counter])
    return watch.rate(size)
