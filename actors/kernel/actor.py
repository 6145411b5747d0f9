"""The class people derive their actors from.

An actor is a `thespian.actors.Actor`, so both kinds live side by side; its own face is
snake_case and async. Everything here is for the actor's own turns: call nothing of it from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar, overload

import thespian.actors

from telestage.actors.kernel.ask import NO_REPLY, Ask, Reply
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.envelope import sender_of
from telestage.actors.kernel.errors import ActorStopped, Unhandled
from telestage.actors.kernel.flags import SIGNALLED
from telestage.actors.kernel.forwarding import SAME, forward
from telestage.actors.kernel.handlers import Behaviour, HandlerTable
from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.spawning import spawn
from telestage.actors.kernel.spec import Spec
from telestage.actors.kernel.stash import put_aside, put_back
from telestage.actors.kernel.steps import LEAVE, Notice
from telestage.actors.kernel.stopping import Terminated, stop
from telestage.actors.kernel.supervision import TRANSIENT, ChildKind, Supervision
from telestage.actors.kernel.timers import Timer

if TYPE_CHECKING:
    from telestage.actors.kernel.system import ActorSystem

__all__ = ["Actor"]

R = TypeVar("R")


class Actor(thespian.actors.Actor):
    """An actor: state that only its own turns touch, and handlers that run one at a time.

    Mark handlers with `@handles`. `__init__` takes what `spawn` is given, runs again at each restart,
    and may already use `self.ref`, `self.spawn`, `self.tell` and the like.
    """

    __slots__ = ("_cell",)
    _cell: Cell

    supervision: ClassVar[Supervision] = Supervision()
    """How this actor answers the failures of its children. A child's own, given to `spawn`, comes first."""

    keep_children: ClassVar[bool] = False
    """Whether a restart leaves the children alive. Default: they are stopped before it, as in Pekko.
    Hazard of keeping: the new instance must take them over from `self.children`."""

    ask_rank: ClassVar[int | None] = None
    """Place in the order in which asks may go: from a higher rank to a lower only. None: anywhere."""

    start_timeout: ClassVar[float] = 60.0
    """Seconds `started` and `restarting` may each take."""

    stop_timeout: ClassVar[float] = 5.0
    """Seconds `stopped` may take."""

    stash_capacity: ClassVar[int] = 1000
    """Messages that `stash` can put aside."""

    _table: ClassVar[HandlerTable]
    _behaviours: ClassVar[Mapping[Behaviour, HandlerTable]]
    _hooks: ClassVar[tuple[bool, bool, bool]]
    plain_spec: ClassVar[Spec]
    """What is needed to make one without options."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._table, cls._behaviours = HandlerTable.of(cls, _unhandled)
        cls._hooks = (
            cls.started is not Actor.started,
            cls.restarting is not Actor.restarting,
            cls.stopped is not Actor.stopped,
        )
        cls.plain_spec = Spec(cls)

    @classmethod
    def handler_table(cls) -> HandlerTable:
        """Which function handles which type at first."""
        return cls._table

    @classmethod
    def behaviours(cls) -> Mapping[Behaviour, HandlerTable]:
        """Which function handles which type in each behaviour."""
        return cls._behaviours

    @classmethod
    def overridden_hooks(cls) -> tuple[bool, bool, bool]:
        """Whether `started`, `restarting` and `stopped` are the class's own: one that isn't costs no turn."""
        return cls._hooks

    # -- hooks --------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Runs before the first message, after each restart too. An error counts as a failure."""

    async def restarting(self, error: BaseException) -> None:
        """Runs on the old instance before it is replaced because of `error`. Release what it holds."""

    async def stopped(self) -> None:
        """Runs last, after the children have stopped. Release what it holds."""

    def unhandled(self, message: object) -> None:
        """Gets what no handler takes. Default: a dead letter, and `Unhandled` to an asker."""
        if isinstance(message, Notice):
            return
        cell = self._cell
        error = Unhandled(cell.path, message)
        cell.dispatcher.dead_letters.add(message, self.sender, cell, str(error))
        if isinstance(cell.current, Ask):
            cell.current.fail(error)

    def inspect(self) -> Mapping[str, object]:
        """What the actor tells of itself when somebody looks in from outside. Must only read."""
        return {}

    # -- who and where -------------------------------------------------------------------------------

    @property
    def ref(self) -> Ref:
        """This actor, to be handed to others."""
        return self._cell

    @property
    def system(self) -> ActorSystem:
        """The system it lives in."""
        return self._cell.dispatcher.system

    @property
    def sender(self) -> Ref | None:
        """Who sent or asked the current message, if that is known."""
        return sender_of(self._cell.current)

    @property
    def children(self) -> Mapping[str, Ref]:
        """The living children by name, the eldest first."""
        family = self._cell.family
        return {} if family is None else {child.name: child for child in family.children}

    # -- what it does --------------------------------------------------------------------------------

    def spawn(
        self,
        cls: type[Actor],
        *args: object,
        name: str | None = None,
        capacity: int | None = None,
        supervision: Supervision | None = None,
        kind: ChildKind = ChildKind.TRANSIENT,
        redeliver: int = 0,
        overflow: Overflow = Overflow.FAIL,
        **kwargs: object,
    ) -> Ref:
        """Makes a child. See `ActorSystem.spawn`."""
        if capacity is None and supervision is None and kind is TRANSIENT and not redeliver:
            spec = cls.plain_spec
        else:
            spec = Spec(cls, capacity, supervision, kind, redeliver, overflow)
        return spawn(self._cell, spec, (args, kwargs) if args or kwargs else None, name)

    def tell(self, ref: Ref, message: object, *, priority: int = 0) -> None:
        """`ref.tell` with this actor as the sender."""
        ref.tell(message, priority=priority, sender=self._cell)

    @overload
    async def ask(
        self,
        ref: Ref,
        message: object,
        *,
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> object: ...

    @overload
    async def ask(
        self,
        ref: Ref,
        message: object,
        *,
        expecting: type[R],
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> R: ...

    async def ask(
        self,
        ref: Ref,
        message: object,
        *,
        expecting: type[R] | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> object:
        """`ref.ask` in the name of this actor, from whichever of its tasks. Raises the same errors."""
        cell = ref if isinstance(ref, Cell) else _ref(ref, "ask").cell_for(message)
        return await cell.ask(message, expecting, timeout, priority, queue_timeout, cancel, self._cell)

    def reply_later(self) -> Reply:
        """The right to answer the current ask later; the handler then returns `NO_REPLY`.

        If the current message was told, not asked, the reply goes nowhere.
        """
        current = self._cell.current
        return Reply(current if isinstance(current, Ask) else None)

    def forward(self, ref: Ref, *, message: object = SAME, priority: int = 0) -> object:
        """Hands the current message on to `ref`, for good. Say `return self.forward(ref)`.

        The receiver sees the original sender. If the message was asked, the ask goes on: what the receiver
        answers, or fails with, is the asker's answer, within the deadlines he has set; until then he waits for the
        receiver, so circles are found as ever. An ask that `ref` can't take fails at once: `MailboxFull`,
        `ActorStopped`. One that would close a circle, or that is handed to this actor itself, fails with `AskCycle`
        (or `AskDirection`). What was told and can't be taken becomes a dead letter.

        What the handler returns or raises afterwards answers nothing, even if the `return` is forgotten. There is no
        current message any more: `sender` is None.

        Args:
            message: What is handed on instead of the current message.
            priority: In the mailbox of `ref`.

        Returns:
            `NO_REPLY`.

        Raises:
            RuntimeError: No message is being handled, or it has been forwarded or stashed already.
        """
        forward(self._cell, ref, message, priority)
        return NO_REPLY

    def become(self, behaviour: Behaviour) -> None:
        """Has the next message, and all that follow, handled by `behaviour`, until the next change or a restart.

        The mail that waits isn't looked at again before its turn comes. A restart goes back to the initial behaviour:
        the plain handlers, or what `__init__` becomes.

        Raises:
            ValueError: `behaviour` isn't of this actor's class.
        """
        if behaviour not in self._behaviours:
            raise ValueError(f"{behaviour!r} is no behaviour of {type(self).__qualname__}")
        self._use(behaviour)

    def unbecome(self) -> None:
        """Goes back to the handlers marked with plain `@handles`, from the next message on."""
        self._use(None)

    @property
    def behaviour(self) -> Behaviour | None:
        """What the actor has become, if anything."""
        return self._cell.spec.behaviour

    def _use(self, behaviour: Behaviour | None) -> None:
        cell = self._cell
        cell.spec = cell.spec.behaving(behaviour)
        cell.flags |= SIGNALLED  # ends the batch, which keeps the handlers it has looked up

    def stash(self) -> object:
        """Puts the current message aside, behind those that are aside already. Say `return self.stash()`.

        If it was asked, its asker goes on waiting, within the deadlines he has set. A restart puts all that is
        aside back into the mailbox, first of all; at a stop asks fail and messages become dead letters.

        Returns:
            `NO_REPLY`.

        Raises:
            StashFull: `stash_capacity` messages are aside already. Left alone it fails the handler, and the actor
                is restarted or whatever its supervisor does; an asker gets it.
            RuntimeError: No message is being handled, or it has been forwarded or stashed already.
        """
        put_aside(self._cell, self.stash_capacity)
        return NO_REPLY

    def unstash(self, count: int = 1) -> int:
        """Puts the first `count` messages that are aside back: ahead of all mail of their priority, in their order.

        The mailbox's bound doesn't keep them out; newcomers have to wait until there is room again. An ask that was
        run at once, because the actor was idle, counts as of priority 0.

        Returns:
            How many were put back.
        """
        return put_back(self._cell, count)

    def unstash_all(self) -> int:
        """Puts all messages that are aside back, as `unstash` does, and returns how many they were."""
        return put_back(self._cell, self.stashed)

    @property
    def stashed(self) -> int:
        """How many messages are aside."""
        family = self._cell.family
        return 0 if family is None or family.stash is None else len(family.stash)

    def watch(self, ref: Ref) -> None:
        """Has `Terminated(ref, error)` told to this actor, once, when `ref` stops; at once if it has."""
        cell = _ref(ref, "watch").cell
        if cell.final:
            self._cell.signal(Terminated(cell, cell.kin.stop_error))
        else:
            cell.kin.watchers[self._cell] = None
            self._cell.kin.watching[cell] = None

    def unwatch(self, ref: Ref) -> None:
        """Ends a `watch`. A `Terminated` that is already on its way still comes."""
        if isinstance(ref, Ref):
            ref.cell.kin.watchers.pop(self._cell, None)
            self._cell.kin.watching.pop(ref.cell, None)

    def after(self, seconds: float, message: object, *, priority: int = 0) -> Timer:
        """Tells this actor `message` in `seconds`. The timer can be cancelled; a restart or a stop ends it."""
        return Timer(self._cell, seconds, None, message, priority)

    def every(self, seconds: float, message: object, *, priority: int = 0) -> Timer:
        """Tells this actor `message` every `seconds`, the first time after one interval."""
        return Timer(self._cell, seconds, seconds, message, priority)

    def stop(self, error: Exception | None = None) -> None:
        """Stops this actor after the current message. Asks that wait or come later fail with `error`.

        Default: they fail with `ActorStopped`. A child of kind `PERMANENT` is restarted instead, which counts as
        a restart after a failure does; its mailbox waits.
        """
        cell = self._cell
        if cell.spec.kind is ChildKind.PERMANENT and not cell.closed:
            cell.kin.leaving = stopped = ActorStopped(cell.path)
            stopped.__cause__ = error
            cell.order(LEAVE)
        else:
            stop(cell, error)


def _ref(ref: Ref, what: str) -> Ref:
    if not isinstance(ref, Ref):
        raise TypeError(f"{what} needs a ref of this system, not {ref!r}")
    return ref


def _unhandled(actor: object, message: object) -> object:
    assert isinstance(actor, Actor)
    actor.unhandled(message)
    return NO_REPLY
