"""Values that travel between actors, processes and hosts, and their wire form. Imports nothing of ours.

A message is frozen and valid from its construction on. On a wire it is a frame of MessagePack, decoded
against a closed registry of types: what is not one of them is a `WireError`.
"""

from telestage.messages.base import Message
from telestage.messages.control import ControlCall, ControlFailure, ControlReply
from telestage.messages.errors import InvalidMessage, MessageError, WireError
from telestage.messages.events import CLOCK_SLACK, Event, EventPriority
from telestage.messages.lifecycle import (
    FloodSeen,
    PauseSession,
    RemoveSession,
    ResumeSession,
    SessionChanged,
    SessionState,
)
from telestage.messages.operations import (
    DEFAULT_PRIORITIES,
    DEFAULT_QUEUE_TIMEOUT,
    DEFAULT_TIMEOUTS,
    HISTORY_PAGE,
    MEMBERS_PAGE,
    HistoryPage,
    Kind,
    MembersPage,
    Operation,
    Peer,
    Request,
    Scalar,
    SendMessage,
)
from telestage.messages.permits import PermitGranted, PermitRequest, PermitReturned
from telestage.messages.registry import REGISTRY
from telestage.messages.status import (
    FleetStatus,
    FloodStatus,
    MonitorStatus,
    PermitHolder,
    PermitKindStatus,
    PermitStatus,
    SessionStatus,
    TaskStatus,
)
from telestage.messages.wire import MAX_FRAME, FrameReader, decode, encode

__all__ = [
    "CLOCK_SLACK",
    "DEFAULT_PRIORITIES",
    "DEFAULT_QUEUE_TIMEOUT",
    "DEFAULT_TIMEOUTS",
    "HISTORY_PAGE",
    "MAX_FRAME",
    "MEMBERS_PAGE",
    "REGISTRY",
    "ControlCall",
    "ControlFailure",
    "ControlReply",
    "Event",
    "EventPriority",
    "FleetStatus",
    "FloodSeen",
    "FloodStatus",
    "FrameReader",
    "HistoryPage",
    "InvalidMessage",
    "Kind",
    "MembersPage",
    "Message",
    "MessageError",
    "MonitorStatus",
    "Operation",
    "PauseSession",
    "Peer",
    "PermitGranted",
    "PermitHolder",
    "PermitKindStatus",
    "PermitRequest",
    "PermitReturned",
    "PermitStatus",
    "RemoveSession",
    "Request",
    "ResumeSession",
    "Scalar",
    "SendMessage",
    "SessionChanged",
    "SessionState",
    "SessionStatus",
    "TaskStatus",
    "WireError",
    "decode",
    "encode",
]
