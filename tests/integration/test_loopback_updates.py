"""Every affected session gets every update, in order, with the right pts; what was missed can be fetched."""

import asyncio
import time
from collections import Counter

import pytest
from telethon import errors, events, functions, types

from telestage.testing import LoopbackTelegram

FETCHING = {"updates.getDifference", "updates.getChannelDifference"}


class Heard:
    """The texts of the new messages a client's handlers saw, and a wait until there are enough of them."""

    def __init__(self, client) -> None:
        self.texts: list[str] = []
        self._more = asyncio.Condition()
        client.add_event_handler(self._note, events.NewMessage)

    async def _note(self, event) -> None:
        async with self._more:
            self.texts.append(event.raw_text)
            self._more.notify_all()

    async def wait(self, count: int) -> list[str]:
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.texts) >= count)
        return self.texts


class Raw:
    """The raw updates of some type that a client saw."""

    def __init__(self, client, *types) -> None:
        self.seen: list = []
        self._more = asyncio.Condition()
        client.add_event_handler(self._note, events.Raw(types))

    async def _note(self, update) -> None:
        async with self._more:
            self.seen.append(update)
            self._more.notify_all()

    async def wait(self, count: int) -> list:
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.seen) >= count)
        return self.seen


def fetched(telegram, since: int) -> Counter:
    """How often clients had to fetch what they missed, after the first `since` calls."""
    return Counter(call.method for call in telegram.calls[since:] if call.method in FETCHING)


async def test_a_channels_members_hear_its_posts_in_order_and_others_nothing(telegram, telegram_client) -> None:
    """Each on every device, without having to ask."""
    alice, bob, eve = (telegram.add_user(name) for name in ("alice", "bob", "eve"))
    news = telegram.add_channel("news", [alice, bob])
    sessions = [alice.session, telegram.add_session(alice), bob.session]
    clients = [await telegram_client(session, sequential_updates=True) for session in sessions]
    outsider = Heard(await telegram_client(eve))
    heard = [Heard(client) for client in clients]
    calls = len(telegram.calls)
    posts = [f"post {number}" for number in range(300)]
    for text in posts:
        telegram.post(news, text)
    for one in heard:
        assert await one.wait(300) == posts
    telegram.post(eve, "the only one")
    assert await outsider.wait(1) == ["the only one"]
    assert not fetched(telegram, calls)


