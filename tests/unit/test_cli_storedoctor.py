"""`telestage doctor` looks into the store: its form, its sessions and their leases; it changes nothing there."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession

from telestage.actors import Fleet, SessionStore, Vault
from telestage.actors.parts import PARTS
from telestage.actors.store import Leases, Owner, Store
from telestage.actors.telegram.fingerprint import fingerprint
from telestage.cli import main as command
from telestage.cli.finding import Finding
from telestage.cli.storedoctor import Expected, look_into

KEY, OTHER = Vault.new_key(), Vault.new_key()
ENVIRON = {"TELESTAGE_STORE_KEY": KEY}

Look = Callable[..., list[Finding]]


def session(number: int) -> MemorySession:
    made = MemorySession()
    made.set_dc(2, "127.0.0.1", 1)
    made.auth_key = AuthKey(bytes([number]) * 256)
    return made


async def keep(path: Path, **sessions: int) -> None:
    async with Store(path) as store:
        stored = SessionStore(store, Vault(KEY))
        await stored.open()
        for name, number in sessions.items():
            await stored.put(name, session(number))


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest_asyncio.fixture
async def path(tmp_path: Path) -> Path:
    """A store with two sessions that is as a fleet leaves it: with all its parts."""
    path = tmp_path / "fleet.db"
    await keep(path, alice=1, bob=2)
    async with Fleet(1, "hash", store=path):
        pass
    return path


@pytest.fixture
def look(path: Path) -> Look:
    """What is found, but for what is right; nothing is changed by it, and no secret shown."""

    def look(*, environ: dict[str, str] = ENVIRON, state: str = "", **expected: object) -> list[Finding]:
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        found = list(look_into(path, Expected(**expected), environ))
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
        assert not any(secret in repr(found) for secret in (KEY, OTHER))
        assert all((each.mend is None) == (each.state == "right") for each in found)
        return [each for each in found if (each.state == state if state else each.state != "right")]

    return look


def test_of_a_store_that_is_right_its_versions_and_sessions_are_told(path: Path, look: Look) -> None:
    """R-X1: that the key in the environment opens each of them."""
    assert look(stored={"alice": "sessions[0].stored"}) == []
    right = {each.what: each.found for each in look(state="right")}
    assert right["stored sessions"] == f"2 of 2 in {path} are opened by the key in TELESTAGE_STORE_KEY"
    for name, migrations in PARTS.items():
        assert f"{name} {len(migrations)}" in right["store"], "a fleet has used it, and so made each part"


@pytest.mark.parametrize(
    ("environ", "found", "mend"),
    [
        ({}, "there is no key for the stored sessions", "set TELESTAGE_STORE_KEY to the key that they were sealed"),
        ({"TELESTAGE_STORE_KEY": "secret"}, "the store's key is none", "set TELESTAGE_STORE_KEY"),
        ({"TELESTAGE_STORE_KEY": OTHER}, "was sealed with another key than TELESTAGE_STORE_KEY has", "nothing else"),
        ({"TELESTAGE_STORE_KEY": OTHER, "TELESTAGE_NEW_STORE_KEY": KEY}, "another key", "sealed anew already"),
    ],
)
def test_a_key_that_is_not_the_stores_is_wrong(look: Look, environ, found: str, mend: str) -> None:
    """R-X1: in no key's case is a session tried with it."""
    (finding,) = look(environ=environ)
    assert (finding.state, finding.what) == ("wrong", "stored sessions")
    assert found in finding.found
    assert mend in finding.mend


def test_each_session_that_the_key_does_not_open_is_named(path: Path, look: Look) -> None:
    """R-X1: the others are opened."""
    change(path, "UPDATE sessions SET key = (SELECT key FROM sessions WHERE name = 'alice') WHERE name = 'bob'")
    (finding,) = look()
    assert (finding.state, finding.what) == ("wrong", "stored session bob")
    assert "doesn't open it" in finding.found
    assert "telestage sessions remove bob" in finding.mend
    assert [each.found[:6] for each in look(state="right") if each.what == "stored sessions"] == ["1 of 2"]


def test_a_session_that_would_be_leased_as_another_is_wrong(path: Path, look: Look) -> None:
    """R-X6: what is leased is told by the fingerprint."""
    change(path, f"UPDATE sessions SET fingerprint = '{fingerprint(session(9))}' WHERE name = 'bob'")
    (finding,) = look()
    assert (finding.state, finding.what) == ("wrong", "stored session bob")
    assert "fingerprint" in finding.found


async def test_one_key_under_two_names_is_a_warning(path: Path, look: Look) -> None:
    await keep(path, again=1)
    (finding,) = look()
    assert (finding.state, finding.what) == ("warning", "stored session alice")
    assert "has the key of again" in finding.found


