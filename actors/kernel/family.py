"""What a cell needs only if it has children, watchers, timers, debts or a past: made when first needed.

Most actors of a large system never have one, which keeps an idle actor small. Its own containers are of the
smallest kinds: an empty dict takes 64 bytes, an empty set or deque 216 and more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from telestage.actors.kernel.supervision import RestartLog

if TYPE_CHECKING:
    from telestage.actors.kernel.ask import Ask
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.errors import ActorStopped
    from telestage.actors.kernel.groups import Group
    from telestage.actors.kernel.redelivery import Redelivery
    from telestage.actors.kernel.stash import Stash
    from telestage.actors.kernel.steps import Step
    from telestage.actors.kernel.timers import Timer

__all__ = ["Children", "Family"]


class Children:
    """The living children in order of birth, and the names of those that have one.

    A chain through the cells themselves: an entry in a dict would take each child 50 bytes more, and its name as many.
    """

    __slots__ = ("_eldest", "_names", "_youngest")

    def __init__(self) -> None:
        self._eldest: Cell | None = None
        self._youngest: Cell | None = None
        self._names: dict[str, Cell] = {}

    def __iter__(self) -> Iterator[Cell]:
        """The eldest first. Make a list of it if children may go meanwhile."""
        cell = self._eldest
        while cell is not None:
            yield cell
            cell = cell.younger

    def __reversed__(self) -> Iterator[Cell]:
        cell = self._youngest
        while cell is not None:
            yield cell
            cell = cell.elder

    def __bool__(self) -> bool:
        return self._eldest is not None

    def named(self, name: str) -> Cell | None:
        """The child of that name: given, or since somebody asked for it."""
        return self._names.get(name)

    def name(self, cell: Cell, name: str) -> None:
        """Notes the name of a child, or of one that is about to be taken in."""
        self._names[name] = cell

    def add(self, cell: Cell) -> None:
        """Takes in the youngest."""
        elder = cell.elder = self._youngest
        if elder is None:
            self._eldest = cell
        else:
            elder.younger = cell
        self._youngest = cell

    def remove(self, cell: Cell) -> None:
        """Lets a child go. One that was never taken in, too."""
        if cell.label is not None and self._names.get(cell.label) is cell:
            del self._names[cell.label]
        elder = cell.elder
        younger = cell.younger
        if elder is not None:
            elder.younger = younger
            cell.elder = None
        elif self._eldest is cell:
            self._eldest = younger
        else:
            return
        if younger is not None:
            younger.elder = elder
            cell.younger = None
        else:
            self._youngest = elder


class Family:
    """Relations and lifecycle of one cell."""

    __slots__ = (
        "again",
        "backoff",
        "brood",
        "cause",
        "children",
        "control",
        "deadline",
        "draining",
        "dropped",
        "escalated",
        "grace",
        "group",
        "leaving",
        "orders",
        "overdue",
        "owed",
        "refused",
        "restarts",
        "stash",
        "stop_error",
        "stop_waiters",
        "stopping",
        "timers",
        "waits_on",
        "watched",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.children = Children()
        self.control: deque[object] | None = None  # the system lane
        self.waits_on: Cell | list[Cell] | None = None  # the edges of the wait-for graph
        self.watchers: dict[Cell, None] = {}  # who is told when this cell stops
        self.watching: dict[Cell, None] = {}
        self.timers: dict[Timer, None] = {}  # the actor's own; end with its instance
        self.owed: dict[Ask, None] = {}  # asks whose handler returned NO_REPLY
        self.restarts = RestartLog()
        self.refused = self.dropped = 0  # messages, by a full mailbox and for newer ones
        self.stash: Stash | None = None
        self.orders: list[Step] = []  # steps of the lifecycle still to be done
        self.cause: BaseException | None = None  # of the restart under way
        self.backoff: asyncio.TimerHandle | None = None  # until that restart
        self.group: Group | None = None  # the siblings it is being restarted with
        self.brood: Group | None = None  # of its children, made when they are first restarted together
        self.again: Redelivery | None = None
        self.leaving: ActorStopped | None = None  # what a permanent child that has stopped itself is restarted for
        self.escalated = False  # halted until the parent has been dealt with
        self.overdue: Exception | None = None  # to interrupt the running handler with, should it suspend
        self.stop_error: Exception | None = None
        self.stop_waiters: list[asyncio.Future[None]] = []
        self.grace: asyncio.TimerHandle | None = None
        self.deadline = 0.0  # when the grace is over, in loop time
        self.draining = False
        self.watched = 0  # messages still to be timed one by one, see `hogs`
        self.stopping = False  # past the point where the grace counts

    def cancel_backoff(self) -> None:
        """Ends the wait for a restart."""
        if self.backoff is not None:
            self.backoff.cancel()
            self.backoff = None

    def cancel_timers(self) -> None:
        """Ends the timers of the instance."""
        for timer in list(self.timers):
            timer.cancel()

    def cancel_all(self) -> None:
        """Ends every timer, the runtime's too."""
        self.cancel_timers()
        self.cancel_backoff()
        if self.brood is not None:
            self.brood.cancel()
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None
