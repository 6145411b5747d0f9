"""What a session is known by where its key mustn't be: in leases and lists."""

from __future__ import annotations

import hashlib

from telethon.sessions.abstract import Session

__all__ = ["fingerprint"]


def fingerprint(session: Session) -> str | None:
    """A hash of its authorization key, which tells nothing of it; None without one."""
    key: object = getattr(session.auth_key, "key", None)
    return hashlib.sha256(b"telestage session " + key).hexdigest()[:32] if isinstance(key, bytes) and key else None
