"""`telestage login` against a real MTProto server: who gets in, where the session goes, and who is told what."""

import asyncio
import os
import shlex
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from telethon.crypto import AuthKey
from telethon.network import authenticator
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

from telestage.cli.errors import CommandError, UsageError
from telestage.cli.login import Login, login
from telestage.testing import LoopbackTelegram, LoopbackUser, UnknownPeer

PHONE = "15550100"

Ask = Callable[..., Login]


@pytest.fixture
def ask(telegram: LoopbackTelegram) -> Ask:
    def ask(**changes: object) -> Login:
        given: dict[str, object] = {
            "api_id": 1,
            "api_hash": "any",
            "phone": f"+{PHONE}",
            "code": None,
            "code_command": None,
            "password": None,
            "first_name": None,
            "output": None,
            "force": False,
            "server": f"127.0.0.1:{telegram.port}",
            "public_key": None,
            "timeout": 20.0,
        }
        return Login(**{**given, **changes})  # type: ignore[arg-type]  # as the fields have them

    return ask


@pytest_asyncio.fixture
async def code_command(telegram: LoopbackTelegram, tmp_path: Path) -> AsyncIterator[str]:
    """A command that waits for the code of PHONE and prints it."""
    file = tmp_path / "code"

    async def deliver() -> None:
        while not file.exists():
            try:
                code = telegram.login_code(PHONE)
            except UnknownPeer:
                await asyncio.sleep(0.01)
            else:
                (tmp_path / "new-code").write_text(code)
                (tmp_path / "new-code").rename(file)

    delivering = asyncio.create_task(deliver())
    name = shlex.quote(str(file))
    yield f'test "$TELESTAGE_PHONE" = +{PHONE} && while [ ! -e {name} ]; do sleep 0.02; done && cat {name}'
    delivering.cancel()
    await asyncio.wait({delivering})


@pytest.fixture
def alice(telegram: LoopbackTelegram) -> LoopbackUser:
    return telegram.add_user("alice", PHONE)


async def test_a_user_signs_in_by_code_and_the_session_works(telegram, ask, alice, code_command, telegram_client):
    session = await login(ask(code_command=code_command))
    client = await telegram_client(StringSession(session))
    assert (await client.get_me()).id == alice.id


async def test_a_number_without_an_account_is_signed_up_on_request(ask, code_command, telegram_client):
    session = await login(ask(code_command=code_command, first_name="Zed"))
    client = await telegram_client(StringSession(session))
    assert (await client.get_me()).first_name == "Zed"


async def test_a_number_without_an_account_is_otherwise_an_error(ask, code_command):
    with pytest.raises(CommandError, match="has no account; give a first name to sign up"):
        await login(ask(code_command=code_command))


async def test_a_key_that_a_session_string_can_not_hold_is_not_signed_in_with(
    telegram, ask, alice, code_command, telegram_client, monkeypatch
):
    """One handshake in 256 ends in a key that begins with a zero byte, which Telethon leaves out."""
    agree, agreed = authenticator.do_authentication, []

    async def agree_on_a_short_one_first(sender):
        key, offset = await agree(sender)
        if not agreed:
            key = AuthKey(key.key[1:])
            telegram._state.add_device(key.key)  # as if it had come out of the handshake
        agreed.append(key)
        return agreed[-1], offset

    monkeypatch.setattr(authenticator, "do_authentication", agree_on_a_short_one_first)
    session = StringSession(await login(ask(code_command=code_command)))
    *short, last = (len(key.key) for key in agreed)
    assert short, "the first was too short"
    assert max(short) < last == 256  # another may be short by itself
    assert session.auth_key == agreed[-1]
    client = await telegram_client(session)
    assert (await client.get_me()).id == alice.id


@pytest.mark.parametrize("name", ["alice.txt", "alice.session"])
async def test_the_session_is_stored_for_its_owner_alone(
    telegram, ask, alice, code_command, telegram_client, tmp_path, name
):
    output = tmp_path / name
    before = os.umask(0)  # the least careful one
    try:
        assert await login(ask(code_command=code_command, output=output)) == ""
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "code"])
    stored = SQLiteSession(str(output)) if name.endswith(".session") else StringSession(output.read_text().strip())
    client = await telegram_client(stored)
    assert (await client.get_me()).id == alice.id


@pytest.mark.parametrize("name", ["alice.txt", "alice.session"])
async def test_a_login_that_fails_leaves_no_file_and_the_old_one_alone(telegram, ask, alice, tmp_path, name):
    old = tmp_path / name
    old.write_text("as it was")
    with pytest.raises(UsageError, match="exists; it may be a session that is still in use"):
        await login(ask(code="00000", output=old))
    assert telegram.status().calls == 0, "nobody is asked for a code that would be lost"
    with pytest.raises(CommandError, match="is wrong or has expired"):
        await login(ask(code="wrong", output=old, force=True))
    assert old.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_a_file_is_replaced_on_request(ask, alice, code_command, tmp_path):
    output = tmp_path / "alice.session"
    output.write_text("old")
    await login(ask(code_command=code_command, output=output, force=True))
    database = sqlite3.connect(output)
    assert database.execute("select port from sessions").fetchall()
    database.close()


async def test_a_code_command_that_fails_or_says_nothing_is_an_error(ask, alice):
    with pytest.raises(CommandError, match="the code command ended with exit code 3"):
        await login(ask(code_command="exit 3"))
    with pytest.raises(CommandError, match="the code command printed no code"):
        await login(ask(code_command="true"))


async def test_a_code_command_ends_with_the_deadline_and_all_that_it_started(ask, alice, tmp_path):
    """R-T4: no orphan."""
    started = tmp_path / "pid"
    command = f"sleep 1000 & echo $! > {shlex.quote(str(started))}; wait"
    with pytest.raises(CommandError, match="it took longer than 2 s; --timeout allows more"):
        await login(ask(code_command=command, timeout=2.0))
    pid = int(started.read_text())
    async with asyncio.timeout(5):
        while _alive(pid):  # noqa: ASYNC110 - it isn't our child: nobody tells of its end
            await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_a_flood_wait_says_how_long(telegram, ask, alice):
    """R-X2: it is not slept out behind the person's back."""
    telegram.faults.flood_wait("auth.sendCode", seconds=77)
    with pytest.raises(CommandError, match="Telegram says to wait 77 s before another code is asked for"):
        await login(ask(code="1"))


async def test_what_telegram_refuses_is_passed_on(ask):
    with pytest.raises(CommandError, match=r"Telegram refuses: The phone number is invalid"):
        await login(ask(phone="+1", code="1"))


async def test_a_request_shows_no_secret(ask):
    shown = repr(ask(api_hash="swordfish", password="swordfish", code="swordfish"))
    assert "swordfish" not in shown
