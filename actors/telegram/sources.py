"""What a session is made from: Telethon's session, and options for its client. Checked before anything is added."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from telethon import TelegramClient
from telethon.sessions.abstract import Session
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

__all__ = ["checked_options", "checked_session", "close_session", "same_key"]

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


def checked_session(name: str, session: Session | str) -> Session:
    """The Telethon session that is meant.

    Raises:
        ValueError: It is none.
    """
    if isinstance(session, Session):
        return session
    if isinstance(session, str) and session.endswith(".session"):
        return SQLiteSession(session)
    try:
        if isinstance(session, str) and session:
            return StringSession(session)
    except Exception as error:
        raise _no_session(name) from error
    raise _no_session(name)


def same_key(one: Session, other: Session) -> bool:
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
