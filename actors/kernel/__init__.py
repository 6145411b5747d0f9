"""An actor runtime for asyncio that knows nothing of Telegram: Thespian's missing asyncio base."""

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.ask import NO_REPLY, Reply
from telestage.actors.kernel.blocking import BlockingActorSystem, BlockingRef
from telestage.actors.kernel.deadletters import DeadLetter, DeadLetters
from telestage.actors.kernel.errors import (
    ActorError,
    ActorKilled,
    ActorRestarted,
    ActorStopped,
    AskCycle,
    AskDirection,
    AskError,
    AskTimeout,
    MailboxFull,
    NameTaken,
    QueueWaitTimeout,
    StartTimeout,
    StashFull,
    TelestageError,
    Unhandled,
    WrongReply,
)
from telestage.actors.kernel.eventstream import (
    EventStream,
    Failed,
    LifecycleEvent,
    Restarted,
    Spawned,
    Stopped,
)
from telestage.actors.kernel.handlers import Behaviour, handles
from telestage.actors.kernel.instruments import Handling, Instrument
from telestage.actors.kernel.lifecycle import ChildFailed
from telestage.actors.kernel.looking import ActorNode, ActorState
from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.routers import Router
from telestage.actors.kernel.routing import ConsistentHash, LeastLoaded, RoundRobin, Routing
from telestage.actors.kernel.statistics import ActorStatistics
from telestage.actors.kernel.stopping import Terminated
from telestage.actors.kernel.supervision import Backoff, ChildKind, Directive, Strategy, Supervision
from telestage.actors.kernel.system import ActorSystem
from telestage.actors.kernel.tasks import TaskDetails, TaskRegistry
from telestage.actors.kernel.thespian.base import AsyncioSystemBase
from telestage.actors.kernel.timers import Timer

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
    "Behaviour",
    "BlockingActorSystem",
    "BlockingRef",
    "ChildFailed",
    "ChildKind",
    "ConsistentHash",
    "DeadLetter",
    "DeadLetters",
    "Directive",
    "EventStream",
    "Failed",
    "Handling",
    "Instrument",
    "LeastLoaded",
    "LifecycleEvent",
    "MailboxFull",
    "NameTaken",
    "Overflow",
    "QueueWaitTimeout",
    "Ref",
    "Reply",
    "Restarted",
    "RoundRobin",
    "Router",
    "Routing",
    "Spawned",
    "StartTimeout",
    "StashFull",
    "Stopped",
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
]
