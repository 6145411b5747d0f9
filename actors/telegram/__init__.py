"""Session, manager and monitor actors over the real Telethon client."""

from telestage.actors.telegram.anysession import AnySession
from telestage.actors.telegram.book import Durable
from telestage.actors.telegram.bulk import BulkReport, Delivery
from telestage.actors.telegram.errors import (
    FloodParked,
    OperationCancelled,
    OperationTimeout,
    PaceTimeout,
    PermitTimeout,
    ReplyLost,
    SessionDead,
    SessionDraining,
    SessionError,
    SessionExists,
    SessionInUse,
    SessionNotStored,
    SessionUnknown,
)
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.inhand import EventInHand, event_in_hand, event_key
from telestage.actors.telegram.limits import Limits, Pace
from telestage.actors.telegram.login import LoginFailed, sign_in
from telestage.actors.telegram.owning import Ownership
from telestage.actors.telegram.sessionstore import SessionListing, SessionStore, list_sessions
from telestage.actors.telegram.stored import StoredSession

__all__ = [
    "AnySession",
    "BulkReport",
    "Delivery",
    "Durable",
    "EventInHand",
    "FloodParked",
    "Limits",
    "LoginFailed",
    "OperationCancelled",
    "OperationTimeout",
    "Ownership",
    "Pace",
    "PaceTimeout",
    "PermitTimeout",
    "ReplyLost",
    "SessionDead",
    "SessionDraining",
    "SessionError",
    "SessionExists",
    "SessionHandle",
    "SessionInUse",
    "SessionListing",
    "SessionNotStored",
    "SessionStore",
    "SessionUnknown",
    "StoredSession",
    "event_in_hand",
    "event_key",
    "list_sessions",
    "sign_in",
]
