"""The mechanism alone: what CPython takes for it when every feature is left out.

No bound, no priority, no supervision, no clock, no statistics, no stop, no error, no fairness, no look at who asks
whom: a list or a deque, `await handler(message)`, and for an ask a coroutine of its own that is stepped in a context of
its own. What a kernel in Python takes beyond this is the price of what it promises.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections import deque
from collections.abc import Generator
from typing import Any, cast

from benchmarks.kernel.messages import Count, Get, Hop
from benchmarks.kernel.timing import stopwatch

READY: deque[Any] = deque()


class Counter:
    __slots__ = ("count", "inbox")

    def __init__(self) -> None:
        self.count = 0
        self.inbox: list[object] = []

    def tell(self, message: object) -> None:
        self.inbox.append(message)

    async def on_count(self, message: object) -> None:
        self.count += 1

    async def on_get(self, message: object) -> int:
        return self.count

    async def drain(self) -> None:
        inbox, self.inbox = self.inbox, []
        for message in inbox:
            await self.on_count(message)


class Asked(Counter):
    """Its handler runs in a coroutine of its own, which waits for the next ask when it has answered one."""

    __slots__ = ("answer", "run", "step")

    def __init__(self) -> None:
        super().__init__()
        coroutine = cast("Generator[None, object, None]", self.work())
        next(coroutine)
        self.step = coroutine.send
        self.run = contextvars.copy_context().run
        self.answer = 0

    @types.coroutine
    def work(self) -> Generator[Any, Any, None]:
        while True:
            message = yield
            self.answer = yield from self.on_get(message).__await__()

    async def ask(self, message: object) -> int:
        self.run(self.step, message)
        return self.answer


class Link:
    __slots__ = ("done", "message", "next")

    next: Link
    done: asyncio.Event
    message: Hop

    def tell(self, message: Hop) -> None:
        self.message = message
        READY.append(self)

    async def on_hop(self, hop: Hop) -> None:
        if hop.left:
            self.next.tell(Hop(hop.left - 1))
        else:
            self.done.set()


async def tell(size: int) -> float:
    counter = Counter()
    message = Count()
    with stopwatch() as watch:
        for _ in range(size):
            counter.tell(message)
        await counter.drain()
    return watch.rate(size)


async def ask(size: int) -> float:
    counter = Asked()
    message = Get()
    with stopwatch() as watch:
        for _ in range(size):
            await counter.ask(message)
    return watch.rate(size)


async def ask_many(size: int) -> float:
    counter = Asked()
    message = Get()

    async def asker() -> None:
        for _ in range(size // 100):
            await counter.ask(message)

    with stopwatch() as watch:
        await asyncio.gather(*(asker() for _ in range(100)))
    return watch.rate(size)


async def ring(size: int) -> float:
    done = asyncio.Event()
    links = [Link() for _ in range(1000)]
    for link, following in zip(links, links[1:] + links[:1], strict=True):
        link.next = following
        link.done = done
    with stopwatch() as watch:
        links[0].tell(Hop(size))
        while READY:
            link = READY.popleft()
            await link.on_hop(link.message)
    assert done.is_set()
    return watch.rate(size)


async def fan_out(size: int) -> float:
    counters = [Counter() for _ in range(1000)]
    message = Count()
    with stopwatch() as watch:
        for _ in range(size // 1000):
            for counter in counters:
                counter.tell(message)
        for counter in counters:
            await counter.drain()
    return watch.rate(size)


async def fan_in(size: int) -> float:
    sink = Counter()
    message = Count()

    async def source() -> None:
        tell = sink.tell
        for _ in range(size // 1000):
            tell(message)

    with stopwatch() as watch:
        for _ in range(1000):
            await source()
        await sink.drain()
    return watch.rate(size)
