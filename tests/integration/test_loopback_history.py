"""Histories, member lists and chat lists page through Telethon's own iterators, with Telegram's limits."""

from datetime import timedelta

import pytest
from telethon import errors, functions, types


@pytest.fixture
async def group(telegram):
    return telegram.add_channel("group", [telegram.add_user("alice"), telegram.add_user("bob")], megagroup=True)


@pytest.fixture
async def client(telegram, telegram_client, group):
    return await telegram_client(telegram.add_user("reader"))


def pages(telegram, method: str) -> int:
    return sum(call.method == method for call in telegram.calls)


async def test_a_history_of_5000_is_read_whole_in_pages_of_100(telegram, client, group) -> None:
    telegram.fill_history(group, 5000, "number {n}")
    messages = [message async for message in client.iter_messages("group", wait_time=0)]
    assert [message.id for message in messages] == list(range(5000, 0, -1))
    assert messages[17].text == "number 4983"
    assert pages(telegram, "messages.getHistory") in (50, 51)
    dates = [message.date for message in messages]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] - dates[-1] == timedelta(minutes=4999)


async def test_a_history_is_read_backwards_too(telegram, client, group) -> None:
    telegram.fill_history(group, 1050)
    ids = [message.id async for message in client.iter_messages("group", reverse=True, wait_time=0)]
    assert ids == list(range(1, 1051))


async def test_a_history_is_entered_at_an_id_or_a_date(telegram, client, group) -> None:
    telegram.fill_history(group, 500)
    assert [m.id for m in await client.get_messages("group", limit=3, offset_id=200)] == [199, 198, 197]
    assert [m.id for m in await client.get_messages("group", limit=3, max_id=100)] == [99, 98, 97]
    assert [m.id for m in await client.get_messages("group", limit=None, min_id=495)] == [500, 499, 498, 497, 496]
    moment = (await client.get_messages("group", ids=300)).date
    assert [m.id for m in await client.get_messages("group", limit=2, offset_date=moment)] == [299, 298]
    later = [m.id async for m in client.iter_messages("group", offset_date=moment, reverse=True, limit=2)]
    assert later == [300, 301]


async def test_the_bounds_of_a_page_mean_what_telegram_means(telegram, client, group) -> None:
    telegram.fill_history(group, 50)
    peer = await client.get_input_entity("group")

    async def page(offset_id=0, add_offset=0, limit=5, max_id=0, min_id=0) -> list[int]:
        request = functions.messages.GetHistoryRequest(peer, offset_id, None, add_offset, limit, max_id, min_id, 0)
        answer = await client(request)
        assert answer.count == 50
        return [message.id for message in answer.messages]

    assert await page() == [50, 49, 48, 47, 46]
    assert await page(offset_id=10) == [9, 8, 7, 6, 5]
    assert await page(offset_id=10, add_offset=2) == [7, 6, 5, 4, 3]
    assert await page(offset_id=10, add_offset=-5) == [14, 13, 12, 11, 10]
    assert await page(offset_id=10, add_offset=-2) == [11, 10, 9, 8, 7]
    assert await page(offset_id=49, add_offset=-5) == [50, 49]
    assert await page(offset_id=3) == [2, 1]
    assert await page(max_id=48) == [47, 46]
    assert await page(min_id=48) == [50, 49]
    assert await page(limit=0) == []
    assert len(await page(limit=1000)) == 50


async def test_a_page_holds_100_messages_at_most(telegram, client, group) -> None:
    telegram.fill_history(group, 300)
    peer = await client.get_input_entity("group")
    answer = await client(functions.messages.GetHistoryRequest(peer, 0, None, 0, 1000, 0, 0, 0))
    assert len(answer.messages) == 100


async def test_a_private_history_pages_as_well(telegram, telegram_client) -> None:
    alice, bob = telegram.add_user("ann"), telegram.add_user("ben")
    for number in range(250):
        telegram.post(alice, f"{number}", sender=bob)
    client = await telegram_client(alice)
    texts = [message.text async for message in client.iter_messages("ben", wait_time=0)]
    assert texts == [str(number) for number in range(249, -1, -1)]
    assert (await client.get_messages("ben", limit=0)).total == 250


