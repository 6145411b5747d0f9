"""What a session is known by where its key mustn't be: in leases and lists."""

from __future__ import annotations

import hashlib

from telethon.sessions.abstract import Session

__all__ = ["fingerprint", "fingerprint_of", "is_fingerprint"]

_DIGITS = 32


def fingerprint(session: Session) -> str | None:
    """A hash of its authorization key, which tells nothing of it; None without one."""
    key: object = getattr(session.auth_key, "key", None)
    return fingerprint_of(key) if isinstance(key, bytes) and key else None


def fingerprint_of(key: bytes) -> str:
    """That of a session with this authorization key."""
    return hashlib.sha256(b"telestage session " + key).hexdigest()[:_DIGITS]


def is_fingerprint(key: str) -> bool:
    """Whether what is leased under this key is a session."""
    return len(key) == _DIGITS and set(key) <= set("0123456789abcdef")
