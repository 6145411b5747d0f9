"""`telestage sessions` and `telestage login --store`: sessions come into the store, are listed, and work."""

import asyncio
import json
import stat

import pytest
from telethon.sessions import SQLiteSession, StringSession

from telestage.actors import Fleet, Leases, Owner, StoredSession, Vault
from telestage.cli import main as command


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("TELESTAGE_STORE_KEY", Vault.new_key())
    monkeypatch.delenv("TELESTAGE_STORE", raising=False)


@pytest.fixture
def run(capsys):
    """Runs a command as its process would, in a thread: it has an event loop of its own."""

    async def run(*arguments):
        capsys.readouterr()
        code = await asyncio.to_thread(command._run, [str(each) for each in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def alice(telegram):
    return telegram.add_user("alice", "15550100")


async def works(path, name):
    fleet = Fleet(1, "hash", store=path)
    fleet.add("any", session=StoredSession(name))
    async with fleet:
        return (await fleet["any"].get_me()).username


async def test_session_files_are_imported_listed_and_used(run, alice, telegram, tmp_path):
    """R-X1: those of Telethon's and those with a string; the files are left as they are."""
    store = tmp_path / "fleet.db"
    file = SQLiteSession(str(tmp_path / "from-file.session"))
    file.set_dc(alice.session.dc_id, alice.session.server_address, alice.session.port)
    file.auth_key = alice.session.auth_key
    file.save()
    file.close()
    text = tmp_path / "from-text.txt"
    text.write_text(alice.session.save() + "\n")
    before = (tmp_path / "from-file.session").read_bytes()
    code, out, err = await run("sessions", "import", tmp_path / "from-file.session", text, "--store", store)
    assert (code, out) == (0, "")
    assert f"from-text: in {store}" in err
    assert (tmp_path / "from-file.session").read_bytes() == before
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert await works(store, "from-file") == "alice"
    code, out, _ = await run("sessions", "--store", store, "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert [(each["name"], each["user_id"], each["dc"], each["owner"], each["epoch"]) for each in listed] == [
        ("from-file", alice.id, 2, None, 1),
        ("from-text", None, 2, None, 1),
    ]
    fleet = Fleet(1, "hash", store=store)
    fleet.add("leased", session=telegram.add_user("bob").session)
    async with fleet:
        jobs = Leases(fleet.store, Owner.here())
        await jobs.take("job 1", "job 1")  # which is no session
        await jobs.release()
    _, out, _ = await run("sessions", "--store", store)
    assert [line.split()[0] for line in out.splitlines()] == ["name", "from-file", "from-text", "leased"]
    assert "leased (not stored)" in out
    assert str(alice.id) in out


async def test_a_running_fleet_s_sessions_are_listed_with_their_owner_and_not_touched(run, alice, tmp_path):
    """R-X6"""
    store, text = tmp_path / "fleet.db", tmp_path / "alice.txt"
    text.write_text(alice.session.save())
    assert (await run("sessions", "import", text, "--store", store))[0] == 0
    fleet = Fleet(1, "hash", store=store)
    fleet.add("any", session=StoredSession("alice"))
    async with fleet:
        _, out, _ = await run("sessions", "--store", store, "--json")
        assert json.loads(out)["owner"] == fleet._lasting.owning.leases.owner.text
        for arguments in (("remove", "alice"), ("export", "alice"), ("import", text, "--replace")):
            code, out, err = await run("sessions", *arguments, "--store", store)
            assert (code, out) == (2, "")
            assert "'alice' is in use by" in err
        assert (await fleet["any"].get_me()).username == "alice"
    code, out, _ = await run("sessions", "export", "alice", "--store", store)
    assert StringSession(out.strip()).auth_key.key == alice.session.auth_key.key
    assert (await run("sessions", "remove", "alice", "--store", store))[0] == 0
    assert (await run("sessions", "remove", "alice", "--store", store))[0] == 2


async def test_what_is_wrong_is_one_line_without_a_secret(run, alice, tmp_path, monkeypatch):
    store, text = tmp_path / "fleet.db", tmp_path / "alice.txt"
    text.write_text(alice.session.save())
    (tmp_path / "none.txt").write_text("not a session")
    SQLiteSession(str(tmp_path / "blank.session")).close()
    for arguments, words in (
        (("sessions",), "give the fleet's store"),
        (("sessions", "--store", tmp_path / "none.db"), "there is no store"),
        (("sessions", "import", tmp_path / "none.txt", "--store", store), "neither a session string nor"),
        (("sessions", "import", tmp_path / "blank.session", "--store", store), "not signed in yet"),
        (("sessions", "import", tmp_path / "missing", "--store", store), "can't be read: No such file"),
        (("sessions", "import", text, text, "--name", "x", "--store", store), "--name is for a single file"),
        (("sessions", "import", "-", "--store", store), "needs a --name"),
        (("login", "--api-id", "1", "--api-hash", "x", "--store", store), "--store and --name go together"),
    ):
        code, out, err = await run(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert words in err
    assert (await run("sessions", "import", text, "--store", store))[0] == 0
    assert "already" in (await run("sessions", "import", text, "--store", store))[2]
    monkeypatch.setenv("TELESTAGE_STORE_KEY", Vault.new_key())
    code, _, err = await run("sessions", "export", "alice", "--store", store)
    assert (code, "written with another key" in err) == (1, True)
    monkeypatch.delenv("TELESTAGE_STORE_KEY")
    assert "set TELESTAGE_STORE_KEY" in (await run("sessions", "export", "alice", "--store", store))[2]
    assert (await run("sessions", "--store", store))[0] == 0  # to list them takes no key
    code, key, _ = await run("sessions", "new-key")
    Vault(key)


async def test_a_login_can_go_into_the_store(run, telegram, alice, tmp_path, eventually):
    """R-X1"""
    store, code = tmp_path / "fleet.db", tmp_path / "code"
    asked = ("login", "--api-id", "1", "--api-hash", "x", "--phone", "+15550100", "--store", store, "--name", "support")
    asked += (
        "--server",
        f"127.0.0.1:{telegram.port}",
        "--code-command",
        f"while [ ! -s {code} ]; do sleep 0.02; done; cat {code}",
    )
    signing_in = asyncio.ensure_future(run(*asked))
    await eventually(lambda: any(call.method == "auth.sendCode" for call in telegram.calls))
    code.write_text(telegram.login_code("15550100"))
    done, out, err = await signing_in
    assert (done, out) == (0, ""), err
    assert f"the session is in {store}, as support" in err
    assert await works(store, "support") == "alice"
    done, _, err = await run(*asked)
    assert (done, "has a session 'support'" in err) == (2, True)


async def test_a_fleet_file_names_stored_sessions(run, alice, telegram, tmp_path):
    """R-X1: --check finds out whether the store has them, and whether its key opens them."""
    store, text = tmp_path / "fleet.db", tmp_path / "alice.txt"
    text.write_text(alice.session.save())
    await run("sessions", "import", text, "--store", store)
    file = tmp_path / "fleet.toml"

    def write(stored, more=""):
        file.write_text(
            f'api_id = 1\napi_hash = "any hash"\nstore = "fleet.db"\n{more}'
            f'[[sessions]]\nname = "support"\nstored = "{stored}"\n[server]\nport = {telegram.port}\n'
        )

    write("alice")
    assert (await run("run", "--check", file))[0] == 0
    write("alcie")
    code, _, err = await run("run", "--check", file)
    assert code == 2
    assert "sessions[0].stored: the store has no session of that name; it has alice" in err
    file.write_text(file.read_text().replace('store = "fleet.db"\n', ""))
    code, _, err = await run("run", "--check", file)
    assert (code, "sessions[0].stored: needs store" in err) == (2, True)
