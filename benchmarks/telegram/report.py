"""The section of the benchmarks' page on what a fleet costs over its Telethon clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from benchmarks.telegram.rungs import PARTS
from benchmarks.telegram.workloads import WORKLOADS

__all__ = ["ScaleFigures", "TelegramFigures", "lines", "outcome"]

TelegramFigures = dict[str, dict[str, list[dict[str, float]]]]
"""`wall` and `cpu` microseconds an operation by workload and contestant, in the order of the batches."""

ScaleFigures = dict[str, dict[str, list[dict[str, float]]]]
"""What `benchmarks.telegram.scale` prints by its mode and contestant, in the order of the runs."""

_MEMORY_GOAL = 8192.0

_HEAD = [
    "A `Fleet` beside `asyncio.gather` over plain Telethon clients that have the same settings, no silent flood waits",
    "among them, on the same kind of server, which has a process of its own. `telestage` and `Telethon` have a",
    "process each, connected beforehand, and their batches take turns; a fleet may do as much at once as it has",
    "sessions, as the plain clients may. Microseconds an operation, of CPU time of that one process and of the clock;",
    "ratios are of a batch to the other's next one: the median, and the lowest to the highest. CPU time says more:",
    "the server and whatever else the machine does take the same cores. What a fleet adds is what no plain client",
    "has: a mailbox with priorities, a permit, the deadlines of the queue, of the permit and of the operation,",
    "cancellation, and status.",
    "",
]
_LADDER_HEAD = [
    "Each line has what the lines above it have, in a process of its own. A session's client does with less what a",
    "plain one does, which pays for most of the rest (docs/decisions/0007-the-client-does-with-less.md).",
    "",
]
_SCALE_HEAD = [
    "Very many sessions in one process, and as many plain clients in another. All connect ten at once. A fleet with",
    "its usual 50 permits and the plain clients, which have no limit, then send as fast as they can; 10 urgent",
    "messages are under way at any time, each of another session. Memory is the resident set, and beside it what",
    "Python allocated (fewer sessions, as tracing is slow), connected and after a message each.",
    "",
]


def lines(figures: TelegramFigures, scale: ScaleFigures) -> list[str]:
    """The section, without its heading."""
    table: list[str] = []
    if figures:
        table += [*_HEAD, *_rule(["", "", "Telethon", "telestage", "times", "goal", ""])]
        table += [_row(row) for row in _overhead_rows(figures)]
    for workload in WORKLOADS:
        if workload.ladder and workload.name in figures:
            table += ["", f"### What each part adds: {workload.title}", "", *_LADDER_HEAD]
            table += [*_rule(["", "CPU", "to the line before", "times Telethon's"])]
            table += [_row(row) for row in _ladder_rows(figures[workload.name])]
    if scale:
        count = int(scale["whole"]["telestage"][0]["count"])
        table += ["", f"### {count:,} sessions", "", *_SCALE_HEAD]
        table += [*_rule(["", "Telethon", "telestage", "difference", "goal", ""])]
        table += [_row(row) for row in _scale_rows(scale)]
    return table


def outcome(figures: TelegramFigures, scale: ScaleFigures) -> list[str]:
    """A line each, for the terminal."""
    rows = [*_overhead_rows(figures), *_scale_rows(scale)]
    return [" ".join(cell for cell in row if cell) for row in rows]


def _overhead_rows(figures: TelegramFigures) -> Iterator[list[str]]:
    for workload in WORKLOADS:
        row = figures.get(workload.name)
        if not row:
            continue
        for clock, what in (("cpu", "CPU"), ("wall", "clock")):
            bare, ours = ([batch[clock] for batch in row[contestant]] for contestant in ("Telethon", "telestage"))
            found = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
            goal = workload.goal if clock == "cpu" else None
            yield [
                workload.title,
                what,
                f"{median(bare):,.0f} us",
                f"{median(ours):,.0f} us",
                f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})",
                "" if goal is None else f"at most {goal:g}",
                "" if goal is None else _met(median(found) <= goal),
            ]


def _ladder_rows(row: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[list[str]]:
    taken = {name: [batch["cpu"] for batch in row[name]] for name in PARTS if name in row}
    before: list[float] | None = None
    for name, each in taken.items():
        added = (
            ""
            if before is None
            else f"{median(mine - below for mine, below in zip(each, before, strict=True)):+,.0f} us"
        )
        times = median(mine / bare for mine, bare in zip(each, taken["Telethon"], strict=True))
        yield [PARTS[name], f"{median(each):,.0f} us", added, f"{times:.2f}"]
        before = each


def _scale_rows(scale: ScaleFigures) -> Iterator[list[str]]:
    if not scale:
        return
    whole, traced = scale["whole"], scale["traced"]
    yield _memory("resident bytes a session", whole, "bytes_each", _MEMORY_GOAL)
    yield _memory("the same after the sending", whole, "bytes_each_after")
    yield _memory("Python's bytes a session", traced, "bytes_each", _MEMORY_GOAL)
    yield _memory("the same after a message", traced, "bytes_each_after")
    for title, key, form in (
        ("to connect all", "start_seconds", _seconds),
        ("CPU time of that", "start_cpu", _seconds),
        ("CPU time a minute, idle", "idle_cpu", lambda value: f"{value * 1e3:,.0f} ms"),
        ("messages a second, all busy", "a_second", lambda value: f"{value:,.0f}"),
        ("CPU time of each", "busy_cpu", lambda value: f"{value:,.0f} us"),
        ("an urgent message, median", "urgent_p50", _milliseconds),
        ("an urgent message, p99", "urgent_p99", _milliseconds),
        ("any other message, median", "ordinary_p50", _milliseconds),
        ("any other message, p99", "ordinary_p99", _milliseconds),
        ("to disconnect all", "stop_seconds", _seconds),
    ):
        yield _plain(title, whole, key, form)


def _memory(
    title: str, runs: Mapping[str, Sequence[dict[str, float]]], key: str, goal: float | None = None
) -> list[str]:
    bare, ours = _middle(runs, key)
    judged = ["", ""] if goal is None else [f"below {goal:,.0f}", _met(ours - bare < goal)]
    return [title, f"{bare:,.0f}", f"{ours:,.0f}", f"{ours - bare:+,.0f}", *judged]


def _plain(
    title: str, runs: Mapping[str, Sequence[dict[str, float]]], key: str, form: Callable[[float], str]
) -> list[str]:
    bare, ours = _middle(runs, key)
    return [title, form(bare), form(ours), f"{ours / bare:.2f} times" if bare > 0 else "", "", ""]


def _middle(runs: Mapping[str, Sequence[dict[str, float]]], key: str) -> tuple[float, float]:
    return median(run[key] for run in runs["Telethon"]), median(run[key] for run in runs["telestage"])


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms"


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def _rule(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
