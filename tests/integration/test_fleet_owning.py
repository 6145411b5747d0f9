"""One owner: fleets with the same store never use one session at once.

Leases here last 3 s at least: a shorter one is lost on a busy machine, as it should be.
"""

import asyncio
import contextlib
import sqlite3
import time

import pytest
import uvloop
from telethon.tl import functions

from telestage.actors import Fleet, Ownership, SessionDead, SessionInUse, Store
from telestage.actors.store import LeaseStatus, lease_status
from telestage.messages import SessionState
from telestage.testing import LoopbackTelegram


def fleet_of(store, *users, owner, lease=30.0, standby=False, **options) -> Fleet:
    fleet = Fleet(
        1, "hash", store=store, ownership=Ownership(owner=owner, lease=lease, standby=standby), options=options
    )
    for user in users:
        fleet.add(user.username, session=user.session)
    return fleet


async def leases_in(path) -> dict[str, LeaseStatus]:
    async with Store(path) as store:
        return {status.name: status for status in (await store.read(lease_status)).values()}


async def test_a_session_that_is_in_use_fails_at_once_and_alone(telegram, tmp_path):
    """R-X6: its operations fail with SessionInUse, which says who; the other sessions go on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first"):
        async with fleet_of(tmp_path / "fleet.db", alice, bob, owner="the second") as second:
            with pytest.raises(SessionInUse, match="in use by the first") as refused:
                await second["alice"].get_me()
            assert isinstance(refused.value, SessionDead)
            assert refused.value.owner == "the first"
            status = second["alice"].status
            assert (status.state, status.reason) == (SessionState.DEAD, "in use by the first")
            assert telegram.connections(alice) == 1
            assert (await second["bob"].get_me()).username == "bob"
        assert (await leases_in(tmp_path / "fleet.db"))["alice"].owner == "the first"
    held = await leases_in(tmp_path / "fleet.db")
    assert [held[name].owner for name in ("alice", "bob")] == [None, None]


async def test_the_key_is_what_is_leased_not_the_name(telegram, tmp_path):
    """R-X6"""
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first"):
        second = fleet_of(tmp_path / "fleet.db", owner="the second")
        second.add("by-another-name", session=alice.session)
        async with second:
            with pytest.raises(SessionInUse):
                await second["by-another-name"].get_me()


async def test_a_session_is_free_when_it_is_removed_or_its_fleet_has_stopped(telegram, tmp_path):
    """R-X6: at once, not when the lease would end."""
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as first:
        await first.remove("alice")
        async with fleet_of(tmp_path / "fleet.db", alice, owner="the second") as second:
            assert (await second["alice"].get_me()).username == "alice"
        async with fleet_of(tmp_path / "fleet.db", alice, owner="the third") as third:
            assert (await third["alice"].get_me()).username == "alice"
    assert (await leases_in(tmp_path / "fleet.db"))["alice"].epoch == 3


async def test_a_restarted_session_keeps_its_lease(telegram, tmp_path):
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as fleet:
        await fleet.restart("alice")
        await fleet["alice"].settled()
        assert (await fleet["alice"].get_me()).username == "alice"
        held = (await leases_in(tmp_path / "fleet.db"))["alice"]
        assert (held.owner, held.epoch) == ("the first", 1)


async def test_a_standby_takes_over_when_the_session_is_free(telegram, tmp_path, eventually):
    """R-X6: only if it was asked to stand by; it starts without waiting, and what is asked of it waits."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    first = fleet_of(tmp_path / "fleet.db", alice, owner="the first", lease=3.0)
    async with contextlib.AsyncExitStack() as ends:
        await first.start()
        ends.push_async_callback(first.stop)
        standby = fleet_of(tmp_path / "fleet.db", alice, bob, owner="the standby", lease=3.0, standby=True)
        began = asyncio.get_running_loop().time()
        await ends.enter_async_context(standby)
        assert asyncio.get_running_loop().time() - began < 10
        status = standby["alice"].status
        assert (status.state, status.reason) == (SessionState.STANDBY, "in use by the first")
        assert telegram.connections(alice) == 1
        asking = asyncio.ensure_future(standby["alice"].get_me())
        await first.stop()
        assert (await asking).username == "alice"
        assert standby["alice"].status.state is SessionState.READY


async def test_a_standby_can_be_stopped_while_it_waits(telegram, tmp_path):
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as first:
        standby = await fleet_of(tmp_path / "fleet.db", alice, owner="the standby", standby=True).start()
        began = asyncio.get_running_loop().time()
        await standby.stop()
        assert asyncio.get_running_loop().time() - began < 5
        assert (await first["alice"].get_me()).username == "alice"


