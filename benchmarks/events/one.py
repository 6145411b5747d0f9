"""One measurement, in this process: `python -m benchmarks.events.one CONTESTANT WORKLOAD` prints it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from benchmarks.events import workloads

__all__ = ["main"]


def main(contestant: str, workload: str) -> None:
    """Runs one workload of one contestant."""
    logging.basicConfig(filename=os.devnull, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    print(asyncio.run(getattr(workloads, workload)(contestant)))


if __name__ == "__main__":
    main(*sys.argv[1:])
