"""Jobs whose process is killed at random moments and started again: each message once, each row once (R-X5)."""

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from telestage.testing import LoopbackTelegram

JOBBER = Path(__file__).parent / "jobber.py"
SECONDS = 120.0  # for what is to come by itself, on a busy machine


@contextlib.asynccontextmanager
async def life(orders: dict[str, object]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, JOBBER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders).encode() + b"\n")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def live_and_die(
    orders: dict[str, object], progress: Callable[[], int], whole: int, kills: int, rng: random.Random
) -> tuple[dict[str, int], int]:
    """Lives that end by SIGKILL at random moments, then one to the end: what that one said, and the kills there were.

    Moments are drawn by the work that is done in all; where two are close, the second one falls into the next start.
    """
    killed = 0
    for due in sorted(rng.randrange(whole) for _ in range(kills)):
        async with life(orders) as process:
            started = asyncio.get_running_loop().time()
            if progress() >= due:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), rng.uniform(0.0, 1.2))
            while process.returncode is None and progress() < due:
                assert asyncio.get_running_loop().time() < started + SECONDS, "it stands still"
                await asyncio.sleep(rng.uniform(0.001, 0.01))
            if process.returncode is None:  # else the last bit of it was quicker than we are
                process.kill()
                killed += await process.wait() == -9
    async with life(orders) as process, asyncio.timeout(SECONDS):
        assert process.stdout is not None
        said = json.loads(await process.stdout.readline())
        assert await process.wait() == 0
        return dict(said), killed


async def play_sends(seed: int, folder: Path, *, messages: int, kills: int, sessions: int = 4) -> tuple[int, int]:
    """A bulk send under kills: how many there were, and how many messages were sent again but not delivered again."""
    rng = random.Random(seed)
    async with LoopbackTelegram(latency=0.004) as telegram:
        senders = [telegram.add_user(f"sender{number}") for number in range(sessions)]
        peers = [telegram.add_user(f"peer{number}") for number in range(messages)]
        orders: dict[str, object] = {
            "public_key": telegram.public_key,
            "store": str(folder / "fleet.db"),
            "sessions": {sender.username: sender.session.save() for sender in senders},
            "recipients": [peer.username for peer in peers],
            "text": "hello",
        }
        said, killed = await live_and_die(orders, lambda: telegram.status().deliveries, messages, kills, rng)
        times = Counter(each.peer for each in telegram.delivered())
        lost = [peer.id for peer in peers if peer.id not in times]
        doubled = {peer: count for peer, count in times.items() if count > 1}
        assert (lost, doubled) == ([], {}), f"seed {seed}: {len(lost)} lost, {len(doubled)} doubled"
        assert len(telegram.delivered()) == messages
        assert said == {"done": messages, "failed": 0, "total": messages}
        by_sender = Counter(each.sender_id for each in telegram.delivered())
        assert set(by_sender.values()) <= {messages // sessions, -(-messages // sessions)}  # none has moved
        return killed, telegram.repeats


async def play_scrape(
    seed: int, folder: Path, *, messages: int, kills: int, name: str = "archive.jsonl", sessions: int = 1
) -> tuple[int, int]:
    """A scrape under kills: how many there were, and how many pages were asked for more than once.

    With several sessions some of them meet flood waits, too.
    """
    rng = random.Random(seed)
    async with LoopbackTelegram(latency=0.004, hashes_per_account=True) as telegram:
        readers = [telegram.add_user(f"reader{number}") for number in range(sessions)]
        for reader in readers[1:]:
            telegram.faults.flood_wait("messages.getHistory", seconds=rng.randrange(1, 4), user=reader, count=2)
        archive = telegram.add_channel("archive")
        telegram.fill_history(archive, messages)
        to = folder / name
        orders: dict[str, object] = {
            "public_key": telegram.public_key,
            "store": str(folder / "fleet.db"),
            "sessions": {reader.username: reader.session.save() for reader in readers},
            "chat": "archive",
            "to": str(to),
        }

        def pages() -> int:
            return sum(call.method == "messages.getHistory" for call in telegram.calls)

        said, killed = await live_and_die(orders, pages, messages // 100, kills, rng)
        if to.suffix == ".parquet":
            found = parquet.read_table(to).column("id").to_pylist()
        else:
            found = [json.loads(line)["id"] for line in to.read_text().splitlines()]
        assert sorted(found) == list(range(1, messages + 1)), f"seed {seed}: {len(found)} rows, {len(set(found))} ids"
        assert said == {"done": messages, "failed": 0, "total": messages}
        return killed, pages() - messages // 100 - 1  # the last one is empty


@pytest.mark.timeout(180)
async def test_a_bulk_send_whose_process_is_killed_delivers_each_message_once(tmp_path):
    """R-X5: counted by the server, and each message from the session it was given to."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    killed, _ = await play_sends(seed, tmp_path, messages=150, kills=4)
    assert killed >= 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "kills", "sessions"), [("archive.jsonl", 4, 1), ("archive.parquet", 2, 1), ("several.jsonl", 4, 3)]
)
async def test_a_scrape_whose_process_is_killed_writes_each_message_once(tmp_path, name, kills, sessions):
    """R-X5: the file and the store agree, whenever the process was killed, and whoever reads."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    killed, _ = await play_scrape(seed, tmp_path, messages=3000, kills=kills, name=name, sessions=sessions)
    assert killed >= kills // 2
