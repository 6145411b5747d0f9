"""A bulk send of 2,000 messages and a scrape of 20,000, each with 20 kills of its process at random moments (R-X5)."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import ModuleType

TEST = Path(__file__).parents[1] / "process" / "test_job_kills.py"


def play_kills(kills: int, seed: int, loaded: Callable[[Path], ModuleType]) -> int:
    """The exit code: 0, as what fails raises."""
    logging.getLogger("telethon").setLevel(logging.CRITICAL)
    module = loaded(TEST)
    for play, messages, what, again in (
        (module.play_sends, 2_000, "messages sent", "messages sent again and not delivered again"),
        (module.play_scrape, 20_000, "messages scraped", "pages read again"),
    ):
        began = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                killed, repeated = asyncio.run(play(seed, Path(folder), messages=messages, kills=kills))
            except BaseException:
                print(f"kills: seed {seed}; again: --only kills --kills {kills} --seed {seed}", file=sys.stderr)
                raise
        spent = perf_counter() - began
        print(f"{messages:7} {what}, each once; {killed} kills, {repeated} {again}, {spent:.1f} s", flush=True)
    return 0
