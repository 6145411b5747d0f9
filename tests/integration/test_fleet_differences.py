"""What Telegram tells of the time in between, and what it doesn't tell: edits, deletions, floods, too long a gap."""

import asyncio
import datetime
import shutil

import pytest
from telethon import events, types
from telethon.sessions import SQLiteSession

from telestage.actors import Fleet, Limits
from telestage.messages import SessionState
from telestage.testing import LoopbackTelegram
from telestage.testing.loopback.tl import now

CHANNEL = (types.UpdateNewChannelMessage, types.UpdateEditChannelMessage, types.UpdateDeleteChannelMessages)
PRIVATE = (types.UpdateNewMessage, types.UpdateEditMessage, types.UpdateDeleteMessages)


def seen(update):
    """What an update tells, in words; what the message says depends on when it was fetched."""
    if hasattr(update, "messages"):
        return f"gone {','.join(map(str, update.messages))}"
    return f"{'edit' if 'Edit' in type(update).__name__ else 'new'} {update.message.id}"


def record(fleet, kinds):
    """Has a fleet note in one list whatever happens to messages."""
    got = []
    fleet.on(events.Raw(types=kinds), name="record")(lambda update: got.append(seen(update)))
    return got


def in_file(user, path):
    """A session of the user that is kept in a file."""
    session = SQLiteSession(str(path))
    there = user.session
    session.set_dc(there.dc_id, there.server_address, there.port)
    session.auth_key = there.auth_key
    session.save()
    session.close()
    return str(path)


@pytest.mark.parametrize("how", ["cut off", "lost", "restarted", "stopped"])
@pytest.mark.parametrize("kind", ["channel", "private"])
async def test_edits_and_deletions_made_meanwhile_arrive_once_and_in_order(telegram, new_fleet, eventually, how, kind):
    """R-M5: Telethon drops those inside a difference."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    chat = telegram.add_channel("news", members=[alice]) if kind == "channel" else alice
    fleet = new_fleet(alice)
    got = record(fleet, CHANNEL if kind == "channel" else PRIVATE)

    def post(text):
        return telegram.post(chat, text, sender=None if kind == "channel" else bob)

    await fleet.start()
    one, two = post("one"), post("two")
    await eventually(lambda: len(got) == 2)
    if how == "cut off":
        telegram.faults.disconnect(alice)
    elif how == "lost":
        telegram.faults.lose_updates(None if kind == "channel" else alice, count=6)
    elif how == "restarted":
        await fleet.restart("alice")
    else:
        await fleet.stop()
    telegram.edit(chat, one, "one!")
    three = post("three")
    telegram.edit(chat, three, "three!")
    telegram.delete(chat, [two])
    four = post("four")
    telegram.edit(chat, one, "one!!")
    if how == "stopped":
        await fleet.start()
    last = post("the gap is seen")
    await eventually(lambda: got[-1] == f"new {last}")
    last = post("last")
    await eventually(lambda: got[-1] == f"new {last}")
    await fleet.stop()
    assert got[2:-2] == [
        f"edit {one}",
        f"new {three}",
        f"edit {three}",
        f"gone {two}",
        f"new {four}",
        f"edit {one}",
    ]


async def test_ordinary_events_of_edits_and_deletions_are_caught_up_too(telegram, new_fleet, eventually):
    """R-M5."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    edited, deleted = [], []
    fleet.on(events.MessageEdited(chats="news"), name="edited")(lambda event: edited.append(event.raw_text))
    fleet.on(events.MessageDeleted(chats="news"), name="deleted")(lambda event: deleted.extend(event.deleted_ids))
    async with fleet:
        first, second = telegram.post(news, "p0"), telegram.post(news, "p1")
        telegram.faults.disconnect(alice)
        telegram.edit(news, first, "p0 again")
        telegram.delete(news, [second])
        await eventually(lambda: edited and deleted)
    assert (edited, deleted) == (["p0 again"], [second])


async def test_a_flood_wait_at_the_start_holds_up_its_monitor_only(telegram, new_fleet, eventually):
    """R-M5, R-X2: its session works, the wait is seen, nothing is asked early, and what is posted meanwhile arrives."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got, all_got = [], []
    fleet.on(events.NewMessage(chats="news"), name="named")(lambda event: got.append(event.raw_text))
    fleet.on(events.NewMessage(chats="bob", incoming=True), name="other")(lambda event: all_got.append(event.raw_text))
    telegram.faults.flood_wait("contacts.resolveUsername", seconds=2, user=alice)
    async with fleet:
        assert fleet["alice"].status.state is SessionState.READY
        assert "monitoring" in fleet["alice"].status.floods
        assert (await fleet["alice"].send_message(alice.id, "note")).message == "note"
        telegram.post(news, "p0")
        telegram.post(bob, "b0", to=alice)
        assert got == all_got == []
        await eventually(lambda: got == ["p0"] and all_got == ["b0"])
        telegram.post(news, "p1")
        await eventually(lambda: got == ["p0", "p1"])
        assert fleet["alice"].status.restarts == 0
        assert not telegram.early_calls


async def test_what_is_kept_for_a_monitor_that_waits_outlives_a_restart_of_its_session(telegram, new_fleet, eventually):
    """R-M5: and its monitor gets it once."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []
    fleet.on(events.NewMessage(chats="news"), name="named")(lambda event: got.append(event.raw_text))
    telegram.faults.flood_wait("contacts.resolveUsername", seconds=2, user=alice)
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: fleet.status().monitors[0].queued == 1)
        await fleet.restart("alice")
        telegram.post(news, "p1")
        await fleet["alice"].settled()
        telegram.post(news, "p2")
        await eventually(lambda: len(got) >= 3)
    assert got == ["p0", "p1", "p2"]


