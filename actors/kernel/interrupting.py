"""How a handler that waits is ended from outside: cancelled, and left behind if it resists.

Invariant: an interrupted worker works off nothing more of its cell; what comes next is for another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.errors import ActorKilled
from telestage.actors.kernel.flags import SIGNALLED
from telestage.actors.kernel.steps import Step

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.worker import Worker

__all__ = ["PATIENCE", "abandon", "interrupt", "suspends"]

PATIENCE = 4.0
"""Seconds a cancelled handler gets to end before it is abandoned: within the 5 s of R-Q8 and R-M4."""


def interrupt(cell: Cell, reason: Exception | None) -> None:
    """Cancels the suspended handler or hook, if there is one; `reason` is what it then failed with."""
    worker = cell.worker
    if worker is None:
        return
    if not worker.interrupted:
        cell.flags |= SIGNALLED
        worker.interrupt(reason)
        worker.deadline = cell.dispatcher.loop.call_later(PATIENCE, abandon, cell, worker)
    elif worker.interruption is None:
        worker.interruption = reason


def suspends(cell: Cell) -> None:
    """A handler is about to wait: one that was killed or ran out of grace before is interrupted now."""
    family = cell.family
    if family is not None and family.overdue is not None and not family.stopping:
        reason, family.overdue = family.overdue, None
        if Step.FAILED in family.orders:
            family.orders.remove(Step.FAILED)
            cell.recovered()
        interrupt(cell, reason)


def abandon(cell: Cell, worker: Worker) -> None:
    """The handler resists its cancellation: it is left behind, and the cell goes on without it."""
    if cell.worker is not worker:
        return
    item, reason = cell.current, worker.interruption
    worker.abandon()
    cell.worker = cell.current = None
    if isinstance(item, Ask):
        item.fail(reason or cell.gone())
    if isinstance(reason, ActorKilled):
        cell.failed(None, reason)
    cell.flags |= SIGNALLED
    cell.dispatcher.requeue(cell)
