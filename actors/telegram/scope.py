"""In whose name a call of the client is made.

A request of a session's client is one of three: part of the turn that the session is in, Telethon's own
housekeeping (its update loop, its reconnects), or somebody's who holds an event or a message and calls a
method of it. The last becomes an operation of the session, by its mailbox and with a permit, so that at
most one operation of a session runs at any instant, whoever calls (R-Q1). A context variable tells
them apart; tasks inherit it, so the tasks that Telethon makes while connecting stay housekeeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

from telethon.errors import RandomIdDuplicateError

from telestage.actors.kernel.current import current_task
from telestage.actors.telegram.alarms import Limit
from telestage.actors.telegram.errors import FloodParked
from telestage.actors.telegram.pacing import Place
from telestage.messages import Kind

__all__ = ["HOUSEKEEPING", "Turn", "current_scope", "housekeeping", "named"]


class Turn:
    """One turn of a session: the block of a `with`, and the tasks made in it.

    After its end, calls that its tasks still make are operations of their own.
    """

    __slots__ = (
        "_before",
        "_random_id",
        "_task",
        "_used",
        "active",
        "again",
        "deadline",
        "flood",
        "kind",
        "name",
        "place",
        "title",
        "until",
        "wrote",
    )

    def __init__(self, random_id: int | None = None, kind: str = Kind.OTHER.value, *, again: bool = True) -> None:
        self.active = True
        self.deadline: Limit | None = None  # of all of it
        self.kind = kind
        self.name: str | None = None  # by which it calls whom it writes to
        self.again = again
        """Whether it may be begun again whatever it has done."""
        self.wrote = False
        """Whether it has asked for something that isn't only read."""
        self.until = math.inf  # on the loop's clock
        self.place: Place | None = None  # what it was let in for by the session's turnstile
        self.flood: FloodParked | None = None  # the last that it met
        self.title: str | None = None  # what debuggers call the task that runs it, from its beginning to its end
        self._random_id = random_id
        self._used = 0
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """What the running task does, and what it begins, is part of this turn from now on."""
        _scope.set(self)  # and left so: once it is over it counts for nothing, and setting it back would cost 0.6 us
        title = self.title
        self._task = task = None if title is None else current_task(asyncio.get_running_loop())
        if task is not None:
            self._before = task.get_name()
            task.set_name(title)

    def end(self) -> None:
        """It is over, for all that were part of it. Idempotent."""
        self.active = False
        task, self._task = self._task, None
        if task is not None and task.get_name() == self.title:  # else it was left behind, and named so
            task.set_name(self._before)

    __enter__ = begin

    def __exit__(self, *_: object) -> None:
        self.end()

    def delivered(self, error: Exception) -> bool:
        """Whether this error says that an earlier attempt, whose answer was lost, has delivered its message."""
        return self._random_id is not None and isinstance(error, RandomIdDuplicateError)

    @property
    def repeatable(self) -> bool:
        """Whether it may be begun again now: nothing is done twice."""
        return self.again or not self.wrote

    def next_random_id(self) -> int | None:
        """The random_id the next message of this turn is to be sent with; None leaves it to Telethon.

        The first is the operation's own; further ones follow from it, so that a repeated turn repeats them.
        """
        if self._random_id is None:
            return None
        self._used += 1
        # a multiple of an odd constant: distinct for each, and the same in each repetition
        value = (self._random_id + (self._used - 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)
        return value - 2**64 if value >= 2**63 else value


class _Housekeeping:
    __slots__ = ()


HOUSEKEEPING = _Housekeeping()
"""The scope of what Telethon does by itself."""

_scope: ContextVar[Turn | _Housekeeping | None] = ContextVar("telestage_scope", default=None)


def current_scope() -> Turn | _Housekeeping | None:
    """The scope of the running code; None for a call from outside, or from a turn that is over."""
    scope = _scope.get()
    return None if isinstance(scope, Turn) and not scope.active else scope


class named:  # noqa: N801 - reads as a statement; a class costs a third of a generator
    """Has the task that runs the block of a `with` that name meanwhile, for debuggers and lists of tasks.

    One that was left behind keeps the name that it got then.
    """

    __slots__ = ("_before", "_name", "_task")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        if task is not None:
            self._before = task.get_name()
            task.set_name(self._name)

    def __exit__(self, *_: object) -> None:
        if self._task is not None and self._task.get_name() == self._name:
            self._task.set_name(self._before)


@contextlib.contextmanager
def housekeeping() -> Iterator[None]:
    """Runs the block, and the tasks made in it, as Telethon's own business."""
    token = _scope.set(HOUSEKEEPING)
    try:
        yield
    finally:
        _scope.reset(token)
