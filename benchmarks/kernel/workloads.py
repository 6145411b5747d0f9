"""The workloads: what each measures, in which unit, and how large it is.

Sizes are such that a measurement takes about a second for the quickest and not minutes for the slowest;
`slow` divides them for contestants known to be a hundred times slower.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True)
class Workload:
    """One thing to measure."""

    name: str
    title: str
    unit: str
    size: int
    more_is_better: bool = True
    goal: float | None = None
    """What `telestage` is to reach, times the naive baseline."""


WORKLOADS = (
    Workload("tell", "tell 1 to 1", "messages/s", 1_000_000, goal=3.3),
    Workload("ask", "ask, one after another", "asks/s", 100_000, goal=5.0),
    Workload("ask_many", "ask, 100 at once", "asks/s", 100_000, goal=2.0),
    Workload("ring", "ring of 1,000", "hops/s", 300_000, goal=6.0),
    Workload("fan_out", "fan-out, 1 to 1,000", "messages/s", 500_000, goal=3.5),
    Workload("fan_in", "fan-in, 1,000 to 1", "messages/s", 500_000, goal=3.5),
    Workload("priorities", "tell with 4 priorities", "messages/s", 500_000, goal=2.5),
    Workload("spawn", "spawn and stop", "actors/s", 50_000, goal=15.0),
    Workload("suspending_busy", "handlers that suspend, one busy actor", "messages/s", 100_000, goal=1.0),
    Workload("suspending_idle", "handlers that suspend, 1,000 idle actors", "messages/s", 100_000, goal=1.0),
    Workload("memory", "bytes per idle actor", "bytes", 100_000, more_is_better=False),
    Workload("stall", "longest loop stall, 200,000 waiting", "ms", 200_000, more_is_better=False),
)
