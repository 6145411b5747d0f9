"""A process that is killed while Telegram makes it wait: the next one asks for nothing before the deadline (R-X2)."""

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from telestage.testing import LoopbackTelegram

FLOODER = Path(__file__).parent / "flooder.py"
SECONDS = 40.0  # for what a process is to say, on a busy machine
METHOD = "messages.sendMessage"
FOR_EVER = 900.0
AT_ONCE = 1.0


class Life:
    """A process of the service."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> dict[str, object]:
        """What it says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            line = await self._process.stdout.readline()
        assert line, "it has ended"
        return dict(json.loads(line))

    async def until(self, *names: str) -> list[dict[str, object]]:
        """What it says until it has said each of these."""
        said: list[dict[str, object]] = []
        while not all(any(name in each for each in said) for name in names):
            said.append(await self.told())
        return said

    async def kill(self) -> None:
        self._process.kill()
        await self._process.communicate()
        assert self._process.returncode == -9


@contextlib.asynccontextmanager
async def life(orders: dict[str, object]) -> AsyncIterator[Life]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, FLOODER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders).encode() + b"\n")
    try:
        yield Life(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.timeout(180)
async def test_a_process_that_is_killed_while_a_kind_is_parked_has_a_successor_that_waits_for_its_deadline(tmp_path):
    """R-X2: by SIGKILL, as soon as the flood is told, and again while it is waited out; the server looks at the clock.

    The other session, and the other kinds of the same one, go on in each life.
    """
    async with LoopbackTelegram() as telegram:
        alice, bob, sink = (telegram.add_user(name) for name in ("alice", "bob", "sink"))
        orders: dict[str, object] = {
            "public_key": telegram.public_key,
            "store": str(tmp_path / "fleet.db"),
            "sessions": {user.username: user.session.save() for user in (alice, bob)},
            "peer": "sink",
            "texts": ["one"],
        }
        seconds = 15  # longer than two processes take to begin; what is waited for below are conditions
        telegram.faults.flood_wait(METHOD, seconds=seconds, user=alice)

        async with life({**orders, "patience": AT_ONCE}) as first:
            said = await first.until("parked")
            until = next(each["until"] for each in said if each.get("parked") == "alice")
            await first.kill()
        flooded = next(call for call in telegram.calls if call.outcome == f"FLOOD_WAIT_{seconds}")
        deadline = flooded.started + seconds

        async with life({**orders, "patience": FOR_EVER}) as second:  # it waits, and is killed as it does
            said = await second.until("read")
            assert said[0] == {"floods": [["alice", "sending", until]]}, "it didn't know before it asked"
            said += await second.until("sent")
            assert not any(each.get("sent") == "alice" for each in said)
            await second.kill()

        async with life({**orders, "patience": FOR_EVER}) as third:
            said = await third.until("done")
            assert {each["sent"] for each in said if "sent" in each} == {"alice", "bob"}
            assert {each["id"] for each in said if "read" in each} == {alice.id, bob.id}
        mine = [call for call in telegram.calls if call.method == METHOD and call.user_id == alice.id]
        assert mine == [flooded, mine[-1]], "one that met the flood, and one after it"
        assert mine[-1].started >= deadline
        assert not telegram.early_calls
        assert [each.text for each in telegram.delivered(to=sink) if each.sender_id == alice.id] == ["alice one"]
        assert sum(each.sender_id == bob.id for each in telegram.delivered(to=sink)) >= 2


@pytest.mark.timeout(180)
async def test_after_peer_flood_a_process_that_is_killed_has_a_successor_that_sends_nothing(tmp_path):
    """R-X2: a pause that only a person ends outlives a SIGKILL, too; reading goes on."""
    async with LoopbackTelegram() as telegram:
        alice, sink = telegram.add_user("alice"), telegram.add_user("sink")
        orders: dict[str, object] = {
            "public_key": telegram.public_key,
            "store": str(tmp_path / "fleet.db"),
            "sessions": {"alice": alice.session.save()},
            "peer": "sink",
            "texts": ["one", "two"],
            "patience": FOR_EVER,
        }
        telegram.faults.error(METHOD, 400, "PEER_FLOOD", user=alice)
        for number in range(3):
            async with life(orders) as each:
                said = await each.until("parked", "read")
                await each.kill()
            if number:
                assert said[0] == {"floods": [["alice", "sending", None]]}
        assert sum(call.method == METHOD for call in telegram.calls) == 1
        assert telegram.delivered(to=sink) == []


@pytest.mark.timeout(180)
async def test_a_process_that_is_killed_as_it_meets_a_flood_has_a_successor_that_asks_once_more_at_most(tmp_path):
    """R-X2: at moments drawn at random around the answer.

    What the server has answered may be lost with the process before it is in the store. That is one early call, which
    Telegram answers with what is left; from then on there is none.
    """
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    rng = random.Random(seed)
    async with LoopbackTelegram() as telegram:
        alice = telegram.add_user("alice")
        telegram.add_user("sink")
        orders: dict[str, object] = {
            "public_key": telegram.public_key,
            "store": str(tmp_path / "fleet.db"),
            "sessions": {"alice": alice.session.save()},
            "peer": "sink",
            "texts": ["one"],
            "patience": AT_ONCE,
        }
        telegram.faults.flood_wait(METHOD, seconds=900, user=alice)
        async with life(orders) as first:
            async with asyncio.timeout(SECONDS):
                while not any(call.method == METHOD for call in telegram.calls):  # noqa: ASYNC110 - it asks
                    await asyncio.sleep(0.0005)
            await asyncio.sleep(rng.uniform(0, 0.004))
            await first.kill()
        for _ in range(2):
            async with life(orders) as each:
                await each.until("parked")
                await each.kill()
        assert len(telegram.early_calls) <= 1
        assert sum(call.method == METHOD for call in telegram.calls) == 1 + len(telegram.early_calls)
