"""The hot loop: what a worker does with the cells it is given.

Written out in one piece, because an `async` call a message costs as much as all of the rest. Invariants:
- At most `throughput` messages of a cell, then the next cell has its turn; `TURN` messages, then the loop.
- Statistics cost two looks at the clock a batch, not a message.
- What a handler raises goes to its supervisor; only what ends the program goes further.
"""

from __future__ import annotations

import types
from asyncio import CancelledError
from collections.abc import Generator
from itertools import islice
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import NO_REPLY, Ask
from telestage.actors.kernel.envelope import Envelope
from telestage.actors.kernel.errors import ActorKilled, ActorStopped
from telestage.actors.kernel.flags import CLOSED, PARKED, SIGNALLED, WATCHED
from telestage.actors.kernel.lifecycle import attend

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.lanes import Lanes
    from telestage.actors.kernel.worker import Worker

__all__ = ["AT_REST", "TURN", "work"]

AT_REST = object()
"""What a worker's coroutine yields when it has nothing to do, and no answer to give."""

TURN = 512
"""Messages a turn of the event loop, and asks and messages that a worker runs at once before the loop has one: about
0.1 ms of handlers that do nothing."""

_HELD = 1024  # messages, a power of two: so many may be kept that have been handled


@types.coroutine
def work(dispatcher: Dispatcher, worker: Worker) -> Generator[Any, Any, None]:
    """The life of a worker's coroutine: waits for work, does it, waits again.

    A generator, because it then waits by a mere `yield`: what is sent is an ask of an idle cell, to be run at once, or
    None for the run queue, or a tuple of one cell, to process a batch of that one; what is yielded is the answer of
    that ask, or `AT_REST` if it isn't answered, or by others, too. An `async def` would make an object to await each
    time (80 ns). `types.coroutine` lets it `yield from` coroutines, which mypy doesn't know.
    """
    ready = dispatcher.ready
    throughput = dispatcher.throughput
    too_long = dispatcher.hogs.limit
    clock = perf_counter
    spare: list[object] = []  # the inbox of who is asked: made anew only if it was put to use
    left_of_asks = TURN
    # of the last message that was alone in its mailbox, as most are alike: its class, its actor's spec, their handler
    lone_kind: Any = None
    lone_spec: Any = None
    lone_handler: Any = None
    lone_async = False
    result: Any
    handler: Any
    answer: Any = AT_REST
    while True:
        ask = yield answer
        if type(ask) is Ask:
            cell = worker.cell = ask.target
            cell.current = ask
            cell.inbox = spare  # no longer idle
            worker.began = began = clock()
            try:
                message = ask.message
                answer = cell.spec.handlers[type(message)](cell.actor, message)
                if type(answer) is CoroutineType:
                    answer = yield from answer  # type: ignore[misc]  # see above
                if ask.future is not None or answer is NO_REPLY:
                    _answered(cell, ask, answer)
                    answer = AT_REST
            except BaseException as error:
                _raised(dispatcher, worker, cell, ask, error)
                answer = AT_REST
            cell.current = None
            cell.processed += 1
            if worker.detached:  # its time has been counted step by step
                cell.worker = None
            else:
                elapsed = clock() - began
                cell.busy += elapsed
                if elapsed > too_long:
                    dispatcher.hogs.note(cell, elapsed, True, ask)
            if cell.inbox or cell.flags or cell.backlog is not None:
                spare = []  # the cell may keep it
                _leave(dispatcher, worker, cell)
                if worker.interrupted:
                    return
                if ready and not dispatcher.armed:
                    dispatcher.arm()
            else:
                cell.inbox = None
                if spare:  # put to use, and replaced
                    spare = []
            left_of_asks -= 1
            if left_of_asks <= 0:
                left_of_asks = TURN
                dispatcher.defer_asks()
            continue
        answer = AT_REST
        left_of_turn = TURN if ask is None else 1
        now = clock()
        for cell in ready.taking if ask is None else ask:
            worker.cell = cell
            worker.began = began = now
            batch: Any = cell.inbox
            item: Any  # a message, an Envelope or an Ask: told apart by class, which is quicker than isinstance
            if (  # the longer branch first, so that these jump near: docs/decisions/0017
                len(batch) != 1
                or cell.flags
                or cell.rest is not None
                or (
                    (type(batch[0]) is not lone_kind or cell.spec is not lone_spec)
                    and ((kind := type(batch[0])) is Ask or kind is Envelope or (lone_async := False))
                )
            ):
                done = 0
                rest: Any = None  # what of the batch is still to be taken
                lanes: Lanes | None = None
                mail: Any = None  # what is taken in this turn
                if cell.flags:
                    if cell.family is not None and cell.family.orders:
                        yield from attend(cell, worker).__await__()
                    mail = () if worker.interrupted else cell.select()
                if mail is None:
                    if cell.backlog is not None:
                        lanes = cell.backlog.lanes
                    if lanes is not None:
                        done = -lanes.taken
                        mail = lanes.take(throughput)
                    else:
                        rest = cell.rest
                        if rest is None:
                            batch = cell.inbox  # a new list, perhaps
                            done = len(batch)
                            cell.inbox = []
                            cell.rest = mail = rest = iter(batch)
                            limit = cell.spec.limit
                            if limit is not None and not cell.flags & CLOSED:  # else the limit is 0
                                cell.limit = limit - done
                        else:
                            mail = rest
                            done = rest.__length_hint__()
                        if done > throughput:
                            mail = islice(mail, throughput)
                handlers = cell.spec.handlers
                actor = cell.actor
                item = None
                # the class of the last message whose handler is `async`, and of the last one whose handler isn't:
                # most messages are alike, and need no look-up
                plain: Any = None
                handler = None
                direct: Any = None
                handle: Any = None
                while True:
                    try:  # around the loop, as one in it would cost each message a step
                        for item in mail:
                            cell.current = item
                            if type(item) is plain:
                                yield from handler(actor, item)
                                if cell.flags:
                                    break
                                continue  # a short jump: the one from below is two steps more
                            if (kind := type(item)) is direct:
                                result = handle(actor, item)
                                if type(result) is CoroutineType:
                                    yield from result  # type: ignore[misc]  # see above
                            elif kind is Ask:
                                if item.settled:
                                    cell.dropped_ask()
                                    continue  # its asker gave up: never executed
                                item.begun = True
                                result = handlers[type(item.message)](actor, item.message)
                                if type(result) is CoroutineType:
                                    result = yield from result  # type: ignore[misc]  # see above
                                if (
                                    result is not NO_REPLY
                                    and item is cell.current
                                    and not item.settled
                                    and not (future := item.future).done()
                                ):
                                    item.settled = True  # as `Ask.answer`, without the call
                                    future.set_result(result)
                                else:
                                    _answered(cell, item, result)
                            else:
                                if kind is Envelope:
                                    result = handlers[type(item.message)](actor, item.message)
                                else:
                                    found = handlers[kind]
                                    if kind in handlers.coroutines:
                                        plain = kind
                                        handler = found
                                    else:
                                        direct = kind
                                        handle = found
                                    result = found(actor, item)
                                if type(result) is CoroutineType:
                                    yield from result  # type: ignore[misc]  # see above
                            if cell.flags:
                                break
                        break
                    except BaseException as error:
                        _raised(dispatcher, worker, cell, item, error)
                        if cell.flags:
                            break
                if rest is not None:
                    if cell.rest is rest:
                        left = rest.__length_hint__()
                        done -= left
                        if not left:
                            cell.rest = None
                        elif (left ^ (left + done)) >= _HELD:
                            _let_go(rest, done)
                elif lanes is not None:
                    done += lanes.taken
            else:
                # a message alone, as in a ring: the list is kept for what comes meanwhile, and there is nothing to
                # go on with. Lanes leave the inbox empty.
                item = cell.current = batch.pop()
                try:
                    if lone_async:
                        yield from lone_handler(cell.actor, item)
                    else:
                        if (kind := type(item)) is not lone_kind or cell.spec is not lone_spec:
                            handlers = cell.spec.handlers
                            lone_handler = handlers[kind]
                            lone_async = kind in handlers.coroutines
                            lone_kind, lone_spec = kind, cell.spec
                        result = lone_handler(cell.actor, item)
                        if type(result) is CoroutineType:
                            yield from result  # type: ignore[misc]  # see above
                except BaseException as error:
                    _raised(dispatcher, worker, cell, item, error)
                if not worker.detached:
                    now = clock()
                    elapsed = now - began
                    if elapsed <= too_long and not cell.flags and cell.backlog is None and left_of_turn > 1:
                        # as below, where nothing is to be looked at
                        cell.current = None
                        cell.processed += 1
                        cell.busy += elapsed
                        if cell.inbox:
                            ready.append(cell)
                        else:
                            cell.inbox = None
                        left_of_turn -= 1
                        continue
                done = 1
            cell.current = None
            now = clock()
            elapsed = now - began
            cell.processed += done
            detached = worker.detached
            if detached:  # its time has been counted step by step
                cell.worker = None
            else:
                cell.busy += elapsed
                if elapsed > too_long and done:
                    dispatcher.hogs.note(cell, elapsed, done == 1, item)
            left_of_turn -= done or 1
            if cell.flags or cell.backlog is not None:
                _leave(dispatcher, worker, cell)
                if worker.interrupted:
                    return
            elif cell.inbox or cell.rest is not None:
                ready.append(cell)
            else:
                cell.inbox = None
            if detached:
                if ready and not dispatcher.armed:
                    dispatcher.arm()
                break
            if left_of_turn <= 0:
                if ready.trim() and not dispatcher.armed:
                    dispatcher.arm()
                break
        else:
            ready.renew()
        if ask is not None:
            left_of_asks += left_of_turn - 1
            if left_of_asks <= 0:
                left_of_asks = TURN
                dispatcher.defer_asks()