async def test_deleted_messages_are_missing_from_pages(telegram, client, group) -> None:
    telegram.fill_history(group, 150)
    telegram.delete(group, range(1, 151, 2))
    ids = [message.id async for message in client.iter_messages("group", wait_time=0)]
    assert ids == list(range(150, 0, -2))


async def test_the_senders_of_a_page_come_with_it(telegram, client, group) -> None:
    telegram.fill_history(group, 4)
    messages = await client.get_messages("group", limit=4)
    assert [message.sender.username for message in messages] == ["bob", "alice", "bob", "alice"]


async def test_a_thousand_members_are_listed_in_pages_of_200(telegram, client, group) -> None:
    users = [telegram.add_user(f"member{number}") for number in range(1000)]
    telegram.add_members(group, users)
    members = [member async for member in client.iter_participants("group")]
    assert len(members) == 1002
    assert {member.username for member in members} == {"alice", "bob", *(user.username for user in users)}
    assert pages(telegram, "channels.getParticipants") <= 8
    found = await client.get_participants("group", search="member99")
    assert {member.username for member in found} == {"member99", *(f"member99{digit}" for digit in range(10))}
    assert (await client.get_participants("group", limit=0)).total == 1002


async def test_no_more_than_10000_members_are_listed(telegram, client, group) -> None:
    telegram.add_members(group, [telegram.add_user(None) for _ in range(10_050)])
    channel = await client.get_input_entity("group")
    for offset, count in ((0, 200), (9_800, 200), (9_900, 100), (10_000, 0)):
        request = functions.channels.GetParticipantsRequest(
            channel, types.ChannelParticipantsRecent(), offset, limit=500, hash=0
        )
        answer = await client(request)
        assert (len(answer.participants), answer.count) == (count, 10_052)


async def test_members_of_channels_and_hidden_members_are_for_the_creator(telegram, telegram_client) -> None:
    owner, reader = telegram.add_user("owner"), telegram.add_user("someone")
    others = [telegram.add_user(f"fan{number}") for number in range(300)]
    telegram.add_channel("broadcast", [reader, *others], creator=owner)
    telegram.add_channel("secretive", [reader], creator=owner, megagroup=True, hidden_members=True)
    client, boss = await telegram_client(reader), await telegram_client(owner)
    for name in ("broadcast", "secretive"):
        with pytest.raises(errors.ChatAdminRequiredError):
            await client.get_participants(name)
    assert len(await boss.get_participants("broadcast")) == 200
    (admin,) = await boss.get_participants("secretive", filter=types.ChannelParticipantsAdmins)
    assert (admin.id, type(admin.participant)) == (owner.id, types.ChannelParticipantCreator)
    assert (await boss.get_permissions("secretive", "me")).is_creator


async def test_the_list_of_chats_is_ordered_and_pages(telegram, telegram_client) -> None:
    alice = telegram.add_user("ann")
    for number in range(130):
        channel = telegram.add_channel(f"channel{number}", [alice])
        telegram.post(channel, f"post {number}")
    friend = telegram.add_user("ben")
    telegram.post(alice, "hello", sender=friend)
    client = await telegram_client(alice)
    dialogs = await client.get_dialogs()
    assert len({dialog.id for dialog in dialogs}) == len(dialogs) == dialogs.total == 131
    dates = [dialog.date for dialog in dialogs]
    assert dates == sorted(dates, reverse=True)
    private = next(dialog for dialog in dialogs if dialog.is_user)
    assert (private.id, private.unread_count, private.message.text) == (friend.id, 1, "hello")
    assert dialogs[0].dialog.pts == 2 or dialogs[0].is_user
    (line,) = (
        await client(functions.messages.GetPeerDialogsRequest([types.InputDialogPeer(private.input_entity)]))
    ).dialogs
    assert line.unread_count == 1


async def test_fifty_thousand_messages_are_made_quickly_and_read_anywhere(telegram, client, group) -> None:
    telegram.fill_history(group, 50_000)
    assert [m.id for m in await client.get_messages("group", limit=2, offset_id=25_000)] == [24_999, 24_998]
    assert (await client.get_messages("group", limit=1))[0].id == 50_000
    telegram.post(group, "new")
    assert [m.text for m in await client.get_messages("group", limit=2)] == ["new", "message 50000"]
