"""Has the contestants' processes take turns, and collects what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.telegram.contestants import CONTESTANTS
from benchmarks.telegram.report import ScaleFigures, TelegramFigures
from benchmarks.telegram.rungs import RUNGS
from benchmarks.telegram.workloads import WORKLOADS

__all__ = ["overhead", "scale_runs"]

_TURNS = 8  # batches of each contestant in each round; every other time in the opposite order
_SECONDS = 600.0


@contextmanager
def _contestant(*arguments: str) -> Iterator[Callable[[], dict[str, float]]]:
    """A process with its sessions connected; each call has it run a batch."""
    command = [sys.executable, "-m", "benchmarks.telegram.one", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output, orders = process.stdout, process.stdin

        def line() -> str:
            found = output.readline()
            if not found:
                raise RuntimeError(f"{' '.join(arguments)} has ended; what it printed stands above")
            return found

        def turn() -> dict[str, float]:
            orders.write("\n")
            orders.flush()
            found: dict[str, float] = json.loads(line())
            return found

        try:
            line()  # it is ready
            yield turn
        finally:
            orders.close()
            process.wait(_SECONDS)


def overhead(rounds: int, scale: float, loop: str, say: Callable[[str], None]) -> TelegramFigures:
    """Every workload of both, in turns; new processes in each round."""
    figures: TelegramFigures = {}
    for number in range(1, rounds + 1):
        for workload in WORKLOADS:
            size = str(max(workload.sessions, int(workload.size * scale)))
            with ExitStack() as stack:
                names = RUNGS if workload.ladder else CONTESTANTS
                turns = {name: stack.enter_context(_contestant(name, workload.name, size, loop)) for name in names}
                for number_of_turn in range(_TURNS):
                    for name, turn in list(turns.items())[:: -1 if number_of_turn % 2 else 1]:
                        figures.setdefault(workload.name, {}).setdefault(name, []).append(turn())
            say(f"telegram, round {number} of {rounds}: {workload.title}")
    return figures


def scale_runs(runs: int, scale: float, loop: str, say: Callable[[str], None]) -> ScaleFigures:
    """Very many sessions of each, one contestant after the other: 1,000 from a quarter of the full scale on."""
    found: ScaleFigures = {}
    count = max(10, min(1000, int(4000 * scale)))
    for number in range(1, runs + 1):
        for mode, sessions in (("whole", count), ("traced", max(10, count // 5))):
            for name in CONTESTANTS:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.telegram.scale", name, mode, str(sessions), str(scale), loop],
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=_SECONDS,
                    check=True,
                )
                found.setdefault(mode, {}).setdefault(name, []).append(json.loads(done.stdout))
                say(f"telegram, run {number} of {runs}: {sessions} sessions of {name}, {mode}")
    return found
