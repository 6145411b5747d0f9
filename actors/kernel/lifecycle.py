"""How a cell starts, fails, restarts and stops.

Invariants:
- The steps of a lifecycle run in the cell's own turns, in order, ahead of its mail. The decision about
  a failure is made at once and needs no turn of the supervisor, so a busy supervisor delays nobody.
- A restart keeps the mailbox; what the old instance still owed an answer is failed at once.
- A stop ends children first and settles everything: no ask is left waiting, each watcher is told once.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import msgspec

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.errors import ActorError, ActorKilled, ActorRestarted, ActorStopped, StartTimeout
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.supervision import Directive

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.worker import Worker

__all__ = ["RESTART", "START", "STOP", "ChildFailed", "Failed", "Order", "Terminated", "attend", "decide"]

_log = logging.getLogger("telestage.supervision")

_HOOK_PATIENCE = 1.0  # seconds a cancelled hook gets to end
_CHILDREN_PATIENCE = 12.0  # seconds beyond the grace that children get to stop: cancelled, abandoned, hook


class Terminated(msgspec.Struct, frozen=True):
    """Told by the system lane to who watches `ref`, exactly once: it has stopped, with `error` if any."""

    ref: Ref
    error: Exception | None


class ChildFailed(msgspec.Struct, frozen=True):
    """Told by the system lane to a supervisor that handles it: `ref` failed with `error`, answered by `directive`."""

    ref: Ref
    error: BaseException
    directive: Directive


class Step(enum.Enum):
    """A step of the lifecycle, to be done in a turn of the cell."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"


START, RESTART, STOP = Step.START, Step.RESTART, Step.STOP


class Failed(msgspec.Struct, frozen=True):
    """A failure that came from outside while the cell was idle."""

    error: BaseException


Order = Step | Failed


async def attend(cell: Cell, worker: Worker) -> None:
    """Does the queued steps. Never raises; a step that is interrupted ends the worker's use of the cell."""
    orders = cell.kin.orders
    while orders and not cell.final:
        order = orders.popleft()
        try:
            if order is STOP:
                await _stop(cell)
            elif cell.closed:
                continue
            elif order is START:
                await _start(cell)
            elif order is RESTART:
                await _restart(cell)
            elif isinstance(order, Failed):
                cell.failed(None, order.error)
        except asyncio.CancelledError:
            if worker.abandoned:
                return
            if isinstance(worker.interruption, ActorKilled):
                cell.failed(None, worker.interruption)
            elif not worker.interrupted:  # by the end of the loop
                worker.interrupted = True
        if worker.interrupted or worker.abandoned:
            return


def decide(cell: Cell, error: BaseException) -> None:
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
        cell.recovered()
        for child in kin.children.values():
            if child.kin.escalated:
                child.kin.escalated = False
                child.recovered()
    elif directive is Directive.RESTART:
        cell.restart_after(decision.delay, error)
    elif directive is Directive.STOP:
        stopped = ActorStopped(cell.path)
        stopped.__cause__ = error
        cell.stop_with(stopped, grace=0.0)
    else:
        kin.escalated = True
        parent.failed(None, error)


async def _start(cell: Cell) -> None:
    try:
        await bounded(cell, "started", cell.actor.started(), cell.actor.start_timeout)
    except Exception as error:
        cell.failed(None, error)
    else:
        cell.recovered()


async def _restart(cell: Cell) -> None:
    kin = cell.kin
    actor = cell.actor
    cause = kin.cause or ActorError("restart")
    kin.cancel_timers()
    _settle(list(kin.owed), _caused(ActorRestarted(cell.path), cause))
    kin.owed.clear()
    if cell.spec.restarting_hook:
        try:
            await bounded(cell, "restarting", actor.restarting(cause), actor.start_timeout)
        except Exception:
            _log.exception("restarting() of %s failed; it is restarted all the same", cell.path)
    if not actor.keep_children:
        await _stop_children(cell, 5.0)
    try:
        cell.actor = cell.spec.create(cell)
        if cell.spec.started_hook:
            await bounded(cell, "started", cell.actor.started(), cell.actor.start_timeout)
    except Exception as error:
        cell.failed(None, error)
        return
    for child in list(kin.children.values()):
        if child.kin.escalated:
            child.kin.escalated = False
            child.restart_after(0.0, cause)
    cell.recovered()


