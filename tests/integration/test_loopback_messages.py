"""Messages through real clients: written once for each random_id, replied to, edited, deleted, read, found."""

from datetime import UTC, datetime, timedelta

import pytest
from telethon import errors, functions, types

from telestage.testing import BadArgument, LoopbackTelegram, UnknownPeer


@pytest.fixture
async def people(telegram, telegram_client):
    """Alice and Bob, connected, in one group; Eve, connected, in none."""
    users = [telegram.add_user(name) for name in ("alice", "bob", "eve")]
    group = telegram.add_channel("group", users[:2], megagroup=True)
    clients = [await telegram_client(user) for user in users]
    return users, clients, group


async def test_a_message_to_a_user_arrives_in_both_histories(telegram, people) -> None:
    (alice, bob, _), (from_alice, from_bob, _), _ = people
    telegram.post(bob, "earlier", sender=alice)
    sent = await from_alice.send_message("bob", "hello **there**")
    assert (sent.id, sent.out) == (2, True)
    (seen,) = await from_bob.get_messages("alice", limit=1)
    assert (seen.message, seen.text, seen.out, seen.sender_id) == ("hello there", "hello **there**", False, alice.id)
    (mine,) = await from_alice.get_messages("bob", limit=1)
    assert (mine.id, mine.out, mine.chat_id) == (2, True, bob.id)
    (delivery,) = telegram.delivered()
    assert (delivery.sender_id, delivery.peer, delivery.message_id) == (alice.id, bob.id, 2)
    assert delivery.text == "hello there"
    assert telegram.delivered(to=bob, sender=alice) == [delivery]
    assert telegram.delivered(to=alice) == telegram.delivered(sender=bob) == []


async def test_a_message_to_oneself_is_saved_once(people) -> None:
    (alice, *_), (client, *_), _ = people
    await client.send_message("me", "note")
    (note,) = await client.get_messages("me")
    assert (note.text, note.out, note.chat_id) == ("note", True, alice.id)


async def test_a_reply_names_what_it_answers_by_each_sides_own_id(telegram, people) -> None:
    (_alice, bob, _), (from_alice, from_bob, _), _group = people
    telegram.post(bob, "moves the ids of Bob's box on")
    first = await from_alice.send_message("bob", "question")
    (question,) = await from_bob.get_messages("alice", limit=1)
    assert question.id != first.id
    await from_bob.send_message("alice", "answer", reply_to=question)
    (answer,) = await from_alice.get_messages("bob", limit=1)
    assert answer.reply_to.reply_to_msg_id == first.id
    there = await from_alice.send_message("group", "in the group")
    here = await from_bob.send_message("group", "yes", reply_to=there)
    assert here.reply_to.reply_to_msg_id == there.id


async def test_a_mention_is_seen_without_the_senders_access_hash(telegram, people) -> None:
    (_alice, bob, _), (from_alice, from_bob, _), _ = people
    await from_alice.get_entity("bob")
    await from_alice.send_message("group", f"hi [you](tg://user?id={bob.id})")
    (message,) = await from_bob.get_messages("group", limit=1)
    assert message.entities == [types.MessageEntityMentionName(3, 3, bob.id)]


async def test_a_repeated_random_id_gives_the_first_message_again(telegram, people) -> None:
    """R-X5: sending again with the same random_id delivers nothing twice, from any device."""
    (_alice, _bob, _), (client, from_bob, _), group = people
    peer = await client.get_input_entity("group")
    request = functions.messages.SendMessageRequest(peer, "once", random_id=77)
    first, second = await client(request), await client(request)
    ids = [next(u.id for u in r.updates if isinstance(u, types.UpdateMessageID)) for r in (first, second)]
    assert ids[0] == ids[1]
    private = functions.messages.SendMessageRequest(await client.get_input_entity("bob"), "once", random_id=78)
    assert (await client(private)).id == (await client(private)).id
    assert telegram.repeats == 2
    assert [delivery.random_id for delivery in telegram.delivered()] == [77, 78]
    assert len(await from_bob.get_messages("group", limit=10)) == 1
    assert len(await from_bob.get_messages("alice", limit=10)) == 1
    others = functions.messages.SendMessageRequest(await from_bob.get_input_entity("group"), "mine", random_id=77)
    await from_bob(others)
    assert len(telegram.delivered(to=group)) == 2, "another user's random_id is another message"


