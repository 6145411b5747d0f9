"""The textbook form: a bounded `asyncio.PriorityQueue` read with `wait_for`, so that the loop can look at a flag."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.kernel import naive


class Queue(asyncio.PriorityQueue[Any]):
    """Takes plain pairs as priority 0 and reads with a timeout."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
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
    return await naive.tell(size, Queue)


async def send(size: int) -> float:
    return await naive.send(size, lambda: Queue(100))


async def ask(size: int) -> float:
    return await naive.ask(size, Queue)


async def ask_many(size: int) -> float:
    return await naive.ask_many(size, Queue)


async def ring(size: int) -> float:
    return await naive.ring(size, Queue)


async def fan_out(size: int) -> float:
    return await naive.fan_out(size, Queue)


async def fan_in(size: int) -> float:
    return await naive.fan_in(size, Queue)


async def spawn(size: int) -> float:
    return await naive.spawn(size, Queue)


async def memory(size: int) -> float:
    return await naive.memory(size, Queue)


async def stall(size: int) -> float:
    return await naive.stall(size, Queue)