async def _stop(cell: Cell) -> None:
    kin = cell.kin
    if kin.stopping:
        return
    grace = 0.0
    if kin.grace is not None:
        grace = max(0.0, kin.grace.when() - cell.dispatcher.loop.time())
    kin.stopping = True
    try:
        await _stop_children(cell, grace)
        if cell.spec.stopped_hook:
            await bounded(cell, "stopped", cell.actor.stopped(), cell.actor.stop_timeout)
    except Exception:
        _log.exception("stopped() of %s failed; it is stopped all the same", cell.path)
    finally:
        _finish(cell)


async def _stop_children(cell: Cell, grace: float) -> None:
    """Stops the children, the youngest first to be told, and waits for all."""
    children = list(cell.kin.children.values())
    if not children:
        return
    waiters: list[asyncio.Future[None]] = []
    for child in reversed(children):
        waiter: asyncio.Future[None] = cell.dispatcher.loop.create_future()
        child.kin.stop_waiters.append(waiter)
        waiters.append(waiter)
        child.stop_with(None, grace=grace)
    await asyncio.wait(waiters, timeout=grace + _CHILDREN_PATIENCE)
    for child in children:
        if not child.final:
            _log.warning("%s did not stop within its deadline; given up on", child.path)
            _finish(child)


def _finish(cell: Cell) -> None:
    """The end: everything that waited for the cell is told, and nothing of it is left running."""
    if cell.final:
        return
    kin = cell.kin
    for child in list(kin.children.values()):
        _finish(child)
    cell.final = cell.closed = cell.signalled = True
    cell.limit = 0
    kin.cancel_all()
    kin.orders.clear()
    error = cell.gone()
    for item in cell.leftovers():
        if isinstance(item, Ask):
            item.fail(error)
        else:
            message = getattr(item, "message", item) if type(item).__name__ == "Envelope" else item
            cell.dispatcher.dead_letters.add(message, getattr(item, "sender", None), cell, str(error))
    _settle(list(kin.owed), error)
    kin.owed.clear()
    cell.make_room()
    for watched in kin.watching:
        watched.kin.watchers.pop(cell, None)
    for watcher in kin.watchers:
        watcher.kin.watching.pop(cell, None)
        watcher.signal(Terminated(cell, kin.stop_error))
    if cell.parent is not None:
        cell.parent.kin.children.pop(cell.name, None)
    for waiter in kin.stop_waiters:
        if not waiter.done():
            waiter.set_result(None)
    kin.watchers.clear()
    kin.watching.clear()
    kin.stop_waiters.clear()
    cell.actor = None  # the cell outlives it in refs; without this they would keep each other alive


def _settle(asks: list[Ask], error: Exception) -> None:
    for ask in asks:
        ask.fail(error)


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


async def bounded(cell: Cell, hook: str, coroutine: Coroutine[object, object, None], seconds: float) -> None:
    """Runs a hook in a Task of its own for up to `seconds`; one that resists its end is left behind, named.

    Raises:
        StartTimeout: The hook did not end in time.
        Exception: Whatever the hook raised.
    """
    task = cell.dispatcher.tasks.spawn(coroutine, type=hook, owner=cell.path)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()
            return
    except asyncio.CancelledError:
        if task.done():
            raise
        task.cancel()
        await asyncio.wait({task}, timeout=_HOOK_PATIENCE)
        raise
    task.cancel()
    await asyncio.wait({task}, timeout=_HOOK_PATIENCE)
    if not task.done():
        _log.warning("%s() of %s resists cancellation; left behind", hook, cell.path)
        cell.dispatcher.tasks.forget(task)
    raise StartTimeout(cell.path, hook, seconds)
