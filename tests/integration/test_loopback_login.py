"""Real Telethon clients get a key, log in and out, over every transport; and Telethon is left as it was."""

import pytest
from telethon import TelegramClient, errors, functions, types
from telethon.crypto import rsa as telethon_rsa
from telethon.network import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
    ConnectionTcpObfuscated,
)
from telethon.sessions import StringSession

from telestage.testing import BadArgument, LoopbackTelegram, NotRunning, UnknownPeer, trust
from telestage.testing.loopback.keys import fingerprint

TRANSPORTS = [ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate, ConnectionTcpObfuscated]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_blank_session_shakes_hands_and_signs_in_by_code(telegram, telegram_client, transport) -> None:
    alice = telegram.add_user("alice")
    session = telegram.blank_session()
    assert session.auth_key is None
    client = await telegram_client(session, connection=transport)
    assert await client.get_me() is None
    await client.send_code_request(alice.phone)
    me = await client.sign_in(alice.phone, telegram.login_code(alice.phone))
    assert (me.id, me.username, me.phone, me.is_self) == (alice.id, "alice", alice.phone, True)
    await client.send_message("me", "x" * 3000)

    again = await telegram_client(StringSession(session.save()), connection=transport)
    assert (await again.get_me()).id == alice.id


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_ready_session_needs_no_login_and_carries_large_answers(telegram, telegram_client, transport) -> None:
    alice = telegram.add_user("alice")
    group = telegram.add_channel("group", [alice], megagroup=True)
    telegram.fill_history(group, 100, "{n} " + "long " * 700)
    client = await telegram_client(alice, connection=transport)
    messages = await client.get_messages("group", limit=100)
    assert [message.id for message in messages] == list(range(100, 0, -1))
    assert messages[0].text.startswith("100 long")


async def test_devices_of_one_user_have_keys_of_their_own(telegram, telegram_client) -> None:
    alice = telegram.add_user("alice")
    sessions = [alice.session, telegram.add_session(alice), telegram.add_session(alice)]
    assert len({session.auth_key.key for session in sessions}) == 3
    assert alice.session.auth_key == alice.session.auth_key
    for session in sessions:
        assert (await (await telegram_client(session)).get_me()).id == alice.id
    assert telegram.connections(alice) == telegram.connections() == 3


async def test_a_wrong_code_is_refused_and_the_right_one_still_works(telegram, telegram_client) -> None:
    alice = telegram.add_user("alice", phone="+1 555 0100")
    client = await telegram_client(telegram.blank_session())
    sent = await client.send_code_request("+15550100")
    assert sent.type.length == 5
    right = telegram.login_code("+1 555 0100")
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client.sign_in("+15550100", "1" + right)
    assert await client.get_me() is None
    assert (await client.sign_in("+15550100", right)).id == alice.id
    with pytest.raises(UnknownPeer, match="no login code"):
        telegram.login_code("15550100")


async def test_telethons_own_start_signs_in(telegram, capsys) -> None:
    alice = telegram.add_user("alice")
    client = TelegramClient(telegram.blank_session(), 1, "hash")
    await client.start(phone=alice.phone, code_callback=lambda: telegram.login_code(alice.phone))
    assert await client.is_user_authorized()
    assert "Signed in successfully as alice" in capsys.readouterr().out
    await client.disconnect()


async def test_a_code_that_was_replaced_is_expired(telegram, telegram_client) -> None:
    alice = telegram.add_user("alice")
    client = await telegram_client(telegram.blank_session())
    first = await client.send_code_request(alice.phone)
    second = await client.send_code_request(alice.phone)
    assert isinstance(second.type, types.auth.SentCodeTypeSms)
    with pytest.raises(errors.PhoneCodeExpiredError):
        await client(functions.auth.SignInRequest(alice.phone, first.phone_code_hash, telegram.login_code(alice.phone)))


async def test_an_unknown_number_may_sign_up(telegram, telegram_client) -> None:
    client = await telegram_client(telegram.blank_session())
    sent = await client.send_code_request("+15550199")
    code = telegram.login_code("15550199")
    with pytest.raises(errors.PhoneNumberUnoccupiedError):
        await client.sign_in("+15550199", code)
    signed = await client(functions.auth.SignUpRequest("15550199", sent.phone_code_hash, "Nina", ""))
    assert signed.user.first_name == "Nina"
    assert (await client.get_me()).id == signed.user.id


