"""Two processes that fight over ten sessions for a minute, with kills and stops past the lease (R-X6)."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import ModuleType

TEST = Path(__file__).parents[1] / "process" / "test_two_processes.py"


def play_fights(seconds: float, seed: int, loaded: Callable[[Path], ModuleType]) -> int:
    """The exit code: 0, as what fails raises."""
    logging.getLogger("telethon").setLevel(logging.CRITICAL)
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            playing = loaded(TEST).play(seed, Path(folder), seconds=seconds, lease=1.0)
            changes, kills, stops = asyncio.run(playing)
        except BaseException:
            print(f"a fight: seed {seed}; again: --only fights --fights {seconds:g} --seed {seed}", file=sys.stderr)
            raise
    spent = perf_counter() - began
    print(f"{changes:7} handovers in a fight of two processes, {kills} kills, {stops} stops, {spent:.1f} s", flush=True)
    return 0