async def test_a_senders_other_devices_and_the_recipient_hear_a_message_once(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    phone, desk = await telegram_client(alice), await telegram_client(telegram.add_session(alice))
    there = await telegram_client(bob)
    on_phone, on_desk, arrived = Heard(phone), Heard(desk), Heard(there)
    calls = len(telegram.calls)
    for number in range(20):
        await phone.send_message("bob", f"to bob {number}")
    await desk.send_message("bob", "last")
    expected = [f"to bob {number}" for number in range(20)]
    assert sorted(await arrived.wait(21)) == sorted([*expected, "last"])
    assert sorted(await on_desk.wait(20)) == sorted(expected)
    assert await on_phone.wait(1) == ["last"]
    assert not fetched(telegram, calls)


async def test_both_ways_at_once_in_a_group_nobody_sees_a_gap(telegram, telegram_client) -> None:
    users = [telegram.add_user(f"user{number}") for number in range(5)]
    telegram.add_channel("group", users, megagroup=True)
    clients = [await telegram_client(user) for user in users]
    for client in clients:
        await client.get_dialogs()
    heard = [Heard(client) for client in clients]
    calls = len(telegram.calls)

    async def talk(number: int) -> None:
        for count in range(20):
            await clients[number].send_message("group", f"{number} says {count}")

    await asyncio.gather(*(talk(number) for number in range(5)))
    for number, one in enumerate(heard):
        texts = await one.wait(80)
        assert not [text for text in texts if text.startswith(f"{number} says")]
        assert len(set(texts)) == len(texts) == 80
    assert not fetched(telegram, calls)


async def test_nothing_is_pushed_before_an_authorised_call_or_without_updates(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    quiet = await telegram_client(alice, receive_updates=False)
    heard, other = Heard(quiet), Heard(await telegram_client(bob))
    pushed = Heard(blank := await telegram_client(telegram.blank_session()))
    for user in (alice, bob):
        telegram.post(user, "hello")
    await other.wait(1)
    assert (await quiet.get_me()).id == alice.id
    assert await blank.get_me() is None
    assert heard.texts == pushed.texts == []
    await quiet.set_receive_updates(True)
    telegram.post(alice, "now")
    assert "now" in await heard.wait(1)


async def test_edits_deletions_and_reads_are_pushed(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    group = telegram.add_channel("group", [alice, bob], megagroup=True)
    client = await telegram_client(bob, sequential_updates=True)
    kinds = (
        types.UpdateNewMessage, types.UpdateEditMessage, types.UpdateDeleteMessages, types.UpdateReadHistoryOutbox,
        types.UpdateNewChannelMessage, types.UpdateEditChannelMessage, types.UpdateDeleteChannelMessages,
    )  # fmt: skip
    raw = Raw(client, *kinds)
    other = await telegram_client(alice)
    message = telegram.post(alice, "from bob", sender=bob)
    telegram.edit(alice, message, "from bob, edited")
    await other.send_read_acknowledge("bob")
    telegram.delete(alice, [message])
    post = telegram.post(group, "a post", sender=alice)
    telegram.edit(group, post, "a post, edited")
    telegram.delete(group, [post])
    seen = await raw.wait(7)
    assert [type(update) for update in seen] == [
        types.UpdateNewMessage, types.UpdateEditMessage, types.UpdateReadHistoryOutbox, types.UpdateDeleteMessages,
        types.UpdateNewChannelMessage, types.UpdateEditChannelMessage, types.UpdateDeleteChannelMessages,
    ]  # fmt: skip
    assert [update.pts for update in seen] == [2, 3, 4, 5, 2, 3, 4]
    assert seen[1].message.message == "from bob, edited"
    assert seen[3].messages == [1]
    assert (seen[6].channel_id, seen[6].messages) == (group.id, [post])


async def test_reading_is_told_to_ones_other_devices(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", [alice])
    phone, desk = await telegram_client(alice), await telegram_client(telegram.add_session(alice))
    raw = Raw(desk, types.UpdateReadHistoryInbox, types.UpdateReadChannelInbox)
    telegram.post(alice, "hi", sender=bob)
    telegram.post(news, "one")
    telegram.post(news, "two")
    await phone.send_read_acknowledge("bob")
    await phone.send_read_acknowledge("news", max_id=1)
    private, public = await raw.wait(2)
    assert (private.peer.user_id, private.max_id, private.still_unread_count) == (bob.id, 1, 0)
    assert (public.channel_id, public.max_id, public.still_unread_count) == (news.id, 1, 1)


async def test_what_was_missed_while_cut_off_is_caught_up(telegram, telegram_client) -> None:
    """R-M5: private messages and channel posts, each once and in order."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", [alice])
    client = await telegram_client(alice, sequential_updates=True)
    heard = Heard(client)
    telegram.post(news, "before")
    telegram.post(alice, "before too", sender=bob)
    await heard.wait(2)
    telegram.faults.refuse_connections()
    assert telegram.faults.disconnect(alice) == 1
    missed = [f"missed {number}" for number in range(60)]
    for text in missed:
        telegram.post(news, text)
        telegram.post(alice, f"private {text}", sender=bob)
    telegram.faults.accept_connections()
    await asyncio.wait_for(client.get_me(), 10)
    assert len(heard.texts) == 2, "reconnecting alone fetches nothing"
    await client.catch_up()
    texts = (await heard.wait(122))[2:]
    assert [text for text in texts if text.startswith("missed")] == missed
    assert [text for text in texts if text.startswith("private")] == [f"private {text}" for text in missed]
    telegram.post(news, "after")
    assert (await heard.wait(123))[-1] == "after"


async def test_a_lost_update_is_found_by_the_next(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", [alice, bob])
    first, second = await telegram_client(alice), await telegram_client(bob)
    heard, other = Heard(first), Heard(second)
    telegram.post(news, "seen")
    await heard.wait(1)
    calls = len(telegram.calls)
    telegram.faults.lose_updates(alice)
    telegram.post(news, "lost on the way")
    telegram.post(news, "noticed")
    assert sorted(await heard.wait(3)) == ["lost on the way", "noticed", "seen"]
    assert await other.wait(3) == ["seen", "lost on the way", "noticed"]
    assert fetched(telegram, calls) == {"updates.getChannelDifference": 1}
    calls = len(telegram.calls)
    telegram.faults.lose_updates(alice, count=2)
    for number in range(3):
        telegram.post(alice, f"private {number}", sender=bob)
    assert sorted((await heard.wait(6))[3:]) == ["private 0", "private 1", "private 2"]
    assert fetched(telegram, calls) == {"updates.getDifference": 1}
    telegram.faults.lose_updates()
    telegram.post(news, "lost for all")
    telegram.post(news, "back")
    assert set((await heard.wait(8))[6:]) == set((await other.wait(8))[6:]) == {"lost for all", "back"}


async def test_long_differences_come_in_slices(telegram_client) -> None:
    async with LoopbackTelegram(difference_page=10) as telegram:
        alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
        news = telegram.add_channel("news", [alice])
        client = await telegram_client(alice)
        for number in range(35):
            telegram.post(alice, f"private {number}", sender=bob)
            telegram.post(news, f"post {number}")
        pts, texts, kinds = 1, [], []
        while True:
            difference = await client(functions.updates.GetDifferenceRequest(pts, None, 0))
            kinds.append(type(difference))
            texts += [message.message for message in difference.new_messages]
            if isinstance(difference, types.updates.Difference):
                break
            pts = difference.intermediate_state.pts
        assert kinds == [types.updates.DifferenceSlice] * 3 + [types.updates.Difference]
        assert texts == [f"private {number}" for number in range(35)]
        assert [update.channel_id for update in difference.other_updates] == [news.id]
        channel, pts, texts, finals = await client.get_input_entity("news"), 1, [], []
        while not finals or not finals[-1]:
            difference = await client(
                functions.updates.GetChannelDifferenceRequest(channel, types.ChannelMessagesFilterEmpty(), pts, 100)
            )
            finals.append(difference.final)
            texts += [message.message for message in difference.new_messages]
            pts = difference.pts
        assert finals == [False, False, False, True]
        assert texts == [f"post {number}" for number in range(35)]
        assert difference.timeout > 0
        await client.disconnect()


async def test_too_far_behind_is_told_and_not_given(telegram_client) -> None:
    async with LoopbackTelegram(difference_limit=20) as telegram:
        alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
        news = telegram.add_channel("news", [alice])
        client = await telegram_client(alice)
        for number in range(21):
            telegram.post(alice, f"private {number}", sender=bob)
            telegram.post(news, f"post {number}")
        difference = await client(functions.updates.GetDifferenceRequest(1, None, 0))
        assert isinstance(difference, types.updates.DifferenceTooLong)
        assert difference.pts == 22
        channel, unfiltered = await client.get_input_entity("news"), types.ChannelMessagesFilterEmpty()
        behind = await client(functions.updates.GetChannelDifferenceRequest(channel, unfiltered, 1, 20))
        assert isinstance(behind, types.updates.ChannelDifferenceTooLong)
        assert (behind.final, behind.dialog.pts, behind.messages[0].message) == (True, 22, "post 20")
        near = await client(functions.updates.GetChannelDifferenceRequest(channel, unfiltered, 2, 20))
        assert len(near.new_messages) == 20
        level = await client(functions.updates.GetChannelDifferenceRequest(channel, unfiltered, 22, 20))
        assert isinstance(level, types.updates.ChannelDifferenceEmpty)
        for pts, error in (
            (0, errors.PersistentTimestampEmptyError),
            (23, errors.PersistentTimestampInvalidError),
            (-1, errors.PersistentTimestampInvalidError),
        ):
            with pytest.raises(error):
                await client(functions.updates.GetChannelDifferenceRequest(channel, unfiltered, pts, 20))
            with pytest.raises(error):
                await client(functions.updates.GetDifferenceRequest(pts, None, 0))
        await client.disconnect()


async def next_second(eventually):
    """Telegram's dates are whole seconds."""
    now = int(time.time())
    await eventually(lambda: int(time.time()) > now)


async def test_a_slice_ends_with_the_date_of_its_last_event(telegram_client, eventually) -> None:
    """A client that asks for the next slice by that date is told of every channel that moved, once at least."""
    async with LoopbackTelegram(difference_page=3) as telegram:
        alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
        early, late = telegram.add_channel("early", [alice]), telegram.add_channel("late", [alice])
        client = await telegram_client(alice)
        telegram.post(early, "before the slice's end")
        await next_second(eventually)
        for number in range(3):
            telegram.post(alice, f"private {number}", sender=bob)
        await next_second(eventually)
        telegram.post(late, "after it")
        await next_second(eventually)
        telegram.post(alice, "private 3", sender=bob)
        part = await client(functions.updates.GetDifferenceRequest(1, None, 0))
        state = part.intermediate_state
        assert state.date == part.new_messages[-1].date
        assert [update.channel_id for update in part.other_updates] == [early.id]
        rest = await client(functions.updates.GetDifferenceRequest(state.pts, state.date, 0))
        assert isinstance(rest, types.updates.Difference)
        assert [update.channel_id for update in rest.other_updates] == [late.id]
        await client.disconnect()


async def test_a_difference_tells_what_is_left_of_what_happened(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    client = await telegram_client(alice)
    kept, edited, deleted = (telegram.post(alice, text, sender=bob) for text in ("kept", "edited", "deleted"))
    telegram.edit(alice, edited, "edited later")
    telegram.delete(alice, [deleted])
    difference = await client(functions.updates.GetDifferenceRequest(1, None, 0))
    assert [(m.id, m.message) for m in difference.new_messages] == [(kept, "kept"), (edited, "edited later")]
    assert [type(u) for u in difference.other_updates] == [types.UpdateEditMessage, types.UpdateDeleteMessages]
    assert difference.state.pts == 6
    assert {user.id for user in difference.users} == {bob.id}
    state = await client(functions.updates.GetStateRequest())
    assert (state.pts, state.unread_count) == (6, 2)
