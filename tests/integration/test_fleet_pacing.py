"""Pacing: a session holds itself back before Telegram has to ask for it, and only in what is too fast (R-X3)."""

import asyncio
import contextlib
import itertools
import sqlite3
import time

import pytest
from telethon.tl.functions.channels import JoinChannelRequest

from telestage.actors import FloodParked, Limits, Pace, PaceTimeout, SessionDead
from telestage.messages import Kind

FAST = {Pace.SENDING: (100, 1.0), Pace.USER: (100, 1.0), Pace.GROUP: (100, 1.0)}


def times(telegram, method, user=None):
    calls = [call for call in telegram.calls if call.method == method]
    return sorted(call.started for call in calls if user is None or call.user_id == user.id)


def check_window(stamps, count, seconds):
    """Never more than `count` in any `seconds`, as the server saw them arrive: a few ms apart from their sending."""
    for first, last in zip(stamps, stamps[count:], strict=False):
        assert last - first >= seconds - 0.05, stamps


async def test_sends_keep_to_their_pace_and_their_order_and_the_session_goes_on(telegram, new_fleet, eventually):
    """R-X3: who waits holds neither the session nor a permit; another session isn't held up."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    limits = Limits(operations=1, paces={**FAST, Pace.SENDING: (3, 0.5)})
    fleet = new_fleet(alice, bob, limits=limits, paced=True)
    async with fleet:
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(9)]
        await eventually(lambda: len(telegram.delivered(to=bob)) == 3)
        began = time.monotonic()
        assert (await fleet["alice"].get_me()).username == "alice"
        await fleet["bob"].send_message("alice", "at once")
        assert time.monotonic() - began < 0.3
        assert fleet.status().permits.total.in_use == 0
        await asyncio.gather(*sending)
    assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(9)]
    check_window(times(telegram, "messages.sendMessage", alice), 3, 0.5)


@pytest.mark.parametrize("address", ["username", "id", "entity"])
async def test_each_peer_has_its_own_pace(telegram, new_fleet, eventually, address):
    """R-X3: who waits for one holds up nobody who writes to another; however it is called."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice, limits=Limits(paces={**FAST, Pace.USER: (1, 0.8)}), paced=True)
    async with fleet:
        known = {}
        for name in ("bob", "carol"):
            message = await fleet["alice"].send_message(name, "first")
            entity = await fleet["alice"].call(lambda client, name=name: client.get_input_entity(name))
            known[name] = {"username": name, "id": message.peer_id.user_id, "entity": entity}[address]
        sending = [asyncio.ensure_future(fleet["alice"].send_message(known["bob"], f"m{n}")) for n in range(3)]
        await eventually(lambda: len(telegram.delivered(to=bob)) == 2)
        await fleet["alice"].send_message(known["carol"], "second")
        assert len(telegram.delivered(to=bob)) == 2
        await asyncio.gather(*sending)
    assert [each.text for each in telegram.delivered(to=bob)] == ["first", "m0", "m1", "m2"]
    assert len(telegram.delivered(to=carol)) == 2
    check_window([each.at for each in telegram.delivered(to=bob)], 1, 0.8)


async def test_a_group_has_a_pace_of_its_own(telegram, new_fleet):
    """R-X3: it isn't taken for a user, nor a user for it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    group = telegram.add_channel("talk", members=[alice, bob], megagroup=True)
    fleet = new_fleet(alice, limits=Limits(paces={**FAST, Pace.GROUP: (2, 0.6), Pace.USER: (1, 0.2)}), paced=True)
    async with fleet:
        await asyncio.gather(
            *(fleet["alice"].send_message("talk", f"m{n}") for n in range(6)),
            *(fleet["alice"].send_message("bob", f"m{n}") for n in range(3)),
        )
    stamps = [each.at for each in telegram.delivered(to=group)]
    assert len(stamps) == 6
    check_window(stamps, 2, 0.6)
    assert any(last - first < 0.2 for first, last in itertools.pairwise(stamps)), "two may go at once"
    check_window([each.at for each in telegram.delivered(to=bob)], 1, 0.2)


async def test_a_page_that_waits_for_its_pace_takes_neither_a_turn_nor_a_permit(telegram, new_fleet, eventually):
    """R-X3: it waits before it is queued, and is queued once."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("news", members=[alice]), 300)
    limits = Limits(operations=1, scraping=1, paces={Pace.HISTORY: (1, 0.5)})
    fleet = new_fleet(alice, limits=limits, paced=True)
    async with fleet:
        before = fleet.status().permits.granted
        reading = asyncio.ensure_future(fleet["alice"].get_messages("news", limit=300))
        await eventually(lambda: len(times(telegram, "messages.getHistory")) == 1)
        assert (await fleet["alice"].get_me()).username == "alice"
        assert len(await reading) == 300
        pages = times(telegram, "messages.getHistory")
        assert fleet.status().permits.granted - before == len(pages) + 1
    check_window(pages, 1, 0.5)