def test_a_session_of_the_file_that_the_store_lacks_is_wrong(path: Path, look: Look) -> None:
    (finding,) = look(stored={"alice": "sessions[0].stored", "carol": "sessions[1].stored"})
    assert (finding.state, finding.what) == ("wrong", "stored session carol")
    assert finding.found == f"sessions[1].stored: not in {path}; it has alice, bob"
    path.unlink()
    found = list(look_into(path, Expected(stored={"carol": "sessions[1].stored"}), ENVIRON))
    assert [each.state for each in found] == ["right", "wrong"]
    assert "it has none" in found[1].found


def test_a_part_of_a_newer_telestage_is_wrong_and_one_of_an_older_a_warning(
    path: Path, look: Look, monkeypatch
) -> None:
    """Its sessions aren't looked at then: what they are is not known."""
    change(path, "UPDATE parts SET version = 9 WHERE name = 'leases'")
    (finding,) = look(stored={"carol": "sessions[1].stored"})
    assert finding.state == "wrong"
    assert "'leases' has version 9, and this Telestage knows up to 1" in finding.found
    change(path, "UPDATE parts SET version = 1 WHERE name = 'leases'")
    newer = {**PARTS, "leases": (*PARTS["leases"], "CREATE TABLE more (a)")}
    monkeypatch.setattr("telestage.cli.storedoctor.PARTS", newer)
    (finding,) = look()
    assert finding.state == "warning"
    assert "'leases' has version 1; this Telestage makes it 2" in finding.found


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE session_states", "ALTER TABLE jobs ADD COLUMN mine TEXT", "DROP INDEX floods_of"],
)
def test_a_form_that_is_not_that_of_its_version_is_wrong(path: Path, look: Look, statement: str) -> None:
    change(path, statement)
    (finding,) = look()
    assert finding.state == "wrong"
    assert "isn't as it was made" in finding.found


def test_a_part_of_ones_own_is_right(path: Path, look: Look) -> None:
    change(path, "CREATE TABLE visits (who)", "INSERT INTO parts VALUES ('visits', 3)")
    assert look() == []
    assert any("visits 3, which is your own" in each.found for each in look(state="right"))


def test_a_damaged_store_is_wrong(path: Path, look: Look) -> None:
    whole = path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    assert len(whole) > 6 * size
    path.write_bytes(whole[: 5 * size] + bytes([255]) * size + whole[6 * size :])
    (finding,) = look()
    assert finding.state == "wrong"
    assert "damaged" in finding.found
    path.write_bytes(whole[:36] + (7).to_bytes(4, "big") + whole[40:])  # what only a check of the whole file finds
    (finding,) = look()
    assert finding.state == "wrong"
    assert "damaged: *** in database main ***" in finding.found
    path.write_bytes(whole)
    change(path, "PRAGMA foreign_keys = OFF", "INSERT INTO session_states VALUES ('nobody', 0, 1, 1, 1, 1)")
    (finding,) = look()
    assert "a row of session_states belongs to none of sessions" in finding.found


async def test_leases_are_told_by_what_they_are_for_and_a_standby_s_are_right(path: Path, look: Look) -> None:
    """R-X6"""
    async with Store(path) as store:
        leases = Leases(store, Owner.here("the other fleet"))
        await leases.open()
        await leases.take(fingerprint(session(1)), "support")
        await leases.take("job 7", "job 7")
        found = list(look_into(path, Expected(), ENVIRON))
        told = [(each.what, each.state) for each in found if "the other fleet" in each.found]
        assert told == [("job 7", "warning"), ("session support", "warning")]
        found = list(look_into(path, Expected(standby=True), ENVIRON))
        told = [(each.what, each.state) for each in found if "stands by" in each.found]
        assert told == [("session support", "right")]
        await leases.release()
    assert look() == []


def test_a_store_can_be_looked_at_without_a_fleet_file(path: Path, capsys, monkeypatch) -> None:
    """R-X1: as of a service that makes its fleet in code."""
    monkeypatch.setenv("TELESTAGE_STORE_KEY", OTHER)
    assert command._run(["doctor", "--store", str(path), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["what"] for each in found if each["state"] == "wrong"] == ["stored sessions"]
    monkeypatch.setenv("TELESTAGE_STORE_KEY", KEY)
    assert command._run(["doctor", "--store", str(path)]) == 0
    assert "right    stored sessions: 2 of 2" in capsys.readouterr().out


def test_a_fleet_file_s_stored_sessions_are_looked_for(path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("TELESTAGE_STORE_KEY", KEY)
    file = path.parent / "fleet.toml"
    text = 'api_id = 1\napi_hash = "some-hash"\nstore = "fleet.db"\n[[sessions]]\nname = "one"\nstored = "NAME"\n'
    file.write_text(text.replace("NAME", "alice"))
    assert command._run(["doctor", str(file)]) == 0
    file.write_text(text.replace("NAME", "carol"))
    capsys.readouterr()
    assert command._run(["doctor", str(file)]) == 1
    assert "wrong    stored session carol: sessions[0].stored: not in " in capsys.readouterr().out