async def test_a_group_is_written_by_members_and_a_channel_by_its_creator(telegram, people, telegram_client) -> None:
    (alice, bob, _eve), (from_alice, from_bob, from_eve), _ = people
    news = telegram.add_channel("news", [bob], creator=alice)
    with pytest.raises(errors.ChatWriteForbiddenError):
        await from_eve.send_message("group", "let me in")
    with pytest.raises(errors.ChatWriteForbiddenError):
        await from_bob.send_message("news", "not mine")
    post = await from_alice.send_message("news", "official")
    assert (post.post, post.sender_id, post.out) == (True, news.marked_id, True)
    (read,) = await from_eve.get_messages("news", limit=1)
    assert (read.text, read.out) == ("official", False), "everybody may read"
    assert len(telegram.delivered()) == 1


async def test_a_wrong_access_hash_is_refused(telegram, people) -> None:
    (_alice, bob, _), (client, *_), group = people
    for wrong, error in (
        (types.InputPeerUser(bob.id, bob.access_hash + 1), errors.PeerIdInvalidError),
        (types.InputPeerUser(1, 0), errors.PeerIdInvalidError),
        (types.InputPeerChannel(group.id, 0), errors.ChannelInvalidError),
    ):
        with pytest.raises(error):
            await client(functions.messages.SendMessageRequest(wrong, "x"))
        with pytest.raises(error):
            await client(functions.messages.GetHistoryRequest(wrong, 0, None, 0, 10, 0, 0, 0))
    with pytest.raises(errors.UserIdInvalidError):
        await client(functions.users.GetFullUserRequest(types.InputUser(bob.id, 0)))
    (nobody,) = await client(functions.users.GetUsersRequest([types.InputUser(bob.id, 0)]))
    assert isinstance(nobody, types.UserEmpty)
    assert telegram.delivered() == []


async def test_what_a_message_may_say_has_limits(people) -> None:
    _, (client, *_), _ = people
    bob = await client.get_input_entity("bob")
    with pytest.raises(errors.MessageEmptyError):
        await client(functions.messages.SendMessageRequest(bob, ""))
    with pytest.raises(errors.MessageTooLongError):
        await client.send_message(bob, "x" * 4097)
    with pytest.raises(errors.ScheduleDateInvalidError):
        await client.send_message(bob, "later", schedule=datetime.now(UTC) + timedelta(hours=1))
    assert (await client.send_message(bob, "x" * 4096)).id == 1


async def test_an_edit_is_seen_by_both_and_only_the_author_may(people) -> None:
    _, (from_alice, from_bob, _), _ = people
    private = await from_alice.send_message("bob", "tpyo")
    public = await from_alice.send_message("group", "tpyo")
    for chat, message in (("bob", private), ("group", public)):
        edited = await from_alice.edit_message(chat, message.id, "typo")
        assert (edited.text, edited.id) == ("typo", message.id)
        with pytest.raises(errors.MessageNotModifiedError):
            await from_alice.edit_message(chat, message.id, "typo")
    for chat in ("alice", "group"):
        (seen,) = await from_bob.get_messages(chat, limit=1)
        assert seen.text == "typo"
        assert seen.edit_date is not None
        with pytest.raises(errors.MessageAuthorRequiredError):
            await from_bob.edit_message(chat, seen.id, "mine")
    with pytest.raises(errors.MessageIdInvalidError):
        await from_alice.edit_message("group", 99, "nothing")