async def test_what_would_begin_past_its_deadline_fails_at_once(telegram, new_fleet):
    """R-X3: and is not begun."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    limits = Limits(queue_timeout=5.0, timeouts={Kind.SENDING: 5.0}, paces={**FAST, Pace.SENDING: (1, 100.0)})
    fleet = new_fleet(alice, limits=limits, paced=True)
    async with fleet:
        await fleet["alice"].send_message("bob", "one")
        began = time.monotonic()
        with pytest.raises(PaceTimeout, match="sending is paced") as late:
            await fleet["alice"].send_message("bob", "two")
        assert time.monotonic() - began < 1.0
        assert late.value.pace == "sending"
        assert 90 < late.value.until - time.time() <= 100
    assert len(telegram.delivered(to=bob)) == 1


async def test_pages_replies_and_calls_are_paced_as_well(telegram, new_fleet):
    """R-X3: it is each request that counts, whoever makes it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    channel = telegram.add_channel("news", members=[alice])
    telegram.fill_history(channel, 350)
    limits = Limits(paces={**FAST, Pace.SENDING: (2, 0.4), Pace.HISTORY: (2, 0.3), Pace.RESOLVING: (1, 0.4)})
    fleet = new_fleet(alice, limits=limits, paced=True)
    async with fleet:
        pages = [message.id async for message in fleet["alice"].iter_messages("news")]
        assert len(pages) == 350
        message = await fleet["alice"].send_message("bob", "hi")

        async def three(client):
            for n in range(3):
                await client.send_message("bob", f"in a call {n}")

        await asyncio.gather(
            *(message.reply(f"reply {n}") for n in range(3)),
            fleet["alice"].call(three, kind="sending"),
        )
    assert channel.username == "news"
    assert len(telegram.delivered(to=bob)) == 7
    check_window(times(telegram, "messages.sendMessage"), 2, 0.4)
    check_window(times(telegram, "messages.getHistory"), 2, 0.3)
    check_window(times(telegram, "contacts.resolveUsername"), 1, 0.4)


async def test_a_call_that_joins_waits_outside_its_turn(telegram, new_fleet, eventually):
    """R-X3: it is begun again once, when there is room, as it has only read until then."""
    alice = telegram.add_user("alice")
    for n in range(3):
        telegram.add_channel(f"news{n}", members=[])
    begun = []
    limits = Limits(paces={Pace.JOINING: (1, 0.5)})
    fleet = new_fleet(alice, limits=limits, paced=True)
    async with fleet:

        async def join(client, n):
            begun.append(n)
            await client(JoinChannelRequest(f"news{n}"))

        before = fleet.status().permits.granted
        joining = [asyncio.ensure_future(fleet["alice"].call(lambda client, n=n: join(client, n))) for n in range(3)]
        await eventually(lambda: len(begun) >= 3)
        began = time.monotonic()
        await fleet["alice"].get_me()
        assert time.monotonic() - began < 0.4
        await asyncio.gather(*joining)
        assert max(begun.count(n) for n in range(3)) <= 2
        assert fleet.status().permits.granted - before == len(begun) + 1
    assert len(times(telegram, "channels.joinChannel")) == 3
    check_window(times(telegram, "channels.joinChannel"), 1, 0.5)


async def test_what_was_let_in_and_sends_nothing_gives_its_place_up(telegram, new_fleet):
    """R-X3: however it ends."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    limits = Limits(queue_timeout=2.0, timeouts={Kind.SENDING: 2.0}, paces={**FAST, Pace.SENDING: (1, 0.01)})
    fleet = new_fleet(alice, limits=limits, paced=True)

    async def fail(client):
        raise LookupError("on purpose")

    async with fleet:
        assert (await fleet["alice"].call(lambda client: client.get_me(), kind="sending")).username == "alice"
        with pytest.raises(LookupError):
            await fleet["alice"].call(fail, kind="sending")
        await fleet["alice"].send_message("bob", "hi")
    assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]


async def test_who_waits_for_a_flood_keeps_nothing_that_another_may_use(telegram, new_fleet, eventually):
    """R-X2, R-X3: what a send was let in for, and couldn't do, is for the next one to whom it isn't forbidden."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice, limits=Limits(paces={**FAST, Pace.SENDING: (1, 0.01)}), paced=True)
    async with fleet:
        await fleet["alice"].send_message("bob", "before")
        telegram.faults.error("messages.sendMessage", 420, "SLOWMODE_WAIT_2", user=alice)
        met = asyncio.ensure_future(fleet["alice"].send_message("bob", "one"))
        await eventually(fleet.floods)
        parked = asyncio.ensure_future(fleet["alice"].send_message("bob", "two"))
        await asyncio.sleep(0)
        await fleet["alice"].send_message("carol", "meanwhile")
        assert fleet.floods(), "it was let in before the end of the flood wait"
        assert [each.text for each in telegram.delivered(to=carol)] == ["meanwhile"]
        await asyncio.gather(met, parked)
    assert sorted(each.text for each in telegram.delivered(to=bob)) == ["before", "one", "two"]


