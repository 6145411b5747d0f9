"""Each fault does what it says to real clients, to nobody else, and as often as it was told."""

import asyncio
import socket
import time

import pytest
from telethon import errors, events, functions

from telestage.testing import BadArgument, LoopbackTelegram, UnknownMethod, UnknownPeer


@pytest.fixture
async def people(telegram, telegram_client):
    users = telegram.add_user("alice"), telegram.add_user("bob")
    return users, [await telegram_client(user) for user in users]


def outcomes(telegram, method: str) -> list[str]:
    return [call.outcome for call in telegram.calls if call.method == method]


async def test_a_flood_wait_hits_as_often_as_told_and_only_whom_it_is_meant_for(telegram, people) -> None:
    (alice, _bob), (from_alice, from_bob) = people
    telegram.faults.flood_wait("messages.sendMessage", seconds=30, user=alice)
    with pytest.raises(errors.FloodWaitError) as caught:
        await from_alice.send_message("bob", "now")
    assert caught.value.seconds == 30
    await from_bob.send_message("alice", "mine goes through")
    await from_alice.get_me()
    assert telegram.status().floods == 1
    assert len(telegram.delivered()) == 1


async def test_calls_before_the_deadline_get_what_remains_and_are_recorded(telegram, people) -> None:
    """R-X2: a flood wait holds, and who calls early is seen."""
    (alice, _bob), (client, _) = people
    peer = await client.get_input_entity("bob")

    async def send(random_id: int) -> int:
        client._flood_waited_requests.clear()  # Telethon itself would not call again
        return (await client(functions.messages.SendMessageRequest(peer, "x", random_id=random_id))).id

    telegram.faults.flood_wait("messages.sendMessage", seconds=2, user=alice)
    with pytest.raises(errors.FloodWaitError):
        await send(1)
    begun = time.monotonic()
    await asyncio.sleep(1.1)
    with pytest.raises(errors.FloodWaitError) as caught:
        await send(1)
    assert caught.value.seconds == 1
    (early,) = telegram.early_calls
    assert (early.user_id, early.method, early.outcome) == (alice.id, "messages.sendMessage", "FLOOD_WAIT_1")
    await asyncio.sleep(begun + 2 - time.monotonic())
    assert await send(1) == 1, "an early call does not prolong the wait, nor count as a further hit"
    assert telegram.status().early_calls == 1


async def test_a_flood_wait_for_ever_ends_with_clear(telegram, people) -> None:
    _, (client, _) = people
    telegram.faults.flood_wait("users.getUsers", seconds=1, count=None)
    for _ in range(3):
        client._flood_waited_requests.clear()
        with pytest.raises(errors.FloodWaitError):
            await client.get_me()
    telegram.faults.clear()
    client._flood_waited_requests.clear()
    assert await client.get_me()


async def test_any_error_can_be_injected(telegram, people) -> None:
    (alice, _bob), (from_alice, from_bob) = people
    telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice, count=2)
    for _ in range(2):
        with pytest.raises(errors.PeerFloodError):
            await from_alice.send_message("bob", "spam")
    await from_bob.send_message("alice", "fine")
    await from_alice.send_message("bob", "forgiven")
    telegram.faults.error("messages.sendMessage", 420, "SLOWMODE_WAIT_7")
    with pytest.raises(errors.SlowModeWaitError):
        await from_alice.send_message("bob", "slowly")
    assert outcomes(telegram, "messages.sendMessage") == ["PEER_FLOOD", "PEER_FLOOD", "ok", "ok", "SLOWMODE_WAIT_7"]


async def test_latency_delays_and_keeps_the_order_of_calls(telegram, people) -> None:
    (alice, bob), (client, other) = people
    peer = await client.get_input_entity("bob")
    begun = time.monotonic()
    telegram.faults.latency(0.2, method="messages.sendMessage", user=alice)
    await asyncio.gather(*(client.send_message(peer, f"{number}") for number in range(10)))
    assert 0.2 <= time.monotonic() - begun < 2
    assert [delivery.text for delivery in telegram.delivered()] == [str(number) for number in range(10)]
    assert telegram.peak_in_flight(alice) == 10
    assert telegram.peak_in_flight(bob) == telegram.peak_in_flight(alice, ignore=["messages.sendMessage"]) == 1
    call = telegram.calls[-1]
    assert call.ended - call.started >= 0.2
    begun = time.monotonic()
    await other.send_message("alice", "no delay for others")
    assert time.monotonic() - begun < 0.2
    telegram.faults.latency(0, method="messages.sendMessage")
    begun = time.monotonic()
    await client.send_message(peer, "the newest rule wins")
    assert time.monotonic() - begun < 0.2


async def test_a_server_may_be_slow_altogether(telegram_client) -> None:
    async with LoopbackTelegram(latency=0.05) as telegram:
        client = await telegram_client(telegram.add_user("alice"))
        begun = time.monotonic()
        await client.get_me()
        assert time.monotonic() - begun >= 0.05
        await client.disconnect()


