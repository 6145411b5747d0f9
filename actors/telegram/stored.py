"""A Telethon session that lives in the fleet's store.

Invariants:
- Nothing here waits for the disk in the event loop: what changes is noted, and written by the store's thread when
  Telethon says `save` (at each connect, each minute, at each disconnect).
- What a crash loses is harmless: where updates stand, a minute at most, from where they come again; peers, which are
  asked for again. A key is written before it is used further.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from telethon import utils
from telethon.crypto.authkey import AuthKey
from telethon.sessions.memory import MemorySession
from telethon.tl.types import PeerChannel, PeerChat, PeerUser

from telestage.actors.kernel import TaskDetails
from telestage.actors.store import Lease, LeaseLost, StoreError, StoreKeyError
from telestage.actors.telegram.entities import EntityCache, Row
from telestage.actors.telegram.errors import SessionNotStored
from telestage.actors.telegram.sessionstore import ENTITIES, SessionStore

__all__ = ["StoredSession"]

_log = logging.getLogger("telestage.session")

_utils: Any = utils  # its functions carry no annotations


class StoredSession(MemorySession):
    """The session that the fleet's store has under that name: `fleet.add("support", session=StoredSession("support"))`.

    It is empty until its fleet starts. `telestage sessions import` and `telestage login --store` put sessions there.

    Args:
        name: In the store.

    Raises:
        ValueError: The name is empty or no text.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a stored session has the name that the store has it under, not {name!r}")
        super().__init__()  # type: ignore[no-untyped-call]  # Telethon's
        self.name = name
        self._sessions: SessionStore | None = None
        self._cache = EntityCache(1)
        self._lease: Lease | None = None
        self._fresh_states: dict[int, Any] = {}
        self._fresh_rows: dict[int, Row] = {}
        self._fresh_key = False
        self._server: tuple[str, int] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._began = 0.0

    def lead_to(self, host: str, port: int) -> None:
        """Has it go to that server from now on, whatever is stored: a loopback server's sessions move with it."""
        self._server = (host, port)

    async def load(self, sessions: SessionStore, cache: EntityCache) -> None:
        """Reads it from the store.

        Raises:
            SessionNotStored: The store has none of that name.
            StoreKeyError: It was sealed with another key.
        """
        record = await sessions.get(self.name)
        self._sessions, self._cache = sessions, cache
        # what Telethon looks up as it connects, without waiting: the account itself, and the channels that it follows
        channels = [_utils.get_peer_id(PeerChannel(id)) for id in record.states if id]
        cache.learn(self.name, await sessions.peers(self.name, [0, *channels], None))
        host, port = self._server or (record.server, record.port)
        super().set_dc(record.dc, host, port)  # type: ignore[no-untyped-call]  # Telethon's
        self._auth_key = AuthKey(data=record.key)  # type: ignore[no-untyped-call]  # Telethon's
        self._update_states = dict(record.states)
        self._fresh_states.clear()
        self._fresh_rows.clear()
        self._fresh_key = False

    @property
    def lease(self) -> Lease | None:
        """What it is written under."""
        return self._lease

    @property
    def held(self) -> bool:
        """Whether it is loaded, and nobody else can have written it since."""
        return self._lease is not None and self._lease.valid and not self._lease.lost

    def hold(self, lease: Lease | None) -> None:
        """From now on it is written under this lease."""
        self._lease = lease

    # -- what Telethon changes -------------------------------------------------------------------------

    def set_dc(self, dc_id: Any, server_address: Any, port: Any) -> None:
        """Telethon's own; it is written with the key."""
        super().set_dc(dc_id, server_address, port)  # type: ignore[no-untyped-call]  # Telethon's
        self._fresh_key = True

    @property
    def auth_key(self) -> Any:
        """The authorization key."""
        return self._auth_key

    @auth_key.setter
    def auth_key(self, value: Any) -> None:
        known = getattr(self._auth_key, "key", None)
        if getattr(value, "key", None) != known:
            self._fresh_key = True
        self._auth_key = value

    def set_update_state(self, entity_id: Any, state: Any) -> None:
        """Telethon's own, and notes that it is to be written."""
        super().set_update_state(entity_id, state)  # type: ignore[no-untyped-call]  # Telethon's
        self._fresh_states[entity_id] = state

    def process_entities(self, tlo: Any) -> None:
        """Learns peers: their ids, access hashes and usernames."""
        rows = self._entities_to_rows(tlo)  # type: ignore[no-untyped-call]  # Telethon's
        fresh = self._cache.learn(self.name, [(id, hash, username) for id, hash, username, _, _ in rows])
        for row in fresh:
            self._fresh_rows[row[0]] = row
        while len(self._fresh_rows) > ENTITIES:
            del self._fresh_rows[next(iter(self._fresh_rows))]

    def save(self) -> None:
        """Has what has changed written, by the store's thread. What can't be written now is, with the next."""
        # not a coroutine: Telethon takes those with a warning that async sessions are an experiment
        if self._fresh_key or self._fresh_states or self._fresh_rows:
            self._begin(self._write)

    def close(self) -> None:
        """As `save`; the session can be used again. `settle` waits for the end."""
        self.save()

    def delete(self) -> None:
        """Takes it out of the store: the account has logged out."""
        self._begin(self._remove)

    async def settle(self) -> None:
        """Returns when all that was to be written is, or couldn't be."""
        self.save()
        if self._writing is not None:
            await asyncio.wait({self._writing})

    def tasks(self, owner: str) -> Iterator[TaskDetails]:
        """What is being written now (R-T1). It ends by itself, and isn't cancelled: what it writes would be lost."""
        if self._writing is not None and not self._writing.done():
            yield TaskDetails("storing", owner, None, self._began, self._writing.get_name())

    def _begin(self, work: Callable[[SessionStore], Coroutine[object, object, None]]) -> None:
        sessions = self._sessions
        if sessions is None or (self._writing is not None and not self._writing.done()):
            return  # what is being written now looks once more at its end
        self._writing = asyncio.get_running_loop().create_task(work(sessions), name=f"telestage storing {self.name}")
        self._began = time.time()

    async def _write(self, sessions: SessionStore) -> None:
        while self._fresh_key or self._fresh_states or self._fresh_rows:
            lease = self._lease
            if lease is not None and not lease.valid:
                return
            states, self._fresh_states = self._fresh_states, {}
            rows, self._fresh_rows = self._fresh_rows, {}
            key, self._fresh_key = self._fresh_key, False
            try:
                if key:
                    await sessions.note_key(self.name, lease, self)
                if states or rows:
                    me = rows.get(0)
                    await sessions.note(self.name, lease, states, list(rows.values()), None if me is None else me[1])
            except (LeaseLost, StoreKeyError) as error:
                _log.warning("%s: nothing more is stored: %s", self.name, error)
                return
            except StoreError as error:
                _log.warning("%s: not stored yet: %s", self.name, error)
                self._fresh_states = {**states, **self._fresh_states}
                self._fresh_rows = {**rows, **self._fresh_rows}
                self._fresh_key = self._fresh_key or key
                return

    async def _remove(self, sessions: SessionStore) -> None:
        self._sessions = None
        with contextlib.suppress(SessionNotStored):
            await sessions.remove(self.name)

    def clone(self, to_instance: Any = None) -> Any:
        """A session in memory: what Telethon makes beside the session itself isn't stored."""
        return MemorySession() if to_instance is None else to_instance  # type: ignore[no-untyped-call]  # Telethon's

    # -- what Telethon looks up ------------------------------------------------------------------------

    async def recall(self, key: object) -> None:
        """Reads from the store who is meant, unless it is in memory: before `get_input_entity`, which can't wait."""
        sessions = self._sessions
        if sessions is None:
            return
        ids: list[int] = []
        username = None
        if isinstance(key, str):
            username, invite = _utils.parse_username(key)
            username = None if invite or not username else username.lower()
        elif isinstance(key, int) and not isinstance(key, bool):
            ids = _marked(key) if key >= 0 else [key]
        elif isinstance(key, PeerUser | PeerChat | PeerChannel):
            ids = [_utils.get_peer_id(key)]
        if username is not None:
            known = self._cache.by_username(self.name, username) is not None
        else:
            known = not ids or any(self._cache.by_id(self.name, id) is not None for id in ids)
        if known:
            return
        try:
            self._cache.learn(self.name, await sessions.peers(self.name, ids, username))
        except StoreError as error:
            _log.warning("%s: stored peers can't be read: %s", self.name, error)

    def get_entity_rows_by_id(self, id: int, exact: bool = True) -> tuple[int, int] | None:
        """From memory."""
        for marked in [id] if exact else _marked(id):
            found = self._cache.by_id(self.name, marked)
            if found is not None:
                return found
        return None

    def get_entity_rows_by_username(self, username: str) -> tuple[int, int] | None:
        """From memory."""
        return self._cache.by_username(self.name, username.lower())

    def get_entity_rows_by_phone(self, phone: object) -> None:
        """Nobody: phone numbers aren't kept."""

    def get_entity_rows_by_name(self, name: object) -> None:
        """Nobody: names of people aren't kept."""


def _marked(id: int) -> list[int]:
    return [int(_utils.get_peer_id(kind(id))) for kind in (PeerUser, PeerChat, PeerChannel)]