async def test_signing_up_needs_a_confirmed_code(telegram, telegram_client) -> None:
    client = await telegram_client(telegram.blank_session())
    sent = await client.send_code_request("+15550199")
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client(functions.auth.SignUpRequest("15550199", sent.phone_code_hash, "Nina", ""))
    with pytest.raises(errors.PhoneNumberInvalidError):
        await client.send_code_request("123")


async def test_logging_out_ends_that_key_alone(telegram, telegram_client) -> None:
    alice = telegram.add_user("alice")
    phone, desk = await telegram_client(alice), await telegram_client(telegram.add_session(alice))
    assert await phone.log_out()
    assert (await desk.get_me()).id == alice.id
    gone = await telegram_client(alice)
    assert await gone.get_me() is None
    assert not await gone.is_user_authorized()


async def test_two_step_passwords_are_refused_clearly(telegram, telegram_client) -> None:
    client = await telegram_client(telegram.add_user("alice"))
    with pytest.raises(errors.MethodInvalidError):
        await client(functions.account.GetPasswordRequest())


async def test_the_configuration_leads_to_this_server(telegram, telegram_client) -> None:
    client = await telegram_client(telegram.add_user("alice"))
    config = await client(functions.help.GetConfigRequest())
    (option,) = config.dc_options
    assert (option.ip_address, option.port, option.id) == (telegram.host, telegram.port, config.this_dc)
    assert (await client(functions.help.GetNearestDcRequest())).this_dc == config.this_dc


async def test_telethon_is_as_before_when_the_last_server_closes() -> None:
    keys, config = dict(telethon_rsa._server_keys), TelegramClient._config
    first, second = LoopbackTelegram(), LoopbackTelegram()
    await first.start()
    await second.start()
    assert len(telethon_rsa._server_keys) == len(keys) + 1
    await first.close()
    client = TelegramClient(second.blank_session(), 1, "hash")  # a whole handshake, with the first server gone
    await client.connect()
    await client._get_dc(2)
    assert TelegramClient._config is not config
    await client.disconnect()
    await second.close()
    assert telethon_rsa._server_keys == keys
    assert TelegramClient._config is config


async def test_without_trust_no_client_gets_a_key() -> None:
    async with LoopbackTelegram() as telegram:
        held = telethon_rsa._server_keys.pop(fingerprint())
        try:
            client = TelegramClient(telegram.blank_session(), 1, "hash", connection_retries=1, retry_delay=0)
            with pytest.raises(ConnectionError):
                await client.connect()
            with trust(telegram.public_key):
                pass  # the server's own trust still counts: nothing is taken away
        finally:
            telethon_rsa._server_keys[fingerprint()] = held
    with pytest.raises(BadArgument, match="PEM"):
        trust("not a key").__enter__()


async def test_a_server_refuses_what_makes_no_sense() -> None:
    for arguments in ({"port": 70000}, {"host": "8.8.8.8"}, {"latency": -1}, {"difference_page": 0}, {"calls_kept": 0}):
        with pytest.raises(BadArgument):
            LoopbackTelegram(**arguments)
    telegram = LoopbackTelegram()
    calls = (lambda: telegram.add_user("alice"), telegram.blank_session, lambda: telegram.faults, telegram.connections)
    for early in calls:
        with pytest.raises(NotRunning):
            early()
    async with telegram:
        alice = telegram.add_user("alice")
        for bad in ("alice", "ALICE", "a", "with space", "1abc", "a__b", "a" * 33):
            with pytest.raises(BadArgument, match="username"):
                telegram.add_user(bad)
        with pytest.raises(BadArgument, match="already belongs"):
            telegram.add_user("bob", phone=alice.phone)
        with pytest.raises(BadArgument, match="phone number"):
            telegram.add_user("bob", phone="call me")
        assert telegram.status().users == 1
        with pytest.raises(NotRunning, match="once"):
            await telegram.start()
        async with LoopbackTelegram() as other:
            stranger = other.add_user("stranger")
            with pytest.raises(UnknownPeer, match="no user of this server"):
                telegram.add_session(stranger)
            with pytest.raises(UnknownPeer):
                telegram.add_channel("news", members=[stranger])
            with pytest.raises(OSError, match="in use"):
                await LoopbackTelegram(port=other.port).start()
        assert telegram.add_channel("news").username == "news"
    await telegram.close()
    assert telegram.status().connections == 0
