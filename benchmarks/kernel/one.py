"""One measurement, in this process: `python -m benchmarks.kernel.one CONTESTANT WORKLOAD SIZE [LOOP]` prints it."""

from __future__ import annotations

import asyncio
import importlib
import sys

__all__ = ["main"]


def main(contestant: str, workload: str, size: str, loop: str = "asyncio") -> None:
    """Runs one workload of one contestant."""
    function = getattr(importlib.import_module(f"benchmarks.kernel.{contestant}"), workload)
    if loop == "uvloop":
        import uvloop

        print(uvloop.run(function(int(size))))
    else:
        print(asyncio.run(function(int(size))))


if __name__ == "__main__":
    main(*sys.argv[1:])
