"""A whole fleet in virtual time against a plain model: every rule of the queue and of the permits, after every step.

All of it is the real thing, Telethon's client included, but for the wire: `Wire` stands where Telethon's MTProto sender
does, and answers at once or never. What the fleet does on real sockets is in tests/integration.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from telethon.sessions import StringSession
from telethon.tl import types

from telestage.actors import (
    Fleet,
    Limits,
    MailboxFull,
    OperationTimeout,
    PermitTimeout,
    QueueWaitTimeout,
    ReplyLost,
    SessionDead,
)
from telestage.actors.kernel.lanes import AGEING
from telestage.actors.telegram import session as session_module
from telestage.actors.telegram.asking import AnyOperation
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.operating import Operating
from telestage.actors.testkit import VirtualTimeLoop
from telestage.messages import Kind, SessionState

SESSIONS = ("a", "b", "c")
KINDS = (Kind.SCRAPING, Kind.SENDING, Kind.SCRAPING, Kind.OTHER, Kind.MONITORING)
QUEUE, QUEUE_SECONDS, PERMIT_SECONDS = 10, 40.0, 6.0
SECONDS = (2.0, 9.0, 30.0)  # the timeouts of operations
ASKERS_OWN = 1.0  # seconds by which who waits for a permit ends the wait itself, should the manager not do it
SLACK = 0.05  # seconds by which a deadline may be late, of virtual ones
INSTANT = 0.001

T = TypeVar("T")


class Wire:
    """Answers whatever is asked with the user himself; nothing once it is cut, and nothing to who wants no answer."""

    _user_connected = False  # so says the look whether connections are alive: silence is the model's own matter here

    def __init__(self) -> None:
        self.user_connected = False
        self.disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.silent = False

    def send(self, request: object, ordered: bool = False) -> "asyncio.Future[object]":
        answer = asyncio.get_running_loop().create_future()
        if not self.silent:
            answer.set_result([types.User(id=1, is_self=True, access_hash=1)])
        return answer


class WiredClient(SessionClient):
    """The real client on such a wire."""

    async def connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = Wire()
        self._sender.user_connected = True

    def is_connected(self) -> bool:
        return isinstance(self._sender, Wire) and self._sender.user_connected

    async def disconnect(self) -> None:
        if isinstance(self._sender, Wire):
            self._sender.user_connected = False
            if not self._sender.disconnected.done():
                self._sender.disconnected.set_result(None)


class Op:
    """One operation, as the model knows it."""

    def __init__(self, number: int, session: "Line", kind: Kind, priority: int, seconds: float, hangs: bool) -> None:
        self.number, self.session, self.kind, self.priority = number, session, kind, priority
        self.seconds, self.hangs = seconds, hangs
        self.gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queued = asyncio.get_running_loop().time()
        self.begun: float | None = None  # its turn, from when on it waits for a permit
        self.ran: float | None = None
        self.ended = self.cancelled = self.struck = False  # struck: its session failed while it was in hand
        self.id = ""
        self.ahead = 0  # older ones when it came, withdrawn ones included
        self.overtaken = 0
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"op{self.number}"


class Line:
    """The queue of one session, as a plain list."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[Op] = []
        self.current: Op | None = None
        self.taken_since_oldest = AGEING  # at least: messages taken since the longest-waiting one had its turn
        self.withdrawn = 0  # at most: what nobody waits for any more, and is still to be come across
        self.paused = self.removed = False

    def begin(self, op: Op) -> None:
        """R-Q1, R-Q3: one at a time; equals in order; the highest first, or in one of eight turns the oldest."""
        now = asyncio.get_running_loop().time()
        assert self.current is None, f"{op} beside {self.current}"
        assert op in self.waiting, f"{op} begins, and waits no more"
        assert not self.paused
        assert now < op.queued + QUEUE_SECONDS + SLACK
        assert op is next(each for each in self.waiting if each.priority == op.priority)
        self.taken_since_oldest += 1
        if op.priority < max(each.priority for each in self.waiting):
            assert op is self.waiting[0], f"{op} overtakes {self.waiting}"
            assert self.taken_since_oldest >= AGEING, f"the oldest one is taken after {self.taken_since_oldest}"
            self.taken_since_oldest = 0
        self.waiting.remove(op)
        for each in self.waiting:
            each.overtaken += 1
            assert each.overtaken <= AGEING * (each.ahead + 1), f"{each} is overtaken for ever"
        op.begun = now
        self.current = op

    def leave(self, op: Op) -> None:
        """It waits no more; the kernel may count it as taken when it comes across it."""
        self.waiting.remove(op)
        self.taken_since_oldest += 1
        self.withdrawn += 1


