"""Permits in a running fleet: never more than there are, each given back."""

import asyncio
import logging

import pytest
from telethon import events

from telestage.actors import EventMonitorConfig, Limits, OperationTimeout, PermitTimeout, Supervision
from telestage.actors.telegram.book import MonitorSpec


async def test_no_more_run_at_once_than_the_limits_say(telegram, new_fleet):
    """R-G1: for scraping, and for all together; counted by the operations and by the pool."""
    users = [telegram.add_user(f"user{n}") for n in range(8)]
    running = {"scraping": 0, "all": 0}
    peak = {"scraping": 0, "all": 0}

    def work(kind):
        async def run(client):
            for each in {kind, "all"} & running.keys():
                running[each] += 1
                peak[each] = max(peak[each], running[each])
            await client.get_me()
            for each in {kind, "all"} & running.keys():
                running[each] -= 1

        return run

    telegram.faults.latency(0.005)
    fleet = new_fleet(*users, limits=Limits(operations=4, scraping=2))
    async with fleet:
        await asyncio.gather(
            *(fleet[name].call(work("scraping"), kind="scraping") for name in fleet for _ in range(3)),
            *(fleet[name].call(work("other"), kind="other") for name in fleet for _ in range(3)),
        )
        permits = fleet.status().permits
        assert peak == {"scraping": 2, "all": 4}
        assert permits.kinds["scraping"].peak == 2
        assert permits.peak == 4
        assert permits.total.wait_p99 is not None
        assert permits.granted == permits.returned == 8 + 48


async def test_no_permit_in_time_is_an_error_and_stops_nobody_else(telegram, new_fleet, caplog):
    """R-G2, R-D4: `PermitTimeout`, a WARNING that names the holder, and the others go on."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice, bob, carol, limits=Limits(scraping=1, permit_timeout=0.1))
    go_on = asyncio.Event()
    async with fleet:
        holding = asyncio.ensure_future(fleet["alice"].call(lambda client: go_on.wait(), kind="scraping"))
        await asyncio.sleep(0)
        refused = asyncio.ensure_future(fleet["bob"].get_messages("alice", limit=1))
        assert (await fleet["carol"].get_me()).username == "carol"
        with pytest.raises(PermitTimeout) as timeout:
            await refused
        assert (timeout.value.session, timeout.value.kind) == ("bob", "scraping")
        go_on.set()
        await holding
        assert await fleet["bob"].get_messages("alice", limit=1) == []
        permits = fleet.status().permits
        assert permits.kinds["scraping"].refused == 1
        assert permits.granted == permits.returned
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("bob" in line and "held by alice" in line for line in warnings)


async def test_the_status_of_permits_says_who_holds_them_who_waits_and_for_how_long(telegram, new_fleet, eventually):
    """R-G6: by kind and for all together."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob, limits=Limits(scraping=1, operations=5))
    go_on = asyncio.Event()
    async with fleet:
        connected = fleet.status().permits.granted
        holding = asyncio.ensure_future(fleet["alice"].call(lambda client: go_on.wait(), kind="scraping"))
        await eventually(lambda: fleet["alice"].status.kind == "scraping")
        waiting = asyncio.ensure_future(fleet["bob"].call(lambda client: client.get_me(), kind="scraping"))
        await eventually(lambda: fleet.status().permits.kinds["scraping"].waiting == 1)
        await eventually(lambda: fleet.status().permits.holders[0].held_for > 0.1)
        permits = fleet.status().permits
        scraping = permits.kinds["scraping"]
        assert (scraping.limit, scraping.in_use, scraping.waiting, scraping.granted) == (1, 1, 1, 1)
        assert (permits.total.limit, permits.total.in_use, permits.total.granted) == (5, 1, connected + 1)
        (holder,) = permits.holders
        assert (holder.session, holder.kind) == ("alice", "scraping")
        assert holder.held_for < 10.0
        go_on.set()
        await asyncio.gather(holding, waiting)
        scraping = fleet.status().permits.kinds["scraping"]
        assert (scraping.in_use, scraping.waiting, scraping.granted, scraping.returned) == (0, 0, 2, 2)
        assert fleet.status().permits.holders == []
        # one of the two waited for as long as the other held
        assert 0.05 <= scraping.wait_p99 < 10.0
        assert scraping.wait_p50 <= scraping.wait_p95 <= scraping.wait_p99


