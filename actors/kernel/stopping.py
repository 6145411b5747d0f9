"""How a cell stops.

Invariants:
- Children end first, then the `stopped` hook runs, then everything that waits is settled: no ask is left
  waiting, each watcher is told once, no timer is left.
- Each step has a deadline. What resists is left behind, named in a WARNING.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import bare, sender_of
from telestage.actors.kernel.errors import ActorStopped
from telestage.actors.kernel.flags import CLOSED, FINAL, SIGNALLED
from telestage.actors.kernel.hooks import bounded
from telestage.actors.kernel.interrupting import interrupt
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.steps import STOP, Notice

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Terminated", "end", "finish", "out_of_grace", "settle", "stop", "stop_children", "vanish"]

_log = logging.getLogger("telestage.supervision")

_ENDED = FINAL | CLOSED | SIGNALLED
_NO_MAIL: list[object] = []  # the inbox of who has vanished: none is ever put in

_CHILDREN_PATIENCE = 12.0  # seconds beyond the grace that children get to stop: cancelled, abandoned, hook


class Terminated(Notice, frozen=True):
    """Told by the system lane to who watches `ref`, exactly once: it has stopped, with `error` if any."""

    ref: Ref
    error: Exception | None


def stop(cell: Cell, error: Exception | None, *, drain: bool = False, grace: float = 5.0) -> None:
    """`Ref.stop`; asks that wait or come later fail with `error` instead of `ActorStopped`."""
    if vanish(cell):
        if error is not None:
            cell.kin.stop_error = error
        return
    if cell.final:
        return
    kin = cell.kin
    loop = cell.dispatcher.loop
    if not cell.closed:
        cell.flags |= CLOSED
        cell.limit = 0
        kin.stop_error = error
        kin.draining = drain and not cell.restart_due  # nothing is restarted for the sake of a drain
        kin.deadline = loop.time() + grace
        kin.grace = loop.call_at(kin.deadline, out_of_grace, cell)
        cell.make_room()
    elif kin.grace is not None:
        kin.draining = kin.draining and drain
        kin.deadline = min(kin.deadline, loop.time() + grace)
        kin.grace.cancel()
        kin.grace = loop.call_at(kin.deadline, out_of_grace, cell)
    cell.flags |= SIGNALLED
    if kin.draining:
        cell.schedule()
    else:
        cell.order(STOP)
    if grace <= 0:
        out_of_grace(cell)


def vanish(cell: Cell) -> bool:
    """Stops an actor that has nothing to do, nobody to tell of its end and no hook at once, without a turn.

    Returns:
        False, and nothing is done, if it has any of that, or is still being made.
    """
    if cell.inbox is not None or cell.family is not None or cell.flags or cell.actor is None or cell.spec.stopped_hook:
        return False
    cell.flags = _ENDED
    if cell.dispatcher.life is not None:
        cell.dispatcher.life.tell("stopped", cell, cell.spec.cls)
    cell.limit = 0
    cell.inbox = _NO_MAIL
    cell.actor = None
    parent = cell.parent
    if parent is not None and parent.family is not None:
        parent.family.children.remove(cell)
    return True


def out_of_grace(cell: Cell) -> None:
    """The grace of a stop is over: the running handler is cancelled, the mailbox not drained further."""
    kin = cell.kin
    if kin.stopping:
        return
    if kin.draining:
        kin.draining = False
        cell.order(STOP)
    error = ActorStopped(cell.path)
    if cell.worker is not None:
        interrupt(cell, error)
    else:
        kin.overdue = error


async def end(cell: Cell) -> None:
    """Does the stop itself: children, hook, and the rest. Never raises but for a cancellation."""
    kin = cell.kin
    grace = max(0.0, kin.deadline - cell.dispatcher.loop.time())
    kin.stopping = True
    try:
        await stop_children(cell, grace)
        if cell.spec.stopped_hook:
            await bounded(cell, "stopped", cell.actor.stopped(), cell.actor.stop_timeout)
    except Exception:
        _log.exception("stopped() of %s failed; it is stopped all the same", cell.path)
    finally:
        finish(cell)


async def stop_children(cell: Cell, grace: float) -> None:
    """Stops the children, the youngest first to be told, and waits for all."""
    children = list(cell.kin.children)
    if not children:
        return
    waiters: list[asyncio.Future[None]] = []
    for child in reversed(children):
        waiter: asyncio.Future[None] = cell.dispatcher.loop.create_future()
        child.kin.stop_waiters.append(waiter)
        waiters.append(waiter)
        stop(child, None, grace=grace)
    await asyncio.wait(waiters, timeout=grace + _CHILDREN_PATIENCE)
    for child in children:
        if not child.final:
            _log.warning("%s did not stop within its deadline; given up on", child.path)
            finish(child, given_up=True)


def finish(cell: Cell, *, given_up: bool = False) -> None:
    """The end: everything that waited for the cell is told, and nothing of it is left running."""
    if cell.final:
        return
    kin = cell.kin
    for child in list(kin.children):
        finish(child, given_up=True)
    cell.flags |= _ENDED
    cell.limit = 0
    kin.cancel_all()
    kin.orders.clear()
    error = cell.gone()
    if given_up and cell.worker is not None:
        item, worker = cell.current, cell.worker
        worker.abandon()
        worker.task.cancel()
        cell.worker = cell.current = None
        if isinstance(item, Ask):
            item.fail(error)
    stashed = [] if kin.stash is None else [item for item, _ in kin.stash.take(len(kin.stash))]
    left = [*(kin.control or ()), *stashed, *cell.leftovers()]
    kin.control = None
    for item in left:
        if isinstance(item, Ask):
            item.fail(error)
        elif not isinstance(bare(item), Notice):
            cell.dispatcher.dead_letters.add(bare(item), sender_of(item), cell, str(error))
    settle(cell, error)
    cell.make_room()
    for watched in kin.watching:
        watched.kin.watchers.pop(cell, None)
    for watcher in kin.watchers:
        watcher.kin.watching.pop(cell, None)
        watcher.signal(Terminated(cell, kin.stop_error))
    if cell.parent is not None:
        cell.parent.kin.children.remove(cell)
    if kin.group is not None:
        kin.group.gone(cell)
    for waiter in kin.stop_waiters:
        waiter.set_result(None)
    kin.watchers.clear()
    kin.watching.clear()
    kin.stop_waiters.clear()
    if cell.dispatcher.life is not None and cell.actor is not None and cell.parent is not None:
        cell.dispatcher.life.tell("stopped", cell, cell.spec.cls)
    cell.actor = None  # the cell outlives it in refs; without this they would keep each other alive


def settle(cell: Cell, error: Exception) -> None:
    """Fails the asks whose answers the instance still owes."""
    owed = list(cell.kin.owed)
    cell.kin.owed.clear()
    for ask in owed:
        ask.fail(error)
