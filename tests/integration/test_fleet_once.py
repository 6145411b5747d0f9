"""A channel that several sessions watch, and a monitor that gets each event once from all of them."""

import asyncio

from telethon import events, types

from telestage.actors import Fleet

KINDS = (types.UpdateNewChannelMessage, types.UpdateEditChannelMessage, types.UpdateDeleteChannelMessages)


def label(update):
    if hasattr(update, "messages"):
        return f"gone {update.messages[0]}"
    return f"{'edit' if 'Edit' in type(update).__name__ else 'new'} {update.message.id}"


async def test_each_post_edit_and_deletion_comes_once_and_in_order_whoever_is_cut_off(telegram, new_fleet, eventually):
    """R-M5: over sessions that are cut off, lose updates and are restarted in turn."""
    users = [telegram.add_user(name) for name in ("alice", "bob", "carol")]
    news = telegram.add_channel("news", members=users)
    fleet = new_fleet(*users)
    got, happened = [], []
    fleet.on(events.Raw(types=KINDS), name="watch", once=True)(lambda update: got.append(label(update)))
    async with fleet:
        for number in range(60):
            id = telegram.post(news, f"p{number}")
            happened.append(f"new {id}")
            user = users[number % 3]
            if number % 5 == 0:
                telegram.edit(news, id, "again")
                happened.append(f"edit {id}")
            if number % 7 == 0:
                telegram.faults.disconnect(user)
            if number % 11 == 0:
                telegram.faults.lose_updates(user, count=1)
            if number % 20 == 19:
                await fleet.restart(user.username)
            if number % 9 == 0:
                await eventually(lambda: len(got) >= len(happened))
        await eventually(lambda: len(got) >= len(happened))
        telegram.delete(news, [id])
        happened.append(f"gone {id}")
        await eventually(lambda: len(got) >= len(happened))
        happened.append(f"new {telegram.post(news, 'last')}")
        await eventually(lambda: got[-1] == happened[-1])
        for user in users:
            await fleet[user.username].settled()
    assert got == happened


async def test_private_messages_still_come_to_each_session(telegram, new_fleet, eventually):
    """R-M5: they are of one account each."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    fleet = new_fleet(alice, bob)
    got = []
    fleet.on(events.NewMessage(incoming=True), once=True)(lambda event: got.append(event.raw_text))
    async with fleet:
        telegram.post(carol, "to alice", to=alice)
        telegram.post(carol, "to bob", to=bob)
        await eventually(lambda: sorted(got) == ["to alice", "to bob"])


async def test_another_session_takes_over_what_one_that_is_removed_had_in_hand(telegram, new_fleet, eventually):
    """R-M5: its copy has waited."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice, bob)
    begun, ended, hang = [], [], asyncio.Event()

    @fleet.on(events.NewMessage(chats="news"), once=True)
    async def watch(event):
        begun.append(event.client.label)
        if len(begun) == 1:
            await hang.wait()
        ended.append((event.client.label, event.raw_text))

    async with fleet:
        telegram.post(news, "one")
        telegram.post(news, "two")
        await eventually(lambda: begun)
        (first,) = begun
        other = "bob" if first == "alice" else "alice"
        await eventually(lambda: sum(monitor.queued for monitor in fleet.status().monitors) >= 2)
        assert begun == [first]
        await fleet.remove(first)
        await eventually(lambda: len(ended) == 2)
    assert ended == [(other, "one"), (other, "two")]


async def test_an_event_whose_handler_failed_has_been_had(telegram, new_fleet, eventually):
    """R-M5, R-M3: once is once, whatever came of it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice, bob)
    got = []

    @fleet.on(events.NewMessage(chats="news"), once=True)
    async def watch(event):
        got.append(event.raw_text)
        if event.raw_text == "bad":
            raise LookupError("on purpose")

    async with fleet:
        for text in ("bad", "good"):
            telegram.post(news, text)
        await eventually(lambda: "good" in got)
    assert got == ["bad", "good"]


async def test_what_was_had_is_known_in_the_next_process(telegram, eventually, tmp_path):
    """R-M5: of a session that is far behind, too."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    got = []

    def fleet_of(*users):
        fleet = Fleet(1, "hash", store=tmp_path / "fleet.db")
        for user in users:
            fleet.add(user.username, session=user.session)
        fleet.on(events.NewMessage(chats="news"), name="watch", once=True)(lambda event: got.append(event.raw_text))
        return fleet

    async with fleet_of(alice, bob):
        telegram.post(news, "p0")
        await eventually(lambda: got == ["p0"])
    async with fleet_of(alice):
        telegram.post(news, "p1")
        await eventually(lambda: got == ["p0", "p1"])
    async with fleet_of(alice, bob):
        telegram.post(news, "p2")
        await eventually(lambda: "p2" in got)
        telegram.post(news, "p3")
        await eventually(lambda: "p3" in got)
    assert got == ["p0", "p1", "p2", "p3"]
