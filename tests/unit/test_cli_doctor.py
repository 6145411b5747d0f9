"""`telestage doctor` says what is right, what is wrong and how to mend it, and changes nothing."""

import base64
import builtins
import importlib.metadata
import json
import os
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from telethon.crypto import AuthKey
from telethon.sessions.sqlite import SQLiteSession

from telestage.actors.store import Store
from telestage.actors.store.leases import Leases
from telestage.actors.store.owner import Owner
from telestage.cli import doctor
from telestage.cli import main as command
from telestage.cli.doctor import examine
from telestage.cli.finding import Finding

SESSION = (
    "1" + base64.urlsafe_b64encode(struct.pack(">B4sH256s", 2, bytes((127, 0, 0, 1)), 1, bytes([7]) * 256)).decode()
)
HEAD = 'api_id = 1\napi_hash = "some-hash"\n[[sessions]]\nname = "alice"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fleet file that is right, with a session in a file and a store that is yet to be made."""
    (tmp_path / "alice.txt").write_text(SESSION)
    (tmp_path / "alice.txt").chmod(0o600)
    (tmp_path / "fleet.toml").write_text('store = "fleet.store"\n' + HEAD + 'session_file = "alice.txt"\n')
    return tmp_path


@pytest.fixture
def look(folder: Path) -> Callable[[str], list[Finding]]:
    """What is found about a thing; never with the session in it."""

    def look(what: str) -> list[Finding]:
        found = list(examine(folder / "fleet.toml", {}))
        assert SESSION not in repr(found)
        assert all((finding.mend is None) == (finding.state == "right") for finding in found)
        return [finding for finding in found if finding.what == what]

    return look


def sqlite_session(folder: Path) -> Path:
    session = SQLiteSession(str(folder / "alice.session"))
    session.set_dc(2, "127.0.0.1", 1)
    session.auth_key = AuthKey(bytes([7]) * 256)
    session.save()
    session.close()
    path = folder / "alice.session"
    path.chmod(0o600)
    (folder / "fleet.toml").write_text(HEAD + 'session = "alice.session"\n')
    return path


def test_all_that_is_right_is_said_and_nothing_is_made(folder: Path, look: Callable[[str], list[Finding]]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for what in ("python", "dependencies", "cryptg", "clock", "fleet file", "session alice", "sessions and handlers"):
        assert [finding.state for finding in look(what)] == ["right"], what
    (store,) = look("store")
    assert "will be made" in store.found
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
def test_a_session_that_others_can_read_is_a_warning_with_the_command_that_mends_it(folder, look) -> None:
    (folder / "alice.txt").chmod(0o644)
    (finding,) = look("session alice")
    assert (finding.state, finding.mend) == ("warning", f"chmod 600 {folder / 'alice.txt'}")


def test_a_session_that_is_not_there_is_wrong(folder, look) -> None:
    (folder / "alice.txt").unlink()
    (finding,) = look("session alice")
    assert finding.state == "wrong"
    assert "telestage login" in finding.mend
    assert look("sessions and handlers") == [], "it would say the same once more"


def test_a_session_file_that_another_program_writes_is_in_use(folder, look) -> None:
    """R-X6: what would end in AUTH_KEY_DUPLICATED is seen before."""
    path = sqlite_session(folder)
    assert [finding.state for finding in look("session alice")] == ["right"]
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        found = look("session alice")[-1]
        assert (found.state, "in use" in found.found) == ("wrong", True)
        other.execute("ROLLBACK")
        assert [finding.state for finding in look("session alice")] == ["right"], "its own lock is given back"
    finally:
        other.close()


def test_a_session_file_that_is_none_is_wrong(folder, look) -> None:
    sqlite_session(folder).write_text("this is no database" * 100)
    assert look("session alice")[-1].state == "wrong"


def test_a_session_that_is_not_signed_in_is_wrong(folder, look) -> None:
    (folder / "alice.txt").write_text("rubbish")
    (finding,) = look("sessions and handlers")
    assert finding.state == "wrong"
    assert "session_file" in finding.found


def test_a_fleet_file_that_is_wrong_is_said_with_the_place(folder, look) -> None:
    (folder / "fleet.toml").write_text(HEAD + 'sesion = "x"\n')
    (finding,) = look("fleet file")
    assert finding.state == "wrong"
    assert "sessions[0].sesion: unknown key" in finding.found


async def test_a_store_is_looked_at_and_its_leases_are_told(folder, look) -> None:
    """R-X6: who uses a session is known without a try."""
    async with Store(folder / "fleet.store") as store:
        leases = Leases(store, Owner.here("the other fleet"))
        await leases.open()
        await leases.take("ab" * 16, "alice")
        assert [finding.state for finding in look("store")] == ["right", "right", "right"]
        assert "WAL" in look("store")[1].found
        assert any("the other fleet" in finding.found for finding in look("session alice"))
        await leases.release()
    assert len(look("session alice")) == 1


def test_a_store_that_is_none_or_not_in_wal_mode_is_said(folder, look) -> None:
    path = folder / "fleet.store"
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    path.chmod(0o600)
    assert [finding.state for finding in look("store")] == ["right", "warning", "warning"]
    assert "not in WAL mode" in look("store")[1].found
    path.write_text("no database" * 100)
    assert look("store")[-1].state == "wrong"


def test_a_store_whose_folder_is_missing_is_wrong(folder, look) -> None:
    file = folder / "fleet.toml"
    file.write_text(file.read_text().replace("fleet.store", "nowhere/fleet.store"))
    (finding,) = look("store")
    assert finding.state == "wrong"
    assert str(folder / "nowhere") in finding.mend


def test_a_dependency_that_is_missing_or_of_another_release_is_wrong(monkeypatch, look) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "msgpack":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"telethon": "1.44.2", "rich": "9.1"}.get(name) or real(name)

    monkeypatch.setattr(doctor, "version", version)
    (finding,) = look("dependencies")
    assert finding.state == "wrong"
    for text in ("msgpack is not installed", "telethon is 1.44.2, and has to be 1.45", "rich is 9.1, and has to be 14"):
        assert text in finding.found


def test_slow_encryption_an_old_python_and_a_wrong_clock_are_said(monkeypatch, look) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object) -> object:
        if name == "cryptg":
            raise ImportError("no such library")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(doctor, "_OLDEST", (sys.version_info[0], sys.version_info[1] + 1))
    monkeypatch.setattr(doctor.time, "time", lambda: 86400.0)
    assert look("cryptg")[0].state == "warning"
    assert look("python")[0].state == "wrong"
    assert look("clock")[0].state == "wrong"


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "warning"),
        ({"TELESTAGE_API_ID": "12", "TELESTAGE_API_HASH": "secret-hash"}, "right"),
        ({"TELESTAGE_API_ID": "twelve", "TELESTAGE_API_HASH": "secret-hash"}, "wrong"),
    ],
)
def test_without_a_file_the_environment_is_looked_at(environ, state) -> None:
    found = {finding.what: finding for finding in examine(None, environ)}
    assert found["credentials"].state == state
    assert "secret-hash" not in repr(found)


def test_the_exit_code_says_whether_something_is_wrong_and_json_is_an_object_a_line(folder, capsys) -> None:
    file = str(folder / "fleet.toml")
    assert command._run(["doctor", file]) == 0
    assert "right    session alice: " in capsys.readouterr().out
    (folder / "alice.txt").unlink()
    assert command._run(["doctor", file, "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["what"] for each in found if each["state"] == "wrong"] == ["session alice"]
