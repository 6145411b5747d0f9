"""Secrets at rest: what is sealed can be read by those only who have the store's key, and can't be changed unnoticed.

AES-256-GCM of `cryptography`, a nonce for each sealing, bound to what the secret is about: a sealed key that somebody
moves to another session's row is refused there. The key is 32 random bytes, in the environment or a secret store, never
in the file.

All that is sealed in a store is sealed with one key: what is written is refused, in its own transaction, if that isn't
the store's any more (`Vault.check`).
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import sqlite3
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from telestage.actors.store.database import Store
from telestage.actors.store.errors import StoreKeyError

__all__ = ["NEW_STORE_KEY", "STORE_KEY", "Vault"]

STORE_KEY = "TELESTAGE_STORE_KEY"
"""The environment variable that holds the key."""

NEW_STORE_KEY = "TELESTAGE_NEW_STORE_KEY"
"""That which holds the key that is to be the store's, while it is sealed anew."""

_BYTES = 32
_NONCE = 12
PART = "vault"
MIGRATIONS = ("CREATE TABLE vault (one INTEGER PRIMARY KEY CHECK (one = 1), proof BLOB NOT NULL)",)
_PROOF = b"the store's key"


class Vault:
    """Seals and opens with one key.

    Args:
        key: As `new_key` makes them.

    Raises:
        StoreKeyError: It is no such key.
    """

    def __init__(self, key: str) -> None:
        try:
            raw = base64.b64decode(key.strip().encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) != _BYTES:
            raise StoreKeyError(
                "the store's key is none: expected what `telestage sessions new-key` prints, 44 characters"
            )
        self._cipher = AESGCM(raw)

    @classmethod
    def of(cls, key: str | None = None, environ: Mapping[str, str] = os.environ, *, variable: str = STORE_KEY) -> Vault:
        """The vault of `key`, or by default of TELESTAGE_STORE_KEY.

        Args:
            variable: Another one to take it from.

        Raises:
            StoreKeyError: There is none, or it is none.
        """
        found = environ.get(variable) if key is None else key
        if not found:
            raise StoreKeyError(f"there is no key for the stored sessions: set {variable} to theirs")
        return cls(found)

    @staticmethod
    def new_key() -> str:
        """A new key. Whoever loses it loses what was sealed."""
        return base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode()

    def __repr__(self) -> str:
        return "Vault(...)"

    async def unlock(self, store: Store) -> None:
        """Makes sure that this is the store's key; the first one that comes is.

        Raises:
            StoreKeyError: The store has another key.
            StoreError: The store can't be written.
        """

        def check(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM vault").fetchone() is None:
                self.lock(connection)
            elif not self.fits(connection):
                raise StoreKeyError(f"{store.path} was written with another key than {STORE_KEY} has now")

        await self.prepare(store)
        await store.write(check)

    @staticmethod
    async def prepare(store: Store) -> None:
        """Makes the table of what tells whether a key is the store's.

        Raises:
            StoreError: The store can't be written.
        """
        await store.prepare(PART, MIGRATIONS)

    def fits(self, connection: sqlite3.Connection) -> bool:
        """In a transaction of a store that has been unlocked: whether this is its key now."""
        row = connection.execute("SELECT proof FROM vault").fetchone()
        try:
            return row is not None and self.open(row[0], "vault") == _PROOF
        except StoreKeyError:
            return False

    def check(self, connection: sqlite3.Connection) -> None:
        """In a transaction of the store: that this is still its key, before something is written that it has sealed.

        Raises:
            StoreKeyError: The store was sealed anew since.
        """
        if not self.fits(connection):
            raise StoreKeyError(
                f"the store was sealed with another key since it was opened: set {STORE_KEY} to that, and begin anew"
            )

    def lock(self, connection: sqlite3.Connection) -> None:
        """In a transaction of the store: from now on this is its key. What is sealed there has to be with it."""
        connection.execute("INSERT OR REPLACE INTO vault VALUES (1, ?)", (self.seal(_PROOF, "vault"),))

    def seal(self, secret: bytes, about: str) -> bytes:
        """The secret, to be opened by the same key for the same `about`."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, secret, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """The secret that was sealed.

        Raises:
            StoreKeyError: It was sealed with another key, about something else, or was changed since.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError):
            raise StoreKeyError(f"the secret of {about} can't be opened: another key, or it was changed") from None
