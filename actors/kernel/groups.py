"""Siblings that are restarted together: all, or the one that failed and those born after it.

Invariants:
- They leave one after the other, the youngest first: each when the one before is done with its `restarting` hook and
  its children. They start in order of birth, each when the one before has started, and none before all have left.
- Who waits for its turn to leave goes on with its work, so that its juniors can still call on it.
- A failure in between joins the restart under way: whoever has left isn't made to leave again.
- No turn of the parent is needed.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from bisect import insort
from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.errors import ActorRestarted, ActorStopped
from telestage.actors.kernel.interrupting import interrupt
from telestage.actors.kernel.redelivery import give_again
from telestage.actors.kernel.steps import RETIRE, REVIVE
from telestage.actors.kernel.stopping import settle, stop
from telestage.actors.kernel.supervision import ChildKind, RestartLog, Strategy

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Group", "brood_of", "concerned"]


def concerned(parent: Cell, cell: Cell, strategy: Strategy) -> list[Cell]:
    """Which children of `parent` are restarted together with `cell`, in order of birth; who is stopping isn't."""
    siblings = list(parent.kin.children)
    if strategy is Strategy.REST_FOR_ONE:
        siblings = siblings[siblings.index(cell) :]
    return [sibling for sibling in siblings if not sibling.closed]


def brood_of(parent: Cell) -> Group:
    """The record of the restarts of `parent`'s children, made when first needed."""
    kin = parent.kin
    if kin.brood is None:
        kin.brood = Group(parent)
    return kin.brood


class Group:
    """The restarts of one parent's children together: their budget, and the one under way."""

    __slots__ = ("_births", "_busy", "_cause", "_leaving", "_out", "_parent", "_start_at", "_timer", "restarts")

    def __init__(self, parent: Cell) -> None:
        self.restarts = RestartLog()
        self._parent = parent
        self._leaving: list[Cell] = []  # still to leave, in order of birth; the last one is at it
        self._out: list[Cell] = []  # have left and are to start, in order of birth
        self._busy: Cell | None = None  # at its RETIRE or REVIVE
        self._births: dict[Cell, int] = {}
        self._cause: BaseException | None = None
        self._start_at = 0.0  # in loop time
        self._timer: asyncio.TimerHandle | None = None

    def restart(self, members: list[Cell], cause: BaseException, delay: float) -> None:
        """Restarts `members` because of `cause`: none starts until `delay` seconds from now."""
        self.cancel()
        self._cause = cause
        self._start_at = max(self._start_at, self._parent.dispatcher.loop.time() + delay)
        self._births = {child: number for number, child in enumerate(self._parent.kin.children)}
        for cell in members:
            kin = cell.kin
            kin.group = self
            kin.escalated = False
            if cell in self._leaving or cell in self._out:
                continue
            if cell is self._busy:
                self._busy = None
                if REVIVE in kin.orders:  # not begun
                    kin.orders.remove(REVIVE)
                    self._out.append(cell)
                    continue
            self._leaving.append(cell)
        self._leaving.sort(key=self._births.__getitem__)
        self._out.sort(key=self._births.__getitem__)
        self._advance()

    def covers(self, cell: Cell) -> bool:
        """Whether the restart of `cell` is still to come, so that it answers a failure of before."""
        if cell is self._busy and REVIVE in cell.kin.orders:
            return True
        return cell in self._leaving or cell in self._out

    def retired(self, cell: Cell) -> None:
        """`cell` has left."""
        if cell in self._leaving and not cell.closed:  # else it is awaited until it is gone
            self._leaving.remove(cell)
            insort(self._out, cell, key=self._births.__getitem__)
            self._done(cell)

    def revived(self, cell: Cell) -> None:
        """`cell` has started, or goes on as it is."""
        cell.recovered()
        if not self.covers(cell):
            cell.kin.group = None
            self._done(cell)

    def gone(self, cell: Cell) -> None:
        """`cell` has stopped for good."""
        cell.kin.group = None
        for members in (self._leaving, self._out):
            if cell in members:
                members.remove(cell)
        self._done(cell)

    def cancel(self) -> None:
        """Ends the wait for the start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- parts ------------------------------------------------------------------------------------

    def _done(self, cell: Cell) -> None:
        if cell is self._busy:
            self._busy = None
        self._advance()

    def _advance(self) -> None:
        if self._busy is not None or self._timer is not None or self._parent.final:
            return
        if self._leaving:
            self._busy = self._leaving[-1]
            self._send_off(self._busy)
        elif self._out:
            loop = self._parent.dispatcher.loop
            if self._start_at > loop.time():
                self._timer = loop.call_at(self._start_at, self._rested)
            else:
                self._busy = self._out.pop(0)
                self._busy.order(REVIVE)
        else:
            self._births = {}
            self._cause = None

    def _rested(self) -> None:
        self._timer = None
        self._start_at = 0.0  # the clock of a timer may be early by its resolution
        self._advance()

    def _send_off(self, cell: Cell) -> None:
        """Ends the work of `cell`, and has it leave in its own next turn."""
        if cell.closed:
            return  # it ends by itself
        if cell.spec.kind is ChildKind.TEMPORARY:
            stopped = ActorStopped(cell.path)
            stopped.__cause__ = self._cause
            stop(cell, stopped, grace=0.0)
            return
        restarted = ActorRestarted(cell.path)
        restarted.__cause__ = self._cause
        kin = cell.kin
        kin.orders.clear()
        kin.overdue = None
        kin.cause = self._cause
        kin.cancel_timers()
        cell.halt()
        settle(cell, restarted)
        if isinstance(cell.current, Ask):
            cell.current.fail(restarted)
        worker = cell.worker
        if worker is None:
            kin.overdue = restarted  # its handler may be at work, down the stack
        elif worker.task is not current_task(cell.dispatcher.loop):  # else it is the one that has just failed
            give_again(cell, cell.current)
            interrupt(cell, restarted)
        cell.order(RETIRE)
