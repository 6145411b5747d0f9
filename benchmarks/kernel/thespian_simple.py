"""Thespian's in-process base: everything runs in the caller's thread, as it is told."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor, ActorExitRequest, ActorSystem

from benchmarks.kernel.messages import Count, Get
from benchmarks.kernel.timing import resident_bytes, stopwatch


class Counter(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        if isinstance(message, Count):
            self.count += 1
        elif isinstance(message, Get):
            self.send(sender, self.count)


async def tell(size: int) -> float:
    system = ActorSystem("simpleSystemBase", transientUnique=True)
    try:
        counter = system.createActor(Counter)
        message = Count()
        with stopwatch() as watch:
            for _ in range(size):
                system.tell(counter, message)
            assert system.ask(counter, Get(), 10) == size
        return watch.rate(size)
    finally:
        system.shutdown()


async def ask(size: int) -> float:
    system = ActorSystem("simpleSystemBase", transientUnique=True)
    try:
        counter = system.createActor(Counter)
        message = Get()
        with stopwatch() as watch:
            for _ in range(size):
                system.ask(counter, message, 10)
        return watch.rate(size)
    finally:
        system.shutdown()


async def fan_out(size: int) -> float:
    system = ActorSystem("simpleSystemBase", transientUnique=True)
    try:
        counters = [system.createActor(Counter) for _ in range(1000)]
        message = Count()
        with stopwatch() as watch:
            for _ in range(size // 1000):
                for counter in counters:
                    system.tell(counter, message)
        return watch.rate(size)
    finally:
        system.shutdown()


async def spawn(size: int) -> float:
    system = ActorSystem("simpleSystemBase", transientUnique=True)
    try:
        with stopwatch() as watch:
            for _ in range(size):
                system.tell(system.createActor(Counter), ActorExitRequest())
        return watch.rate(size)
    finally:
        system.shutdown()


async def memory(size: int) -> float:
    system = ActorSystem("simpleSystemBase", transientUnique=True)
    try:
        before = resident_bytes()
        actors = [system.createActor(Counter) for _ in range(size)]
        grown = resident_bytes() - before
        assert len(actors) == size
        return grown / size
    finally:
        system.shutdown()
