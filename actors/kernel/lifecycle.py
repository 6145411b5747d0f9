"""How a cell starts, fails and restarts.

Invariants:
- The steps of a lifecycle run in the cell's own turns, in order, ahead of its mail. The decision about
  a failure is made at once and needs no turn of the supervisor, so a busy supervisor delays nobody.
- A failed cell is halted until its failure has been answered, and answers one failure at a time.
- A restart keeps the mailbox; the timers of the old instance end, and what it still owed an answer is
  failed, as soon as the restart is decided.
- A restart has two halves: the old instance leaves, the new one starts. Siblings restarted together (`groups`) all
  leave before the first of them starts.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from telestage.actors.kernel.errors import ActorError, ActorKilled, ActorRestarted, ActorStopped
from telestage.actors.kernel.flags import SIGNALLED
from telestage.actors.kernel.groups import brood_of, concerned
from telestage.actors.kernel.hooks import bounded
from telestage.actors.kernel.redelivery import give_again
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.stash import put_back
from telestage.actors.kernel.steps import FAILED, LEAVE, RESTART, RETIRE, REVIVE, START, STOP, Notice
from telestage.actors.kernel.stopping import end, settle, stop, stop_children
from telestage.actors.kernel.supervision import ChildKind, Decision, Directive, Strategy, Supervision
from telestage.actors.kernel.tracebacks import shorten

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
        step = orders.pop(0)
        try:
            if step is STOP:
                await end(cell)
            elif step is FAILED:
                fail(cell, kin.overdue or ActorKilled(cell.path, "killed"))
            elif step is START:
                if not cell.closed or kin.draining:
                    await _start(cell)
            elif step is LEAVE:
                _leave(cell)
            elif not cell.closed:
                if step is not REVIVE:
                    await _retire(cell)
                if step is not RETIRE:
                    await _revive(cell)
        except asyncio.CancelledError:
            if worker.abandoned:
                return
            reason, worker.interruption = worker.interruption, None
            if isinstance(reason, ActorKilled):
                fail(cell, reason)
            elif not worker.interrupted:
                worker.interrupted = True
                cell.flags |= SIGNALLED
                if not cell.final and not cell.dispatcher.ends():
                    fail(cell, ActorKilled(cell.path, "its task was cancelled from outside"))
        if worker.interrupted or worker.abandoned:
            return


def fail(cell: Cell, error: BaseException, item: object = None, *, left: bool = False) -> None:
    """Halts the cell and has its supervisor answer the failure; one that is stopping anyway only logs it.

    Args:
        item: What was being handled.
        left: No failure, but a permanent child that stopped itself: it is restarted whatever `error` is.
    """
    shorten(error)
    kin = cell.kin
    if cell.closed:
        _log.warning("%s failed with %s while stopping", cell.path, type(error).__name__, exc_info=error)
        if kin.draining:  # nothing is restarted for the sake of a drain
            kin.draining = False
            cell.order(STOP)
        return
    if kin.group is not None and kin.group.covers(cell):
        _log.warning("%s failed with %s; it is to be restarted anyway", cell.path, type(error).__name__, exc_info=error)
        if RETIRE not in kin.orders and REVIVE not in kin.orders:
            kin.orders.clear()
        cell.halt()
        give_again(cell, item)
        return
    kin.cancel_backoff()
    kin.orders.clear()
    kin.overdue = None
    cell.halt()
    _decide(cell, error, item, left)


def _decide(cell: Cell, error: BaseException, item: object, left: bool) -> None:
    """Answers the failure of a halted cell as its supervisor's rules say."""
    parent = cell.parent
    if parent is None:
        return
    kin = cell.kin
    decision, together = _decision(cell, parent, error, left)
    directive = decision.directive
    if directive is Directive.ESCALATE and parent.parent is None:
        directive = Directive.STOP  # nobody above the top level: give up on this actor alone
    exhausted = directive in (Directive.STOP, Directive.ESCALATE)
    _log.log(
        logging.ERROR if exhausted else logging.WARNING,
        "%s %s: %s%s",
        cell.path,
        "stopped itself" if left else f"failed with {type(error).__name__}",
        directive.value,
        _particulars(decision, together),
        exc_info=error,
    )
    if cell.dispatcher.life is not None:
        cell.dispatcher.life.tell("failed", cell, cell.spec.cls, error, directive)
    if ChildFailed in parent.spec.handlers:
        parent.signal(ChildFailed(cell, error, directive))
    if directive is Directive.RESUME:
        _resume(cell)
    elif directive is Directive.RESTART:
        give_again(cell, item)
        if parent.actor.supervision.strategy is Strategy.ONE_FOR_ONE:
            _restart_after(cell, decision.delay, error)
        else:
            brood_of(parent).restart(together, error, decision.delay)
    elif directive is Directive.STOP:
        for member in reversed(together):
            _give_up(member, error)
    else:
        kin.escalated = True
        if not parent.restart_due:  # else what has been decided for it answers this too
            fail(parent, error)