def _let_go(rest: Any, done: int) -> None:
    """Takes what has been handled out of a long batch: as long as the list is there it would keep it all.

    Letting go of 200,000 messages at the end took 4 ms, with the loop waiting.
    """
    _, (batch,), at = rest.__reduce__()
    first = max(0, at - done - _HELD)  # what came before has been taken out
    batch[first:at] = [None] * (at - first)


def _leave(dispatcher: Dispatcher, worker: Worker, cell: Cell) -> None:
    """Where a cell goes after its turn: to the run queue, aside, or to rest."""
    cell.tidy()
    if cell.flags & WATCHED:
        dispatcher.hogs.watched(cell)
    if cell.flags:
        _end_turn(dispatcher, worker, cell)
    elif cell.held():
        dispatcher.ready.append(cell)
    else:
        cell.inbox = None


def _end_turn(dispatcher: Dispatcher, worker: Worker, cell: Cell) -> None:
    """Where a cell goes after its turn, if its system lane or its flags want attention."""
    reason, worker.interruption = worker.interruption, None
    if isinstance(reason, ActorKilled):
        cell.failed(None, reason)  # the handler swallowed its cancellation and ended well
    if cell.final:
        return
    waiting = bool(cell.held())
    if cell.wants_turn(waiting):
        dispatcher.ready.append(cell)
    elif waiting:
        cell.flags |= PARKED
    else:
        cell.inbox = None


