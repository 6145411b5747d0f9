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
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.kernel.workloads import WORKLOADS, Workload
from benchmarks.report import Figures, markdown, plot

CONTESTANTS = {
    "telestage": "ours",
    "naive": "naive",
    "textbook": "textbook",
    "Thespian simple": "thespian_simple",
    "Pykka": "pykka_threads",
}
_NEEDS = {"Pykka": "pykka"}
_SLOW = {"textbook": 10, "Thespian simple": 5, "Pykka": 10}  # by how much their workloads are smaller
_SECONDS = 300.0  # for one measurement

_console = Console(stderr=True)


def measure(contestant: str, workload: Workload, scale: float) -> float | None:
    """One measurement in a new process; None if the contestant has no such workload."""
    module = f"benchmarks.kernel.{CONTESTANTS[contestant]}"
    if not hasattr(importlib.import_module(module), workload.name):
        return None
    size = max(1000, int(workload.size * scale / _SLOW.get(contestant, 1)))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernel.one", CONTESTANTS[contestant], workload.name, str(size)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{contestant}, {workload.name}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 5,
    scale: Annotated[float, typer.Option(min=0.001, help="Of the workloads' sizes.")] = 1.0,
    only: Annotated[str, typer.Option(help="Workloads, with commas. Default: all.")] = "",
    output: Annotated[Path, typer.Option(help="Folder for benchmarks.md, .json and .png.")] = Path("docs"),
) -> None:
    """Measures the kernel beside its baselines and peers."""
    chosen = [workload for workload in WORKLOADS if not only or workload.name in only.split(",")]
    present = [name for name in CONTESTANTS if find_spec(_NEEDS.get(name, "asyncio")) is not None]
    began = time.monotonic()
    figures: Figures = {}
    for number in range(1, rounds + 1):
        for workload in chosen:
            for contestant in present:
                value = measure(contestant, workload, scale)
                if value is not None:
                    figures.setdefault(workload.name, {}).setdefault(contestant, []).append(value)
            _console.print(f"round {number} of {rounds}: {workload.title}", highlight=False)
    facts = {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count() or 0,
        "loop": "asyncio",
        "rounds": rounds,
        "seconds": round(time.monotonic() - began),
        "command": f"make bench ARGS='--rounds {rounds} --scale {scale:g}'",
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "benchmarks.json").write_text(json.dumps({"facts": facts, "figures": figures}, indent=1) + "\n")
    (output / "benchmarks.md").write_text(markdown(facts, chosen, figures))
    plot(chosen, figures, output / "benchmarks.png")
    for workload in chosen:
        ours, naive = figures[workload.name].get("telestage"), figures[workload.name].get("naive")
        if ours and naive:
            ratio = statistics.median(ours) / statistics.median(naive)
            print(f"{workload.title}: {ratio:.2f} times naive")


if __name__ == "__main__":
    typer.run(main)