async def test_a_channel_nobody_named_and_nothing_was_heard_of_is_caught_up(telegram, new_fleet, eventually):
    """R-M5: a monitor of all chats learns at the start where they stand."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("other", members=[alice]), 3)
    news = telegram.add_channel("news", members=[alice])
    telegram.fill_history(news, 5)
    fleet = new_fleet(alice)
    got = []
    fleet.on(events.NewMessage, name="all")(lambda event: got.append(event.raw_text))
    async with fleet:
        telegram.faults.disconnect(alice)
        for n in range(5):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got) >= 5)
        assert got == [f"p{n}" for n in range(5)]
        calls = [call.method for call in telegram.calls]
        assert calls.count("messages.getDialogs") == 1
        await fleet.restart("alice")
        await fleet["alice"].settled()
        assert [call.method for call in telegram.calls].count("messages.getDialogs") == 1


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("updates.getDifference", "flood"),
        ("updates.getChannelDifference", "flood"),
        ("updates.getChannelDifference", "error"),
    ],
)
async def test_a_difference_that_cannot_be_had_now_is_asked_for_again(telegram, new_fleet, eventually, method, fault):
    """R-M5, R-X2: after the flood wait, not at the next gap, which may be never."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []
    fleet.on(events.NewMessage(chats="news"), name="keep")(lambda event: got.append(event.raw_text))
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: got == ["p0"])
        if fault == "flood":
            telegram.faults.flood_wait(method, seconds=2, user=alice)
        else:
            telegram.faults.error(method, code=500, message="NO_WORKERS_RUNNING", user=alice, count=3)
        telegram.faults.disconnect(alice)
        telegram.post(news, "p1")
        if fault == "flood":
            await eventually(lambda: "updates" in fleet["alice"].status.floods)
        assert (await fleet["alice"].get_me()).username == "alice"
        await eventually(lambda: got == ["p0", "p1"], within=15)
        assert not telegram.early_calls
        assert fleet["alice"].status.restarts == 0


async def test_more_posts_than_a_difference_tells_come_from_the_history(telegram, new_fleet, eventually):
    """R-M5: each once and in order, also those that come while the history is read."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []
    fleet.on(events.NewMessage(chats="news"), name="keep")(lambda event: got.append(event.raw_text))
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: got == ["p0"])
        telegram.faults.latency(0.05, "messages.getHistory")
        telegram.faults.disconnect(alice)
        for n in range(1, 351):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got) >= 50)
        telegram.post(news, "p351")
        await eventually(lambda: len(got) >= 352)
        telegram.post(news, "p352")
        await eventually(lambda: got[-1] == "p352")
    assert got == [f"p{n}" for n in range(353)]


async def test_more_private_messages_than_a_difference_tells_come_by_their_ids(new_fleet, eventually):
    """R-M5."""
    async with LoopbackTelegram(difference_limit=20) as telegram:
        alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
        fleet = new_fleet(alice)
        got = []
        fleet.on(events.NewMessage(incoming=True), name="keep")(lambda event: got.append(event.raw_text))
        async with fleet:
            telegram.post(bob, "p0", to=alice)
            await eventually(lambda: got == ["p0"])
            telegram.faults.latency(0.05, "messages.getMessages")
            telegram.faults.disconnect(alice)
            for n in range(1, 151):
                telegram.post(bob, f"p{n}", to=alice)
            await eventually(lambda: len(got) >= 50)
            telegram.post(bob, "p151", to=alice)
            await eventually(lambda: len(got) >= 152)
            telegram.post(bob, "p152", to=alice)
            await eventually(lambda: got[-1] == "p152")
        assert got == [f"p{n}" for n in range(153)]


async def test_what_handlers_were_not_done_with_comes_again_after_a_crash(telegram, eventually, tmp_path):
    """R-M5: what is stored moves when the handler is done, not when its monitor has the event."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    got, go_on = [], asyncio.Event()

    def fleet_of(path):
        fleet = Fleet(1, "hash", limits=Limits.unpaced())
        fleet.add("alice", session=path)

        @fleet.on(events.NewMessage(incoming=True))
        async def slow(event):
            if event.raw_text in ("n2", "b2"):
                await go_on.wait()
            got.append(event.raw_text)

        return fleet

    path = in_file(alice, tmp_path / "alice.session")
    async with fleet_of(path) as fleet:
        for n in range(2):
            telegram.post(news, f"n{n}")
            telegram.post(bob, f"b{n}", to=alice)
        await eventually(lambda: len(got) == 4)
        for n in range(2, 5):
            telegram.post(news, f"n{n}")
            telegram.post(bob, f"b{n}", to=alice)
        await eventually(lambda: fleet.status().monitors[0].queued == 5)
        await fleet.restart("alice")  # its client stores where updates stand
        await fleet["alice"].settled()
        image = str(shutil.copy(path, tmp_path / "crashed.session"))
    got.clear()
    go_on.set()
    telegram.post(news, "n5")
    async with fleet_of(image):
        await eventually(lambda: len(got) >= 7)
        telegram.post(bob, "b5", to=alice)
        await eventually(lambda: "b5" in got)
    assert [text for text in got if text[0] == "n"] == ["n2", "n3", "n4", "n5"]
    assert [text for text in got if text[0] == "b"] == ["b2", "b3", "b4", "b5"]


