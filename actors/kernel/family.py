"""What a cell needs only if it has children, watchers, timers, debts or a past: made when first needed.

Most actors of a large system never have one, which keeps an idle actor small.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from telestage.actors.kernel.supervision import RestartLog

if TYPE_CHECKING:
    from telestage.actors.kernel.ask import Ask
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.groups import Group
    from telestage.actors.kernel.redelivery import Redelivery
    from telestage.actors.kernel.steps import Step
    from telestage.actors.kernel.timers import Timer

__all__ = ["Family"]


class Family:
    """Relations and lifecycle of one cell."""

    __slots__ = (
        "again",
        "backoff",
        "brood",
        "cause",
        "children",
        "deadline",
        "draining",
        "escalated",
        "grace",
        "group",
        "leaving",
        "orders",
        "overdue",
        "owed",
        "restarts",
        "stop_error",
        "stop_waiters",
        "stopping",
        "timers",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.children: dict[str, Cell] = {}  # in order of birth
        self.watchers: dict[Cell, None] = {}  # who is told when this cell stops
        self.watching: dict[Cell, None] = {}
        self.timers: set[Timer] = set()  # the actor's own; end with its instance
        self.owed: set[Ask] = set()  # asks whose handler returned NO_REPLY
        self.restarts = RestartLog()
        self.orders: deque[Step] = deque()  # steps of the lifecycle still to be done
        self.cause: BaseException | None = None  # of the restart under way
        self.backoff: asyncio.TimerHandle | None = None  # until that restart
        self.group: Group | None = None  # the siblings it is being restarted with
        self.brood: Group | None = None  # of its children, made when they are first restarted together
        self.again: Redelivery | None = None
        self.leaving: Exception | None = None  # what a permanent child stopped itself with
        self.escalated = False  # halted until the parent has been dealt with
        self.overdue: Exception | None = None  # to interrupt the running handler with, should it suspend
        self.stop_error: Exception | None = None
        self.stop_waiters: list[asyncio.Future[None]] = []
        self.grace: asyncio.TimerHandle | None = None
        self.deadline = 0.0  # when the grace is over, in loop time
        self.draining = False
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
