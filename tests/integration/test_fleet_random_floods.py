"""Floods at random over many sessions: none asks too early, and those that have none lose nothing.

`make soak` plays it with 50 sessions, many times.
"""

import asyncio
import random

import pytest

from telestage.actors import Fleet, FloodParked, Limits
from telestage.testing import LoopbackTelegram

SENDS = 12  # of each session
KINDS = {"messages.sendMessage": "sending", "messages.getHistory": "scraping", "contacts.resolveUsername": "resolving"}
REASONS = ("FLOOD_WAIT", "FLOOD_PREMIUM_WAIT")


class Tally:
    """What each session has done."""

    def __init__(self):
        self.sent = {}
        self.pages = {}


async def work(fleet, name, tally):
    """Sends and reads, whatever it is made to wait for; nothing is lost."""

    async def sends():
        for number in range(SENDS):
            await fleet[name].send_message("sink", f"{name} {number}")
            tally.sent[name] = number + 1

    async def reads():
        for number in range(SENDS // 3):
            assert len(await fleet[name].get_messages("news", limit=10)) == 10
            tally.pages[name] = number + 1

    await asyncio.gather(sends(), reads())


def plan(telegram, users, rng):
    """Floods for some of them, of each kind, now and again; says for whom."""
    flooded = rng.sample(users, len(users) // 3)
    for user in flooded:
        for method in KINDS:
            if rng.random() < 0.7:
                telegram.faults.flood_wait(method, seconds=rng.choice((1, 1, 2)), user=user, count=1)
    return {user.username for user in flooded}


async def play(seed: int, sessions: int = 12, limits: Limits | None = None) -> str:
    """Plays one run; raises AssertionError where something isn't as promised."""
    rng = random.Random(seed)
    async with LoopbackTelegram() as telegram:
        sink = telegram.add_user("sink")
        users = [telegram.add_user(f"user{number}") for number in range(sessions)]
        telegram.fill_history(telegram.add_channel("news", members=users), 30)
        fleet = Fleet(1, "hash", limits=Limits.unpaced(operations=sessions) if limits is None else limits)
        for user in users:
            fleet.add(user.username, session=user.session)
        tally = Tally()
        async with fleet:
            flooded = plan(telegram, users, rng)
            works = {
                name: asyncio.ensure_future(work(fleet, name, tally)) for name in (user.username for user in users)
            }
            await asyncio.gather(*works.values())
            left = fleet.floods()
        assert not left, left
        assert not telegram.early_calls, (seed, list(telegram.early_calls))
        texts = [each.text for each in telegram.delivered(to=sink)]
        assert sorted(texts) == sorted(f"user{n} {number}" for n in range(sessions) for number in range(SENDS))
        for name in works:
            mine = [text for text in texts if text.startswith(f"{name} ")]
            assert mine == [f"{name} {number}" for number in range(SENDS)]
        for call in telegram.calls:  # who had no flood met none, and asked for each thing once
            if call.outcome.startswith("FLOOD"):
                assert any(user.id == call.user_id and user.username in flooded for user in users)
        return f"{telegram.status().floods} floods, {len(flooded)} of {sessions} sessions"


@pytest.mark.parametrize("run", range(2))
async def test_with_floods_at_random_none_asks_before_its_deadline(run):
    """R-X2: checked on the server's side; each message is there once, in order."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    print(await play(seed))


async def test_floods_of_some_take_no_turn_and_no_permit_from_the_others(telegram):
    """R-X2: counted, not timed: while half of the sessions wait, the others get all that they ask for."""
    users = [telegram.add_user(f"user{number}") for number in range(10)]
    sink = telegram.add_user("sink")
    fleet = Fleet(1, "hash", limits=Limits.unpaced(operations=2))  # one that waits with a permit would be missed
    for user in users:
        fleet.add(user.username, session=user.session)
    async with fleet:
        for user in users[:5]:
            telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=user)
        for user in users[:5]:
            with pytest.raises(FloodParked):
                await fleet[user.username].send_message("sink", "never")
        granted = fleet.status().permits.granted
        sending = [fleet[user.username].send_message("sink", f"{number}") for user in users[5:] for number in range(20)]
        parked = [fleet[user.username].send_message("sink", "never") for user in users[:5] for _ in range(20)]
        results = await asyncio.gather(*sending, *parked, return_exceptions=True)
        assert all(isinstance(each, FloodParked) for each in results[100:])
        assert not any(isinstance(each, BaseException) for each in results[:100])
        assert fleet.status().permits.granted - granted == 100
        assert fleet.status().permits.total.waiting == 0
    assert not telegram.early_calls
    assert len(telegram.delivered(to=sink)) == 100
