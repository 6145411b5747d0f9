"""Very many sessions in one process: `python -m benchmarks.telegram.scale CONTESTANT MODE COUNT SCALE [LOOP]`.

`whole` prints what they take: to start, of memory, of CPU time while nothing happens, and how long an urgent message
takes while every session sends. `traced` prints what Python allocated for each, which is exact where the resident set
isn't, but slow; sizes of what isn't Python's (sockets) are missing there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
import tracemalloc
from statistics import quantiles

from benchmarks.kernel.timing import resident_bytes
from benchmarks.telegram.contestants import CONTESTANTS, Contestant
from telestage.testing import LoopbackProcess

__all__ = ["main", "traced", "whole"]

_SINK = "sink"
_PERMITS = 50  # the default of a fleet
_IDLE = 60.0  # seconds, from a quarter of the full scale on: Telethon pings once a minute
_BUSY = 20.0
_URGENT = 10  # urgent messages under way at once
_SETTLE = 3.0  # seconds after all have connected, for what that leaves to do: a burst's workers are let go in there


async def whole(contestant: str, count: int, scale: float) -> dict[str, float]:
    """Seconds, bytes each, CPU seconds a minute, milliseconds."""
    async with LoopbackProcess() as telegram:
        users = await telegram.add_users([_SINK, *(f"user{number}" for number in range(count))])
        sessions = [user.session for user in users[1:]]
        gc.collect()
        before = resident_bytes()
        wall, cpu = time.perf_counter(), time.process_time()
        fleet = CONTESTANTS[contestant](sessions, _PERMITS)
        await fleet.start()
        found = {
            "count": float(count),
            "start_seconds": time.perf_counter() - wall,
            "start_cpu": time.process_time() - cpu,
        }
        await asyncio.sleep(_SETTLE)
        gc.collect()
        found["bytes_each"] = (resident_bytes() - before) / count
        idle = max(1.0, min(_IDLE, 4 * _IDLE * scale))
        cpu = time.process_time()
        await asyncio.sleep(idle)
        found["idle_cpu"] = (time.process_time() - cpu) / idle * 60.0
        found |= await _busy(fleet, count, max(1.0, _BUSY * scale))
        gc.collect()
        found["bytes_each_after"] = (resident_bytes() - before) / count
        wall = time.perf_counter()
        await fleet.stop()
        found["stop_seconds"] = time.perf_counter() - wall
    return found


async def _busy(fleet: Contestant, count: int, seconds: float) -> dict[str, float]:
    end = time.perf_counter() + seconds
    ordinary: list[float] = []
    urgent: list[float] = []

    async def send(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await fleet.send(number, _SINK, "ordinary")
            ordinary.append(time.perf_counter() - began)

    async def hurry(first: int) -> None:
        number = first
        await asyncio.sleep(seconds / 5)  # all are busy by then
        while (began := time.perf_counter()) < end:
            await fleet.urgent(number % count, _SINK, "urgent")
            urgent.append(time.perf_counter() - began)
            number += 97

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(
        *(send(number) for number in range(count)), *(hurry(number * count // _URGENT) for number in range(_URGENT))
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    done = len(ordinary) + len(urgent)
    return {
        "urgent_count": float(len(urgent)),
        "urgent_p50": _percentile(urgent, 50),
        "urgent_p99": _percentile(urgent, 99),
        "ordinary_p50": _percentile(ordinary, 50),
        "ordinary_p99": _percentile(ordinary, 99),
        "a_second": done / wall,
        "busy_cpu": cpu / done * 1e6,
    }


async def traced(contestant: str, count: int) -> dict[str, float]:
    """Bytes of Python's objects a session: connected, and after it has sent a message."""
    async with LoopbackProcess() as telegram:
        users = await telegram.add_users([_SINK, *(f"user{number}" for number in range(count + 1))])
        first = CONTESTANTS[contestant]([users[1].session])  # what is there but once isn't counted
        await first.start()
        await first.send(0, _SINK, "hello")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        fleet = CONTESTANTS[contestant]([user.session for user in users[2:]], _PERMITS)
        await fleet.start()
        await asyncio.sleep(_SETTLE)
        gc.collect()
        connected = tracemalloc.get_traced_memory()[0] - before
        await asyncio.gather(*(fleet.send(number, _SINK, "hello") for number in range(count)))
        await asyncio.sleep(_SETTLE)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await fleet.stop()
        await first.stop()
    return {"count": float(count), "bytes_each": connected / count, "bytes_each_after": after / count}


def _percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds."""
    return quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1e3 if len(seconds) > 1 else seconds[0] * 1e3


def main(contestant: str, mode: str, count: str, scale: str, loop: str = "asyncio") -> None:
    """Prints the measurements."""
    logging.basicConfig(filename=os.devnull, level=logging.WARNING)
    measuring = whole(contestant, int(count), float(scale)) if mode == "whole" else traced(contestant, int(count))
    if loop == "uvloop":
        import uvloop

        print(json.dumps(uvloop.run(measuring)))
    else:
        print(json.dumps(asyncio.run(measuring)))


if __name__ == "__main__":
    main(*sys.argv[1:])
