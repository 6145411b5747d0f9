"""The benchmarks' page, from their figures. A part that wasn't measured has no section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles

from benchmarks.events import report as event_report
from benchmarks.kernel.prices import PRICES
from benchmarks.kernel.workloads import Workload
from benchmarks.telegram import report as telegram_report

__all__ = ["Figures", "Results", "markdown", "outcome", "ratios"]

Figures = dict[str, dict[str, list[float]]]
"""Measurements by workload and contestant, in the order of the rounds."""

_MILLION_GOAL = 0.4e9  # bytes, for a million actors

_HEAD = """\
# Benchmarks

The actor kernel, every feature on, beside what a person writes by hand (*naive*: an `asyncio.Queue` and a Task an
actor), the textbook form (a `PriorityQueue` read with `wait_for`), and other actor libraries. Each figure is the median
of {rounds} measurements in processes of their own, the contestants taking turns. Python {python} on {system}, {cores}
cores, {loop}; {seconds} s in all. Made by

    {command}

![ratios to naive](benchmarks.png)

Look at the ratios: the machine is shared, and another one is quicker or slower as a whole. Where a goal is not met, it
is still to be met.
"""

_FAIRNESS = """
All contestants are sent the same objects (frozen structs, made once, but for the ring's, which are made at each hop),
as many of them, on the same loop, with the garbage collector on and run before the clock starts. Each is warmed up by a
small run. What differs: an ask of telestage always has a deadline, and its actor may be supervised, watched, bounded
and looked into; the naive form has none of that, but where a row says so. xoscar's calls are local ones, made inside
an actor of the same process. Erlang has one scheduler, as an event loop has one core. *Mechanism alone* is no
contestant: the same work with every promise left out (no bound, no supervision, no statistics, no deadline, no stop),
a list and `await handler(message)`. What telestage takes beyond it is the price of what it promises, and what a goal
that isn't met would have to be taken from.
"""


@dataclass
class Results:
    """All that was measured; what wasn't is empty."""

    facts: dict[str, object] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    other_figures: Figures = field(default_factory=dict)
    """On the other event loop."""
    prices: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """ns a message `without` a feature and `with` it."""
    chains: dict[str, object] = field(default_factory=dict)
    million: list[dict[str, float]] = field(default_factory=list)

    events: event_report.EventFigures = field(default_factory=dict)
    telegram: telegram_report.TelegramFigures = field(default_factory=dict)
    telegram_scale: telegram_report.ScaleFigures = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def markdown(results: Results, workloads: Sequence[Workload]) -> str:
    """The page."""
    lines = [_HEAD.format(**results.facts)]
    if results.figures:
        lines += ["## Medians", "", *_medians(workloads, results.figures), _FAIRNESS]
        lines += ["## Goals", "", *_goals(workloads, results), ""]
    if results.other_figures:
        lines += [f"## On {results.facts['other_loop']}", "", *_medians(workloads, results.other_figures, over="naive")]
        lines.append("")
    if results.prices:
        lines += ["## What each feature costs", "", *_prices(results.prices), ""]
    if results.chains:
        lines += ["## Who waits for whom", "", *_chains(results.chains), ""]
    if results.million:
        lines += ["## Very many actors", "", *_million(results.million), ""]
    if results.events:
        lines += ["## Event monitors", "", *event_report.lines(results.events), ""]
    if results.telegram or results.telegram_scale:
        found = telegram_report.lines(results.telegram, results.telegram_scale)
        lines += ["## What a fleet costs over Telethon", "", *found, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def outcome(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """The goals, a line each, for the terminal."""
    lines = [" ".join(cell for cell in row if cell) for row in _goal_rows(workloads, results)]
    if results.million:
        each = median(run["bytes_each"] for run in results.million)
        lines.append(f"{results.million[0]['count']:,.0f} idle actors: {each:,.0f} bytes each")
    lines += event_report.outcome(results.events)
    return lines + telegram_report.outcome(results.telegram, results.telegram_scale)


def ratios(figures: Figures, workload: str, other: str) -> list[float]:
    """telestage over another contestant, round by round: what slows a whole round down is no difference."""
    row = figures.get(workload, {})
    return [ours / theirs for ours, theirs in zip(row.get("telestage", ()), row.get(other, ()), strict=False)]


def _medians(workloads: Sequence[Workload], figures: Figures, over: str | None = None) -> list[str]:
    contestants = list(dict.fromkeys(name for row in figures.values() for name in row))
    head = ["", "unit", *contestants] + ([f"over {over}"] if over else [])
    lines = _head(head)
    for workload in workloads:
        row = figures.get(workload.name, {})
        cells = [_number(median(row[name])) if name in row else "" for name in contestants]
        if over:
            found = ratios(figures, workload.name, over)
            cells.append(_ratio(found) if found else "")
        lines.append(_row([workload.title, workload.unit, *cells]))
    return lines


def _goals(workloads: Sequence[Workload], results: Results) -> list[str]:
    lines = ["Ratios are taken round by round: the median, and the lowest to the highest.", ""]
    lines += [*_head(["", "over", "measured", "goal", ""])]
    lines += [_row(row) for row in _goal_rows(workloads, results)]
    if "ring" in results.figures and "Erlang" in results.figures["ring"]:
        lines += ["", "What a hop of the ring is made of, which is at about half of Erlang's: docs/decisions/0017."]
    if "ring" in results.figures and "Erlang" not in results.figures["ring"]:
        lines += ["", "The ring's other goal is half of Erlang's hops, and Erlang isn't on this machine."]
    return lines


def _goal_rows(workloads: Sequence[Workload], results: Results) -> Iterable[list[str]]:
    for workload in workloads:
        others = [*workload.goals, *([] if "naive" in workload.goals or workload.less_is_better else ["naive"])]
        for other in others:
            found = ratios(results.figures, workload.name, other)
            goal = workload.goals.get(other)
            if found and goal is None:
                yield [workload.title, other, _ratio(found), "", ""]
            elif found and goal is not None:
                yield [workload.title, other, _ratio(found), f"{goal:g}", _met(median(found) >= goal)]
        values = results.figures.get(workload.name, {}).get("telestage")
        if values and workload.at_most is not None:
            value = f"{_number(median(values))} {workload.unit if workload.unit != 'bytes' else ''}".strip()
            met = _met(median(values) <= workload.at_most)
            yield [workload.title, "", value, f"at most {workload.at_most:g}", met]


def _prices(prices: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    lines = [
        "ns of CPU a message, told and handled: the same tells with the feature and without it, in turns in one",
        "process. The median of the differences, and the middle half of them; what lies around 0 costs less than can",
        "be measured.",
        "",
        *_head(["", "without", "price", "middle half"]),
    ]
    for name, row in prices.items():
        found = [after - before for before, after in zip(row["without"], row["with"], strict=True)]
        low, _, high = quantiles(found, n=4)
        cells = [f"{median(row['without']):,.0f}", f"{median(found):+,.0f}", f"{low:+,.0f} to {high:+,.0f}"]
        lines.append(_row([PRICES[name][0], *cells]))
    return lines


def _chains(chains: Mapping[str, object]) -> list[str]:
    inside, outside = _floats(chains["inside"]), _floats(chains["outside"])
    found = [within - without for within, without in zip(inside, outside, strict=True)]
    lines = [
        "An ask that would close a circle of waiting actors is refused before it is sent. What that costs an ask of an",
        f"idle actor, made by an actor ({median(inside):,.0f} ns) and by nobody ({median(outside):,.0f} ns): "
        f"**{median(found):+,.0f} ns** ({min(found):+,.0f} to {max(found):+,.0f}).",
        "A target that waits itself is followed along its chain: us for the one check, by the length of the chain.",
        "Beside it, us a hop of an ask through a chain of so many actors that were idle, there and back.",
        "",
        *_head(["actors in the chain", "check, us", "a hop, us"]),
    ]
    checks, hops = chains["check"], chains["hop"]
    assert isinstance(checks, dict)
    assert isinstance(hops, dict)
    for length, values in checks.items():
        lines.append(_row([f"{int(length):,}", f"{median(values):.2f}", f"{median(hops[length]):.1f}"]))
    return lines


def _million(runs: Sequence[Mapping[str, float]]) -> list[str]:
    def middle(key: str) -> float:
        return median(run[key] for run in runs)

    count = runs[0]["count"]
    goal = ""
    if count >= 1e6:
        goal = f" (goal: {_MILLION_GOAL / 1e6:,.0f} MB; {_met(middle('resident') <= _MILLION_GOAL)})"
    return [
        f"{count:,.0f} idle actors in one process, each with its ref in a list:",
        "",
        *_head(["", ""]),
        _row(["bytes each, resident", f"{middle('bytes_each'):,.0f}"]),
        _row(["bytes each after a message", f"{middle('bytes_each_after_a_message'):,.0f}"]),
        _row(["the whole process", f"{middle('resident') / 1e6:,.0f} MB{goal}"]),
        _row(["to spawn them", f"{middle('spawn_seconds'):.1f} s"]),
        _row(["to send each a message, and have it handled", f"{middle('message_seconds'):.1f} s"]),
        _row(["to stop them, each awaited", f"{middle('stop_seconds'):.1f} s"]),
    ]


def _floats(value: object) -> list[float]:
    assert isinstance(value, list)
    return value


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def _ratio(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