async def test_a_flood_halves_the_pace(telegram, new_fleet):
    """R-X3: of what it was about."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(paces={**FAST, Pace.SENDING: (1, 0.4)}), paced=True)
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        for n in range(3):
            await fleet["alice"].send_message("bob", f"m{n}")
    check_window(times(telegram, "messages.sendMessage")[1:], 1, 0.8)
    assert not telegram.early_calls


async def test_a_pace_that_was_slowed_down_is_in_the_store_at_once(telegram, new_fleet, tmp_path, eventually):
    """R-X3: so that a process that is killed right then has a successor that is as slow."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    path = tmp_path / "fleet.db"
    fleet = new_fleet(alice, limits=Limits(pace_recovery=1e6), paced=True, store=path)
    async with fleet:
        await fleet["alice"].send_message("bob", "one")
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "two")

        def factors():
            with contextlib.closing(sqlite3.connect(path)) as store:
                return dict(store.execute("SELECT pace, factor FROM paces WHERE session = 'alice'"))

        await eventually(lambda: factors().get("sending") == pytest.approx(0.5, abs=0.01))


async def test_the_windows_outlive_the_session_and_the_process(telegram, new_fleet, tmp_path):
    """R-X3: a restart is no way to be faster."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    limits = Limits(paces={**FAST, Pace.SENDING: (1, 1.5)})
    store = tmp_path / "fleet.db"
    async with new_fleet(alice, limits=limits, paced=True, store=store) as fleet:
        await fleet["alice"].send_message("bob", "one")
        await fleet.restart("alice")
        await fleet["alice"].send_message("bob", "two")
    async with new_fleet(alice, limits=limits, paced=True, store=store) as fleet:
        await fleet["alice"].send_message("bob", "three")
    assert len(telegram.delivered(to=bob)) == 3
    check_window(times(telegram, "messages.sendMessage"), 1, 1.5)


async def test_who_is_held_back_is_told_when_the_session_ends_and_can_give_up(telegram, new_fleet, eventually):
    """R-X3, R-Q8, R-X4: nothing of it is left; the place of who gave up is the next one's."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(paces={**FAST, Pace.SENDING: (1, 0.5)}), paced=True)
    async with fleet:
        await fleet["alice"].send_message("bob", "one")
        given_up = asyncio.ensure_future(fleet["alice"].send_message("bob", "never"))
        await asyncio.sleep(0)
        following = asyncio.ensure_future(fleet["alice"].send_message("bob", "two"))
        await asyncio.sleep(0)
        given_up.cancel()
        await following
        held = asyncio.ensure_future(fleet["alice"].send_message("bob", "three"))
        await asyncio.sleep(0)
        await fleet.remove("alice")
        with pytest.raises(SessionDead):
            await asyncio.wait_for(held, 5.0)
    assert [each.text for each in telegram.delivered(to=bob)] == ["one", "two"]
    assert given_up.cancelled()


async def test_a_bulk_send_keeps_to_the_pace_of_each_session(telegram, new_fleet):
    """R-X3: and is complete."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice, bob, limits=Limits(paces={**FAST, Pace.SENDING: (2, 0.4)}), paced=True)
    async with fleet:
        report = await fleet.bulk_send(["carol"] * 10, "hi")
    assert report.sent == 10
    assert len(telegram.delivered(to=carol)) == 10
    for user in (alice, bob):
        check_window(times(telegram, "messages.sendMessage", user), 2, 0.4)


async def test_a_bulk_send_waits_for_a_pace_longer_than_its_messages_may_take(telegram, new_fleet):
    """R-X3: what a single send fails with, a bulk send has the patience for."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    limits = Limits(queue_timeout=0.2, paces={**FAST, Pace.SENDING: (1, 0.8)})
    fleet = new_fleet(alice, limits=limits, paced=True)
    async with fleet:
        report = await fleet.bulk_send(["bob"] * 3, "hi", timeout=0.2)
        assert (report.sent, report.failed) == (3, [])
        report = await fleet.bulk_send(["bob"], "hi", timeout=0.2, patience=0.1)
        assert [each.error is not None for each in report.deliveries] == [True]
    assert len(telegram.delivered(to=bob)) == 3
    check_window(times(telegram, "messages.sendMessage", alice), 1, 0.8)


async def test_unpaced_holds_nothing_back(telegram, new_fleet):
    """R-X3: for servers of one's own; a flood wait is one all the same."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits.unpaced(paces={Pace.SENDING: (1, 100.0)}))
    async with fleet:
        for n in range(5):
            await fleet["alice"].send_message("bob", f"m{n}")
        telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
        with pytest.raises(FloodParked):
            await fleet["alice"].send_message("bob", "hi")
    assert len(telegram.delivered(to=bob)) == 5
