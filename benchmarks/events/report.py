"""The event monitor's section of the benchmarks' page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.events.workloads import HEADLINES, Headline

__all__ = ["EventFigures", "lines", "outcome"]

EventFigures = dict[str, dict[str, list[float]]]
"""Measurements by workload and contestant, in the order of the rounds; the less, the better."""

_HEAD = [
    "The six figures published for the event monitor that this one replaces, beside the straightforward one: a bounded",
    "`asyncio.Queue` read with `wait_for(queue.get(), 1.0)`, dispatch, breaker and statistics in Python",
    "(`benchmarks/events/straightforward.py`). Both are given the same events, made beforehand, and log to the same",
    "file; each measurement is a process of its own, the two in turns. Ratios are taken round by round: the median and",
    "the lowest to the highest. A queue that fills up is logged beyond 80 %: at each event by the straightforward one,",
    "once by telestage, in the loop's next turn, after that clock has stopped (65 us). That is most of the difference",
    "in that row, whose case is the published one; the row below it, with no log in it, is there to tell, and has no",
    "goal. Half of what is left there is the call and the `await` of it: a method that does nothing, and returns a",
    "future that is done, would be no more than 11 times less.",
    "",
]


def lines(figures: EventFigures) -> list[str]:
    """The section, without its heading."""
    head = ["", "published", "straightforward", "telestage", "times less", "goal", ""]
    table = [*_HEAD, _row(head), _row(["---"] * len(head))]
    for headline in HEADLINES:
        row = figures.get(headline.name, {})
        if row:
            table.append(_row([headline.title, headline.published, *_cells(headline, row)]))
    added = [(headline, _added(headline, figures)) for headline in HEADLINES if headline.without in figures]
    if added:
        table += ["", "What the feature adds to such a run, as the difference to the same run without it:", ""]
        table += [_row(["", "straightforward", "telestage"]), _row(["---"] * 3)]
        table += [_row([headline.title, *cells]) for headline, cells in added]
        table += ["", "telestage's statistics can't be turned off: they are in both of its runs."]
    return table


def outcome(figures: EventFigures) -> list[str]:
    """The goals, a line each, for the terminal."""
    found = [headline for headline in HEADLINES if headline.name in figures]
    return [f"{headline.title}: {' '.join(_cells(headline, figures[headline.name])[2:]).strip()}" for headline in found]


def _cells(headline: Headline, row: Mapping[str, Sequence[float]]) -> list[str]:
    theirs, ours = row["straightforward"], row["telestage"]
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    if headline.goal is None:
        goal = ["", ""]
    else:  # of what isn't to be worse, a hundredth is no difference
        met = median(ratios) >= (headline.goal if headline.goal > 1 else 0.99)
        goal = [f"{headline.goal:g}" if headline.goal > 1 else "not worse", "met" if met else "**not met**"]
    return [
        f"{median(theirs):,.2f} {headline.unit}",
        f"{median(ours):,.2f} {headline.unit}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        *goal,
    ]


def _added(headline: Headline, figures: EventFigures) -> list[str]:
    assert headline.without is not None
    cells = []
    for contestant in ("straightforward", "telestage"):
        whole, without = figures[headline.name][contestant], figures[headline.without][contestant]
        found = [one - other for one, other in zip(whole, without, strict=True)]
        cells.append(f"{median(found):+,.3f} {headline.unit} ({min(found):+,.3f} to {max(found):+,.3f})")
    return cells


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
