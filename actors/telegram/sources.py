"""What a session is made from: its name, Telethon's session, and options for its client.

All of it is checked before anything is added.
"""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from telethon import TelegramClient
from telethon.sessions.abstract import Session
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

from telestage.actors.telegram.adaptive import Timeouts
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.turnstile import Turnstile

__all__ = ["checked_options", "close_session", "new_book", "sqlite_session"]

_NAME = re.compile(r"[^/$\s][^/\s]{0,63}")

_OURS = {
    "session": "it is `session=` of `Fleet.add`",
    "api_id": "it is the fleet's",
    "api_hash": "it is the fleet's",
    "flood_sleep_threshold": "flood waits are the fleet's business",
    "raise_last_call_error": "the fleet tells errors apart",
    "catch_up": "what was missed is always fetched",
    "receive_updates": "monitors need them",
    "sequential_updates": "each monitor gets its events in order anyway",
    "loop": "a fleet runs on the running loop",
}
_KNOWN = frozenset(inspect.signature(TelegramClient.__init__).parameters) - {"self"}


def new_book(
    name: str,
    session: Session | str,
    common: Mapping[str, object],
    options: Mapping[str, object],
    timeouts: Timeouts,
    limits: Limits,
    others: Iterable[SessionBook],
) -> SessionBook:
    """The book of a session that is added to `others`; its own options come before the common ones.

    Raises:
        ValueError: The name, the session or an option can't be one, or the key is that of another (R-X6).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a session's name has 1 to 64 characters, no '/' or space, and no '$' at its start: {name!r}")
    checked_options(options)
    book = SessionBook(name, _session(name, session), {**common, **options}, timeouts, Turnstile(name, limits))
    for other in others:
        if _same_key(book.session, other.session):
            if isinstance(session, str):
                book.session.close()  # type: ignore[no-untyped-call]  # Telethon's; it was opened here
            raise ValueError(
                f"session {name!r} has the key of {other.name!r}: Telegram revokes a key that is used twice at once"
            )
    return book


def checked_options(options: Mapping[str, object]) -> None:
    """Lets options of Telethon's client pass.

    Raises:
        ValueError: One that Telethon doesn't know, or that a fleet decides itself.
    """
    for name in options:
        if name in _OURS:
            raise ValueError(f"option {name!r} can't be given: {_OURS[name]}")
        if name not in _KNOWN:
            raise ValueError(
                f"Telethon's client has no option {name!r}; it has {', '.join(sorted(_KNOWN - _OURS.keys()))}"
            )


def _session(name: str, session: Session | str) -> Session:
    """The Telethon session that is meant.

    Raises:
        ValueError: It is none.
    """
    if isinstance(session, Session):
        return session
    if isinstance(session, str) and session.endswith(".session"):
        try:
            return sqlite_session(session)
        except (sqlite3.Error, OSError) as error:
            raise ValueError(f"session {name!r}: {session} can't be opened: {error}") from error
    try:
        if isinstance(session, str) and session:
            return StringSession(session)
    except Exception as error:
        raise _no_session(name) from error
    raise _no_session(name)


def sqlite_session(path: str) -> Session:
    """Telethon's session of a `.session` file, which is made if there is none.

    Raises:
        sqlite3.Error: It isn't such a file, or can't be read. Nothing of it is left open.
        OSError: Likewise.
    """
    session = SQLiteSession.__new__(SQLiteSession)
    try:
        session.__init__(path)  # type: ignore[misc]  # after __new__, as its type would
    except BaseException:
        connection = vars(session).get("_conn")
        if connection is not None:
            connection.close()
        raise
    return session


def _same_key(one: Session, other: Session) -> bool:
    """Whether both have the same authorization key; a session without one has none in common with any."""
    if one is other:
        return True
    mine, theirs = (getattr(session.auth_key, "key", None) for session in (one, other))
    return mine is not None and mine == theirs


async def close_session(session: Any) -> None:
    """Lets go of what a session holds open. It may be closed already."""
    closing: object = session.close()
    if inspect.isawaitable(closing):  # sessions of others may be asynchronous
        await closing


def _no_session(name: str) -> ValueError:
    return ValueError(
        f"session {name!r}: neither a Telethon session, a session string nor a path that ends in .session"
    )