async def test_an_unanswered_call_is_done_or_not_as_told(telegram, people) -> None:
    (alice, bob), (client, _) = people
    peer = await client.get_input_entity("bob")
    for executed, deliveries in ((True, 1), (False, 1)):
        telegram.faults.unanswered("messages.sendMessage", user=alice, executed=executed)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send_message(peer, "hello?"), 0.1)
        assert len(telegram.delivered(to=bob)) == deliveries
    assert outcomes(telegram, "messages.sendMessage") == ["unanswered", "unanswered"]
    await client.send_message(peer, "heard")
    assert telegram.peak_in_flight(alice) == 1, "a call given up is in flight no more"


async def test_a_send_whose_answer_was_lost_is_sent_again_and_delivered_once(telegram, people) -> None:
    """R-X5."""
    (alice, bob), (client, other) = people
    peer = await client.get_input_entity("bob")
    arrived = asyncio.Event()

    async def note(event) -> None:
        arrived.set()

    other.add_event_handler(note, events.NewMessage)
    telegram.faults.unanswered("messages.sendMessage", user=alice)
    sending = asyncio.create_task(client.send_message(peer, "just once"))
    await asyncio.wait_for(arrived.wait(), 10)
    telegram.faults.disconnect(alice)
    assert (await asyncio.wait_for(sending, 10)).id == 1  # Telethon repeats what was pending
    assert len(telegram.delivered(to=bob)) == telegram.repeats == 1
    assert len(await other.get_messages("alice", limit=9)) == 1


async def test_cut_connections_are_reopened_by_the_client(telegram, people) -> None:
    (alice, bob), (client, other) = people
    assert telegram.faults.disconnect(alice) == 1
    assert telegram.connections(bob) == 1
    assert (await asyncio.wait_for(client.get_me(), 10)).id == alice.id
    assert telegram.faults.disconnect() == 2
    assert telegram.status().disconnects == 3
    await asyncio.wait_for(asyncio.gather(client.get_me(), other.get_me()), 10)


async def test_a_call_cut_off_in_the_middle_is_recorded_so(telegram, people) -> None:
    (alice, _bob), (client, _) = people
    peer = await client.get_input_entity("bob")
    telegram.faults.latency(0.2, method="messages.sendMessage", count=1)
    sending = asyncio.create_task(client.send_message(peer, "hello"))
    while not telegram.peak_in_flight(alice, ignore=["contacts.resolveUsername", "users.getUsers"]):  # noqa: ASYNC110
        await asyncio.sleep(0)
    telegram.faults.disconnect(alice)
    assert (await asyncio.wait_for(sending, 10)).id == 1
    assert outcomes(telegram, "messages.sendMessage") == ["disconnected", "ok"]
    assert len(telegram.delivered()) == 1


async def test_the_port_stays_taken_while_connections_are_refused(telegram) -> None:
    telegram.faults.refuse_connections()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((telegram.host, telegram.port))


async def test_refused_connections_are_refused_and_accepted_again(telegram, telegram_client) -> None:
    alice = telegram.add_user("alice")
    telegram.faults.refuse_connections()
    telegram.faults.refuse_connections()
    with pytest.raises(ConnectionError):
        await telegram_client(alice, connection_retries=2)
    for again in (telegram.faults.accept_connections, telegram.faults.clear):
        again()
        client = await telegram_client(telegram.add_session(alice), connection_retries=1)
        assert await client.get_me()
        telegram.faults.refuse_connections()
    assert await client.get_me(), "connections there are stay"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("AUTH_KEY_UNREGISTERED", errors.AuthKeyUnregisteredError),
        ("SESSION_REVOKED", errors.SessionRevokedError),
        ("SESSION_EXPIRED", errors.SessionExpiredError),
    ],
)
async def test_a_revoked_key_is_refused_for_good_and_hears_nothing(telegram, people, message, error) -> None:
    """R-X4."""
    (alice, _bob), (client, other) = people
    heard = []

    async def note(event) -> None:
        heard.append(event)

    client.add_event_handler(note, events.NewMessage)
    telegram.faults.revoke(alice, message)
    for _ in range(2):
        with pytest.raises(error):
            await client.send_message("bob", "x")
    telegram.post(alice, "not for a revoked session")
    await other.get_me()
    assert heard == []
    telegram.faults.clear()
    with pytest.raises(error):
        await client(functions.updates.GetStateRequest())
    assert await client.get_me() is None
    await client.send_code_request(alice.phone)
    assert (await client.sign_in(alice.phone, telegram.login_code(alice.phone))).id == alice.id


