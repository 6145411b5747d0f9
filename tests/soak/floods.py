"""Floods at random over 50 sessions: none asks too early (R-X2), and those without one lose nothing of their rate."""

import asyncio
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType

from telestage.actors import Fleet, FloodParked, Limits
from telestage.testing import LoopbackTelegram

TEST = Path(__file__).parents[1] / "integration" / "test_fleet_random_floods.py"
SESSIONS = 50
LATENCY = 0.2  # seconds the server takes: what a session does in a second is decided by it, not by the machine
SEGMENT = 5.0
MOST_LOST = 0.05


async def rates(seed: int, pairs: int = 4) -> float:
    """How much of their rate the sessions without floods keep while two fifths of the others meet one after another.

    Counted in one fleet, in segments without floods and with them in turn; the median of the pairs.
    """
    rng = random.Random(seed)
    async with LoopbackTelegram(latency=LATENCY) as telegram:
        telegram.add_user("sink")
        users = [telegram.add_user(f"user{number}") for number in range(SESSIONS)]
        flooded = set(rng.sample([user.username for user in users], SESSIONS * 2 // 5))
        fleet = Fleet(1, "hash", limits=Limits.unpaced(operations=SESSIONS - len(flooded)))
        for user in users:
            fleet.add(user.username, session=user.session)
        done = {user.username: 0 for user in users}
        stop = asyncio.Event()

        async def work(name: str) -> None:
            while not stop.is_set():
                try:
                    await fleet[name].send_message("sink", f"{name} {done[name]}", timeout=20.0)
                except FloodParked:
                    continue
                done[name] += 1

        def others() -> int:
            return sum(count for name, count in done.items() if name not in flooded)

        async def segment(floods: bool) -> int:
            began, end = others(), asyncio.get_running_loop().time() + SEGMENT
            while asyncio.get_running_loop().time() < end:
                if floods:
                    user = rng.choice([user for user in users if user.username in flooded])
                    telegram.faults.flood_wait("messages.sendMessage", seconds=rng.choice((1, 2)), user=user)
                await asyncio.sleep(SEGMENT / 25)
            return others() - began

        kept = []
        async with fleet:
            working = [asyncio.ensure_future(work(user.username)) for user in users]
            await asyncio.sleep(2 * LATENCY)  # every session is at work
            for _ in range(pairs):
                without, with_floods = await segment(False), await segment(True)
                kept.append(with_floods / without)
                telegram.faults.clear()
            stop.set()
            await asyncio.gather(*working)
        assert not telegram.early_calls, list(telegram.early_calls)
        assert telegram.status().floods > pairs, "nobody was made to wait"
        return median(kept)


def play_floods(runs: int, seed: int, loaded: Callable[[Path], ModuleType]) -> None:
    """So many runs with floods at random, then the rate of those that have none; what fails raises."""
    for name in ("telethon", "telestage"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    module = loaded(TEST)
    for number in range(seed, seed + runs):
        try:
            figures = asyncio.run(module.play(number, SESSIONS))
        except BaseException:
            print(f"floods: seed {number}; again: --only floods --floods 1 --seed {number}", file=sys.stderr)
            raise
        print(f"floods at random, seed {number}: {figures}, no early call", flush=True)
    kept = asyncio.run(rates(seed))
    print(f"sessions without floods kept {kept:.1%} of their rate beside those with", flush=True)
    if kept < 1 - MOST_LOST:
        raise AssertionError(f"sessions without floods kept {kept:.1%} of their rate; {1 - MOST_LOST:.0%} is promised")
