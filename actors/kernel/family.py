"""What a cell needs only if it has children, watchers, timers, debts or a past: made when first needed.

Most actors of a large system never have one, which keeps an idle actor small.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

from telestage.actors.kernel.supervision import RestartLog

if TYPE_CHECKING:
    from telestage.actors.kernel.ask import Ask
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.lifecycle import Order
    from telestage.actors.kernel.timers import Timer

__all__ = ["Family"]

Ts = TypeVarTuple("Ts")


class Family:
    """Relations and lifecycle of one cell."""

    __slots__ = (
        "cause",
        "children",
        "draining",
        "escalated",
        "grace",
        "orders",
        "owed",
        "pending",
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
        self.pending: set[asyncio.TimerHandle] = set()  # the runtime's; end with the cell
        self.owed: set[Ask] = set()  # asks whose handler returned NO_REPLY
        self.restarts = RestartLog()
        self.orders: deque[Order] = deque()  # steps of the lifecycle still to be done
        self.cause: BaseException | None = None  # of the restart under way
        self.escalated = False  # halted until the parent has been dealt with
        self.stop_error: Exception | None = None
        self.stop_waiters: list[asyncio.Future[None]] = []
        self.grace: asyncio.TimerHandle | None = None
        self.draining = False
        self.stopping = False  # past the point where the grace counts

    def later(
        self,
        loop: asyncio.AbstractEventLoop,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: Unpack[Ts],
    ) -> None:
        """Calls back after `delay` seconds unless the cell ends first."""

        def due() -> None:
            self.pending.discard(handle)
            callback(*args)

        handle = loop.call_later(delay, due)
        self.pending.add(handle)

    def cancel_timers(self) -> None:
        """Ends the timers of the instance."""
        for timer in list(self.timers):
            timer.cancel()

    def cancel_all(self) -> None:
        """Ends every timer, the runtime's too."""
        self.cancel_timers()
        for handle in self.pending:
            handle.cancel()
        self.pending.clear()
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None
