"""Sessions of Telethon's, read from their files: SQLite ones with all that they know, and files with a string."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from telethon.crypto.authkey import AuthKey
from telethon.sessions.memory import MemorySession
from telethon.sessions.string import StringSession
from telethon.tl.types.updates import State

from telestage.actors.telegram.entities import Row

__all__ = ["ImportedSession", "NoSession", "open_session_file", "open_session_string"]


class NoSession(ValueError):
    """What was to be a session is none; the text says why."""


class ImportedSession(msgspec.Struct, frozen=True):
    """A session, and the peers that its file knows."""

    session: Any
    entities: list[Row]

    def __repr__(self) -> str:
        return f"ImportedSession(<{len(self.entities)} entities>)"


def open_session_file(path: Path) -> ImportedSession:
    """Reads a session file, and changes nothing in it.

    Raises:
        NoSession: It is no session, or isn't signed in.
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        beginning = file.read(16)
    if not beginning.startswith(b"SQLite format 3"):
        return open_session_string(path.read_text(encoding="utf-8", errors="replace"))
    # not Telethon's own class: that would write into the file, and bring an old one up to date
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return _read(connection)
        except sqlite3.Error as error:
            raise NoSession(f"it can't be read as a session of Telethon's: {error}") from error


def open_session_string(text: str) -> ImportedSession:
    """Reads a session string.

    Raises:
        NoSession: It is none.
    """
    try:
        session: Any = StringSession(text.strip())
    except Exception:  # four kinds of error, one for each part of the string
        session = None
    if session is None or session.auth_key is None:
        raise NoSession("it is neither a session string nor a session file")
    return ImportedSession(session, [])


def _read(connection: sqlite3.Connection) -> ImportedSession:
    row = connection.execute("SELECT dc_id, server_address, port, auth_key FROM sessions").fetchone()
    if row is None or not row[3]:
        raise NoSession("it is not signed in yet")
    dc, server, port, key = row
    session: Any = MemorySession()  # type: ignore[no-untyped-call]  # Telethon's
    session.set_dc(dc, server, port)
    session.auth_key = AuthKey(data=key)  # type: ignore[no-untyped-call]  # Telethon's
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "update_state" in tables:
        for entry, pts, qts, date, seq in connection.execute("SELECT id, pts, qts, date, seq FROM update_state"):
            session.set_update_state(entry, State(pts, qts, _moment(date), seq, unread_count=0))
    (version,) = connection.execute("SELECT version FROM version").fetchone()
    if version < 6:  # Telethon itself takes the access hashes of older files for wrong
        return ImportedSession(session, [])
    rows = connection.execute("SELECT id, hash, username FROM entities").fetchall()
    return ImportedSession(session, [(id, hash, username or None) for id, hash, username in rows])


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
