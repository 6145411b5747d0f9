"""Flood waits: the fleet's, not Telethon's; of one session and kind, and seen by everybody."""

import asyncio
import time

import pytest
from telethon import errors

from telestage.actors import FloodParked, Limits
from telestage.messages import Kind


async def test_a_flood_waited_send_waits_and_succeeds_without_an_early_call(telegram, new_fleet, eventually):
    """R-X2: meanwhile other kinds and other sessions go on, and the status shows until when."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        began = time.monotonic()
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(5)]
        await eventually(lambda: fleet["alice"].status.floods)
        until = fleet["alice"].status.floods["sending"]
        assert until > time.time()
        assert (await fleet["alice"].get_me()).username == "alice"
        await fleet["bob"].send_message("alice", "at once")
        assert time.monotonic() - began < 1.0
        assert not telegram.delivered(to=bob)
        await asyncio.gather(*sending)
        assert time.time() >= until
        assert sorted(each.text for each in telegram.delivered(to=bob)) == [f"m{n}" for n in range(5)]
        assert not telegram.early_calls
        assert telegram.status().floods == 1
        assert fleet["alice"].status.floods == {}


async def test_a_flood_wait_past_the_deadline_fails_at_once(telegram, new_fleet):
    """R-X2: `FloodParked` says until when; what comes later isn't even tried."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(FloodParked) as parked:
                await fleet["alice"].send_message("bob", "hi")
            assert time.monotonic() - began < 1.0
            assert parked.value.kind == "sending"
            assert 890 < parked.value.until - time.time() <= 901
        assert sum(call.method == "messages.sendMessage" for call in telegram.calls) == 1
        assert not telegram.early_calls


async def test_a_flood_wait_outlives_the_restart_of_its_session(telegram, new_fleet):
    """R-X2: Telegram doesn't forget it either."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        await fleet.restart("alice")
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        assert not telegram.early_calls


async def test_telethons_hidden_sleep_is_off(telegram, new_fleet):
    """R-X2: not even a short flood wait keeps a session from other work."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(queue_timeout=0.3, timeouts={Kind.SENDING: 0.3}))
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        began = time.monotonic()
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        assert time.monotonic() - began < 0.5
    with pytest.raises(ValueError, match="flood_sleep_threshold"):
        fleet.add("other", session=telegram.add_session(alice), flood_sleep_threshold=60)


async def test_all_that_a_flood_wait_held_up_is_taken_in_again(telegram, new_fleet, eventually):
    """R-X2, R-Q2: also when there is more of it than the queue holds."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(queue=5))
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        sending = []
        for n in range(15):
            sending.append(asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")))
            await eventually(lambda: fleet["alice"].status.floods and fleet["alice"].status.queued == 0)
        await asyncio.gather(*sending)
        assert len(telegram.delivered(to=bob)) == 15


async def test_a_reply_made_through_an_event_waits_for_the_flood_as_well(telegram, new_fleet):
    """R-X2: a message's own methods are operations like any other."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        message = await fleet["alice"].send_message("bob", "hi")
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        began = time.monotonic()
        await message.reply("again")
        assert time.monotonic() - began >= 0.9
        assert not telegram.early_calls
        assert len(telegram.delivered(to=bob)) == 2


async def test_slow_mode_is_the_chats_not_the_accounts(telegram, new_fleet):
    """R-X2: its caller gets Telegram's error, and nothing is parked."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.error("messages.sendMessage", 420, "SLOWMODE_WAIT_30", user=alice)
        with pytest.raises(errors.SlowModeWaitError):
            await fleet["alice"].send_message("bob", "hi")
        await fleet["alice"].send_message("bob", "elsewhere")
        assert len(telegram.delivered(to=bob)) == 1


async def test_peer_flood_pauses_sending_and_nothing_else(telegram, new_fleet):
    """R-X2: for as long as `Limits.peer_flood` says."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(peer_flood=900.0))
    async with fleet:
        telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
        for _ in range(2):
            with pytest.raises(FloodParked) as parked:
                await fleet["alice"].send_message("bob", "hi")
            assert parked.value.until - time.time() > 890
        assert sum(call.method == "messages.sendMessage" for call in telegram.calls) == 1
        assert (await fleet["alice"].get_me()).username == "alice"


async def test_a_message_that_telegram_has_already_counts_as_sent(telegram, new_fleet):
    """R-X5: RANDOM_ID_DUPLICATE means delivered."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice, request_retries=0)  # else Telethon, to which it is an internal error, tries again
    async with fleet:
        telegram.faults.error("messages.sendMessage", 500, "RANDOM_ID_DUPLICATE", user=alice)
        report = await fleet.bulk_send(["bob"], "hi")
        assert (report.sent, report.deliveries[0].message_id, report.deliveries[0].error) == (1, None, None)


async def test_a_session_that_meets_a_flood_wait_as_it_begins_asks_nothing_before_its_end(
    telegram, new_fleet, eventually
):
    """R-X2: its restarts aren't early calls; the other sessions begin meanwhile."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.flood_wait("users.getUsers", seconds=2, user=alice)
    fleet = new_fleet(alice, bob)
    async with fleet:
        assert fleet["bob"].status.restarts == 0
        assert (await fleet["alice"].get_me()).id == alice.id
        assert fleet["alice"].status.restarts == 1
    assert telegram.status().floods == 1
    assert not telegram.early_calls
