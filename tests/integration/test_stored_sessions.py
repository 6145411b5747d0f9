"""Sessions in the fleet's own store: sealed, with where their updates stand and whom they know."""

import contextlib
import sqlite3

import pytest
from telethon import events
from telethon.sessions import SQLiteSession, StringSession
from telethon.tl.types import InputPeerUser, PeerUser

from telestage.actors import (
    Fleet,
    Ownership,
    SessionDead,
    SessionInUse,
    SessionStore,
    Store,
    StoredSession,
    StoreKeyError,
    Vault,
    list_sessions,
)
from telestage.actors.telegram import sessionstore
from telestage.actors.telegram.entities import EntityCache
from telestage.messages import SessionState

KEY = Vault.new_key()


async def keep(path, name, session, key=KEY, **options):
    async with Store(path) as store:
        sessions = SessionStore(store, Vault(key))
        await sessions.open()
        await sessions.put(name, session, **options)


def fleet_of(path, *names, key=KEY, **options):
    fleet = Fleet(1, "hash", store=path, store_key=key, **options)
    for name in names:
        fleet.add(name, session=StoredSession(name))
    return fleet


async def test_a_stored_session_works_in_a_fleet_and_its_key_is_not_in_the_file(telegram, tmp_path):
    """R-X1: its authorization key is nowhere in the file, nor in what is beside it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    async with fleet_of(tmp_path / "fleet.db", "support") as fleet:
        await fleet["support"].send_message("bob", "hi")
        assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]
        await fleet.restart("support")
        assert (await fleet["support"].get_me()).username == "alice"
        for file in tmp_path.iterdir():
            content = file.read_bytes()
            assert alice.session.auth_key.key[:16] not in content
            assert alice.session.auth_key.key[100:116] not in content
    async with Store(tmp_path / "fleet.db") as store:
        (listed,) = await list_sessions(store)
    assert (listed.name, listed.stored, listed.user_id, listed.dc, listed.owner) == ("support", True, alice.id, 2, None)
    assert listed.epoch == 1


async def test_where_updates_stand_is_stored_and_what_was_missed_comes(telegram, tmp_path, eventually):
    """R-X1, R-M5: after a stop, to a new fleet."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    got = []

    def watched():
        fleet = fleet_of(tmp_path / "fleet.db", "support")

        @fleet.on(events.NewMessage(incoming=True))
        async def note(event):
            got.append(event.raw_text)

        return fleet

    async with watched():
        telegram.post(bob, "one", to=alice)
        await eventually(lambda: got == ["one"])
    telegram.post(bob, "two", to=alice)
    async with watched():
        await eventually(lambda: got == ["one", "two"])
        telegram.post(bob, "three", to=alice)
        await eventually(lambda: got == ["one", "two", "three"])


async def test_peers_are_known_after_a_restart_of_the_process_and_looked_up_once(telegram, tmp_path):
    """R-X1: a username that was resolved is in the store, for this session alone."""
    alice, carol = telegram.add_user("alice"), telegram.add_user("carol")
    telegram.add_user("bob")
    for user in (alice, carol):
        await keep(tmp_path / "fleet.db", user.username, user.session)

    def resolved():
        return sum(call.method == "contacts.resolveUsername" for call in telegram.calls)

    for _ in range(2):
        async with fleet_of(tmp_path / "fleet.db", "alice") as fleet:
            await fleet["alice"].send_message("bob", "hi")
            assert resolved() == 1
    async with fleet_of(tmp_path / "fleet.db", "carol") as fleet:
        await fleet["carol"].send_message("bob", "hi")
        assert resolved() == 2


async def test_a_stored_session_has_one_owner(telegram, tmp_path):
    """R-X6: by its key, so also beside a string of the same session; and two names of it in one fleet."""
    alice = telegram.add_user("alice")
    await keep(tmp_path / "fleet.db", "one", alice.session)
    await keep(tmp_path / "fleet.db", "two", alice.session)
    async with fleet_of(tmp_path / "fleet.db", "one", "two") as fleet:
        states = {name: fleet[name].status.state for name in fleet}
        assert sorted(states.values()) == [SessionState.DEAD, SessionState.READY]
        other = Fleet(1, "hash", store=tmp_path / "fleet.db")
        other.add("string", session=alice.session)
        async with other:
            with pytest.raises(SessionInUse):
                await other["string"].get_me()


