"""Bulk sends: each recipient once, whatever happens meanwhile, and a report of what became of each."""

import asyncio
import time

import pytest

from telestage.actors import Limits, SessionUnknown
from telestage.messages import Kind


def texts(telegram):
    return sorted((each.peer, each.text) for each in telegram.delivered())


async def test_each_recipient_gets_the_message_once_through_kills_and_disconnects(telegram, new_fleet, eventually):
    """R-X5: counted by the server; each message stays with its session."""
    senders = [telegram.add_user(f"sender{n}") for n in range(3)]
    peers = [telegram.add_user(f"peer{n}") for n in range(36)]
    telegram.faults.latency(0.002)
    fleet = new_fleet(*senders)
    seen = []
    async with fleet:
        sending = asyncio.ensure_future(
            fleet.bulk_send([peer.username for peer in peers], "hello", progress=seen.append)
        )
        for step in range(1, 4):
            telegram.faults.unanswered("messages.sendMessage", user=senders[0])
            lost = len([call for call in telegram.calls if call.outcome == "unanswered"])
            await eventually(lambda step=step: len(telegram.delivered()) >= 5 * step)
            await eventually(
                lambda lost=lost: len([call for call in telegram.calls if call.outcome == "unanswered"]) > lost
            )
            telegram.faults.disconnect(senders[1])
            await fleet.restart("sender0")
        report = await sending
        assert report.sent == 36
        assert report.failed == []
        assert texts(telegram) == sorted((peer.id, "hello") for peer in peers)
        assert [each.peer for each in report.deliveries] == [peer.username for peer in peers]
        assert {each.session for each in report.deliveries} == set(fleet)
        by_random_id = {each.random_id: each for each in telegram.delivered()}
        ids = {sender.username: sender.id for sender in senders}
        for each in report.deliveries:
            assert by_random_id[each.random_id].message_id == each.message_id
            assert by_random_id[each.random_id].sender_id == ids[each.session]
        assert len(seen) == 36
        assert [telegram.peak_in_flight(sender) for sender in senders] == [1, 1, 1]


async def test_a_flood_wait_is_waited_out_by_its_own_session(telegram, new_fleet, eventually):
    """R-X2: also when it is longer than a single message would wait; the other session goes on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = [telegram.add_user(f"peer{n}") for n in range(10)]
    fleet = new_fleet(alice, bob, limits=Limits(queue_timeout=0.2, timeouts={Kind.SENDING: 0.2}))
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        began = time.monotonic()
        report = await fleet.bulk_send([peer.username for peer in peers], "hello")
        assert time.monotonic() - began >= 0.9
        assert report.sent == 10
        assert not telegram.early_calls
        assert len(telegram.delivered(sender=alice)) == len(telegram.delivered(sender=bob)) == 5
        impatient = telegram.faults.flood_wait("messages.sendMessage", seconds=30, user=alice)
        report = await fleet.bulk_send(["bob"], "hello", sessions="alice", patience=1.0)
        assert impatient is None
        assert "FloodParked" in report.failed[0].error


async def test_what_fails_for_one_recipient_is_in_the_report(telegram, new_fleet):
    """R-X5: and the others get theirs."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        report = await fleet.bulk_send(["bob", "nobody_there", 3.5, "bob"], "hello")
        assert [each.error is None for each in report.deliveries] == [True, False, False, True]
        assert "nobody_there" in report.deliveries[1].error
        assert "3.5" in report.deliveries[2].error
        assert len(telegram.delivered()) == 2


async def test_a_session_that_ends_takes_only_its_own_share_with_it(telegram, new_fleet):
    """R-X2, R-X4: nothing is moved to another account."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    async with fleet:
        telegram.faults.ban(alice)
        report = await fleet.bulk_send(["bob", "alice"] * 5, "hello")
        assert [each.session for each in report.failed] == ["alice"] * 5
        assert all("banned" in each.error for each in report.failed)
        assert len(telegram.delivered(sender=bob)) == report.sent == 5


async def test_a_cancelled_bulk_send_sends_nothing_further(telegram, new_fleet, eventually):
    """R-Q8: and leaves no task behind."""
    alice = telegram.add_user("alice")
    peers = [telegram.add_user(f"peer{n}").username for n in range(30)]
    telegram.faults.latency(0.005)
    fleet = new_fleet(alice)
    async with fleet:
        sending = asyncio.ensure_future(fleet.bulk_send(peers, "hello"))
        await eventually(lambda: len(telegram.delivered()) == 3)
        assert fleet.tasks.count(type="sending") in (1, 2)  # its own, and the operation it may be waiting for
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await eventually(lambda: fleet.tasks.count(type="sending") == 0)
        await fleet["alice"].get_me()
        assert len(telegram.delivered()) <= 4


async def test_a_bulk_send_to_nobody_or_by_nobody(telegram, new_fleet):
    """Bad input is refused before anything is sent."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    with pytest.raises(RuntimeError, match="does not run"):
        await fleet.bulk_send(["alice"], "hello")
    async with fleet:
        assert (await fleet.bulk_send([], "hello")).deliveries == []
        with pytest.raises(ValueError, match="matches"):
            await fleet.bulk_send(["alice"], "hello", sessions="nobody-*")
        with pytest.raises(SessionUnknown, match="nobody"):
            await fleet.bulk_send(["alice"], "hello", sessions=["alice", "nobody"])
        with pytest.raises(TypeError, match="list of peers"):
            await fleet.bulk_send("alice", "hello")
        assert telegram.delivered() == []
