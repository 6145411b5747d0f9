"""Actors, and the fleets of Telegram sessions made of them.

The kernel's names are here at once. The fleet's are loaded when first used, so that a program which needs
actors only doesn't load Telethon.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorError,
    ActorKilled,
    ActorNode,
    ActorRestarted,
    ActorState,
    ActorStatistics,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskDirection,
    AskError,
    AskTimeout,
    AsyncioSystemBase,
    Backoff,
    ChildFailed,
    ChildKind,
    DeadLetter,
    DeadLetters,
    Directive,
    MailboxFull,
    NameTaken,
    QueueWaitTimeout,
    Ref,
    Reply,
    StartTimeout,
    Strategy,
    Supervision,
    TaskDetails,
    TaskRegistry,
    TelestageError,
    Terminated,
    Timer,
    Unhandled,
    WrongReply,
    handles,
)

if TYPE_CHECKING:
    from telestage.actors.fleet import Fleet
    from telestage.actors.telegram import (
        BulkReport,
        Delivery,
        FloodParked,
        Limits,
        LoginFailed,
        OperationCancelled,
        OperationTimeout,
        PermitTimeout,
        ReplyLost,
        SessionDead,
        SessionError,
        SessionExists,
        SessionHandle,
        SessionUnknown,
        sign_in,
    )

__all__ = [
    "NO_REPLY",
    "Actor",
    "ActorError",
    "ActorKilled",
    "ActorNode",
    "ActorRestarted",
    "ActorState",
    "ActorStatistics",
    "ActorStopped",
    "ActorSystem",
    "AskCycle",
    "AskDirection",
    "AskError",
    "AskTimeout",
    "AsyncioSystemBase",
    "Backoff",
    "BulkReport",
    "ChildFailed",
    "ChildKind",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Directive",
    "Fleet",
    "FloodParked",
    "Limits",
    "LoginFailed",
    "MailboxFull",
    "NameTaken",
    "OperationCancelled",
    "OperationTimeout",
    "PermitTimeout",
    "QueueWaitTimeout",
    "Ref",
    "Reply",
    "ReplyLost",
    "SessionDead",
    "SessionError",
    "SessionExists",
    "SessionHandle",
    "SessionUnknown",
    "StartTimeout",
    "Strategy",
    "Supervision",
    "TaskDetails",
    "TaskRegistry",
    "TelestageError",
    "Terminated",
    "Timer",
    "Unhandled",
    "WrongReply",
    "handles",
    "sign_in",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        module = "telestage.actors.fleet" if name == "Fleet" else "telestage.actors.telegram"
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
