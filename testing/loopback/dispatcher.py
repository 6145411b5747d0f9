"""From a call that arrived to its answer: wrappers off, fate decided, service asked, all of it recorded.

Calls run in the order they arrived, at once or when their latency has passed, and always to the end: a client
that went away in the meantime has still sent its message. Whatever a service does, the call gets an answer,
unless the plan wants none.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from telethon.tl import functions
from telethon.tl.tlobject import TLRequest

from telestage.testing.loopback.connection import Arrival
from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.plan import Fate, Plan
from telestage.testing.loopback.record import OpenCall, Record
from telestage.testing.loopback.routing import Answer, Caller, Route
from telestage.testing.loopback.session import Session
from telestage.testing.loopback.tl import encode, method_name

_log = logging.getLogger("telestage.testing.loopback")


@dataclass(slots=True, eq=False)
class _Running:
    """A call between its arrival and its answer."""

    session: Session
    message_id: int
    request: TLRequest
    wants_updates: bool
    after: list[int]
    entry: OpenCall
    followers: list["_Running"] = field(default_factory=list)
    """Calls that were sent with invokeAfterMsg naming this one."""


@dataclass(frozen=True, slots=True)
class _Handler:
    run: Callable[[Caller, TLRequest], Answer]
    open: bool


class Dispatcher:
    """Runs the calls of all sessions.

    Args:
        services: Objects with `@answers` methods; no two answer the same request.
        plan: The faults to come.
        record: Where calls are written down.
    """

    def __init__(self, services: Iterable[object], plan: Plan, record: Record) -> None:
        self._plan = plan
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[type[TLRequest], _Handler] = {}
        for service in services:
            self._register(service)
        self._running: dict[tuple[Session, int], _Running] = {}
        self._timers: dict[_Running, asyncio.TimerHandle] = {}

    def received(self, arrivals: list[Arrival]) -> None:
        """Take on calls that arrived at the same moment; all are in flight before the first is run."""
        for call in [self._take_on(*arrival) for arrival in arrivals]:
            self._start_in_turn(call)

    def abandon(self, session: Session) -> None:
        """The connection of `session` is gone: its calls still run, but nobody hears the answers."""
        for call in self._running.values():
            if call.session is session:
                self._record.close(call.entry, "disconnected")

    def close(self) -> None:
        """Forget every call that waits for its latency to pass."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._running.clear()

    def _register(self, service: object) -> None:
        for route in vars(type(service)).values():
            if isinstance(route, Route):
                assert route.request not in self._handlers, f"two services answer {route.request.__name__}"
                self._handlers[route.request] = _Handler(route.function.__get__(service), route.open)

    def _take_on(self, session: Session, message_id: int, request: TLRequest) -> _Running:
        wants_updates, after = True, list[int]()
        while True:
            match request:
                case functions.InvokeWithLayerRequest() | functions.InitConnectionRequest():
                    pass
                case functions.InvokeWithoutUpdatesRequest():
                    wants_updates = False
                case functions.InvokeAfterMsgRequest():
                    after.append(request.msg_id)
                case functions.InvokeAfterMsgsRequest():
                    after.extend(request.msg_ids)
                case _:
                    break
            request = request.query
        user = session.device.user
        entry = self._record.open(user.id if user else None, session.device.id, method_name(type(request)))
        call = _Running(session, message_id, request, wants_updates, after, entry)
        self._running[session, message_id] = call
        return call

    def _start_in_turn(self, call: _Running) -> None:
        """Start a call, or line it up behind one it is to follow."""
        for message_id in call.after:
            before = self._running.get((call.session, message_id))
            if before is not None:
                before.followers.append(call)
                return
        self._start(call)

    def _start(self, call: _Running) -> None:
        user_id, device_id = call.entry.user_id, call.session.device.id
        caller = user_id if user_id is not None else device_id
        fate = self._plan.fate(caller, user_id, call.entry.method, self._record.clock())
        if fate.delay or not fate.answered:
            call.session.acknowledge(call.message_id)
        if fate.delay:
            self._timers[call] = self._loop.call_later(fate.delay, self._finish, call, fate)
        else:
            self._finish(call, fate)

    def _finish(self, call: _Running, fate: Fate) -> None:
        self._timers.pop(call, None)
        outcome = "unanswered"
        try:
            if fate.refusal is not None:
                raise fate.refusal
            if fate.executed:
                result = self._execute(call)
                if fate.answered:
                    call.session.answer(call.message_id, result)
                    outcome = "ok"
        except RpcRefusal as refusal:
            outcome = refusal.message
            if refusal.code == 420:
                self._record.floods += 1
            if fate.answered:
                call.session.refuse(call.message_id, refusal)
        self._record.close(call.entry, outcome, early=fate.early)
        self._running.pop((call.session, call.message_id), None)
        for follower in call.followers:
            self._start_in_turn(follower)

    def _execute(self, call: _Running) -> bytes:
        handler = self._handlers.get(type(call.request))
        if handler is None:
            _log.warning("%s is not served by the loopback server", call.entry.method)
            raise RpcRefusal(400, "METHOD_INVALID")
        caller = Caller(call.session)
        refusal = call.session.device.refusal
        if refusal is not None and (not handler.open or refusal.code == 406):
            raise refusal
        if not handler.open and caller.user and call.wants_updates:
            call.session.listen()
        try:
            return encode(handler.run(caller, call.request))
        except RpcRefusal:
            raise
        except Exception as error:  # a client must not wait for ever because this server is wrong
            _log.exception("%s failed in the loopback server", call.entry.method)
            raise RpcRefusal(400, "LOOPBACK_SERVER_ERROR") from error
