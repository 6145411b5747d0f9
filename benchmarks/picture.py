"""The benchmarks' picture: bars of telestage over naive, with the goals as marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.kernel.workloads import Workload
from benchmarks.report import Figures, ratios

__all__ = ["plot"]


def plot(workloads: Sequence[Workload], figures: Figures, path: Path) -> None:
    """Draws the workloads that have a goal over the naive baseline, and were measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [(work, ratios(figures, work.name, "naive")) for work in workloads if "naive" in work.goals]
    shown = [(work, values) for work, values in found if values]
    if not shown:
        return
    middles = [median(values) for _, values in shown]
    spread = [
        [middle - min(values) for middle, (_, values) in zip(middles, shown, strict=True)],
        [max(values) - middle for middle, (_, values) in zip(middles, shown, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(shown) + 1.2))
    places = range(len(shown))
    axes.barh(places, middles, xerr=spread, color="#2a6f97", ecolor="#8ab6d6", height=0.6, label="telestage")
    axes.plot(
        [work.goals["naive"] for work, _ in shown],
        places,
        "|",
        color="#c1121f",
        markersize=18,
        markeredgewidth=2,
        label="goal",
    )
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(places, [work.title for work, _ in shown])
    axes.invert_yaxis()
    axes.set_xlabel("times the naive baseline")
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
