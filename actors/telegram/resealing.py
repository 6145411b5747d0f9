"""Another key for the stored sessions: all of them are sealed anew, in one transaction.

Invariants:
- Whenever the process ends, the old key opens every session or the new one does: a mixture is never in the file.
- Nobody has a session meanwhile who would write it with the old key: one that is in use is a reason not to begin, and
  what is written later with the old key is refused (`Vault.check`).
- What was sealed with the old key is overwritten in the file, and the log is emptied: who has the old key, and the file
  from now on, opens nothing. Copies that were made before open as before.
"""

from __future__ import annotations

import sqlite3

from telestage.actors.store import Store, StoreKeyError, Vault, lease_status
from telestage.actors.store.database import overwriting
from telestage.actors.store.leases import prepare_leases
from telestage.actors.store.vault import STORE_KEY
from telestage.actors.telegram.errors import SessionInUse
from telestage.actors.telegram.sessionstore import prepare_sessions, sealed_for

__all__ = ["reseal"]


async def reseal(store: Store, old: Vault, new: Vault) -> int:
    """Seals the sessions of an open store with the key of `new`; returns how many there are.

    Done again, after a crash whose moment nobody knows, it changes nothing where all is done already.

    Raises:
        StoreKeyError: Neither `old` nor `new` is the store's key; or what is sealed in it was changed.
        SessionInUse: A session is in use: its fleet has to stop first.
        StoreError: The store can't be written.
    """

    def seal(connection: sqlite3.Connection) -> int:
        rows = connection.execute("SELECT name, key, fingerprint FROM sessions ORDER BY name").fetchall()
        if new.fits(connection):
            return len(rows)
        if rows and not old.fits(connection):
            raise StoreKeyError(
                f"{store.path} was sealed with another key than {STORE_KEY} has now: that has to be the old one"
            )
        leases = lease_status(connection)
        for name, _, mark in rows:
            if mark in leases and (owner := leases[mark].owner) is not None:
                raise SessionInUse(name, owner)
        with overwriting(connection):
            for name, sealed, _ in rows:
                connection.execute("UPDATE sessions SET key = ? WHERE name = ?", (anew(name, sealed), name))
            new.lock(connection)
        return len(rows)

    def anew(name: str, sealed: bytes) -> bytes:
        about = sealed_for(name)
        try:
            return new.seal(old.open(sealed, about), about)
        except StoreKeyError:
            raise StoreKeyError(
                f"session {name!r} in {store.path} was not sealed with the store's key, or was changed since: "
                "nothing was done; remove it with `telestage sessions remove`, and import it anew"
            ) from None

    await Vault.prepare(store)
    await prepare_sessions(store)
    await prepare_leases(store)
    sealed = await store.write(seal)
    await store.flush()
    return sealed