class FleetMachine(RuleBasedStateMachine):
    """R-Q1, R-Q2, R-Q3, R-Q4, R-Q5, R-Q8, R-G1, R-G2, R-G3, R-G5, R-D3: what must hold does, whatever happens."""

    ops = Bundle("ops")

    def __init__(self) -> None:
        super().__init__()
        self.log = logging.getLogger("telestage")
        self.level = self.log.level
        self.log.setLevel(logging.CRITICAL)  # failures on purpose
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.by_function: dict[object, Op] = {}
        self.all: list[Op] = []
        self.lines = {name: Line(name) for name in SESSIONS}
        self.wrongs: list[object] = []
        self.runner.get_loop().set_exception_handler(lambda _, context: self.wrongs.append(context))
        self.running: list[Op] = []
        self.stopping = False
        answer = Operating.run

        async def watched(runs: Operating, operation: AnyOperation, *rest: Any) -> object:
            op = self.by_function[operation.function]  # all are calls here
            op.id = runs._book.permit_id(operation.correlation_id)
            self.check(op.session.begin, op)
            try:
                return await answer(runs, operation, *rest)
            finally:
                if op.session.current is op:
                    op.session.current = None

        self.patches = [
            patch.object(session_module, "SessionClient", WiredClient),
            patch.object(Operating, "run", watched),
        ]
        for each in self.patches:
            each.start()

    def check(self, rule: Callable[[Op], None], op: Op) -> None:
        """In the fleet's own tasks an assertion would be an operation's failure like any other."""
        try:
            rule(op)
        except AssertionError as wrong:
            self.wrongs.append(wrong)

    def do(self, what: Coroutine[object, object, T]) -> T:
        """Does it, and lets everything happen that can, without letting time pass."""

        async def settle() -> T:
            result = await what
            await asyncio.sleep(INSTANT)
            return result

        return self.runner.run(settle())

    @initialize(total=st.integers(1, 3), scraping=st.integers(1, 2), drain=st.booleans())
    def start(self, total: int, scraping: int, drain: bool) -> None:
        self.drain = drain  # or stop in the middle of it all
        self.limits = Limits.unpaced(
            operations=total,
            scraping=scraping,
            queue=QUEUE,
            queue_timeout=QUEUE_SECONDS,
            permit_timeout=PERMIT_SECONDS,
            rpc_timeout=5.0,
        )
        self.fleet = Fleet(1, "hash", limits=self.limits)
        for name in SESSIONS:
            self.fleet.add(name, session=StringSession())
        self.do(self.fleet.start())

    @rule(
        target=ops,
        name=st.sampled_from(SESSIONS),
        kind=st.sampled_from(KINDS),
        priority=st.sampled_from([None, None, 0, 5, 30]),
        seconds=st.sampled_from(SECONDS),
        hangs=st.sampled_from([False, False, False, True]),
    )
    def ask(self, name: str, kind: Kind, priority: int | None, seconds: float, hangs: bool) -> Op:
        return self.do(self.one_more(self.lines[name], kind, priority, seconds, hangs))

    @rule(
        name=st.sampled_from(SESSIONS),
        kind=st.sampled_from([Kind.SCRAPING, Kind.OTHER]),
        priorities=st.lists(st.sampled_from([0, 0, 5]), min_size=2, max_size=QUEUE),
    )
    def ask_for_many(self, name: str, kind: Kind, priorities: list[int]) -> None:
        """None of which anybody will answer: they end by their own deadlines, or with their session."""
        for priority in priorities:
            self.do(self.one_more(self.lines[name], kind, priority, 2.0, False))

    @rule(name=st.sampled_from(SESSIONS), low=st.integers(0, 3), many=st.integers(AGEING, 4 * AGEING))
    def stream(self, name: str, low: int, many: int) -> None:
        """R-Q3: an endless stream of urgent ones, and what `begin` says of those that they overtake."""
        line = self.lines[name]
        for _ in range(low):
            self.do(self.one_more(line, Kind.OTHER, 0, 2.0, False))
        for _ in range(many):
            self.do(self.one_more(line, Kind.OTHER, 30, 9.0, False))
            if line.current is not None:
                self.do(self.tell(line.current, fails=False))

    async def one_more(self, line: Line, kind: Kind, priority: int | None, seconds: float, hangs: bool) -> Op:
        level = self.limits.priority(kind) if priority is None else priority
        op = Op(len(self.all), line, kind, level, seconds, hangs)
        self.all.append(op)
        op.task = asyncio.create_task(self.caller(op, priority))
        return op

    async def caller(self, op: Op, priority: int | None) -> None:
        line = op.session

        async def work(client: Any) -> int:
            op.ran = asyncio.get_running_loop().time()
            self.check(self.runs, op)
            try:
                if op.hangs:
                    client._sender.silent = True
                    await client.get_me()
                return await op.gate
            finally:
                if isinstance(client._sender, Wire):
                    client._sender.silent = False
                self.running.remove(op)

        self.by_function[work] = op
        full = len(line.waiting) >= QUEUE
        if not full:
            op.ahead = len(line.waiting) + line.withdrawn
            line.waiting.append(op)
        outcome: object
        try:
            outcome = await self.fleet[line.name].call(work, kind=op.kind, priority=priority, timeout=op.seconds)
        except (Exception, asyncio.CancelledError) as error:
            outcome = error
        op.ended = True
        if op in line.waiting:
            line.leave(op)
        try:
            self.judge(op, outcome, full)
        except AssertionError as wrong:
            self.wrongs.append(wrong)

    def runs(self, op: Op) -> None:
        """R-Q1, R-G1, R-G2: it has its turn, and a permit that came in time."""
        assert op.session.current is op
        assert op.begun is not None
        assert op.ran is not None
        assert op.ran <= op.begun + PERMIT_SECONDS + SLACK
        assert op.id in {holder.operation_id for holder in self.fleet.status().permits.holders}
        self.running.append(op)

    def judge(self, op: Op, outcome: object, full: bool) -> None:
        """Each caller hears once, in time, and what is so."""
        now = asyncio.get_running_loop().time()
        match outcome:
            case int():
                assert outcome == op.number
                assert op.gate.done()
            case MailboxFull():
                assert full, "refused without need"
                assert op.begun is None
            case asyncio.CancelledError():
                assert op.cancelled
            case QueueWaitTimeout():
                assert op.begun is None
                assert abs(now - op.queued - QUEUE_SECONDS) < SLACK
            case PermitTimeout():
                assert op.begun is not None
                assert op.ran is None
                # while the fleet stops, its manager takes no message of its timers: the asker's own deadline ends it
                late = ASKERS_OWN if self.stopping else 0.0
                assert -SLACK < now - op.begun - PERMIT_SECONDS < late + SLACK
            case OperationTimeout():
                assert op.ran is not None
                assert abs(now - op.ran - op.seconds) < SLACK
            case TimeoutError():  # of the one call
                assert op.hangs
                assert op.ran is not None
                assert abs(now - op.ran - self.limits.rpc_timeout) < SLACK
            case LookupError():
                assert op.gate.done()
            case ReplyLost():
                assert op.struck
            case SessionDead():
                assert op.session.removed or op.session.name not in self.fleet
            case _:
                raise AssertionError(f"{op} ended with {outcome!r}")
        assert not full or isinstance(outcome, MailboxFull), "taken in past the bound"

    @rule(op=consumes(ops), fails=st.booleans())
    def end(self, op: Op, fails: bool) -> None:
        self.do(self.tell(op, fails))
        assert op.ended or op.session.current is not op or op.ran is None or op.hangs

    async def tell(self, op: Op, fails: bool) -> None:
        if not op.gate.done():
            if fails:
                op.gate.set_exception(LookupError(op.number))
                op.gate.exception()
            else:
                op.gate.set_result(op.number)

    @rule(op=consumes(ops))
    def cancel(self, op: Op) -> None:
        """R-Q8: queued, waiting for its permit, or running, and while a call hangs."""

        async def stop_waiting() -> None:
            assert op.task is not None
            op.cancelled = not op.ended
            op.task.cancel()

        self.do(stop_waiting())
        assert op.ended
        assert op.session.current is not op

    @rule(seconds=st.sampled_from([0.1, 2.5, 6.5, 41.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule(name=st.sampled_from(SESSIONS), cut=st.booleans())
    def session_fails(self, name: str, cut: bool) -> None:
        """R-Q1, R-G3, R-S3: killed, or its connection is lost for good; its queue is kept."""

        async def strike() -> None:
            line = self.lines[name]
            connection = self.fleet._books[name].connection
            if line.current is not None:
                line.current.struck = True
            if not cut:
                await self.fleet.restart(name)
            elif connection is not None and isinstance(connection.client._sender, Wire):
                connection.client._sender.user_connected = False
                if not connection.client._sender.disconnected.done():
                    connection.client._sender.disconnected.set_exception(ConnectionError("cut"))

        self.do(strike())

    @rule(name=st.sampled_from(SESSIONS))
    def pause_or_resume(self, name: str) -> None:
        """R-G5."""
        line = self.lines[name]

        async def turn() -> None:
            if line.paused:
                line.paused = False
                await self.fleet.resume(name)
            else:
                await self.fleet.pause(name)
                line.paused = True

        self.do(turn())

    @precondition(lambda self: any(self.lines[name].waiting for name in SESSIONS))
    @rule(name=st.sampled_from(SESSIONS))
    def remove_and_add_again(self, name: str) -> None:
        """R-G5: what runs and what waits fails with `SessionDead`; the permits are back."""

        async def anew() -> None:
            line = self.lines[name]
            line.removed = True
            await self.fleet.remove(name)
            assert not line.waiting
            assert line.current is None
            self.lines[name] = Line(name)
            self.fleet.add(name, session=StringSession())

        self.do(anew())

    @invariant()
    def what_must_hold_holds(self) -> None:
        """R-Q2, R-Q6, R-G1, R-G3, R-D3: bounds, books that balance, and nobody who waits in vain or too long."""
        if not hasattr(self, "fleet"):
            return
        assert not self.wrongs, self.wrongs
        status = self.fleet.status()
        total = status.permits.total
        # R-G1, R-G3: as many permits are held as are used, and the books balance
        assert total.granted == total.returned + total.in_use
        holders = Counter(holder.operation_id for holder in status.permits.holders if "/" not in holder.operation_id)
        assert holders == Counter(op.id for op in self.running)
        assert total.in_use <= total.peak <= self.limits.operations
        scraping = status.permits.kinds["scraping"]
        assert scraping.in_use == sum(op.kind is Kind.SCRAPING for op in self.running) <= self.limits.scraping
        now = self.runner.get_loop().time()
        for session in status.sessions:
            line = self.lines[session.name]
            # R-Q2, R-Q6: what waits is what the status says, within the bound
            assert session.queued == len(line.waiting) <= QUEUE
            if line.current is not None and line.current.ran is None:  # it waits for its permit, and not in vain
                full = line.current.kind is Kind.SCRAPING and scraping.in_use == self.limits.scraping
                assert full or total.in_use == self.limits.operations
            # nobody is forgotten: who can begin has begun
            if session.state is SessionState.READY and not line.paused:
                assert line.current is not None or not line.waiting
                if line.current is None:
                    line.withdrawn = 0
        for op in self.all:  # R-D3: every wait ends
            if not op.ended:
                due = op.queued + QUEUE_SECONDS
                if op.begun is not None:
                    due = op.begun + PERMIT_SECONDS if op.ran is None else op.ran + op.seconds
                assert now < due + SLACK, f"{op} is overdue"

    def teardown(self) -> None:
        try:
            if hasattr(self, "fleet"):
                for line in self.lines.values():
                    if self.drain and line.paused:
                        self.pause_or_resume(line.name)
                if self.drain:
                    for _ in range(
                        math.ceil(QUEUE_SECONDS + PERMIT_SECONDS + max(SECONDS)) + 2
                    ):  # the longest one takes
                        self.do(asyncio.sleep(1.0))
                        self.what_must_hold_holds()
                    assert all(op.ended for op in self.all)
                for line in self.lines.values():
                    line.removed = True
                self.stopping = True
                self.do(self.fleet.stop())
                assert not self.wrongs, self.wrongs
                permits = self.fleet.status().permits
                assert permits.granted == permits.returned
                assert permits.holders == []
                assert all(op.ended for op in self.all)
                assert asyncio.all_tasks(self.runner.get_loop()) == set()
        finally:
            self.runner.close()
            for each in self.patches:
                each.stop()
            self.log.setLevel(self.level)


TestFleetMachine = FleetMachine.TestCase
TestFleetMachine.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
