"""Leases: one owner at a time, whatever the clocks and the processes do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from telestage.actors.store import Lease, LeaseHeld, LeaseLost, Leases, Owner, Store, StoreError, lease_status


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(tmp_path / "fleet.db", patience=0.05) as store:
        yield store


class Sleeper:
    """A process that does nothing."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.pid = self._process.pid
        self.born = int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19])

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def die(self) -> None:
        """It is dead when this returns, and not buried."""
        self._process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def bury(self) -> None:
        self._process.kill()
        self._process.communicate()


async def leases(store: Store, clock: Clock, text: str, seconds: float = 30.0) -> Leases:
    made = Leases(store, Owner.here(text), seconds, clock=clock)
    await made.open()
    return made


async def test_a_second_owner_is_told_at_once_who_has_it(store: Store) -> None:
    """R-X6"""
    clock = Clock()
    one, two = await leases(store, clock, "one"), await leases(store, clock, "two")
    held = await one.take("key", "alice")
    assert held.valid
    clock.now += 10
    with pytest.raises(LeaseHeld, match="'alice' is in use by one") as refused:
        await two.take("key", "alice")
    assert refused.value.owner == "one"
    assert refused.value.seconds == 20
    assert (await two.take("another", "bob")).valid
    await one.release([held])
    assert not held.valid
    assert (await two.take("key", "alice")).epoch == held.epoch + 1
    for each in (one, two):
        await each.release()


async def test_a_holder_stops_before_another_may_begin(store: Store) -> None:
    """R-X6: with a margin, at every instant of a lease that isn't renewed."""
    clock = Clock()
    one, two = await leases(store, clock, "one", 12), await leases(store, clock, "two", 12)
    held = await one.take("key", "alice")
    taken: Lease | None = None
    used = []
    for _ in range(140):
        clock.now += 0.1
        if taken is None:
            with contextlib.suppress(LeaseHeld):
                taken = await two.take("key", "alice")
        used.append((held.valid, taken is not None and taken.valid))
    assert used[98] == (True, False)  # 9.9 s
    assert used[101:118] == [(False, False)] * 17  # 10.2 to 11.9 s: nobody
    assert used[121] == (False, True)
    assert (True, True) not in used
    for each in (one, two):
        await each.release()


async def test_a_renewal_keeps_all_leases_and_finds_what_was_taken(store: Store) -> None:
    """R-X6: for others, too, as long as its holder takes it for valid."""
    clock = Clock()
    one, two = await leases(store, clock, "one"), await leases(store, clock, "two")
    alice, bob = await one.take("a", "alice"), await one.take("b", "bob")
    lapsed: list[str] = []
    alice.on_lapse, bob.on_lapse = (lambda: lapsed.append("alice")), (lambda: lapsed.append("bob"))
    clock.now += 20
    await one.renew()
    clock.now += 20
    assert alice.valid
    assert bob.valid
    with pytest.raises(LeaseHeld, match="in use by one") as refused:
        await two.take("a", "alice")  # past the end that it had before
    assert refused.value.seconds == 10
    clock.now += 20  # past both
    assert not alice.valid
    await two.take("a", "alice")
    await one.renew()
    assert lapsed == ["alice"]
    assert not alice.valid
    assert bob.valid  # nobody had taken it
    with pytest.raises(LeaseHeld):
        await one.take("a", "alice")
    for each in (one, two):
        await each.release()


async def test_an_old_epoch_can_not_write(store: Store) -> None:
    """R-X6: it is checked in the transaction that would write."""
    clock = Clock()
    one, two = await leases(store, clock, "one"), await leases(store, clock, "two")
    await store.prepare("notes", ("CREATE TABLE notes (text TEXT)",))

    def note(lease: Lease, text: str, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))
        lease.check(connection)

    old = await one.take("key", "alice")
    await store.write(lambda connection: note(old, "old", connection))
    clock.now += 31
    new = await two.take("key", "alice")
    await store.write(lambda connection: note(new, "new", connection))
    with pytest.raises(LeaseLost, match="epoch 1 is over; two has the lease now"):
        await store.write(lambda connection: note(old, "late", connection))
    await two.release([new])
    with pytest.raises(LeaseLost, match="nobody has the lease now"):
        await store.write(lambda connection: note(new, "late", connection))
    for each in (one, two):
        await each.release()
    texts = await store.read(lambda connection: connection.execute("SELECT text FROM notes").fetchall())
    assert texts == [("old",), ("new",)]


async def test_the_owner_that_takes_it_again_has_a_new_epoch(store: Store) -> None:
    clock = Clock()
    one = await leases(store, clock, "one")
    first = await one.take("key", "alice")
    assert await one.take("key", "alice") is first
    with pytest.raises(LeaseHeld, match="'alice' of the same fleet"):
        await one.take("key", "alice-again")
    clock.now += 40
    second = await one.take("key", "alice")
    assert (first.epoch, second.epoch) == (1, 2)
    assert not first.valid
    await one.renew()
    assert not first.valid
    assert second.valid
    await one.release()


