"""Where updates stand, in the store: what is written, when, and by whom."""

import asyncio
import datetime
import sqlite3
import time
from contextlib import closing

import pytest

from telestage.actors.store import Leases, Owner, Store, StoreError
from telestage.actors.telegram.checkpoint import ACCOUNT, Account, Channel, Checkpoint, Position, Recent
from telestage.actors.telegram.inhand import EventInHand
from telestage.actors.telegram.keeping import Keeper, SessionKeeping
from telestage.actors.telegram.once import Once

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class CountedStore(Store):
    """Counts the transactions."""

    writes = 0

    async def write(self, work):
        self.writes += 1
        return await super().write(work)


async def opened(store):
    keeper = Keeper(store, asyncio.get_running_loop().create_task)
    await keeper.open()
    return keeper


async def begun(keeper, name="alice", key="key", lease=None):
    checkpoint = Checkpoint()
    keeping = SessionKeeping(keeper, name)
    marks = await keeping.begin(checkpoint, key, lease)
    return checkpoint, keeping, marks


def at(pts, channel=5):
    return Position(Account(pts, 0, NOW, 0), {7: Channel(channel, 3, Recent(0b101, 12))})


async def test_a_position_and_the_marks_come_back(tmp_path):
    """R-M5: with up to where the session had received."""
    async with Store(tmp_path / "db") as store:
        keeper = await opened(store)
        checkpoint, keeping, marks = await begun(keeper)
        assert (checkpoint.stored, marks) == (None, {})
        checkpoint.hash_of = {7: (99, 67)}.get
        checkpoint.base(at(10))
        waiting = checkpoint.begin(at(20, 6))  # received, and not done
        keeping.ended("watch", (7, True, 3))
        keeping.ended("watch", (ACCOUNT, False, 15))
        await keeper.settle()
        waiting.release()
        waiting = checkpoint.begin(at(30, 8))
        await keeper.close()
        checkpoint, _, marks = await begun(await opened(store))
        assert marks == {"watch": {(7, True): 3, (ACCOUNT, False): 15}}
        assert checkpoint.stored is not None
        assert checkpoint.stored.account.pts == 20
        assert checkpoint.stored.channels == {7: Channel(6, 3, Recent(0b101, 12))}
        assert checkpoint.stored.hashes == {7: (99, 67)}
        assert checkpoint.rewound == {ACCOUNT: 30, 7: 8}


async def test_a_mark_in_a_handlers_own_transaction_comes_with_what_was_received(tmp_path):
    """R-M5: all of it or nothing; for all sessions, if it is for all of them."""
    async with Store(tmp_path / "db") as store:
        keeper = await opened(store)
        checkpoint, *_ = await begun(keeper)
        checkpoint.base(at(10))
        await keeper.settle()
        in_hand = EventInHand(
            "alice", "watch", "channel/7/message/4", (7, True, 4), 9, shared=True, gone=frozenset({3})
        )
        await store.write(in_hand.settle)

        def fails(connection):
            EventInHand("alice", "watch", "key", (7, False, 5), received=99, shared=True, gone=frozenset({3})).settle(
                connection
            )
            raise LookupError("on purpose")

        with pytest.raises(LookupError):
            await store.write(fails)
        checkpoint, _, marks = await begun(await opened(store))
        assert marks == {"watch": {(7, True): 4}}
        assert checkpoint.rewound == {ACCOUNT: 10, 7: 9}
        once = Once("watch")
        await keeper.resume(once)
        assert once.has((7, True, 4))
        assert not once.has((7, True, 5))
        assert not await once.take((7, True, 3), "bob", frozenset({3}))  # its deletion has been told
        await keeper.close()


async def test_a_burst_is_one_write_and_rest_is_none(tmp_path):
    """R-M5: of the whole fleet, soon."""
    async with CountedStore(tmp_path / "db") as store:
        keeper = await opened(store)
        sessions = [await begun(keeper, name) for name in ("alice", "bob", "carol")]
        before = store.writes
        for _, keeping, _ in sessions:
            for number in range(100):
                keeping.ended("watch", (7, True, number))
        began = time.perf_counter()
        while store.writes == before:
            assert time.perf_counter() - began < 5
            await asyncio.sleep(0.001)
        await keeper.settle()
        await keeper.settle()
        assert store.writes == before + 1
        await keeper.close()
        assert store.writes == before + 1


