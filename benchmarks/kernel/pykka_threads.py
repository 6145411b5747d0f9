"""Pykka: a thread for each actor."""

from __future__ import annotations

import threading
from typing import Any

import pykka

from benchmarks.kernel.messages import Count, Get, Hop
from benchmarks.kernel.timing import stopwatch


class Counter(pykka.ThreadingActor):
    def __init__(self, target: int = 0, done: threading.Event | None = None) -> None:
        super().__init__()
        self.count = 0
        self.target = target
        self.done = done

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Get):
            return self.count
        self.count += 1
        if self.count == self.target and self.done is not None:
            self.done.set()
        return None


class Link(pykka.ThreadingActor):
    next: Any
    done: threading.Event

    def on_receive(self, message: Any) -> None:
        if not isinstance(message, Hop):
            self.next, self.done = message
        elif message.left:
            self.next.tell(Hop(message.left - 1))
        else:
            self.done.set()


async def tell(size: int) -> float:
    done = threading.Event()
    counter = Counter.start(size, done)
    message = Count()
    try:
        with stopwatch() as watch:
            for _ in range(size):
                counter.tell(message)
            done.wait()
        return watch.rate(size)
    finally:
        pykka.ActorRegistry.stop_all()


async def ask(size: int) -> float:
    counter = Counter.start()
    message = Get()
    try:
        with stopwatch() as watch:
            for _ in range(size):
                counter.ask(message)
        return watch.rate(size)
    finally:
        pykka.ActorRegistry.stop_all()


async def ring(size: int) -> float:
    done = threading.Event()
    links = [Link.start() for _ in range(1000)]
    try:
        for link, following in zip(links, links[1:] + links[:1], strict=True):
            link.tell((following, done))
        with stopwatch() as watch:
            links[0].tell(Hop(size))
            done.wait()
        return watch.rate(size)
    finally:
        pykka.ActorRegistry.stop_all()


async def spawn(size: int) -> float:
    with stopwatch() as watch:
        for start in range(0, size, 1000):
            refs = [Counter.start() for _ in range(min(1000, size - start))]
            for ref in refs:
                ref.stop()
    return watch.rate(size)