async def test_what_is_left_of_a_killed_process_is_free_at_once_and_of_a_stopped_one_is_not(store: Store) -> None:
    """R-X6: also when its id is another process's by now, and when nobody has buried it."""
    clock = Clock()
    here = Owner.here("here")
    process = Sleeper()
    try:
        theirs = msgspec.structs.replace(here, token="theirs", text="they", pid=process.pid, born=process.born)
        other = Leases(store, theirs, 30, clock=clock)
        await other.open()
        await other.take("key", "alice")
        mine = Leases(store, here, 30, clock=clock)
        process.stop()
        with pytest.raises(LeaseHeld, match="they"):
            await mine.take("key", "alice")
        process.die()
        assert (await mine.take("key", "alice")).epoch == 2
    finally:
        process.bury()
    for each in (mine, other):
        await each.release()
    assert theirs.gone
    assert msgspec.structs.replace(theirs, pid=os.getpid()).gone
    assert not msgspec.structs.replace(theirs, place="another machine").gone
    assert not here.gone


async def test_a_restart_of_the_machine_frees_what_was_held_before_it(store: Store) -> None:
    """The monotonic clock begins again; nobody who took a lease later than now can be there."""
    clock = Clock()
    one, two = await leases(store, clock, "one"), await leases(store, clock, "two")
    await one.take("key", "alice")
    clock.now = 5.0
    assert (await two.take("key", "alice")).epoch == 2
    for each in (one, two):
        await each.release()


async def test_a_store_that_can_not_be_written_ends_the_leases_in_time(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """R-X6: the holder is told before its lease ends, and not while renewals succeed."""
    seconds = 2.4  # a shorter one ends by itself on a busy machine, as it should
    made = Leases(store, Owner.here("one"), seconds)
    await made.open()
    lease = await made.take("key", "alice")
    lapsed = asyncio.Event()
    lease.on_lapse = lapsed.set
    keeping = asyncio.ensure_future(made.keep())
    try:
        deadlines = {lease.deadline}
        while len(deadlines) < 3:
            await asyncio.sleep(0.01)
            assert lease.valid
            deadlines.add(lease.deadline)
        assert not lapsed.is_set()
        other = sqlite3.connect(store.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            began = asyncio.get_running_loop().time()
            await asyncio.wait_for(lapsed.wait(), 5)
            assert asyncio.get_running_loop().time() - began < seconds
            assert not lease.valid
            assert "could not be renewed" in caplog.text
        finally:
            other.close()
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
    await made.release()


async def test_the_status_tells_who_holds_what(store: Store) -> None:
    made = Leases(store, Owner.here("one"), 30)
    await made.open()
    lease = await made.take("key", "alice")
    status = (await store.read(lease_status))["key"]
    assert (status.name, status.owner, status.epoch) == ("alice", "one", 1)
    await made.release([lease])
    assert (await store.read(lease_status))["key"].owner is None


async def test_what_can_not_be_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"0\.1 to 3600"):
        Leases(store, Owner.here(), 0)
    with pytest.raises(ValueError, match="1 to 200"):
        Owner.here("")
    made = Leases(store, Owner.here(), 1)
    with pytest.raises(StoreError, match="no such table"):
        await made.take("key", "alice")


async def test_many_are_taken_and_given_back_in_few_transactions(store: Store) -> None:
    """A fleet of a thousand sessions isn't to wait for a thousand times the disk; who is refused is so alone."""
    clock = Clock()
    one, two = await leases(store, clock, "one"), await leases(store, clock, "two")
    await two.take("key 7", "theirs")
    written = 0
    write = store.write

    async def counted(work):  # type: ignore[no-untyped-def]  # as `write` is
        nonlocal written
        written += 1
        return await write(work)

    store.write = counted  # type: ignore[method-assign]  # counts, and does what it does
    took = await asyncio.gather(*(one.take(f"key {n}", f"s{n}") for n in range(100)), return_exceptions=True)
    assert [n for n, each in enumerate(took) if isinstance(each, LeaseHeld)] == [7]
    held = [each for each in took if isinstance(each, Lease)]
    assert len(held) == 99
    assert all(each.valid and each.epoch == 1 for each in held)
    assert written <= 2
    given_up = asyncio.ensure_future(one.take("key 100", "s100"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(*(one.release([each]) for each in held))
    assert written <= 5
    assert {each.name for each in (await store.read(lease_status)).values() if each.owner} <= {"theirs", "s100"}
    for each in (one, two):
        await each.release()
    assert not any(each.owner for each in (await store.read(lease_status)).values())