async def test_a_standby_goes_on_from_what_the_owner_has_stored(telegram, tmp_path, eventually):
    """R-X6: not from what it read when it began to wait."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    async with contextlib.AsyncExitStack() as ends:
        first = await fleet_of(tmp_path / "fleet.db", "support").start()
        ends.push_async_callback(first.stop)
        standing_by = Ownership(lease=3.0, standby=True)
        standby = await ends.enter_async_context(fleet_of(tmp_path / "fleet.db", "support", ownership=standing_by))
        waiting = standby._books["support"].session
        assert not waiting.get_update_states()
        telegram.post(bob, "one", to=alice)
        await first["support"].get_me()
        await first.stop()
        await eventually(lambda: standby["support"].status.state is SessionState.READY)
        assert 0 in dict(first._books["support"].session.get_update_states())
        async with Store(tmp_path / "fleet.db") as store:
            sessions = SessionStore(store, Vault(KEY))
            await sessions.open()
            stored = (await sessions.get("support")).states
        assert dict(waiting.get_update_states())[0].pts >= stored[0].pts > 0


async def test_an_old_owner_writes_nothing_into_a_stored_session(telegram, tmp_path, eventually):
    """R-X6"""
    alice = telegram.add_user("alice")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    fleet = fleet_of(tmp_path / "fleet.db", "support")
    async with fleet:
        await fleet["support"].get_me()
        session = fleet._books["support"].session
        await session.settle()

        def steal(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE leases SET token = 'theirs', owner = 'a thief', epoch = epoch + 1")

        def rows(connection: sqlite3.Connection) -> list[object]:
            return connection.execute("SELECT * FROM session_entities").fetchall()

        before = await fleet.store.read(rows)
        await fleet.store.write(steal)
        session.process_entities([telegram._state.user(telegram.add_user("dave")).user])
        session._fresh_rows[77] = (77, 88, "late")
        await session.settle()
        assert await fleet.store.read(rows) == before


async def test_what_is_wrong_with_key_or_name_is_said(telegram, tmp_path, monkeypatch):
    alice = telegram.add_user("alice")
    path = tmp_path / "fleet.db"
    await keep(path, "support", alice.session)
    with pytest.raises(StoreKeyError, match="written with another key than TELESTAGE_STORE_KEY"):
        await fleet_of(path, "support", key=Vault.new_key()).start()
    monkeypatch.delenv("TELESTAGE_STORE_KEY", raising=False)
    with pytest.raises(StoreKeyError, match="set TELESTAGE_STORE_KEY"):
        await fleet_of(path, "support", key=None).start()
    with pytest.raises(StoreKeyError, match="44 characters"):
        await fleet_of(path, "support", key="secret").start()
    monkeypatch.setenv("TELESTAGE_STORE_KEY", KEY)
    async with fleet_of(path, "support", "supprt", key=None) as fleet:
        assert (await fleet["support"].get_me()).username == "alice"
        with pytest.raises(SessionDead, match="the store has no session of that name; it has support"):
            await fleet["supprt"].get_me()
    with pytest.raises(ValueError, match="give it store="):
        Fleet(1, "hash").add("support", session=StoredSession("support"))
    with pytest.raises(ValueError, match="already"):
        await keep(path, "support", alice.session)
    with pytest.raises(ValueError, match="not signed in"):
        await keep(path, "empty", StringSession())
    await keep(path, "support", alice.session, replace=True)


async def test_a_sealed_key_is_bound_to_its_session(telegram, tmp_path):
    """Who can write the file can't have one session use another's key."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    for user in (alice, bob):
        await keep(tmp_path / "fleet.db", user.username, user.session)
    async with Store(tmp_path / "fleet.db") as store:
        await store.write(
            lambda c: c.execute("UPDATE sessions SET key = (SELECT key FROM sessions WHERE name = 'bob')")
        )
    async with fleet_of(tmp_path / "fleet.db", "alice", "bob") as fleet:
        with pytest.raises(SessionDead, match="session alice can't be opened"):
            await fleet["alice"].get_me()
        assert (await fleet["bob"].get_me()).username == "bob"


