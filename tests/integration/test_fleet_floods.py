"""Flood waits: the fleet's, not Telethon's; of one session and kind, and seen by everybody."""

import asyncio
import logging
import math
import re
import time

import pytest
from telethon.tl.functions.messages import GetHistoryRequest, SendMessageRequest

from telestage.actors import FloodParked, Limits, SessionDead
from telestage.actors.store import Store
from telestage.actors.telegram import floodstore
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
    """R-X2: it parks that peer alone; who can't wait for it is told at once."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.error("messages.sendMessage", 420, "SLOWMODE_WAIT_300", user=alice)
        for _ in range(2):
            with pytest.raises(FloodParked, match=f"sending to {bob.id}") as parked:
                await fleet["alice"].send_message("bob", "hi")
            assert parked.value.peer == bob.id
        await fleet["alice"].send_message("carol", "elsewhere")
        assert len(telegram.delivered(to=carol)) == 1
        assert not telegram.delivered(to=bob)
        assert sum(call.method == "messages.sendMessage" for call in telegram.calls) == 2
        [flood] = fleet.floods()
        assert (flood.session, flood.kind, flood.peer, flood.reason) == ("alice", "sending", bob.id, "SLOWMODE_WAIT")
        assert fleet["alice"].status.floods == {}


async def test_a_flood_wait_for_those_without_premium_is_one(telegram, new_fleet):
    """R-X2."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.error("messages.sendMessage", 420, "FLOOD_PREMIUM_WAIT_300", user=alice)
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        [flood] = fleet.floods()
        assert (flood.kind, flood.peer, flood.seconds, flood.reason) == ("sending", None, 300, "FLOOD_PREMIUM_WAIT")
        assert flood.method == "messages.sendMessage"
        assert flood.until == pytest.approx(flood.seen_at + 300)


async def test_a_flood_wait_parks_the_requests_of_its_kind_whatever_makes_them(telegram, new_fleet):
    """R-X2: no call of any kind sends while sending is parked, and what looks up no name goes on when that is."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.add_user("carol")
    fleet = new_fleet(alice)
    async with fleet:
        await fleet["alice"].send_message("bob", "hi")
        telegram.faults.flood_wait("contacts.resolveUsername", seconds=900, user=alice)
        with pytest.raises(FloodParked, match="resolving is parked"):
            await fleet["alice"].send_message("carol", "hi")
        await fleet["alice"].send_message("bob", "again")
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        with pytest.raises(FloodParked, match="sending is parked"):
            await fleet["alice"].call(lambda client: client.send_message("bob", "in a call"))
        with pytest.raises(FloodParked, match="sending is parked"):
            await fleet["alice"].send_message("bob", "hi")
        await fleet.restart("alice")  # Telethon's own memory of it ends with its client
        with pytest.raises(FloodParked, match="sending is parked"):
            await fleet["alice"].call(lambda client: client.send_message("bob", "in a call"))
        assert len(telegram.delivered(to=bob)) == 2
        assert {flood.kind for flood in fleet.floods()} == {"resolving", "sending"}
        assert not telegram.early_calls


async def test_a_call_that_has_sent_something_is_not_begun_again_after_a_flood_wait(telegram, new_fleet):
    """R-X2, R-Q8: its first message would be there twice."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)

    async def two(client):
        await client.send_message("bob", "one")
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        await client.send_message("bob", "two")

    async with fleet:
        with pytest.raises(FloodParked):
            await fleet["alice"].call(two)
        assert [each.text for each in telegram.delivered(to=bob)] == ["one"]


async def test_peer_flood_pauses_sending_and_nothing_else(telegram, new_fleet):
    """R-X2: for as long as `Limits.peer_flood` says, if it says so."""
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


async def test_a_call_that_has_only_read_is_begun_again_after_a_flood_wait(telegram, new_fleet):
    """R-X2: its caller hears nothing of it."""
    alice, _ = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    begun = []

    async def read(client):
        begun.append((await client.get_me()).username)
        return (await client.get_entity("bob")).username

    async with fleet:
        telegram.faults.flood_wait("contacts.resolveUsername", seconds=1, user=alice)
        assert await fleet["alice"].call(read) == "bob"
    assert begun == ["alice", "alice"]
    assert not telegram.early_calls


async def send_and_read(client):
    """Both in one list of requests."""
    peer = await client.get_input_entity("bob")
    await client([SendMessageRequest(peer, "one"), GetHistoryRequest(peer, 0, None, 0, 1, 0, 0, 0)])


async def test_a_call_whose_list_of_requests_was_done_in_part_is_not_begun_again(telegram, new_fleet):
    """R-X2, R-Q8: what was done of it would be done twice."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)

    async with fleet:
        telegram.faults.flood_wait("messages.getHistory", seconds=1, user=alice)
        with pytest.raises(FloodParked, match="scraping is parked"):
            await fleet["alice"].call(send_and_read)
    assert [each.text for each in telegram.delivered(to=bob)] == ["one"]


async def test_a_call_whose_list_of_requests_was_all_refused_is_begun_again(telegram, new_fleet):
    """R-X2: nothing of it was done, or it was only read."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)

    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        await fleet["alice"].call(send_and_read)
    assert [each.text for each in telegram.delivered(to=bob)] == ["one"]