async def test_a_lease_that_can_not_be_renewed_disconnects_the_session_in_time(telegram, tmp_path, eventually):
    """R-X6: before it ends; when the store can be written again, the session goes on, in a new epoch or its own."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    loop = asyncio.get_running_loop()
    store = Store(tmp_path / "fleet.db", patience=0.1)
    async with store, fleet_of(store, alice, owner="the first", lease=3.0) as fleet:
        await fleet["alice"].get_me()
        other = sqlite3.connect(store.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            began = loop.time()
            await eventually(lambda: telegram.connections(alice) == 0)
            assert loop.time() - began < 3.0
            sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))
            calls = len(telegram.calls)
            await eventually(lambda: fleet["alice"].status.restarts >= 3)
            assert len(telegram.calls) == calls
        finally:
            other.close()
        await sending
        assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]


async def test_a_lease_that_ends_cuts_the_connection_whatever_keeps_its_session(
    telegram, tmp_path, eventually, stubborn
):
    """R-X6: before the lease ends, also if the session is at something that resists its end."""
    alice = telegram.add_user("alice")
    store = Store(tmp_path / "fleet.db", patience=0.1)
    async with store, fleet_of(store, alice, owner="the first", lease=3.0) as fleet:
        calling = asyncio.ensure_future(fleet["alice"].call(stubborn))
        await eventually(lambda: stubborn.calls)
        lease = fleet._books["alice"].lease
        other = sqlite3.connect(store.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            deadlines = [lease.deadline]

            def cut() -> bool:
                deadlines.append(lease.deadline)  # one renewal may have been under way
                return telegram.connections(alice) == 0

            await eventually(cut)
            assert max(deadlines) <= time.monotonic() < max(deadlines) + 0.5  # which is its end
        finally:
            other.close()
            stubborn.end.set()
        with contextlib.suppress(Exception):
            await calling
        await eventually(lambda: telegram.connections(alice) == 1)


async def test_a_session_that_another_has_taken_is_let_go(telegram, tmp_path, eventually):
    """R-X6: as after a pause past the lease; nothing is sent any more, not even what was asked for before."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first", lease=3.0) as first:
        await first["alice"].get_me()

        def steal(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE leases SET token = 'theirs', owner = 'a thief', epoch = epoch + 1")

        await first.store.write(steal)
        await eventually(lambda: first["alice"].status.state is SessionState.DEAD)
        with pytest.raises(SessionInUse, match="in use by a thief"):
            await first["alice"].send_message("bob", "hi")
        assert telegram.connections(alice) == 0
        assert telegram.delivered(to=bob) == []


async def send_without_a_lease(telegram, tmp_path, eventually):
    alice, _ = telegram.add_user("alice"), telegram.add_user("bob")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as fleet:
        await fleet["alice"].get_me()
        lease = fleet._books["alice"].lease
        client = fleet._books["alice"].connection.client
        lease.deadline = 0.0  # as it is for a process that was stopped, before any timer of its has run
        lost = fleet._books["alice"].connection
        never = client._sender.send(functions.help.GetNearestDcRequest())  # past all that is ours
        await eventually(lambda: fleet._books["alice"].connection is not lost)
        await fleet["alice"].send_message("bob", "hi")  # the session has been restarted, and taken again
        assert fleet._books["alice"].lease.epoch == 2
        assert "help.getNearestDc" not in {call.method for call in telegram.calls}
        never.cancel()


async def test_without_a_valid_lease_nothing_is_sent(telegram, tmp_path, eventually):
    """R-X6: whoever sends: it is looked at when a packet is about to leave, whatever timer comes first."""
    await send_without_a_lease(telegram, tmp_path, eventually)


def test_without_a_valid_lease_nothing_is_sent_on_uvloop(tmp_path, eventually):
    """R-X6: whose transports have no socket that could look at it."""

    async def main():
        async with LoopbackTelegram() as telegram:
            await send_without_a_lease(telegram, tmp_path, eventually)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_lease_that_ends_on_the_way_to_the_socket_sends_nothing(telegram, tmp_path, eventually):
    """R-X6: a process may be stopped anywhere; here, when the lease has been looked at and the packet is encoded."""
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as fleet:
        await fleet["alice"].get_me()
        lease, lost = fleet._books["alice"].lease, fleet._books["alice"].connection
        wire = lost.client._sender._connection
        encode = wire._codec.encode_packet

        def stopped(data: bytes) -> bytes:
            packet = encode(data)
            lease.deadline = 0.0
            return packet

        wire._codec.encode_packet = stopped
        never = lost.client._sender.send(functions.help.GetNearestDcRequest())
        await eventually(lambda: fleet._books["alice"].connection not in (lost, None))
        assert (await fleet["alice"].get_me()).username == "alice"
        assert "help.getNearestDc" not in {call.method for call in telegram.calls}
        never.cancel()


async def test_what_waits_in_the_buffer_when_the_lease_ends_is_not_sent(telegram, tmp_path, eventually):
    """R-X6: neither when the process wakes and the socket can be written before any timer has run."""
    alice = telegram.add_user("alice")
    async with fleet_of(tmp_path / "fleet.db", alice, owner="the first") as fleet:
        await fleet["alice"].get_me()
        lease, lost = fleet._books["alice"].lease, fleet._books["alice"].connection
        transport = lost.client._sender._connection._writer.transport
        sock = transport._sock
        sends = []

        class Full(type(sock)):  # whose kernel buffer has no room, once
            __slots__ = ()

            def send(self, data):
                if not sends:
                    sends.append(len(data))
                    lease.deadline = 0.0
                    raise BlockingIOError
                return super().send(data)

        sock.__class__ = Full
        never = lost.client._sender.send(functions.help.GetNearestDcRequest())
        await eventually(lambda: fleet._books["alice"].connection not in (lost, None))
        assert (await fleet["alice"].get_me()).username == "alice"
        assert sends
        assert "help.getNearestDc" not in {call.method for call in telegram.calls}
        never.cancel()


async def test_what_ownership_can_not_be_is_refused():
    for wrong in ({"lease": 0}, {"lease": True}, {"owner": ""}):
        with pytest.raises(ValueError, match=r"3600|200"):
            Ownership(**wrong)
