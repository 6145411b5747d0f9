"""Another key for the stored sessions: all of them, or none, and nothing that the old one opens is left."""

import asyncio
import contextlib
import json

import pytest

from telestage.actors import Fleet, SessionInUse, SessionStore, Store, StoredSession, StoreKeyError, Vault
from telestage.actors.telegram.resealing import reseal
from telestage.cli import main as command

OLD, NEW = Vault.new_key(), Vault.new_key()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fleet.db"


async def keep(path, *users, key=OLD):
    async with Store(path) as store:
        sessions = SessionStore(store, Vault(key))
        await sessions.open()
        for user in users:
            await sessions.put(user.username, user.session)


async def sealed(path):
    """What is sealed in the file, as it is there."""
    async with Store(path) as store:
        rows = await store.read(lambda connection: list(connection.execute("SELECT key FROM sessions ORDER BY name")))
        (proof,) = await store.read(lambda connection: connection.execute("SELECT proof FROM vault").fetchone())
        return [*(row[0] for row in rows), proof]


@contextlib.asynccontextmanager
async def lazy(path):
    """The store, whose SQLite leaves in the file what is deleted: some builds don't, by themselves."""
    async with Store(path) as store:
        await store.write(lambda connection: connection.execute("PRAGMA secure_delete=OFF"))
        yield store
        assert await store.read(lambda c: c.execute("PRAGMA secure_delete").fetchone()) == (0,), "it was not put back"


def fleet_of(path, key, *names):
    fleet = Fleet(1, "hash", store=path, store_key=key)
    for name in names:
        fleet.add(name, session=StoredSession(name))
    return fleet


async def test_after_it_the_new_key_opens_each_session_and_the_old_one_none(telegram, path, tmp_path):
    """R-X1: what was sealed with the old key is nowhere in the file any more, nor beside it; repeated, it changes
    nothing."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(path, alice, bob)
    before = await sealed(path)
    async with lazy(path) as store:
        assert await reseal(store, Vault(OLD), Vault(NEW)) == 2
        files = [file.read_bytes() for file in tmp_path.iterdir()]
        assert not any(secret in file for secret in before for file in files)
        assert alice.session.auth_key.key not in b"".join(files)
    after = await sealed(path)
    assert not set(after) & set(before)
    async with Store(path) as store:
        assert await reseal(store, Vault(OLD), Vault(NEW)) == 2  # as after a crash whose moment nobody knows
    assert await sealed(path) == after
    with pytest.raises(StoreKeyError, match="another key than TELESTAGE_STORE_KEY"):
        await fleet_of(path, OLD, "alice").start()
    async with fleet_of(path, NEW, "alice", "bob") as fleet:
        assert (await fleet["alice"].get_me()).username == "alice"
        assert (await fleet["bob"].get_me()).username == "bob"


async def test_what_is_in_use_or_opened_by_neither_key_is_not_touched(telegram, path):
    """R-X1, R-X6"""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(path, alice, bob)
    before = await sealed(path)
    async with fleet_of(path, OLD, "alice") as fleet, Store(path) as store:
        with pytest.raises(SessionInUse, match="'alice': dead: in use by"):
            await reseal(store, Vault(OLD), Vault(NEW))
        assert (await fleet["alice"].get_me()).username == "alice"
    async with Store(path) as store:
        with pytest.raises(StoreKeyError, match="sealed with another key than TELESTAGE_STORE_KEY"):
            await reseal(store, Vault(NEW), Vault(Vault.new_key()))
        assert await sealed(path) == before
        await store.write(lambda c: c.execute("UPDATE sessions SET key = zeroblob(40) WHERE name = 'bob'"))
        with pytest.raises(StoreKeyError, match=r"session 'bob' in .* nothing was done; remove it"):
            await reseal(store, Vault(OLD), Vault(NEW))
        await SessionStore(store, Vault(OLD)).remove("bob")
        assert await reseal(store, Vault(OLD), Vault(NEW)) == 1


async def test_what_had_the_store_open_meanwhile_writes_nothing_with_the_old_key(telegram, path):
    """R-X1: there is never a mixture."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(path, alice)
    async with Store(path) as store, Store(path) as other:
        late = SessionStore(other, Vault(OLD))
        await late.open()
        assert await reseal(store, Vault(OLD), Vault(NEW)) == 1
        after = await sealed(path)
        with pytest.raises(StoreKeyError, match="sealed with another key since"):
            await late.put("bob", bob.session)
        with pytest.raises(StoreKeyError, match="sealed with another key since"):
            await late.note_key("alice", None, alice.session)
    assert await sealed(path) == after


async def test_a_store_without_sessions_has_the_new_key_at_once(path):
    async with Store(path) as store:
        assert await reseal(store, Vault(OLD), Vault(NEW)) == 0
        await Vault(NEW).unlock(store)
        with pytest.raises(StoreKeyError):
            await Vault(OLD).unlock(store)


async def test_a_session_that_is_removed_is_in_the_file_no_more(telegram, path, tmp_path):
    alice = telegram.add_user("alice")
    await keep(path, alice)
    (secret, _) = await sealed(path)
    async with lazy(path) as store:
        await SessionStore(store, Vault(OLD)).remove("alice")
    assert not any(secret in file.read_bytes() for file in tmp_path.iterdir())


async def test_the_command_takes_both_keys_from_the_environment(telegram, path, capsys, monkeypatch):
    """R-X1: and says what to do next."""
    alice = telegram.add_user("alice")
    await keep(path, alice)

    async def run(*arguments):
        capsys.readouterr()
        code = await asyncio.to_thread(command._run, [*map(str, arguments), "--store", str(path)])
        output = capsys.readouterr()
        assert OLD not in output.out + output.err
        assert NEW not in output.out + output.err
        return code, output.out, output.err

    monkeypatch.delenv("TELESTAGE_NEW_STORE_KEY", raising=False)
    monkeypatch.setenv("TELESTAGE_STORE_KEY", OLD)
    code, _, err = await run("sessions", "reseal")
    assert (code, "set TELESTAGE_NEW_STORE_KEY" in err) == (1, True)
    monkeypatch.setenv("TELESTAGE_NEW_STORE_KEY", NEW)
    async with fleet_of(path, OLD, "alice"):
        code, _, err = await run("sessions", "reseal")
        assert (code, "session 'alice' is in use by" in err, "stop that first" in err) == (2, True, True)
    code, out, _ = await run("sessions", "reseal")
    assert (code, "1 session is sealed with the new key; set TELESTAGE_STORE_KEY to it" in out) == (0, True)
    code, out, _ = await run("sessions", "reseal", "--json")
    assert (code, json.loads(out)) == (0, {"store": str(path), "sessions": 1})
    monkeypatch.setenv("TELESTAGE_STORE_KEY", NEW)
    code, out, _ = await run("sessions", "export", "alice")
    assert code == 0
    assert out.strip() == alice.session.save()
