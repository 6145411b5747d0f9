"""One measurement, in this process: `python -m benchmarks.kernel.one CONTESTANT WORKLOAD SIZE [LOOP]` prints it.

What counts per second is run once on a small scale before, so that nobody's first call is measured; memory and stalls
are not, because what was freed before would hide them.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable

from benchmarks.kernel.workloads import WORKLOADS

__all__ = ["main"]

_WARM_UP = 2000


async def _measure(function: Callable[[int], Awaitable[float]], size: int, warm_up: bool) -> float:
    if warm_up:
        await function(min(size, _WARM_UP))
    return await function(size)


def main(contestant: str, workload: str, size: str, loop: str = "asyncio") -> None:
    """Runs one workload of one contestant."""
    function = getattr(importlib.import_module(f"benchmarks.kernel.{contestant}"), workload)
    warm_up = not any(known.less_is_better for known in WORKLOADS if known.name == workload)
    measured = _measure(function, int(size), warm_up)
    if loop == "uvloop":
        import uvloop

        print(uvloop.run(measured))
    else:
        print(asyncio.run(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
