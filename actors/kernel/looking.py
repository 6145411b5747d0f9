"""How an actor is doing, seen from outside.

Invariant: looking changes nothing, but that who has no name gets its number, and calls no code of an actor; it
never shows what a message says, only its type. Whoever looks from another thread, or from a signal handler in the
middle of a turn, may see one actor half way between two states.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from types import GeneratorType
from typing import NamedTuple

import msgspec

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.envelope import bare, sender_of
from telestage.actors.kernel.flags import FAILED, PAUSED
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.spec import UNBOUNDED
from telestage.actors.kernel.steps import START
from telestage.actors.kernel.waits import waited_for

__all__ = [
    "ActorNode",
    "ActorState",
    "Glance",
    "age_of",
    "asked_for",
    "every_cell",
    "glance",
    "look",
    "path_of",
    "state_of",
    "tree_of",
]


class ActorState(enum.Enum):
    """What an actor is at."""

    IDLE = "idle"
    """Nothing waits for it, and it costs nothing."""
    READY = "ready"
    """Has mail, and its turn will come."""
    RUNNING = "running"
    """A handler of it is at work at this moment, further down the stack of the loop's thread."""
    SUSPENDED = "suspended"
    """Its handler waits for something."""
    PAUSED = "paused"
    """By `Ref.pause`."""
    STARTING = "starting"
    """Its `started` hook hasn't ended yet, for the first time."""
    FAILED = "failed"
    """Waits for a restart: for its backoff, its siblings or its parent."""
    RESTARTING = "restarting"
    """On the way from the old instance to the new one."""
    DRAINING = "draining"
    """Handles what waits, and stops."""
    STOPPING = "stopping"
    STOPPED = "stopped"


class ActorNode(msgspec.Struct, frozen=True):
    """How one actor is doing, and those below it."""

    path: str
    cls: str
    state: ActorState
    waiting: int
    """Messages in the mailbox; the system lane isn't counted."""
    capacity: int | None
    """How many may wait; None: any number."""
    blocked_senders: int
    """Who waits in `Ref.send` for room."""
    current: str | None
    """Type of the message being handled."""
    asked: bool
    """Whether somebody waits, or waited, for its answer."""
    sender: str | None
    """Path of who told or asked it; None: not an actor, or it isn't known."""
    age: float | None
    """Seconds since its handler suspended first; None: it hasn't."""
    waits_for: tuple[str, ...]
    """Paths of the actors whose answers it waits for."""
    owed: int
    """Asks it has promised to answer later."""
    processed: int
    busy: float
    """Seconds its turns took, suspended handlers' waiting not counted."""
    restarts: int
    cause: str | None
    """Type of the error that it waits to be restarted for, or is being restarted for."""
    restart_in: float | None
    """Seconds until the end of its backoff, if it waits for that."""
    watchers: int
    timers: int
    children: tuple[ActorNode, ...] = ()


def state_of(cell: Cell) -> ActorState:
    """What the actor is at."""
    if cell.final:
        return ActorState.STOPPED
    kin = cell.family
    if cell.closed:
        return ActorState.DRAINING if kin is not None and kin.draining else ActorState.STOPPING
    if cell.flags & FAILED and kin is not None:
        if START in kin.orders or (cell.worker is not None and kin.cause is None):
            return ActorState.STARTING
        if kin.orders or cell.worker is not None:
            return ActorState.RESTARTING
        return ActorState.FAILED
    if cell.worker is not None and not _steps(cell.worker.coroutine):  # one that was suspended may be on its way again
        return ActorState.SUSPENDED
    if cell.current is not None:
        return ActorState.RUNNING
    if cell.flags & PAUSED:
        return ActorState.PAUSED
    return ActorState.IDLE if cell.inbox is None else ActorState.READY


def _steps(coroutine: object) -> bool:
    return isinstance(coroutine, GeneratorType) and coroutine.gi_running


def age_of(cell: Cell) -> float | None:
    """Seconds since the handler or hook of the actor suspended first; None: it hasn't."""
    worker = cell.worker
    return None if worker is None else max(0.0, cell.dispatcher.loop.time() - worker.since)


class Glance(NamedTuple):
    """What is quick to read of an actor."""

    cls: str
    state: ActorState
    waiting: int
    processed: int
    busy: float


def glance(ref: Ref) -> Glance:
    """A quick look at an actor, also at one that is gone.

    Raises:
        TypeError: It isn't an actor of a system.
    """
    if not isinstance(ref, Cell):
        raise TypeError(f"there is nothing to be seen of {ref!r}")
    return Glance(ref.spec.cls.__name__, state_of(ref), ref.waiting, ref.processed, ref.busy)


def path_of(cell: Cell) -> str:
    """`Cell.path`, however deep."""
    names: list[str] = []
    while cell.parent is not None:
        names.append(cell.name)
        cell = cell.parent
    return "/" + "/".join(reversed(names))


def every_cell(root: Cell) -> Iterator[Cell]:
    """The cell and all below it, parents before their children, the eldest first."""
    stack = [root]
    while stack:
        cell = stack.pop()
        yield cell
        if cell.family is not None and cell.family.children:
            stack.extend(reversed(cell.family.children))


def look(cell: Cell, children: tuple[ActorNode, ...] = ()) -> ActorNode:
    """How one actor is doing."""
    kin = cell.family
    item = cell.current
    sender = sender_of(item)
    backoff = None if kin is None else kin.backoff
    state = state_of(cell)
    failed = kin is not None and state in (ActorState.FAILED, ActorState.RESTARTING)
    return ActorNode(
        path=path_of(cell),
        cls=cell.spec.cls.__name__,
        state=state,
        waiting=cell.waiting,
        capacity=None if cell.capacity == UNBOUNDED else cell.capacity,
        blocked_senders=len((cell.backlog.room if cell.backlog is not None else None) or ()),
        current=None if item is None else type(bare(item)).__name__,
        asked=isinstance(item, Ask),
        sender=None if sender is None else sender.path,
        age=age_of(cell),
        waits_for=tuple(path_of(target) for target in waited_for(cell)),
        owed=0 if kin is None else len(kin.owed),
        processed=cell.processed,
        busy=cell.busy,
        restarts=0 if kin is None else kin.restarts.total,
        cause=type(kin.cause).__name__ if failed and kin is not None and kin.cause is not None else None,
        restart_in=None if backoff is None else max(0.0, backoff.when() - cell.dispatcher.loop.time()),
        watchers=0 if kin is None else len(kin.watchers),
        timers=0 if kin is None else len(kin.timers),
        children=children,
    )


def tree_of(root: Cell) -> ActorNode:
    """How `root` and everyone below it are doing. Not recursive: a tree may be as deep as it likes."""
    grown: dict[Cell, list[ActorNode]] = {}
    for cell in reversed(list(every_cell(root))):  # children before their parents, the youngest first
        node = look(cell, tuple(reversed(grown.pop(cell, []))))
        if cell is root:
            return node
        assert cell.parent is not None
        grown.setdefault(cell.parent, []).append(node)
    raise AssertionError("the root comes first")


def asked_for(asker: Cell, target: Cell) -> tuple[str, str]:
    """Which message of `asker` the target hasn't answered, and where that is; looks at what is at hand only."""
    item = target.current
    if isinstance(item, Ask) and item.asker is asker and not item.settled:
        return type(bare(item)).__name__, "being handled"
    for ask in list(target.family.owed) if target.family is not None else ():
        if ask.asker is asker:
            return type(bare(ask)).__name__, "to be answered later"
    return "", "in its mailbox"
