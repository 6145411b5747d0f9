"""One contestant at one workload: `python -m benchmarks.telegram.one CONTESTANT WORKLOAD SIZE [LOOP]`.

Connects, then runs a batch for each line it reads, and prints what an operation of it took: `wall` and `cpu`,
microseconds, the latter of this process alone. The server has a process of its own. It ends with its input. The
runner keeps the contestants' processes side by side and has their batches take turns.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time

from benchmarks.telegram.workloads import WORKLOADS, Batch, connected

__all__ = ["main", "measure"]


async def measure(batch: Batch, size: int) -> dict[str, float]:
    """One batch, in microseconds an operation."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    count = await batch(size)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"wall": wall / count * 1e6, "cpu": cpu / count * 1e6}


async def _serve(contestant: str, workload: str, size: int) -> None:
    chosen = next(known for known in WORKLOADS if known.name == workload)
    async with connected(chosen, contestant) as batch:
        await batch(size)  # nobody's first call is measured, nor the growth of what is kept
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await measure(batch, size)), flush=True)


def main(contestant: str, workload: str, size: str, loop: str = "asyncio") -> None:
    """Serves until the end of the input."""
    logging.basicConfig(filename=os.devnull, level=logging.WARNING)
    serving = _serve(contestant, workload, int(size))
    if loop == "uvloop":
        import uvloop

        uvloop.run(serving)
    else:
        asyncio.run(serving)


if __name__ == "__main__":
    main(*sys.argv[1:])