def _decision(cell: Cell, parent: Cell, error: BaseException, left: bool) -> tuple[Decision, list[Cell]]:
    """The answer to a failure, and whom it is for, in order of birth."""
    rules: Supervision = parent.actor.supervision
    own = cell.spec.supervision or rules
    directive = Directive.RESTART if left else own.directive_for(error)
    if directive is not Directive.RESTART:
        return Decision(directive), [cell]
    if cell.spec.kind is ChildKind.TEMPORARY:
        return Decision(Directive.STOP), [cell]
    now, rng = cell.dispatcher.loop.time(), cell.dispatcher.rng
    if rules.strategy is Strategy.ONE_FOR_ONE:
        return own.restart(cell.kin.restarts, now, rng), [cell]
    return rules.restart(brood_of(parent).restarts, now, rng), concerned(parent, cell, rules.strategy)


def _particulars(decision: Decision, together: list[Cell]) -> str:
    """What the log adds to the word."""
    if len(together) > 1 and decision.directive is not Directive.ESCALATE:
        count = f"with {len(together) - 1} of its siblings"
    elif decision.directive is Directive.RESTART:
        count = f"restart {together[0].kin.restarts.total}"
    else:
        return ""
    return f" in {decision.delay:.2f} s ({count})" if decision.directive is Directive.RESTART else f" ({count})"


def _give_up(cell: Cell, error: BaseException) -> None:
    stopped = ActorStopped(cell.path)
    stopped.__cause__ = error
    stop(cell, stopped, grace=0.0)


def _leave(cell: Cell) -> None:
    """A permanent child has stopped itself: it is made anew. One that is to be restarted anyway needs no more."""
    stopped, cell.kin.leaving = cell.kin.leaving, None
    if stopped is not None and not cell.closed and not cell.restart_due:
        fail(cell, stopped, left=True)


def _resume(cell: Cell) -> None:
    """Goes on as if nothing had happened; so do those whose failure came up to here. Who has stopped itself leaves."""
    cell.kin.escalated = False
    if cell.kin.leaving is not None:
        cell.order(LEAVE)
    _started(cell)
    for child in cell.kin.children:
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
    if cell.kin.group is not None:
        cell.kin.group.revived(cell)
    elif not cell.restart_due:  # a child's failure may have come up meanwhile
        cell.recovered()


async def _retire(cell: Cell) -> None:
    """The old instance leaves."""
    kin = cell.kin
    kin.overdue = None
    actor = cell.actor
    try:
        if cell.spec.restarting_hook:
            try:
                await bounded(cell, "restarting", actor.restarting(_cause(cell)), actor.start_timeout)
            except Exception:
                _log.exception("restarting() of %s failed; it is restarted all the same", cell.path)
        if not actor.keep_children:
            await stop_children(cell, _CHILDREN_GRACE)
    finally:
        kin.cancel_timers()  # those that the hook set
        if kin.stash is not None:
            put_back(cell, len(kin.stash))
        kin.leaving = None  # it does
        if LEAVE in kin.orders:
            kin.orders.remove(LEAVE)
        if kin.group is not None:
            kin.group.retired(cell)


async def _revive(cell: Cell) -> None:
    """The new instance starts."""
    kin = cell.kin
    if kin.group is not None:
        kin.restarts.total += 1
    try:
        cell.spec = cell.spec.behaving(None)
        cell.actor = cell.spec.create(cell)
        if cell.spec.started_hook:
            await bounded(cell, "started", cell.actor.started(), cell.actor.start_timeout)
    except Exception as error:
        fail(cell, error)
        return
    if cell.dispatcher.life is not None:
        cell.dispatcher.life.tell("restarted", cell, cell.spec.cls)
    _restart_kept(cell, _cause(cell))
    _started(cell)


def _restart_kept(cell: Cell, cause: BaseException) -> None:
    """Restarts the children that outlived the restart of `cell` and whose failures had come up to it."""
    kin = cell.kin
    strategy = cell.actor.supervision.strategy
    if kin.brood is not None:
        kin.brood.restarts.recent.clear()  # a new supervisor counts from the start, as in OTP
    for child in list(kin.children):
        if not child.kin.escalated:
            continue
        child.kin.escalated = False
        child.kin.restarts.recent.clear()
        if child.spec.kind is ChildKind.TEMPORARY:
            _give_up(child, cause)
        elif strategy is Strategy.ONE_FOR_ONE:
            _restart_after(child, 0.0, cause)
        else:
            brood_of(cell).restart(concerned(cell, child, strategy), cause, 0.0)


def _cause(cell: Cell) -> BaseException:
    return cell.kin.cause or ActorError("restart")