async def test_deleting_takes_a_message_from_both_sides_or_only_ones_own(people) -> None:
    _, (from_alice, from_bob, _), _ = people
    for text in ("for both", "for me"):
        await from_alice.send_message("bob", text)
    await from_alice.delete_messages("bob", [2], revoke=False)
    assert [m.text for m in await from_bob.get_messages("alice")] == ["for me"]
    await from_alice.delete_messages("bob", [1], revoke=True)
    assert await from_alice.get_messages("bob", limit=5) == []
    assert [m.text for m in await from_bob.get_messages("alice", limit=5)] == ["for me"]
    (result,) = await from_alice.delete_messages("bob", [1, 2])
    assert result.pts_count == 0


async def test_in_a_group_only_authors_and_the_creator_delete(telegram, people, telegram_client) -> None:
    (alice, bob, _), (from_alice, from_bob, _), _ = people
    club = telegram.add_channel("club", [bob], megagroup=True, creator=alice)
    await from_bob.send_message("club", "one")
    telegram.post(club, "two", sender=alice)
    with pytest.raises(errors.MessageDeleteForbiddenError):
        await from_bob.delete_messages("club", [1, 2])
    await from_alice.delete_messages("club", [1, 2, 3])
    assert await from_bob.get_messages("club", limit=5) == []


async def test_forwarding_copies_a_message_and_names_its_origin(telegram, people) -> None:
    (alice, _bob, _), (from_alice, from_bob, _), _group = people
    news = telegram.add_channel("news")
    telegram.post(news, "headline")
    post = (await from_alice.get_messages("news", limit=1))[0]
    sent = await from_alice.forward_messages("group", post)
    (seen,) = await from_bob.get_messages("group", limit=1)
    assert (seen.id, seen.text, seen.sender_id) == (sent.id, "headline", alice.id)
    assert (seen.fwd_from.from_id.channel_id, seen.fwd_from.channel_post) == (news.id, 1)
    again = await from_bob.forward_messages("alice", [seen.id, 99], "group")
    assert again[0].fwd_from.from_id.channel_id == news.id, "a forward of a forward names the origin"
    assert again[1] is None
    plain = await from_bob.forward_messages("alice", seen, drop_author=True)
    assert plain.fwd_from is None
    with pytest.raises(errors.MessageIdInvalidError):
        await from_bob.forward_messages("alice", [98], "group")
    assert len(telegram.delivered()) == 3


async def test_reading_counts_down_and_is_remembered(telegram, people) -> None:
    (alice, bob, _), (_from_alice, from_bob, _), group = people
    for number in range(5):
        telegram.post(bob, f"to bob {number}", sender=alice)
        telegram.post(group, f"to all {number}", sender=alice)
    unread = {dialog.id: dialog.unread_count for dialog in await from_bob.get_dialogs()}
    assert unread == {alice.id: 5, group.marked_id: 5}
    await from_bob.send_read_acknowledge("alice", max_id=2)
    await from_bob.send_read_acknowledge("group", max_id=3)
    unread = {dialog.id: dialog.unread_count for dialog in await from_bob.get_dialogs()}
    assert unread == {alice.id: 3, group.marked_id: 2}
    assert await from_bob.send_read_acknowledge("group", max_id=3) is False
    assert (await from_bob.send_read_acknowledge("alice", max_id=1)).pts_count == 0


async def test_searching_finds_by_text_author_and_kind(telegram, people) -> None:
    (alice, bob, _), (client, *_), group = people
    for number in range(30):
        telegram.post(group, f"Apple {number}" if number % 3 else "pear", sender=(alice, bob)[number % 2])
    assert [m async for m in client.iter_messages("group", search="nothing like it")] == []
    apples = [message async for message in client.iter_messages("group", search="aPPLE")]
    assert len(apples) == 20
    assert len([m async for m in client.iter_messages("group", from_user="bob")]) == 15
    assert [m async for m in client.iter_messages("group", filter=types.InputMessagesFilterPhotos)] == []


async def test_messages_are_given_by_id_and_none_where_there_is_none(telegram, people) -> None:
    _, (client, *_), group = people
    telegram.fill_history(group, 3)
    found = await client.get_messages("group", ids=[2, 9, 1])
    assert [message and message.id for message in found] == [2, None, 1]
    await client.send_message("bob", "first")
    assert (await client.get_messages("bob", ids=1)).text == "first"
    assert await client.get_messages("bob", ids=5) is None


