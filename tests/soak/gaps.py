"""A fleet's process killed again and again over 10,000 posts, edits and deletions (R-M5)."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

TEST = Path(__file__).parents[1] / "process" / "test_gaps_killed.py"


def play_killed(happenings: int, seed: int, loaded: Callable[[Path], ModuleType]) -> None:
    """One run with a kill for each 250 happenings, and some more; what fails raises."""
    logging.getLogger("telethon").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = asyncio.run(loaded(TEST).play(seed, Path(folder), happenings, kills=happenings // 250))
        except BaseException:
            print(f"a killed fleet: seed {seed}; again: --only killed --seed {seed}", file=sys.stderr)
            raise
    print(f"a killed fleet, seed {seed}: {figures}", flush=True)
