"""What it costs an ask that no circle of waiting actors can come to be, and asks through chains.

`python -m benchmarks.kernel.chains ROUNDS` prints, as JSON, in CPU time:

- `inside`, `outside`: ns an ask of an idle actor, made by an actor and by nobody; the difference is the price of the
  wait-for graph (an edge put in, looked at and taken out). Asked in turns, in one process.
- `check`: us that the check of one ask takes if its target waits at the head of a chain of so many waiting actors.
- `hop`: us a hop of an ask through a chain of so many idle actors, there and back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import process_time_ns

from benchmarks.kernel.messages import Count, Get
from telestage.actors import Actor, ActorSystem, Ref, handles
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.waits import allow

__all__ = ["LENGTHS", "main"]

LENGTHS = (1, 10, 100, 1000)

_ASKS = 20_000


class Target(Actor):
    @handles(Get)
    async def on_get(self, message: Get) -> int:
        return 1


class Asker(Actor):
    def __init__(self, target: Ref) -> None:
        self.target = target

    @handles(Count)
    async def on_count(self, message: Count) -> float:
        return await ask(self.target)


class Link(Actor):
    """Asks the next one; the last waits for the gate."""

    def __init__(self, following: Ref | None, gate: asyncio.Event) -> None:
        self.next = following
        self.gate = gate

    @handles(Get)
    async def on_get(self, message: Get) -> object:
        if self.next is not None:
            return await self.next.ask(message)
        await self.gate.wait()
        return 1


async def ask(target: Ref) -> float:
    """ns an ask. The very same code runs in an actor and outside of one."""
    message = Get()
    began = process_time_ns()
    for _ in range(_ASKS):
        await target.ask(message)
    return (process_time_ns() - began) / _ASKS


async def _inside_and_outside(rounds: int) -> tuple[list[float], list[float]]:
    inside: list[float] = []
    outside: list[float] = []
    async with ActorSystem() as system:
        target = system.spawn(Target)
        asker = system.spawn(Asker, target)
        for number in range(rounds + 1):
            by_actor = await asker.ask(Count(), expecting=float, timeout=600.0)
            by_nobody = await ask(target)
            if number:  # the first is for warming up
                inside.append(by_actor)
                outside.append(by_nobody)
    return inside, outside


async def _checks_and_hops(length: int, rounds: int) -> tuple[list[float], list[float]]:
    checks: list[float] = []
    hops: list[float] = []
    async with ActorSystem() as system:
        gate = asyncio.Event()
        first: Ref | None = None
        for _ in range(length):
            first = system.spawn(Link, first, gate)
        stranger = system.spawn(Target)
        assert isinstance(first, Cell)
        assert isinstance(stranger, Cell)
        times = max(1, 2000 // length)
        for number in range(rounds + 1):
            gate.clear()
            waiting = asyncio.create_task(first.ask(Get(), timeout=600.0))
            while system.tasks.count(type="queue_processor") < length:
                await asyncio.sleep(0)
            began = process_time_ns()
            for _ in range(times):
                allow(stranger, first)
            check = (process_time_ns() - began) / times / 1e3
            gate.set()
            await waiting
            began = process_time_ns()
            for _ in range(times):
                await first.ask(Get(), timeout=600.0)
            hop = (process_time_ns() - began) / times / length / 1e3
            if number:
                checks.append(check)
                hops.append(hop)
    return checks, hops


async def _all(rounds: int) -> dict[str, object]:
    inside, outside = await _inside_and_outside(rounds)
    by_length = {length: await _checks_and_hops(length, rounds) for length in LENGTHS}
    return {
        "inside": inside,
        "outside": outside,
        "check": {length: checks for length, (checks, _) in by_length.items()},
        "hop": {length: hops for length, (_, hops) in by_length.items()},
    }


def main(rounds: str) -> None:
    """Prints the measurements."""
    print(json.dumps(asyncio.run(_all(int(rounds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
