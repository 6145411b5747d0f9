"""The workloads: what each measures, in which unit, how large it is, and what is to be reached.

Sizes are such that a measurement takes about a second for the quickest and not minutes for the slowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True)
class Workload:
    """One thing to measure."""

    name: str
    title: str
    unit: str
    size: int
    goals: Mapping[str, float] = field(default_factory=dict)
    """What `telestage` is to reach, times another contestant."""
    at_most: float | None = None
    """What `telestage` is to stay below, in the unit; such a workload is the better the less it measures."""
    less_is_better: bool = False


WORKLOADS = (
    Workload("tell", "tell 1 to 1", "messages/s", 1_000_000, {"naive": 3.3, "textbook": 50}),
    Workload("send", "send with back-pressure, a bound of 100", "messages/s", 500_000, {"naive": 2.3}),
    Workload("ask", "ask, one after another", "asks/s", 100_000, {"naive": 5.0, "xoscar": 2.0}),
    Workload("ask_many", "ask, 100 at once", "asks/s", 100_000, {"naive": 2.0}),
    Workload("ask_deadline", "ask, 100 at once, each with a deadline", "asks/s", 100_000),
    Workload("chain", "ask through a chain of 1,000", "asks/s", 50_000),
    Workload("ring", "ring of 1,000", "hops/s", 300_000, {"naive": 6.0, "Erlang": 0.5}),
    Workload("fan_out", "fan-out, 1 to 1,000", "messages/s", 500_000, {"naive": 3.5}),
    Workload("fan_in", "fan-in, 1,000 to 1", "messages/s", 500_000, {"naive": 3.5}),
    Workload("priorities", "tell with 4 priorities", "messages/s", 500_000, {"naive": 2.5}),
    Workload("spawn", "spawn and stop", "actors/s", 50_000, {"naive": 15.0}),
    Workload("suspending_busy", "handlers that suspend, one busy actor", "messages/s", 100_000, {"naive": 1.0}),
    Workload("suspending_idle", "handlers that suspend, 1,000 idle actors", "messages/s", 100_000, {"naive": 1.0}),
    Workload("memory", "bytes per idle actor", "bytes", 100_000, at_most=300, less_is_better=True),
    Workload("stall", "longest loop stall, 200,000 waiting", "ms", 200_000, at_most=0.5, less_is_better=True),
)