def _answered(cell: Cell, ask: Ask, result: object) -> None:
    """The handler of an ask that others know of has returned `result`."""
    if result is NO_REPLY:
        cell.owe(ask)
    elif cell.current is not ask:  # it has been handed on or put aside
        if result is not None:
            cell.late(ask, result)
    elif not ask.answer(result):
        cell.late(ask, result)


def _raised(dispatcher: Dispatcher, worker: Worker, cell: Cell, item: object, error: BaseException) -> None:
    """A handler raised: its supervisor's business, but for what ends the program."""
    if cell.current is not item:
        item = None  # it has been handed on or put aside
    if isinstance(error, CancelledError):
        _cancelled(dispatcher, worker, cell, item)
    elif isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    else:
        cell.failed(item, error)


def _cancelled(dispatcher: Dispatcher, worker: Worker, cell: Cell, item: object) -> None:
    """A handler ended by CancelledError."""
    if worker.interrupted:
        reason, worker.interruption = worker.interruption, None
        if isinstance(reason, ActorKilled):
            cell.failed(item, reason)
        elif isinstance(item, Ask):
            item.fail(cell.gone())
    elif worker.detached and worker.task.cancelling():
        worker.interrupted = True
        cell.flags |= SIGNALLED
        if not dispatcher.ends():
            cell.failed(item, ActorKilled(cell.path, "its task was cancelled from outside"))
        elif isinstance(item, Ask):
            item.fail(ActorStopped(cell.path))
    else:
        cell.failed(item, ActorKilled(cell.path, "what its handler waited for was cancelled"))