async def test_a_session_file_of_telethons_keeps_its_states_and_peers_in_the_store(telegram, tmp_path):
    """R-X1: imported from SQLite, with all that the file knows."""
    from telestage.actors.telegram.importing import open_session_file

    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    file = SQLiteSession(str(tmp_path / "alice.session"))
    file.set_dc(alice.session.dc_id, alice.session.server_address, alice.session.port)
    file.auth_key = alice.session.auth_key
    file.save()
    fleet = Fleet(1, "hash")
    fleet.add("alice", session=file)
    async with fleet:
        await fleet["alice"].send_message("bob", "hi")
    async with Store(tmp_path / "fleet.db") as store:
        sessions = SessionStore(store, Vault(KEY))
        await sessions.open()
        imported = open_session_file(tmp_path / "alice.session")
        await sessions.put("alice", imported.session, entities=imported.entities)
        assert imported.session.auth_key.key == alice.session.auth_key.key
        record = await sessions.get("alice")
        assert record.user_id == alice.id
        assert 0 in record.states
    async with fleet_of(tmp_path / "fleet.db", "alice") as fleet:
        asked = len(telegram.calls)
        await fleet["alice"].send_message("bob", "again")
        assert "contacts.resolveUsername" not in {call.method for call in telegram.calls[asked:]}


async def test_a_peer_is_found_by_id_and_not_forgotten_with_the_cache(telegram, tmp_path):
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    async with fleet_of(tmp_path / "fleet.db", "support") as fleet:
        await fleet["support"].send_message("bob", "hi")
        session = fleet._books["support"].session
        await session.settle()
        session._cache.forget("support")
        client = fleet._books["support"].connection.client
        for key in (bob.id, PeerUser(bob.id), "bob", "@Bob"):
            session._cache.forget("support")
            client._mb_entity_cache.hash_map.clear()
            found = await fleet["support"].call(lambda client, key=key: client.get_input_entity(key))
            assert isinstance(found, InputPeerUser)
            assert found.user_id == bob.id
        for unknown in (12345, "nobody", "+15550100", "Some Body"):
            await session.recall(unknown)
            with pytest.raises(ValueError, match="Could not find"):
                session.get_input_entity(unknown)


async def test_no_more_peers_of_a_session_are_stored_than_stated(telegram, tmp_path, monkeypatch):
    """R-X1: those that were seen last, and the account itself; of another session none is taken away."""
    monkeypatch.setattr(sessionstore, "ENTITIES", 5)
    users = {name: telegram.add_user(name) for name in ("alice", "bob")}
    path = tmp_path / "fleet.db"
    for name, user in users.items():
        await keep(path, name, user.session)
    async with Store(path) as store:
        sessions = SessionStore(store, Vault(KEY))
        await sessions.open()
        await sessions.note("bob", None, {}, [(1, 1, "early")], None)
        await sessions.note("alice", None, {}, [(0, users["alice"].id, None)], users["alice"].id)
        for number in range(1, 21):
            await sessions.note("alice", None, {}, [(number, 7 * number, f"peer{number}")], None)
        kept = await sessions.peers("alice", range(30), None)
        assert [id for id, _, _ in kept] == [0, 16, 17, 18, 19, 20]
        assert await sessions.peers("bob", [1], None) == [(1, 1, "early")]


async def test_a_key_that_telegram_has_changed_is_the_stored_one(telegram, tmp_path):
    """R-X1: as after a move to another data centre: the next process has the new key, and where it belongs."""
    alice, other = telegram.add_user("alice"), telegram.add_user("other")
    await keep(tmp_path / "fleet.db", "support", alice.session)
    async with Store(tmp_path / "fleet.db") as store:
        sessions = SessionStore(store, Vault(KEY))
        await sessions.open()
        session = StoredSession("support")
        await session.load(sessions, EntityCache())
        session.set_dc(4, "127.0.0.1", 4430)
        session.auth_key = other.session.auth_key
        session.save()
        await session.settle()
        record = await sessions.get("support")
        assert (record.dc, record.port, record.key) == (4, 4430, other.session.auth_key.key)
        session.auth_key = alice.session.auth_key  # and alone, too
        await session.settle()
        assert (await sessions.get("support")).key == alice.session.auth_key.key