async def test_permits_are_logged_as_they_are_asked_for_granted_and_returned(telegram, new_fleet, caplog):
    """R-D4: at DEBUG."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    with caplog.at_level(logging.DEBUG, logger="telestage.manager"):
        async with fleet:
            await fleet["alice"].get_me()
    lines = [record.getMessage() for record in caplog.records if "permit" in record.getMessage()]
    for word in ("asked for", "granted", "returned"):
        assert sum(word in line for line in lines) == 2  # to connect, and the call


async def test_every_permit_comes_back_whatever_becomes_of_its_holder(telegram, new_fleet, eventually):
    """R-G3: failure, timeout, cancellation, kill, disconnect, a dead session, and one that is removed."""
    users = [telegram.add_user(f"user{n}") for n in range(6)]
    fleet = new_fleet(*users, limits=Limits(operations=3, rpc_timeout=5.0))
    go_on = asyncio.Event()
    async with fleet:

        async def wait(client):
            await go_on.wait()

        async def fail(client):
            raise LookupError("on purpose")

        with pytest.raises(LookupError):
            await fleet["user0"].call(fail)
        with pytest.raises(OperationTimeout):
            await fleet["user0"].call(wait, timeout=0.05)
        cancelled = asyncio.ensure_future(fleet["user1"].call(wait))
        killed = asyncio.ensure_future(fleet["user2"].call(wait))
        removed = asyncio.ensure_future(fleet["user3"].call(wait))
        await eventually(lambda: fleet.status().permits.total.in_use == 3)
        waiting = asyncio.ensure_future(fleet["user4"].call(wait))
        await eventually(lambda: fleet.status().permits.total.waiting == 1)
        waiting.cancel()
        await eventually(lambda: fleet.status().permits.total.waiting == 0)
        cancelled.cancel()
        await fleet.restart("user2")
        await fleet.remove("user3")
        telegram.faults.revoke(users[5])
        await asyncio.gather(cancelled, killed, removed, waiting, fleet["user5"].get_me(), return_exceptions=True)
        await fleet["user2"].settled()
        await eventually(lambda: fleet.status().permits.total.in_use == 0)
        go_on.set()
    permits = fleet.status().permits
    assert permits.granted == permits.returned > 6
    assert permits.holders == []


async def test_what_is_left_behind_of_a_first_attempt_never_gives_back_the_permit_of_the_next(
    telegram, new_fleet, eventually, stubborn, caplog
):
    """R-G3, R-D4: an operation that is asked again after a restart has a permit of its own, whatever the first does."""
    alice = telegram.add_user("alice")
    second, attempts = asyncio.Event(), []

    class Slow(events.NewMessage):
        """A filter that takes its time, and at first won't be hurried."""

        async def resolve(self, client):
            attempts.append(client)
            if len(attempts) == 1:
                await stubborn(client)
                raise LookupError("too late")
            await second.wait()

    fleet = new_fleet(alice)
    spec = MonitorSpec("keep", Slow(), print, Supervision(), EventMonitorConfig())
    async with fleet:
        session = fleet["alice"]
        registering = asyncio.ensure_future(session.register_monitor(spec))
        await eventually(lambda: len(attempts) == 1)
        await session.kill()
        await eventually(lambda: len(attempts) == 2)
        assert "permit reclaimed from alice: " in caplog.text
        assert fleet.status().permits.total.in_use == 1
        stubborn.end.set()
        await eventually(lambda: session.status.operations == 1)  # the first has left its turn
        assert fleet.status().permits.total.in_use == 1
        assert [holder.session for holder in fleet.status().permits.holders] == ["alice"]
        second.set()
        await registering
        assert fleet.status().permits.total.in_use == 0
        assert session.status.restarts == 1
    assert fleet.status().permits.granted == fleet.status().permits.returned


async def test_a_session_with_many_operations_does_not_starve_one_with_a_single_one(telegram, new_fleet):
    """R-G4: the sessions take turns."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob, limits=Limits(operations=1))
    order = []

    def note(who):
        async def run(client):
            order.append(who)
            await client.get_me()

        return run

    async with fleet:
        many = [asyncio.ensure_future(fleet["alice"].call(note("alice"))) for _ in range(30)]
        await asyncio.sleep(0)
        one = asyncio.ensure_future(fleet["bob"].call(note("bob")))
        await asyncio.gather(*many, one)
    assert order.index("bob") <= 2


async def test_a_free_permit_takes_no_message(telegram, new_fleet):
    """R-G1: the manager has nothing to do with a send that nobody waits for; its books have it all the same."""
    alice, _ = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        manager = next(each for each in fleet._system.statistics() if each.path == "/manager")
        granted = fleet.status().permits.total.granted
        for number in range(5):
            await fleet["alice"].send_message("bob", str(number))
        after = next(each for each in fleet._system.statistics() if each.path == "/manager")
        assert after.processed == manager.processed
        assert fleet.status().permits.total.granted == fleet.status().permits.total.returned == granted + 5
