"""`make bench`: every workload of every contestant, in turn, round after round; writes docs/benchmarks.md.

Each measurement is a process of its own, and the contestants take turns within a round, so that a machine whose speed
drifts treats them alike. What is quoted is the median; the spread stands beside it. Seconds on their own mean little
on a shared machine: look at the ratios.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.events.report import EventFigures
from benchmarks.kernel.workloads import WORKLOADS, Workload
from benchmarks.picture import plot
from benchmarks.report import Figures, Results, markdown, outcome
from benchmarks.telegram.running import overhead, scale_runs

CONTESTANTS = {
    "telestage": "ours",
    "mechanism alone": "mechanism",
    "naive": "naive",
    "textbook": "textbook",
    "Thespian simple": "thespian_simple",
    "Pykka": "pykka_threads",
    "xoscar": "xoscar_local",
    "Erlang": "erlang_beam",
}
_NEEDS = {"Pykka": "pykka", "xoscar": "xoscar"}
_PROGRAMS = {"Erlang": "erlc"}
_SLOW = {"textbook": 10, "Thespian simple": 5, "Pykka": 10, "xoscar": 5}  # by how much their workloads are smaller
_ELSEWHERE = ("telestage", "naive")  # who is measured on further loops
_SECONDS = 600.0  # for one measurement
_PARTS = ("workloads", "loops", "prices", "chains", "million", "events", "telegram")

_console = Console(stderr=True)


def _present(contestant: str) -> bool:
    program = _PROGRAMS.get(contestant)
    if program is not None:
        return shutil.which(program) is not None
    return find_spec(_NEEDS.get(contestant, "asyncio")) is not None


def run(module: str, *arguments: str, part: str = "kernel") -> str:
    """What `module`, run as a process of its own, prints last.

    Raises:
        RuntimeError: It failed; says with what.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}.{module}", *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


def measure(contestant: str, workload: Workload, scale: float, loop: str) -> float | None:
    """One measurement in a new process; None if the contestant has no such workload."""
    module = CONTESTANTS[contestant]
    if not hasattr(importlib.import_module(f"benchmarks.kernel.{module}"), workload.name):
        return None
    size = max(1000, int(workload.size * scale / _SLOW.get(contestant, 1)))
    return float(run("one", module, workload.name, str(size), loop))


def compare(chosen: list[Workload], contestants: list[str], rounds: int, scale: float, loop: str) -> Figures:
    """Every workload of every contestant, `rounds` times, in turns."""
    figures: Figures = {}
    for number in range(1, rounds + 1):
        for workload in chosen:
            for contestant in contestants:
                value = measure(contestant, workload, scale, loop)
                if value is not None:
                    figures.setdefault(workload.name, {}).setdefault(contestant, []).append(value)
            _console.print(f"{loop}, round {number} of {rounds}: {workload.title}", highlight=False)
    return figures


def prices(rounds: int, scale: float) -> dict[str, dict[str, list[float]]]:
    """What each feature costs, each in a process of its own, `rounds` times three differences."""
    from benchmarks.kernel.prices import PRICES

    found: dict[str, dict[str, list[float]]] = {}
    size = max(2000, int(100_000 * scale))
    for number in range(1, rounds + 1):
        for name in PRICES:
            for key, values in json.loads(run("prices", name, str(size), "3"))[name].items():
                found.setdefault(name, {}).setdefault(key, []).extend(values)
        _console.print(f"prices, round {number} of {rounds}", highlight=False)
    return found


def events(rounds: int) -> EventFigures:
    """The event monitor beside the straightforward one, in turns."""
    from benchmarks.events.workloads import CONTESTANTS as MONITORS
    from benchmarks.events.workloads import HEADLINES

    names = [name for headline in HEADLINES for name in (headline.name, headline.without) if name is not None]
    found: EventFigures = {}
    for number in range(1, rounds + 1):
        for name in names:
            for contestant in MONITORS:
                value = float(run("one", contestant, name, part="events"))
                found.setdefault(name, {}).setdefault(contestant, []).append(value)
        _console.print(f"events, round {number} of {rounds}", highlight=False)
    return found


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 5,
    scale: Annotated[float, typer.Option(min=0.001, help="Of the workloads' sizes.")] = 1.0,
    only: Annotated[str, typer.Option(help="Workloads, with commas. Default: all.")] = "",
    loop: Annotated[str, typer.Option(help="The event loop: asyncio or uvloop.")] = "asyncio",
    parts: Annotated[str, typer.Option(help=f"Of {', '.join(_PARTS)}; with commas.")] = ",".join(_PARTS),
    output: Annotated[Path, typer.Option(help="Folder for benchmarks.md, .json and .png.")] = Path("docs"),
) -> None:
    """Measures the kernel beside its baselines and peers, the event monitor, and the fleet beside plain clients."""
    if loop not in ("asyncio", "uvloop"):
        raise typer.BadParameter(f"asyncio or uvloop, not {loop!r}", param_hint="--loop")
    wanted = parts.split(",")
    if unknown := set(wanted) - set(_PARTS):
        raise typer.BadParameter(f"no such part: {', '.join(sorted(unknown))}", param_hint="--parts")
    chosen = [workload for workload in WORKLOADS if not only or workload.name in only.split(",")]
    present = [name for name in CONTESTANTS if _present(name)]
    other = "asyncio" if loop == "uvloop" else "uvloop"
    began = time.monotonic()
    results = Results()

    def say(line: str) -> None:
        _console.print(line, highlight=False)

    if "workloads" in wanted:
        results.figures = compare(chosen, present, rounds, scale, loop)
    if "loops" in wanted and find_spec("uvloop") is not None:
        results.other_figures = compare(chosen, list(_ELSEWHERE), rounds, scale, other)
    if "prices" in wanted:
        results.prices = prices(rounds, scale)
    if "chains" in wanted:
        results.chains = json.loads(run("chains", str(rounds)))
    if "million" in wanted:
        count = str(max(1000, int(1_000_000 * scale)))
        results.million = [json.loads(run("million", count, loop)) for _ in range(max(1, rounds // 2))]
    if "events" in wanted:
        results.events = events(rounds)
    if "telegram" in wanted:
        results.telegram = overhead(rounds, scale, loop, say)
        results.telegram_scale = scale_runs(max(1, rounds // 3), scale, loop, say)
    results.facts = {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count() or 0,
        "loop": loop,
        "other_loop": other,
        "rounds": rounds,
        "seconds": round(time.monotonic() - began),
        "command": "make bench ARGS='" + " ".join(sys.argv[1:]) + "'" if sys.argv[1:] else "make bench",
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "benchmarks.json").write_text(json.dumps(results.as_dict(), indent=1) + "\n")
    (output / "benchmarks.md").write_text(markdown(results, chosen))
    if results.figures:
        plot(chosen, results.figures, output / "benchmarks.png")
    for line in outcome(results, chosen):
        print(line)


if __name__ == "__main__":
    typer.run(main)