async def test_who_waits_for_marks_waits_for_one_write_together(tmp_path):
    """R-M5: `durable="each"`."""
    async with CountedStore(tmp_path / "db") as store:
        keeper = await opened(store)
        _, keeping, _ = await begun(keeper)
        before = store.writes

        async def monitor(name):
            keeping.ended(name, (7, True, 1))
            await keeper.settle()

        await asyncio.gather(*(monitor(f"m{n}") for n in range(50)))
        assert store.writes <= before + 2
        await keeper.close()
        *_, marks = await begun(await opened(store))
        assert len(marks) == 50


async def test_a_write_that_fails_is_made_again_and_whoever_waits_is_told(tmp_path):
    """R-M5: nothing of it is lost."""
    async with Store(tmp_path / "db", patience=0.05) as store:
        keeper = await opened(store)
        _, keeping, _ = await begun(keeper)
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            keeping.ended("watch", (7, True, 1))
            with pytest.raises(StoreError, match="another process keeps it locked"):
                await keeper.settle()
            other.execute("ROLLBACK")
        keeping.ended("watch", (7, False, 2))
        await keeper.close()
        *_, marks = await begun(await opened(store))
        assert marks == {"watch": {(7, True): 1, (7, False): 2}}


async def test_a_session_that_is_anothers_by_now_is_not_written(tmp_path):
    """R-M5, R-X6: old epochs can't write; the other sessions' go on."""
    async with Store(tmp_path / "db") as store:
        leases = [Leases(store, Owner.here(who), 30.0) for who in ("first", "second")]
        for each in leases:
            await each.open()
        keeper = await opened(store)
        lease = await leases[0].take("key", "alice")
        _, alice, _ = await begun(keeper, "alice", "key", lease)
        _, bob, _ = await begun(keeper, "bob", "other")
        checkpoint = alice._checkpoint
        checkpoint.base(at(10))
        alice.ended("watch", (7, True, 1))
        await keeper.settle()
        await leases[0].release([lease])
        await leases[1].take("key", "alice")
        checkpoint.begin(at(20)).release()
        alice.ended("watch", (7, True, 2))
        bob.ended("watch", (7, True, 2))
        await keeper.close()
        stored, _, marks = await begun(await opened(store), "alice", "key")
        assert stored.stored is not None
        assert stored.stored.account.pts == 10
        assert marks == {"watch": {(7, True): 1}}
        *_, marks = await begun(await opened(store), "bob", "other")
        assert marks == {"watch": {(7, True): 2}}
        await leases[1].release()


async def test_what_is_stored_of_another_login_is_let_go(tmp_path):
    """R-M5: its numbers mean nothing here."""
    async with Store(tmp_path / "db") as store:
        keeper = await opened(store)
        checkpoint, keeping, _ = await begun(keeper)
        checkpoint.base(at(10))
        keeping.ended("watch", (7, True, 3))
        await keeper.close()
        checkpoint, _, marks = await begun(await opened(store), key="another")
        assert (checkpoint.stored, checkpoint.rewound, marks) == (None, {}, {})


async def test_what_monitors_of_several_sessions_had_comes_back_and_stays_bounded(tmp_path):
    """R-M5."""
    async with Store(tmp_path / "db") as store:
        keeper = await opened(store)
        once = Once("watch", size=10)
        await keeper.resume(once)
        for number in range(1, 26):
            assert await once.take((7, True, number), "alice")
            once.done((7, True, number), "alice")
            if number % 7 == 0:
                await keeper.settle()
        await keeper.close()
        again = Once("watch", size=10)
        await (await opened(store)).resume(again)
        assert len(again) == 10
        assert all(again.has((7, True, number)) for number in range(1, 26))
        assert not again.has((7, True, 26))
        (count,) = await store.read(lambda connection: connection.execute("SELECT count(*) FROM seen").fetchone())
        assert count == 10


def test_what_is_remembered_of_the_last_messages():
    """R-M5: a hundred bits, and a date."""
    recent = Recent()
    last = 0
    for id in range(1, 151):
        recent = recent.written(id, last, 1000 + id)
        last = id
    assert recent.ids(last) == list(range(51, 151))
    recent = recent.deleted([1, 60, 150], last).written(70, last, 2000)
    assert recent.ids(last) == [id for id in range(51, 150) if id != 60]
    assert recent.heard == 2000
    assert Recent.unpacked(recent.packed()) == recent
    assert recent.written(1000, last, 0).ids(1000) == [1000]