@pytest.mark.parametrize(("peer_flood", "until"), [(None, "a person has it resumed"), (900.0, "[0-9]{10}")])
async def test_the_manager_logs_until_when_a_session_waits(telegram, new_fleet, eventually, caplog, peer_flood, until):
    """R-X2, R-D4: at INFO, also where nobody knows the time."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(peer_flood=peer_flood))
    with caplog.at_level(logging.INFO, logger="telestage.manager"):
        async with fleet:
            telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
            with pytest.raises(FloodParked):
                await fleet["alice"].send_message("bob", "hi")
            await eventually(lambda: "alice waits until" in caplog.text)
    assert re.search(f"alice waits until {until} for sending \\(messages.sendMessage\\)", caplog.text)


async def test_after_peer_flood_sending_waits_for_a_person(telegram, new_fleet, tmp_path):
    """R-X2: whatever restarts: the session, the fleet, the process."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
    store = tmp_path / "fleet.db"
    async with new_fleet(alice, store=store) as fleet:
        with pytest.raises(FloodParked, match="until a person has it resumed"):
            await fleet["alice"].send_message("bob", "hi")
        assert fleet["alice"].status.floods == {"sending": math.inf}
        await fleet.restart("alice")
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
    async with new_fleet(alice, store=store) as fleet:  # as another process would
        [flood] = fleet.floods()
        assert (flood.until, flood.seconds, flood.reason) == (None, None, "PEER_FLOOD")
        with pytest.raises(FloodParked) as parked:
            await fleet["alice"].send_message("bob", "hi")
        assert parked.value.until == math.inf
        assert await fleet.resume_sending("alice")
        assert not await fleet.resume_sending("alice")
        await fleet["alice"].send_message("bob", "hi")
    async with new_fleet(alice, store=store) as fleet:
        assert fleet.floods() == []
        await fleet["alice"].send_message("bob", "hi")
    assert len(telegram.delivered(to=bob)) == 2


async def test_what_is_resumed_in_the_store_is_resumed_in_a_running_fleet(
    telegram, new_fleet, tmp_path, eventually, monkeypatch
):
    """R-X2: as `telestage floods resume` does."""
    monkeypatch.setattr(floodstore, "LOOK_SECONDS", 0.02)
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
    async with new_fleet(alice, store=tmp_path / "fleet.db") as fleet:
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        async with Store(tmp_path / "fleet.db") as store:
            assert await floodstore.end_pauses(store, "bob") == 0
            await eventually(lambda: fleet.floods())
            assert await floodstore.end_pauses(store, "alice") == 1
        await eventually(lambda: not fleet.floods())
        await fleet["alice"].send_message("bob", "hi")
    assert len(telegram.delivered(to=bob)) == 1


async def test_a_flood_wait_is_in_the_store_before_its_caller_can_lose_it(telegram, new_fleet, tmp_path):
    """R-X2: a process that is killed right then has a successor that asks for nothing before the deadline."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    telegram.faults.flood_wait("messages.sendMessage", seconds=300, user=alice)
    async with new_fleet(alice, store=tmp_path / "fleet.db") as fleet, Store(tmp_path / "fleet.db") as other:
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
        (told,) = fleet.floods()
        assert await floodstore.floods_in(other) == [told]
    async with new_fleet(alice, store=tmp_path / "fleet.db") as fleet:
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
    assert sum(call.method == "messages.sendMessage" for call in telegram.calls) == 1


async def test_who_waits_for_a_flood_is_told_when_its_session_ends(telegram, new_fleet, eventually):
    """R-X2, R-X4: not only when the wait is over."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=60, user=alice)
        sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))
        await eventually(fleet.floods)
        await fleet.remove("alice")
        with pytest.raises(SessionDead):
            await asyncio.wait_for(sending, 5.0)


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


async def test_what_one_account_may_not_send_now_no_other_sends(telegram, new_fleet, tmp_path):
    """R-X2: neither a bulk send's share nor a job's is moved; it fails, or waits."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = [telegram.add_user(f"peer{number}").username for number in range(6)]
    async with new_fleet(alice, bob, store=tmp_path / "fleet.db") as fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        report = await fleet.bulk_send(peers, "hi", patience=2.0)
        assert (report.sent, len(report.failed)) == (3, 3)
        assert {each.session for each in report.deliveries if each.error is not None} == {"alice"}
        job = await fleet.jobs.bulk_send(peers, "hello")
        async for status in job.progress():
            if status.done == 3 and "parked" in status.reason:
                break
        assert {each.sender_id for each in telegram.delivered()} == {bob.id}
        assert len(telegram.delivered()) == 6
        assert not telegram.early_calls
