"""Two processes fight over the same sessions, killed and stopped past their leases; the server sees one at a time."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from telestage.testing import LoopbackTelegram, Use

FIGHTER = Path(__file__).parent / "fighter.py"
ADDRESSES = ("127.0.0.2", "127.0.0.3")
SECONDS = 30.0  # for a process to begin, on a busy machine


class Fighter:
    """One of the two, by its address; it has a new process after each kill."""

    def __init__(self, address: str, orders: dict[str, object]) -> None:
        self.address = address
        self._orders = json.dumps({**orders, "address": address})
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            FIGHTER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._process.stdin.write(f"{self._orders}\n".encode())
        async with asyncio.timeout(SECONDS):
            assert await self._process.stdout.readline() == b"fighting\n"

    async def kill(self) -> None:
        self._process.kill()
        await self._process.communicate()

    @contextlib.contextmanager
    def stopped(self):
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    async def end(self) -> None:
        """By itself, as a service is ended; it has given everything back then."""
        self._process.stdin.close()
        async with asyncio.timeout(SECONDS):
            assert await self._process.wait() == 0


def overlaps(uses: list[Use]) -> list[tuple[Use, Use]]:
    """Those from different addresses that were going on at one moment."""
    return [
        (one, other)
        for one, other in itertools.combinations(uses, 2)
        if one.address != other.address and one.first <= other.last and other.first <= one.last
    ]


def handovers(uses: list[Use]) -> int:
    return sum(one.address != other.address for one, other in itertools.pairwise(uses))


async def play(seed: int, folder: Path, *, seconds: float, lease: float, sessions: int = 10) -> tuple[int, int, int]:
    """A fight of so long; how often a session changed hands, and the kills and stops there were."""
    rng = random.Random(seed)
    kills = stops = 0
    async with LoopbackTelegram() as telegram, contextlib.AsyncExitStack() as ends:
        users = [telegram.add_user(f"user{n}") for n in range(sessions)]
        orders: dict[str, object] = {
            "store": str(folder / "fleet.db"),
            "lease": lease,
            "public_key": telegram.public_key,
            "sessions": {user.username: user.session.save() for user in users},
        }
        fighters = [Fighter(address, orders) for address in ADDRESSES]

        async def bury(fighter: Fighter) -> None:
            with contextlib.suppress(ProcessLookupError):
                await fighter.kill()

        for fighter in fighters:
            await fighter.begin()
            ends.push_async_callback(bury, fighter)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds

        def changes() -> int:
            return sum(handovers(telegram.uses(user.session)) for user in users)

        # that nobody keeps everything is a matter of chance: it goes on until each has changed hands, on average
        while loop.time() < end or not (kills and stops) or changes() < sessions:
            fighter = rng.choice(fighters)
            await asyncio.sleep(rng.uniform(0.3, 1.0) * lease)
            if kills > stops or (kills == stops and rng.random() < 0.5):
                stops += 1
                with fighter.stopped():
                    await asyncio.sleep(rng.uniform(1.2, 2.0) * lease)
            else:
                kills += 1
                await fighter.kill()
                await fighter.begin()
        for fighter in fighters:
            await fighter.end()
        uses = [telegram.uses(user.session) for user in users]
        for user, each in zip(users, uses, strict=True):
            assert not overlaps(each), f"seed {seed}: {user.username} was used by both at once: {overlaps(each)[:3]}"
            assert each, f"seed {seed}: nobody used {user.username}"
        return changes(), kills, stops


@pytest.mark.timeout(120)
async def test_two_processes_never_use_a_session_at_once(tmp_path):
    """R-X6: with kills, and stops past the lease; each connection's first and last packet are looked at."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    changes, kills, stops = await play(seed, tmp_path, seconds=6.0, lease=1.0)
    print(f"{changes} handovers, {kills} kills, {stops} stops")
    assert kills
    assert stops
    assert changes >= 10  # in a fight nobody keeps everything


def test_a_use_by_both_at_once_would_be_seen():
    one, other = Use(1, "a", 1.0, 2.0), Use(1, "b", 1.5, 3.0)
    assert overlaps([one, other]) == [(one, other)]
    assert not overlaps([one, Use(1, "a", 1.5, 3.0), Use(1, "b", 3.5, 4.0)])
    assert handovers([one, other, Use(1, "b", 4.0, 5.0)]) == 1
