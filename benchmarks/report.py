"""The benchmarks' page and picture, from their figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.kernel.workloads import Workload

__all__ = ["Figures", "markdown", "plot"]

Figures = dict[str, dict[str, list[float]]]
"""Measurements by workload and contestant."""

_HEAD = """\
# Benchmarks

The actor kernel, every feature on, beside what a person writes by hand (*naive*: an `asyncio.Queue` and a Task an
actor), the textbook form (a `PriorityQueue` read with `wait_for`), and other actor libraries. Each figure is the median
of {rounds} measurements in processes of their own, the contestants taking turns; the spread is (maximum - minimum) /
median. Python {python} on {system}, {cores} cores, {loop}; {seconds} s in all. Made by

    {command}

![ratios to naive](benchmarks.png)

Look at the ratios: the machine is shared, and another one is quicker or slower as a whole. Where a goal is not met, it
is still to be met.
"""


def markdown(facts: Mapping[str, object], workloads: Sequence[Workload], figures: Figures) -> str:
    """The page: one table of medians, one of ratios to the naive baseline with the goals."""
    contestants = list(dict.fromkeys(name for row in figures.values() for name in row))
    lines = [
        _HEAD.format(**facts),
        "## Medians",
        "",
        _row(["", "unit", *contestants]),
        _row(["---"] * (len(contestants) + 2)),
    ]
    for workload in workloads:
        row = figures[workload.name]
        cells = [_number(row[name]) if name in row else "" for name in contestants]
        lines.append(_row([workload.title, workload.unit, *cells]))
    lines += ["", "## telestage over naive", "", _row(["", "ratio", "spread", "goal"]), _row(["---"] * 4)]
    for workload in workloads:
        row = figures[workload.name]
        ours, naive = row.get("telestage"), row.get("naive")
        if ours and naive:
            ratio = statistics.median(ours) / statistics.median(naive)
            goal = "" if workload.goal is None else f"{workload.goal:g}"
            met = "" if workload.goal is None else (" met" if ratio >= workload.goal else " **not met**")
            lines.append(_row([workload.title, f"{ratio:.2f}", f"{_spread(ours):.0%}", f"{goal}{met}"]))
    return "\n".join(lines) + "\n"


def plot(workloads: Sequence[Workload], figures: Figures, path: Path) -> None:
    """Bars of telestage over naive, with the goals as marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [work for work in workloads if work.goal is not None and {"telestage", "naive"} <= set(figures[work.name])]
    ratios = [
        statistics.median(figures[work.name]["telestage"]) / statistics.median(figures[work.name]["naive"])
        for work in shown
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(shown) + 1.2))
    places = range(len(shown))
    axes.barh(places, ratios, color="#2a6f97", height=0.6, label="telestage")
    axes.plot(
        [work.goal for work in shown], places, "|", color="#c1121f", markersize=18, markeredgewidth=2, label="goal"
    )
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(places, [work.title for work in shown])
    axes.invert_yaxis()
    axes.set_xlabel("times the naive baseline")
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(values: Sequence[float]) -> str:
    median = statistics.median(values)
    if median >= 1e6:
        return f"{median / 1e6:.2f} M"
    if median >= 1e4:
        return f"{median / 1e3:.0f} k"
    return f"{median:,.1f}" if median < 100 else f"{median:,.0f}"


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)
