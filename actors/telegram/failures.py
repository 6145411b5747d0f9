"""What an error of Telethon means for the session that met it. Pure: nothing is done here.

Facts: 401 ends an authorization, 406 AUTH_KEY_DUPLICATED ends the key, both for good, yet the client
still says it is connected. A transport -404 becomes `AuthKeyNotFound`. A flood wait is a 420.
"""

from __future__ import annotations

from telethon import errors
from telethon.errors.common import AuthKeyNotFound

__all__ = ["flood_reason", "flood_seconds", "is_peer_flood", "sign_in_reason", "terminal_reason", "wait_seconds"]

_TERMINAL: tuple[tuple[type[Exception], str], ...] = (
    (errors.AuthKeyDuplicatedError, "its key was used from two addresses at once and Telegram revoked it"),
    (errors.SessionRevokedError, "revoked: another of the user's sessions ended it"),
    (errors.SessionExpiredError, "expired"),
    (errors.UserDeactivatedBanError, "the account is banned"),
    (errors.UserDeactivatedError, "the account was deleted"),
    (errors.AuthKeyUnregisteredError, "not signed in: its key is not registered (revoked, or never signed in)"),
    (errors.AuthKeyInvalidError, "its key is not valid"),
    (errors.AuthKeyPermEmptyError, "its key is not signed in"),
    (AuthKeyNotFound, "Telegram does not know its key"),
)

_FLOODS = (errors.FloodWaitError, errors.FloodPremiumWaitError, errors.FloodTestPhoneWaitError)

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (errors.FloodPremiumWaitError, "FLOOD_PREMIUM_WAIT"),
    (errors.SlowModeWaitError, "SLOWMODE_WAIT"),
    (errors.FloodWaitError, "FLOOD_WAIT"),
    (errors.FloodTestPhoneWaitError, "FLOOD_WAIT"),
    (errors.PeerFloodError, "PEER_FLOOD"),
)


def terminal_reason(error: BaseException) -> str | None:
    """Why the session can't go on after this error; None if it can (R-X4)."""
    return next((reason for cls, reason in _TERMINAL if isinstance(error, cls)), None)


def sign_in_reason(error: BaseException) -> str | None:
    """Why a session that failed to begin with this error never can; None if it may."""
    reason = terminal_reason(error)
    if reason is None and isinstance(error, errors.UnauthorizedError):
        return f"not signed in: {error}"
    return reason


def is_peer_flood(error: BaseException) -> bool:
    """Whether Telegram takes the account for a spammer. It doesn't say for how long (R-X2)."""
    return isinstance(error, errors.PeerFloodError)


def flood_reason(error: object) -> str | None:
    """Telegram's name of what the error asks to wait for; None if it asks for nothing of that kind (R-X2)."""
    return next((reason for cls, reason in _REASONS if isinstance(error, cls)), None)


def wait_seconds(error: object) -> float:
    """How many seconds a flood wait or a slow mode asks for."""
    return float(max(1, getattr(error, "seconds", None) or 1))  # FLOOD_WAIT_0 has been seen; at once is too soon


def flood_seconds(error: BaseException) -> float | None:
    """How many seconds this kind of request must wait; None if the error isn't a flood wait (R-X2).

    SLOW_MODE_WAIT is about one peer, not about the kind, so it isn't one.
    """
    if not isinstance(error, _FLOODS):
        return None
    return wait_seconds(error)
