"""Clocks and memory, the same for every contestant."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable

__all__ = ["Longest", "resident_bytes", "stopwatch"]


class stopwatch:  # noqa: N801 - reads as a statement: with stopwatch() as watch
    """Measures the block; `rate(n)` is n per second of it."""

    def __enter__(self) -> stopwatch:
        gc.collect()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began

    def rate(self, count: int) -> float:
        return count / self.seconds


def resident_bytes() -> int:
    """The resident set of this process now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


class Longest:
    """The longest time between two turns of the event loop while `until` doesn't hold."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self._until = until

    async def milliseconds(self) -> float:
        longest = 0.0
        last = time.perf_counter()
        while not self._until():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now
        return longest * 1e3