async def test_after_a_stop_each_monitor_goes_on_where_it_was(telegram, new_fleet, eventually):
    """R-M5: the quick one gets nothing twice because the slow one wasn't done."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    quick, slow, go_on = [], [], asyncio.Event()
    fleet.on(events.NewMessage(incoming=True), name="quick")(lambda event: quick.append(event.raw_text))

    @fleet.on(events.NewMessage(incoming=True), name="slow")
    async def wait(event):
        if event.raw_text == "p2":
            await go_on.wait()
        slow.append(event.raw_text)

    await fleet.start()
    for n in range(3):
        telegram.post(news, f"p{2 * n}")
        telegram.post(bob, f"p{2 * n + 1}", to=alice)
    await eventually(lambda: len(quick) == 6 and len(slow) == 2)
    await fleet.stop(timeout=1.0)
    go_on.set()
    telegram.post(news, "p6")
    async with fleet:
        await eventually(lambda: "p6" in quick and len(slow) >= 7)
        telegram.post(bob, "p7", to=alice)
        await eventually(lambda: "p7" in slow)
    assert quick == [f"p{n}" for n in range(8)]
    assert sorted(slow) == quick


async def test_what_waits_for_a_monitor_that_is_replaced_is_counted_as_dropped(telegram, new_fleet, eventually):
    """R-M1."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice, limits=Limits(monitor_queue=10))
    got = []

    async def hang(event):
        await asyncio.Event().wait()

    fleet.on(events.NewMessage(chats="news"), name="keep")(hang)
    async with fleet:
        for n in range(4):
            telegram.post(news, f"p{n}")
        await eventually(lambda: fleet.status().monitors[0].queued == 3)
        await fleet.monitor(events.NewMessage(chats="news"), lambda event: got.append(event.raw_text), name="keep")
        assert fleet.status().monitors[0].dropped == 3
        telegram.post(news, "p4")
        await eventually(lambda: got == ["p4"])


async def test_reconnects_are_counted_apart_from_restarts(telegram, new_fleet, eventually):
    """R-Q6: by Telethon itself, without a restart of the session."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        assert fleet.status().sessions[0].reconnects == 0
        for n in range(1, 3):
            await eventually(lambda: telegram.faults.disconnect(alice))
            await eventually(lambda n=n: fleet.status().sessions[0].reconnects == n)
        assert fleet.status().sessions[0].restarts == 0


@pytest.mark.parametrize("kind", ["channel", "private"])
async def test_too_far_behind_the_last_messages_known_are_asked_for_what_became_of_them(
    new_fleet, eventually, kind, monkeypatch
):
    """R-M5: which were edited or deleted meanwhile, each once; what happened before isn't told again."""
    later = datetime.timedelta()
    monkeypatch.setattr("telestage.testing.loopback.messaging.now", lambda: now() + later)  # posts and edits have it
    async with LoopbackTelegram(difference_limit=100) as telegram:
        alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
        chat = telegram.add_channel("news", members=[alice]) if kind == "channel" else alice
        fleet = new_fleet(alice)
        got = record(fleet, CHANNEL if kind == "channel" else PRIVATE)

        def post(text):
            return telegram.post(chat, text, sender=None if kind == "channel" else bob)

        async with fleet:
            ids = [post(f"p{n}") for n in range(20)]
            telegram.edit(chat, ids[3], "edited and known")
            telegram.delete(chat, [ids[4]])
            await eventually(lambda: len(got) == 22)
            later = datetime.timedelta(seconds=2)
            telegram.faults.refuse_connections()
            telegram.faults.disconnect(alice)
            telegram.edit(chat, ids[5], "once")
            telegram.edit(chat, ids[5], "twice")
            telegram.delete(chat, [ids[6], ids[7]])
            new = [post(f"n{n}") for n in range(150)]
            telegram.edit(chat, new[0], "comes as it is")
            telegram.faults.accept_connections()
            await eventually(lambda: len(got) >= 22 + 2 + 150)
            last = post("last")
            await eventually(lambda: got[-1] == f"new {last}")
    assert got[22:24] == [f"edit {ids[5]}", f"gone {ids[6]},{ids[7]}"]
    assert got[24:-1] == [f"new {id}" for id in new]
