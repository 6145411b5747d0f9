"""Random cuts, lost updates, failing handlers, restarts of sessions and of the fleet, over posts, edits and deletions.

`make soak` plays many more of them, from seeds of its own.
"""

import asyncio
import contextlib
import random

import pytest
from telethon import events, types

from telestage.actors import Backoff, Directive, Fleet, Limits, Supervision
from telestage.testing import LoopbackChannel, LoopbackTelegram

STEPS = 60
NEW = (types.UpdateNewMessage, types.UpdateNewChannelMessage)
EDITED = (types.UpdateEditMessage, types.UpdateEditChannelMessage)
DELETED = (types.UpdateDeleteMessages, types.UpdateDeleteChannelMessages)
PATIENT = Supervision(intensity=10**6, backoff=Backoff(first=0.001, maximum=0.001), exceeded=Directive.STOP)


class Ledger:
    """What happened in one chat, and what must have been seen of it."""

    def __init__(self, telegram, chat, sender=None):
        self.telegram, self.chat, self.sender = telegram, chat, sender
        self.key = chat.id if isinstance(chat, LoopbackChannel) else 0
        self.happened = []  # (what, id), in order
        self.living = []
        self.gone = set()

    def post(self, text):
        id = self.telegram.post(self.chat, text, sender=self.sender)
        self.living.append(id)
        self.happened.append(("new", id))
        return id

    def edit(self, rng):
        if self.living:
            id = rng.choice(self.living)
            self.happened.append(("edited", id))
            self.telegram.edit(self.chat, id, f"edited {len(self.happened)}")

    def delete(self, rng):
        if len(self.living) > 1:
            id = self.living.pop(rng.randrange(len(self.living) - 1))
            self.gone.add(id)
            self.happened.append(("deleted", id))
            self.telegram.delete(self.chat, [id])

    def check(self, seen, who):
        """Each once and in order; of a message that was deleted meanwhile, Telegram may tell the deletion alone."""

        def lasting(told):
            return [each for each in told if each[0] == "deleted" or each[1] not in self.gone]

        for kinds in (("new",), ("edited", "deleted")):
            expected = [each for each in lasting(self.happened) if each[0] in kinds]
            assert [each for each in lasting(seen) if each[0] in kinds] == expected, who
        for id in self.gone:
            of_it = [what for what, each in seen if each == id]
            assert of_it.count("new") <= 1, who
            assert of_it[-1] == "deleted", who
        for place, (what, id) in enumerate(seen):
            assert what != "edited" or id in self.gone or ("new", id) in seen[:place], who


def note(update, got):
    key = getattr(getattr(getattr(update, "message", None), "peer_id", None), "channel_id", None)
    key = key or getattr(update, "channel_id", None) or 0
    if isinstance(update, DELETED):
        got.extend((key, "deleted", id) for id in update.messages)
    else:
        got.append((key, "new" if isinstance(update, NEW) else "edited", update.message.id))


async def until(condition, within=30.0):
    deadline = asyncio.get_running_loop().time() + within
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"did not come true within {within:g} s"
        await asyncio.sleep(0.002)


async def play(seed, steps=STEPS, store=None):
    """One run: raises AssertionError if a monitor missed anything, saw it twice, or out of order."""
    rng = random.Random(seed)
    async with LoopbackTelegram() as telegram, contextlib.AsyncExitStack() as stack:
        alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
        news = telegram.add_channel("news", [alice, carol])
        group = telegram.add_channel("group", [alice, carol], megagroup=True)
        ledgers = [Ledger(telegram, news), Ledger(telegram, group), Ledger(telegram, alice, bob)]
        fleet = Fleet(1, "hash", limits=Limits.unpaced(), options={"retry_delay": 0}, store=store)
        for user in (alice, carol):
            fleet.add(user.username, session=user.session)
        stack.push_async_callback(fleet.stop)
        got = {}

        def watch(session, name, failing, slow):
            async def handle(update):
                await asyncio.sleep(rng.random() * slow)
                note(update, got.setdefault((session, name), []))
                if rng.random() < failing:
                    raise LookupError("on purpose")

            kinds = events.Raw(types=[*NEW, *EDITED, *DELETED])
            fleet.on(kinds, sessions=session, name=f"{session}-{name}", supervision=PATIENT)(handle)

        for session in fleet:
            watch(session, "quick", 0.0, 0.0)
            watch(session, "slow", 0.0, 0.01)
            watch(session, "failing", 0.2, 0.002)

        async def restart():
            await fleet.restart(rng.choice(["alice", "carol"]))

        async def start_again():
            await fleet.stop()
            for ledger in ledgers:
                ledger.post("while nothing runs")
            await fleet.start()

        async def lose():
            telegram.faults.lose_updates(rng.choice([None, alice, carol]), count=rng.randint(1, 3))

        async def cut():
            telegram.faults.disconnect(rng.choice([None, alice, carol]))

        await fleet.start()
        for step in range(steps):
            ledger = rng.choice(ledgers)
            match rng.choices(range(7), weights=[50, 20, 10, 5, 5, 5, 2])[0]:
                case 0:
                    ledger.post(f"post {step}")
                case 1:
                    ledger.edit(rng)
                case 2:
                    ledger.delete(rng)
                case 3:
                    await cut()
                case 4:
                    await lose()
                case 5:
                    await restart()
                case 6:
                    await start_again()
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.02)
        telegram.faults.clear()
        for name in fleet:
            await fleet[name].settled()
        whole = [(session, name) for session in ("alice", "carol") for name in ("quick", "slow", "failing")]
        # in a difference, a message may come before changes of others; what is posted after it comes after all of it
        for why in ("a gap shows by what comes after it", "nothing is left"):
            last = {ledger.key: ledger.post(why) for ledger in ledgers}
            for who in whole:
                for key, id in last.items():
                    if key or who[0] == "alice":
                        await until(lambda who=who, key=key, id=id: (key, "new", id) in got.get(who, []))
        await fleet.stop()
        for who in whole:
            for ledger in ledgers:
                if ledger.key or who[0] == "alice":
                    ledger.check([(what, id) for key, what, id in got[who] if key == ledger.key], (seed, *who))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("stored", [False, True])
async def test_each_monitor_sees_each_event_once_and_in_order_whatever_happens(seed, stored, tmp_path):
    """R-M5: of a seed that is told; with a store, and without."""
    print(f"seed {seed}")
    await play(seed, store=tmp_path / "fleet.db" if stored else None)
