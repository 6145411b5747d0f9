"""Very many idle actors in one process: `python -m benchmarks.kernel.million COUNT [LOOP]` prints what they take.

Each actor is spawned without options, with its ref kept in a list; then one message is told to each, and when all have
been handled they are stopped, and the end of each is awaited. Memory is the resident set of the process: before the
first actor, with all of them idle, and after each has had its message. The garbage collector is left as it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter

from benchmarks.kernel.messages import Count
from benchmarks.kernel.timing import resident_bytes
from telestage.actors import Actor, ActorSystem, handles

__all__ = ["main"]


class Idle(Actor):
    __slots__ = ()  # as many as these shouldn't each have a dict

    handled = 0

    @handles(Count)
    async def on_count(self, message: Count) -> None:
        Idle.handled += 1


async def _measure(count: int) -> dict[str, float]:
    system = ActorSystem()
    await system.start()
    before = resident_bytes()
    began = perf_counter()
    refs = [system.spawn(Idle) for _ in range(count)]
    spawned = perf_counter()
    idle = resident_bytes()
    message = Count()
    told = perf_counter()
    for ref in refs:
        ref.tell(message)
    while Idle.handled < count:
        await asyncio.sleep(0)
    handled = perf_counter()
    after = resident_bytes()
    stopping = perf_counter()
    for ref in refs:
        ref.stop()
    for ref in refs:
        await ref.stopped(600.0)
    stopped = perf_counter()
    assert not any(ref.alive for ref in refs)
    assert await system.shutdown() == []
    return {
        "count": count,
        "bytes_each": (idle - before) / count,
        "bytes_each_after_a_message": (after - before) / count,
        "resident": idle,
        "spawn_seconds": spawned - began,
        "message_seconds": handled - told,
        "stop_seconds": stopped - stopping,
    }


def main(count: str, loop: str = "asyncio") -> None:
    """Prints the measurements."""
    if loop == "uvloop":
        import uvloop

        print(json.dumps(uvloop.run(_measure(int(count)))))
    else:
        print(json.dumps(asyncio.run(_measure(int(count)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