async def test_a_banned_account_is_out_and_cannot_come_back(telegram, people, telegram_client) -> None:
    """R-X4."""
    (alice, _), (client, other) = people
    telegram.faults.ban(alice)
    with pytest.raises(errors.UserDeactivatedBanError):
        await client(functions.updates.GetStateRequest())
    fresh = await telegram_client(telegram.blank_session())
    with pytest.raises(errors.PhoneNumberBannedError):
        await fresh.send_code_request(alice.phone)
    later = await telegram_client(telegram.add_session(alice))
    with pytest.raises(errors.UserDeactivatedBanError):
        await later(functions.updates.GetStateRequest())
    assert await other.get_me()


async def test_a_duplicated_key_is_refused_whatever_it_asks(telegram, people, telegram_client) -> None:
    """R-X4."""
    (alice, _), (client, other) = people
    telegram.faults.duplicate_key(alice)
    for request in (functions.updates.GetStateRequest(), functions.help.GetConfigRequest()):
        with pytest.raises(errors.AuthKeyDuplicatedError):
            await client(request)
    assert await other.get_me()
    assert (await (await telegram_client(telegram.add_session(alice))).get_me()).id == alice.id


async def test_a_forgotten_key_gets_transport_error_404(telegram, people, telegram_client) -> None:
    (alice, _), (client, other) = people
    telegram.faults.forget_key(alice)
    with pytest.raises(errors.AuthKeyNotFound):
        await client.get_me()
    assert not client.is_connected()
    assert await other.get_me()
    with pytest.raises(errors.AuthKeyNotFound):
        await telegram_client(alice, auto_reconnect=False)


async def test_wrong_arguments_are_refused_and_change_nothing(telegram, people) -> None:
    (alice, _), (client, _) = people
    faults = telegram.faults
    async with LoopbackTelegram() as other:
        stranger = other.add_user("stranger")
    wrong = [
        (UnknownMethod, "sendMessage", lambda: faults.flood_wait("messages.sendMesage", 3)),
        (UnknownMethod, "look like", lambda: faults.error("zzzz", 400, "PEER_FLOOD")),
        (UnknownMethod, "no method", lambda: telegram.peak_in_flight(ignore=["getme"])),
        (BadArgument, "whole seconds", lambda: faults.flood_wait("users.getUsers", -1)),
        (BadArgument, "whole seconds", lambda: faults.flood_wait("users.getUsers", 0.5)),
        (BadArgument, "count", lambda: faults.flood_wait("users.getUsers", 1, count=0)),
        (BadArgument, "count", lambda: faults.unanswered("users.getUsers", count=-1)),
        (BadArgument, "count", lambda: faults.lose_updates(count=None)),
        (BadArgument, "seconds", lambda: faults.latency(-0.1)),
        (BadArgument, "seconds", lambda: faults.latency(float("nan"))),
        (BadArgument, "code", lambda: faults.error("users.getUsers", 200, "FINE")),
        (BadArgument, "upper case", lambda: faults.error("users.getUsers", 400, "peer flood")),
        (BadArgument, "SESSION_REVOKED", lambda: faults.revoke(alice, "GONE")),
        (UnknownPeer, "stranger", lambda: faults.flood_wait("users.getUsers", 1, user=stranger)),
        (UnknownPeer, "stranger", lambda: faults.disconnect(stranger)),
        (UnknownPeer, "stranger", lambda: faults.ban(stranger)),
        (UnknownPeer, "alice", lambda: faults.revoke("alice")),
    ]
    for error, says, call in wrong:
        with pytest.raises(error, match=says):
            call()
    assert await client.get_me()
    assert telegram.status().floods == telegram.status().disconnects == 0


async def test_calls_are_recorded_with_who_what_and_how_it_ended(telegram, people) -> None:
    (alice, _bob), (client, _) = people
    before = len(telegram.calls)
    await client.send_message("bob", "hi")
    with pytest.raises(errors.MethodInvalidError):
        await client(functions.messages.GetAllStickersRequest(0))
    resolve, send, unknown = telegram.calls[before:]
    assert (resolve.method, resolve.outcome) == ("contacts.resolveUsername", "ok")
    assert (send.method, send.user_id, send.outcome) == ("messages.sendMessage", alice.id, "ok")
    assert send.auth_key_id == int.from_bytes(client.session.auth_key.key_id.to_bytes(8, "little"), "little")
    assert (unknown.method, unknown.outcome) == ("messages.getAllStickers", "METHOD_INVALID")
    assert resolve.started < resolve.ended < send.started < send.ended
    assert telegram.status().calls == len(telegram.calls)


async def test_only_the_last_calls_are_kept(telegram_client) -> None:
    async with LoopbackTelegram(calls_kept=5) as telegram:
        client = await telegram_client(telegram.add_user("alice"))
        for _ in range(10):
            await client.get_me()
        assert [call.method for call in telegram.calls] == ["users.getUsers"] * 5
        assert telegram.status().calls > 10
        await client.disconnect()
