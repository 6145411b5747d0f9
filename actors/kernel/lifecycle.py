"""How a cell starts, fails and restarts.

Invariants:
- The steps of a lifecycle run in the cell's own turns, in order, ahead of its mail. The decision about
  a failure is made at once and needs no turn of the supervisor, so a busy supervisor delays nobody.
- A failed cell is halted until its failure has been answered, and answers one failure at a time.
- A restart keeps the mailbox; the timers of the old instance end, and what it still owed an answer is
  failed, as soon as the restart is decided.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from telestage.actors.kernel.errors import ActorError, ActorKilled, ActorRestarted, ActorStopped
from telestage.actors.kernel.hooks import bounded
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.steps import FAILED, RESTART, START, STOP, Notice
from telestage.actors.kernel.stopping import end, settle, stop, stop_children
from telestage.actors.kernel.supervision import Directive

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.worker import Worker

__all__ = ["ChildFailed", "attend", "fail"]

_log = logging.getLogger("telestage.supervision")

_CHILDREN_GRACE = 5.0  # seconds the children of a restarting actor get


class ChildFailed(Notice, frozen=True):
    """Told by the system lane to a supervisor that handles it: `ref` failed with `error`, answered by `directive`."""

    ref: Ref
    error: BaseException
    directive: Directive


async def attend(cell: Cell, worker: Worker) -> None:
    """Does the queued steps. Never raises; a step that is interrupted ends the worker's use of the cell."""
    kin = cell.kin
    orders = kin.orders
    while orders and not cell.final:
        step = orders.popleft()
        try:
            if step is STOP:
                await end(cell)
            elif step is FAILED:
                fail(cell, kin.overdue or ActorKilled(cell.path, "killed"))
            elif step is START:
                if not cell.closed or kin.draining:
                    await _start(cell)
            elif not cell.closed:
                await _restart(cell)
        except asyncio.CancelledError:
            if worker.abandoned:
                return
            reason, worker.interruption = worker.interruption, None
            if isinstance(reason, ActorKilled):
                fail(cell, reason)
            elif not worker.interrupted:
                worker.interrupted = cell.signalled = True
                if not cell.final and not cell.dispatcher.ends():
                    fail(cell, ActorKilled(cell.path, "its task was cancelled from outside"))
        if worker.interrupted or worker.abandoned:
            return


def fail(cell: Cell, error: BaseException) -> None:
    """Halts the cell and has its supervisor answer the failure; one that is stopping anyway only logs it."""
    kin = cell.kin
    if cell.closed:
        _log.warning("%s failed with %s while stopping", cell.path, type(error).__name__, exc_info=error)
        if kin.draining:  # nothing is restarted for the sake of a drain
            kin.draining = False
            cell.order(STOP)
        return
    kin.cancel_backoff()
    kin.orders.clear()
    kin.overdue = None
    cell.halt()
    _decide(cell, error)


def _decide(cell: Cell, error: BaseException) -> None:
    """Answers the failure of a halted cell as its supervisor's rules say."""
    parent = cell.parent
    if parent is None:
        return
    kin = cell.kin
    dispatcher = cell.dispatcher
    supervision = cell.spec.supervision or parent.actor.supervision
    decision = supervision.decide(error, kin.restarts, dispatcher.loop.time(), dispatcher.rng)
    directive = decision.directive
    if directive is Directive.ESCALATE and parent.parent is None:
        directive = Directive.STOP  # nobody above the top level: give up on this actor alone
    exhausted = directive in (Directive.STOP, Directive.ESCALATE)
    _log.log(
        logging.ERROR if exhausted else logging.WARNING,
        "%s failed with %s: %s%s",
        cell.path,
        type(error).__name__,
        directive.value,
        f" in {decision.delay:.2f} s (restart {kin.restarts.total})" if directive is Directive.RESTART else "",
        exc_info=error,
    )
    if ChildFailed in parent.handlers:
        parent.signal(ChildFailed(cell, error, directive))
    if directive is Directive.RESUME:
        _resume(cell)
    elif directive is Directive.RESTART:
        _restart_after(cell, decision.delay, error)
    elif directive is Directive.STOP:
        stopped = ActorStopped(cell.path)
        stopped.__cause__ = error
        stop(cell, stopped, grace=0.0)
    else:
        kin.escalated = True
        if not parent.restart_due:  # else what has been decided for it answers this too
            fail(parent, error)


def _resume(cell: Cell) -> None:
    """Goes on as if nothing had happened; so do those whose failure came up to here."""
    cell.kin.escalated = False
    cell.recovered()
    for child in cell.kin.children.values():
        if child.kin.escalated:
            _resume(child)


def _restart_after(cell: Cell, delay: float, error: BaseException) -> None:
    """Queues the restart, at once or when the backoff is over."""
    kin = cell.kin
    kin.cause = error
    kin.cancel_timers()
    restarted = ActorRestarted(cell.path)
    restarted.__cause__ = error
    settle(cell, restarted)
    if delay <= 0:
        cell.order(RESTART)
    else:
        kin.backoff = cell.dispatcher.loop.call_later(delay, _backoff_over, cell)


def _backoff_over(cell: Cell) -> None:
    cell.kin.backoff = None
    cell.order(RESTART)


async def _start(cell: Cell) -> None:
    try:
        await bounded(cell, "started", cell.actor.started(), cell.actor.start_timeout)
    except Exception as error:
        fail(cell, error)
    else:
        _started(cell)


def _started(cell: Cell) -> None:
    if not cell.restart_due:  # a child's failure may have come up meanwhile
        cell.recovered()


async def _restart(cell: Cell) -> None:
    kin = cell.kin
    actor = cell.actor
    cause = kin.cause or ActorError("restart")
    if cell.spec.restarting_hook:
        try:
            await bounded(cell, "restarting", actor.restarting(cause), actor.start_timeout)
        except Exception:
            _log.exception("restarting() of %s failed; it is restarted all the same", cell.path)
    if not actor.keep_children:
        await stop_children(cell, _CHILDREN_GRACE)
    kin.cancel_timers()  # those that the hook set
    try:
        cell.actor = cell.spec.create(cell)
        if cell.spec.started_hook:
            await bounded(cell, "started", cell.actor.started(), cell.actor.start_timeout)
    except Exception as error:
        fail(cell, error)
        return
    for child in list(kin.children.values()):
        if child.kin.escalated:
            child.kin.escalated = False
            child.kin.restarts.recent.clear()  # its new supervisor counts from the start, as in OTP
            _restart_after(child, 0.0, cause)
    _started(cell)