async def test_an_unknown_method_is_refused_at_once_and_logged(people, caplog) -> None:
    _, (client, *_), _ = people
    with pytest.raises(errors.MethodInvalidError):
        await client(functions.messages.GetAllStickersRequest(0))
    assert "messages.getAllStickers is not served" in caplog.text


async def test_users_and_channels_are_looked_up(telegram, people) -> None:
    (_alice, bob, _), (client, *_), group = people
    found = await client.get_entity("@Bob")
    assert (found.id, found.access_hash, found.phone, found.is_self) == (bob.id, bob.access_hash, None, False)
    chat = await client.get_entity("group")
    assert (chat.id, chat.megagroup, chat.participants_count, chat.left) == (group.id, True, 2, False)
    full = await client(functions.channels.GetFullChannelRequest("group"))
    assert full.full_chat.participants_count == 2
    person = await client(functions.users.GetFullUserRequest("bob"))
    assert person.full_user.common_chats_count == 1
    with pytest.raises(ValueError, match="No user has"):
        await client.get_entity("nobody_here")
    assert await client(functions.account.UpdateStatusRequest(offline=False)) is True
    assert (await client(functions.contacts.GetContactsRequest(0))).users == []


async def test_joining_and_leaving_decide_who_is_a_member(telegram, people) -> None:
    (_, _, eve), (_, from_bob, from_eve), _group = people
    await from_eve(functions.channels.JoinChannelRequest("group"))
    with pytest.raises(errors.UserAlreadyParticipantError):
        await from_eve(functions.channels.JoinChannelRequest("group"))
    assert (await from_eve.send_message("group", "in")).id == 1
    assert (await from_bob.get_permissions("group", "eve")).is_admin is False
    await from_eve(functions.channels.LeaveChannelRequest("group"))
    with pytest.raises(errors.UserNotParticipantError):
        await from_bob.get_permissions("group", eve.id)
    with pytest.raises(errors.ChatWriteForbiddenError):
        await from_eve.send_message("group", "out")


async def test_posting_from_the_server_checks_its_arguments(telegram, people) -> None:
    (alice, bob, _eve), _, group = people
    with pytest.raises(BadArgument, match="empty"):
        telegram.post(group, "")
    with pytest.raises(BadArgument, match="to="):
        telegram.post(group, "x", to=bob)
    for wrong in (lambda: telegram.edit(group, 5, "x"), lambda: telegram.delete(group, [5])):
        with pytest.raises(UnknownPeer, match="no message 5"):
            wrong()
    with pytest.raises(BadArgument, match="template"):
        telegram.fill_history(group, 1, "{name}")
    with pytest.raises(BadArgument, match="count"):
        telegram.fill_history(group, -1)
    assert telegram.post(alice, "hi", to=bob) == 1
    assert telegram.post(bob, "from Telegram") == 2


async def test_accounts_may_have_access_hashes_of_their_own(telegram_client) -> None:
    """As on Telegram: what one account knows a peer by is refused from another."""
    async with LoopbackTelegram(hashes_per_account=True) as telegram:
        users = [telegram.add_user(name) for name in ("alice", "bob", "carol")]
        news = telegram.add_channel("news", users, megagroup=True)
        telegram.fill_history(news, 3)
        alice, bob = [await telegram_client(user) for user in users[:2]]
        theirs = [await client.get_input_entity(name) for client in (alice, bob) for name in ("news", "carol")]
        assert len({peer.access_hash for peer in theirs}) == 4
        for client, channel, user in ((alice, *theirs[:2]), (bob, *theirs[2:])):
            assert len(await client.get_messages(channel)) == 1
            await client.send_message(user, "hi")
        with pytest.raises(errors.ChannelInvalidError):
            await alice.get_messages(theirs[2])
        with pytest.raises(errors.PeerIdInvalidError):
            await bob.send_message(theirs[1], "hi")
        for client in (alice, bob):
            await client.disconnect()
