"""Siblings restarted together, kinds of children, and messages given again (R-S1, R-S2, R-S3)."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorRestarted,
    ActorStopped,
    ActorSystem,
    Backoff,
    ChildFailed,
    ChildKind,
    Directive,
    Ref,
    Strategy,
    Supervision,
    Terminated,
    handles,
)

AT_ONCE = Backoff(first=0)
GIVEN_UP = Supervision(intensity=0)
GROUPS = [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]


class Fail:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error or ValueError("broken")


class Leave:
    """Has an actor stop itself."""


class Later:
    """Asks for an answer that never comes."""


class Remind:
    """Has an actor tell itself something after a second."""

    def __init__(self, message: str) -> None:
        self.message = message


class Gate:
    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


class Plan:
    """What a kid of that name does at its next starts and ends."""

    def __init__(self) -> None:
        self.start_failures: dict[str, list[BaseException]] = {}
        self.starts: dict[str, Gate] = {}
        self.leaves: dict[str, Gate] = {}
        self.ends: dict[str, Gate] = {}
        self.causes: dict[str, str] = {}  # of the restarts


class Kid(Actor):
    """Logs what happens to it: `+name` when it has started, `-name` when it has left, its mail."""

    def __init__(self, name: str, log: list[object], plan: Plan) -> None:
        self.name, self.log, self.plan = name, log, plan

    async def started(self) -> None:
        failures = self.plan.start_failures.get(self.name)
        if failures:
            self.log.append(f"!{self.name}")
            raise failures.pop()
        if gate := self.plan.starts.get(self.name):
            gate.entered.set()
            await gate.open.wait()
        self.log.append(f"+{self.name}")

    async def restarting(self, error: BaseException) -> None:
        self.plan.causes[self.name] = repr(error)
        if gate := self.plan.leaves.get(self.name):
            gate.entered.set()
            await gate.open.wait()
        self.log.append(f"-{self.name}")

    async def stopped(self) -> None:
        if gate := self.plan.ends.get(self.name):
            gate.entered.set()
            await gate.open.wait()
        self.log.append(f"x{self.name}")

    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise message.error

    @handles(Leave)
    def leave(self, _: Leave) -> None:
        self.stop()

    @handles(Later)
    def later(self, _: Later) -> object:
        self.reply_later()
        return NO_REPLY

    @handles(Remind)
    def remind(self, message: Remind) -> None:
        self.after(1.0, message.message)

    @handles(Gate)
    async def wait(self, gate: Gate) -> None:
        gate.entered.set()
        try:
            await gate.open.wait()
        finally:
            self.log.append(f"{self.name} let go")

    @handles(str)
    def echo(self, message: str) -> str:
        self.log.append(message)
        return message


class Spawn:
    def __init__(self, cls: type[Kid], name: str, **options: object) -> None:
        self.cls, self.name, self.options = cls, name, options


class Kin(Kid):
    """One that keeps its own children."""

    keep_children = True
    supervision = Supervision({OSError: Directive.ESCALATE}, backoff=AT_ONCE)

    @handles(Spawn)
    def make(self, message: Spawn) -> Ref:
        return self.spawn(message.cls, message.name, self.log, self.plan, name=message.name)


class Parent(Actor):
    def __init__(self, log: list[object], plan: Plan) -> None:
        self.log, self.plan = log, plan
        log.append("parent")

    @handles(Spawn)
    def make(self, message: Spawn) -> Ref:
        options = message.options
        return self.spawn(message.cls, message.name, self.log, self.plan, name=message.name, **options)  # type: ignore[arg-type]  # spawn's own

    @handles(ChildFailed)
    def noted(self, message: ChildFailed) -> None:
        self.log.append((message.ref.name, type(message.error).__name__, message.directive))

    @handles(str)
    def echo(self, message: str) -> str:
        return message

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise message.error


class Family:
    """A parent of some strategy with children, and what happens to them."""

    def __init__(self, system: ActorSystem, rules: Supervision, keep: bool = False, **options: object) -> None:
        class Ruled(Parent):
            supervision = rules
            keep_children = keep

        self.log: list[object] = []
        self.plan = Plan()
        self.system = system
        self.parent = system.spawn(Ruled, self.log, self.plan, name="p", **options)  # type: ignore[arg-type]  # spawn's own

    async def child(self, name: str, cls: type[Kid] = Kid, **options: object) -> Ref:
        ref = await self.parent.ask(Spawn(cls, name, **options), expecting=Ref)
        await ref.ask("up")
        return ref

    async def children(self, names: str) -> list[Ref]:
        refs = [await self.child(name) for name in names]
        self.log.clear()
        return refs

    def lives(self) -> list[object]:
        """The starts and ends so far."""
        return [entry for entry in self.log if isinstance(entry, str) and entry[0] in "+-x!"]

    async def sees(self, lives: str) -> None:
        """Waits until as much as that has happened, and it was that."""
        expected = lives.split()
        async with asyncio.timeout(10):
            while len(self.lives()) < len(expected):
                await asyncio.sleep(0)
        for _ in range(20):  # what comes too often comes at once
            await asyncio.sleep(0)
        assert self.lives() == expected


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=Supervision(backoff=AT_ONCE, intensity=1000), seed=1) as system:
        yield system


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def rules(strategy: Strategy, **options: object) -> Supervision:
    return Supervision(**{"strategy": strategy, "backoff": AT_ONCE, "intensity": 1000, **options})  # type: ignore[arg-type]  # its own


def restarts(system: ActorSystem) -> dict[str, int]:
    return {actor.path.removeprefix("/p/"): actor.restarts for actor in system.statistics()}


# -- who, and in which order --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "lives"),
    [
        (Strategy.ONE_FOR_ONE, "-b +b"),
        (Strategy.ONE_FOR_ALL, "-c -b -a +a +b +c"),
        (Strategy.REST_FOR_ONE, "-c -b +b +c"),
    ],
)
async def test_siblings_leave_youngest_first_and_start_eldest_first(
    system: ActorSystem, strategy: Strategy, lives: str
) -> None:
    """R-S1."""
    family = Family(system, rules(strategy))
    a, b, c = await family.children("abc")
    b.tell(Fail())
    await family.sees(lives)
    for ref in (a, b, c):
        assert await ref.ask("on") == "on"
    assert family.plan.causes == {name: "ValueError('broken')" for name in "abc" if f"-{name}" in lives}
    expected = {name: int(f"+{name}" in lives) for name in "abc"}
    assert restarts(system) == {"/p": 0, **expected}
    assert system.find("/p/b") is b


@pytest.mark.parametrize("strategy", GROUPS)
@pytest.mark.parametrize("first", [0, 0.01])
async def test_every_mailbox_survives_a_restart_together_in_order(
    system: ActorSystem, strategy: Strategy, first: float
) -> None:
    """R-S1, R-S3: bounded ones and ones with priorities too; only the failing message is gone."""
    family = Family(system, rules(strategy, backoff=Backoff(first=first)))
    a, b = await family.child("a"), await family.child("b", capacity=20)
    c = await family.child("c")
    family.log.clear()
    gates = [Gate(), Gate()]
    for ref, gate in zip((b, c), gates, strict=True):
        ref.tell(gate)
        await gate.entered.wait()
        for number in range(10):
            ref.tell(f"{ref.name}{number}", priority=number % 2 if ref is c else 0)
    a.tell(Fail())
    for number in range(10):
        a.tell(f"a{number}")
    for ref in (a, b, c):
        await ref.ask("end", priority=-1)
    for name in "ab":
        mail = [entry for entry in family.log if isinstance(entry, str) and entry[0] == name and entry[1:].isdigit()]
        assert mail == [f"{name}{number}" for number in range(10)]
    assert sorted(e for e in family.log if isinstance(e, str) and e[0] == "c" and e[1:].isdigit()) == [
        f"c{number}" for number in range(10)
    ]


@pytest.mark.parametrize("strategy", GROUPS)
async def test_what_siblings_owe_an_answer_is_answered_at_once(system: ActorSystem, strategy: Strategy) -> None:
    """R-S1, R-S3: the running handler is cancelled; asks that wait are answered by the new instance."""
    family = Family(system, rules(strategy, backoff=Backoff(first=60, jitter=0, maximum=60)))
    a, b, c = await family.children("abc")
    gate = Gate()
    asks = [asyncio.create_task(b.ask(Later())), asyncio.create_task(c.ask(gate))]
    await gate.entered.wait()
    waits = asyncio.create_task(c.ask("waits"))
    with pytest.raises(ValueError, match="broken"):
        await a.ask(Fail())
    for ask in asks:
        with pytest.raises(ActorRestarted) as error:
            await asyncio.wait_for(ask, 2)
        assert isinstance(error.value.__cause__, ValueError)
    await until(lambda: len(family.lives()) == 3)
    assert family.lives() == ["-c", "-b", "-a"]
    assert family.log.index("c let go") < family.log.index("-c")
    assert not waits.done()
    family.parent.stop(grace=0)
    with pytest.raises(ActorStopped):
        await waits


async def test_each_waits_until_the_one_before_has_left_or_started(system: ActorSystem) -> None:
    """R-S1."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, _, _ = await family.children("abc")
    leaves, starts = family.plan.leaves["b"], family.plan.starts["b"] = Gate(), Gate()
    a.tell(Fail())
    await leaves.entered.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert family.lives() == ["-c"]
    leaves.open.set()
    await starts.entered.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert family.lives() == ["-c", "-b", "-a", "+a"]
    assert await a.ask("at work", timeout=1) == "at work"
    starts.open.set()
    await until(lambda: family.lives()[4:] == ["+b", "+c"])


async def test_an_elder_sibling_serves_until_its_turn_to_leave_comes(system: ActorSystem) -> None:
    """R-S1: that is what the order is for."""

    class Junior(Kid):
        async def restarting(self, error: BaseException) -> None:
            elder = self.system.find("/p/a")
            assert elder is not None
            await self.ask(elder, "flushed")
            await super().restarting(error)

    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    await family.child("a")
    b = await family.child("b")
    await family.child("c", Junior)
    family.log.clear()
    b.tell(Fail())
    await until(lambda: "+c" in family.log)
    assert [entry for entry in family.log if isinstance(entry, str)] == ["flushed", "-c", "-b", "-a", "+a", "+b", "+c"]


async def test_an_elder_sibling_that_kills_itself_and_then_raises_has_failed_once(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-S2: while it waits for its turn to leave; the kill is not still to come."""

    class Twice(Kid):
        @handles(Fail)
        async def fail(self, message: Fail) -> None:
            self.ref.kill("own hand")
            raise message.error

    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a = await family.child("a", Twice)
    _, c = await family.children("bc")
    gate = family.plan.leaves["b"] = Gate()
    c.tell(Fail())
    await gate.entered.wait()
    a.tell(Fail())
    await until(lambda: "/p/a failed with ValueError; it is to be restarted anyway" in caplog.text)
    gate.open.set()
    await family.sees("-c -b -a +a +b +c")
    assert caplog.text.count("/p/a failed with") == 1


async def test_a_handler_whose_ask_fails_a_sibling_is_cancelled_when_it_waits(system: ActorSystem) -> None:
    """R-S1: though the sibling ran inside it, before it had a task of its own."""

    class Asks(Kid):
        @handles(Gate)
        async def wait(self, gate: Gate) -> None:
            a = self.system.find("/p/a")
            assert a is not None
            with contextlib.suppress(ValueError):
                await self.ask(a, Fail())
            gate.entered.set()
            await gate.open.wait()

    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    await family.child("a")
    b = await family.child("b", Asks)
    family.log.clear()
    with pytest.raises(ActorRestarted):
        await b.ask(Gate())
    await family.sees("-b -a +a +b")


async def test_a_busy_parent_does_not_delay_a_restart_together(system: ActorSystem) -> None:
    class Busy(Parent):
        supervision = rules(Strategy.ONE_FOR_ALL)

        @handles(Gate)
        async def wait(self, gate: Gate) -> None:
            gate.entered.set()
            await gate.open.wait()

    log: list[object] = []
    parent = system.spawn(Busy, log, Plan(), name="p")
    child = await parent.ask(Spawn(Kid, "a"), expecting=Ref)
    gate = Gate()
    parent.tell(gate)
    await gate.entered.wait()
    child.tell(Fail())
    assert await child.ask("on", timeout=1) == "on"
    gate.open.set()


# -- failures on the way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "lives"),
    [
        (Strategy.ONE_FOR_ALL, "-c -b -a +a !b -b -a +a +b +c"),
        (Strategy.REST_FOR_ONE, "-c -b -a +a !b -b +b +c"),
    ],
)
async def test_a_failing_start_begins_the_restart_again_for_whom_it_concerns(
    system: ActorSystem, strategy: Strategy, lives: str
) -> None:
    """R-S1, R-S2: whoever has not started again isn't made to leave again, and the failure counts."""
    family = Family(system, rules(strategy, intensity=2), supervision=GIVEN_UP)
    a, b, c = await family.children("abc")
    family.plan.start_failures["b"] = [OSError("not yet")]
    a.tell(Fail())
    await family.sees(lives)
    for ref in (a, b, c):
        assert await ref.ask("on", timeout=5) == "on"
    a.tell(Fail())
    assert await family.parent.stopped(5)


async def test_failures_of_several_at_once_are_one_restart(system: ActorSystem) -> None:
    """R-S2: those that are to leave anyway don't count."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL, intensity=1))
    refs = await family.children("abc")
    for ref in refs[:2]:  # the third leaves before it handles anything
        ref.tell(Fail())
    await family.sees("-c -b -a +a +b +c")
    for ref in refs:
        assert await ref.ask("on", timeout=5) == "on"


async def test_an_elder_that_fails_during_a_restart_joins_it(system: ActorSystem) -> None:
    """R-S1."""
    family = Family(system, rules(Strategy.REST_FOR_ONE))
    a, b, _ = await family.children("abc")
    gate = family.plan.leaves["c"] = Gate()
    b.tell(Fail())
    await gate.entered.wait()
    with pytest.raises(ValueError, match="broken"):
        await a.ask(Fail())
    gate.open.set()
    await until(lambda: "+c" in family.log)
    assert family.lives() == ["-c", "-b", "-a", "+a", "+b", "+c"]


async def test_a_sibling_stopped_during_a_restart_is_left_out(system: ActorSystem) -> None:
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b, c = await family.children("abc")
    gate = family.plan.leaves["c"] = Gate()
    a.tell(Fail())
    await gate.entered.wait()
    b.stop()
    c.stop()
    gate.open.set()
    assert await a.ask("on", timeout=5) == "on"
    assert not b.alive
    assert not c.alive
    assert [entry for entry in family.lives() if entry != "-c"] == ["xb", "xc", "-a", "+a"]


async def test_a_sibling_that_is_stopping_is_neither_restarted_nor_waited_for(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-S1."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, _, c = await family.children("abc")
    c.tell(gate := Gate())
    await gate.entered.wait()
    c.stop()
    a.tell(Fail())
    await family.sees("-b -a +a +b")
    assert "/p/a failed with ValueError: restart in 0.00 s (with 1 of its siblings)" in caplog.text
    gate.open.set()
    assert await c.stopped(5)
    await family.sees("-b -a +a +b xc")


async def test_one_that_has_yet_to_begin_begins_once_when_its_siblings_do(system: ActorSystem) -> None:
    """R-S1: born just before a sibling failed."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, _ = await family.children("ab")
    family.parent.tell(Spawn(Kid, "c"))
    a.tell(Fail())
    await family.sees("-c -b -a +a +b +c")


@pytest.mark.virtual_time
async def test_no_timer_of_who_leaves_reaches_the_one_that_follows(system: ActorSystem) -> None:
    """R-S1: not even one that is due before it has left."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b = await family.children("ab")
    gate = family.plan.leaves["b"] = Gate()
    await b.ask(Remind("late"))
    a.tell(Fail())
    await gate.entered.wait()
    await asyncio.sleep(2.0)
    gate.open.set()
    await family.sees("-b -a +a +b")
    assert await b.ask("on") == "on"
    assert "late" not in family.log


async def test_one_that_is_stopped_while_it_waits_to_leave_does_its_work_to_the_end(system: ActorSystem) -> None:
    """R-S1: within the grace of its stop; its elders wait for that."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b, _ = await family.children("abc")
    leaving = family.plan.leaves["c"] = Gate()
    b.tell(work := Gate())
    await work.entered.wait()
    a.tell(Fail())
    await leaving.entered.wait()
    b.stop(grace=60.0)
    leaving.open.set()
    await family.sees("-c")
    assert "b let go" not in family.log
    work.open.set()
    assert await b.stopped(5)
    await family.sees("-c xb -a +a +c")


async def test_an_elder_leaves_when_a_sibling_that_is_stopped_meanwhile_has_come_to_its_end(
    system: ActorSystem,
) -> None:
    """R-S1: the order holds for it, too."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b, c = await family.children("abc")
    leaving = family.plan.leaves["c"] = Gate()
    ending = family.plan.ends["c"] = Gate()
    a.tell(Fail())
    await leaving.entered.wait()
    c.stop()
    leaving.open.set()
    await ending.entered.wait()
    await family.sees("-c")
    assert await b.ask("on", timeout=5) == "on"
    ending.open.set()
    await family.sees("-c xc -b -a +a +b")


@pytest.mark.virtual_time
async def test_a_child_born_while_its_siblings_wait_to_start_is_restarted_with_them_if_it_fails(
    system: ActorSystem,
) -> None:
    """R-S1: in its place, the last."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL, backoff=Backoff(first=10.0, factor=1.0, jitter=0)))
    a, _ = await family.children("ab")
    a.tell(Fail())
    await asyncio.sleep(1.0)
    c = await family.child("c")
    c.tell(Fail())
    await asyncio.sleep(1.0)
    assert family.lives() == ["-b", "-a", "+c", "-c"]
    assert await c.ask("on", timeout=100) == "on"
    await family.sees("-b -a +c -c +a +b +c")


@pytest.mark.virtual_time
@pytest.mark.parametrize("who", ["an elder", "a child of its own"])
async def test_a_failure_just_before_a_start_makes_nobody_leave_again(system: ActorSystem, who: str) -> None:
    """R-S1, R-S2: of an elder, whom all wait for then, or of a child that was kept and is restarted with its parent."""
    family = Family(system, rules(Strategy.REST_FOR_ONE, backoff=Backoff(first=10.0, factor=1.0, jitter=0)))
    a, b, _ = await family.child("a"), await family.child("b", Kin), await family.child("c")
    kept = await b.ask(Spawn(Kid, "k"), expecting=Ref)
    await kept.ask("up")
    family.log.clear()
    b.tell(Fail())
    await until(lambda: family.lives() == ["-c", "-b"])
    brood = family.parent.kin.brood  # type: ignore[attr-defined]  # looked at from inside on purpose
    await until(lambda: brood._timer is not None)
    ref, failure = (a, Fail()) if who == "an elder" else (kept, Fail(OSError()))
    asyncio.get_running_loop().call_at(brood._timer.when() - 1e-10, ref.tell, failure)  # in the same turn of the loop
    await asyncio.sleep(11.0)
    if who == "an elder":
        assert family.lives() == ["-c", "-b", "-a"]
        await asyncio.sleep(10.0)
        assert family.lives() == ["-c", "-b", "-a", "+a", "+b", "+c"]
        assert restarts(system) == {"/p": 0, "a": 1, "b": 1, "b/k": 0, "c": 1}
    else:
        assert sorted(family.lives()) == ["+b", "+c", "+k", "-b", "-c", "-k"]
        assert restarts(system) == {"/p": 0, "a": 0, "b": 1, "b/k": 0, "c": 1}  # its parent's is no failure of k
        assert len(brood.restarts.recent) == 1


@pytest.mark.virtual_time
async def test_a_kept_child_that_escalated_and_was_restarted_with_a_sibling_is_not_restarted_again(
    system: ActorSystem,
) -> None:
    """R-S1: as its parent, which was to answer, comes to its own restart."""
    later = Supervision(backoff=Backoff(first=10.0, jitter=0))
    family = Family(
        system,
        rules(Strategy.ONE_FOR_ALL, directives={OSError: Directive.ESCALATE}),
        keep=True,
        supervision=later,
    )
    a, b = await family.children("ab")
    b.tell(Fail(OSError()))
    await asyncio.sleep(1.0)
    assert family.lives() == []
    a.tell(Fail())
    await family.sees("-b -a +a +b")
    await asyncio.sleep(20.0)
    assert await b.ask("on", timeout=5) == "on"
    assert restarts(system) == {"/p": 1, "a": 1, "b": 1}
    assert family.lives() == ["-b", "-a", "+a", "+b"]


@pytest.mark.virtual_time
async def test_a_restart_with_no_backoff_shortens_no_backoff_under_way(system: ActorSystem) -> None:
    """R-S2: that of kept children, as their parent is restarted, joins the one that waits."""
    ten = Backoff(first=10.0, jitter=0)
    family = Family(
        system,
        rules(Strategy.ONE_FOR_ALL, directives={OSError: Directive.ESCALATE}, backoff=ten),
        keep=True,
    )
    a, _ = await family.children("ab")
    a.tell(Fail())
    await asyncio.sleep(1.0)
    assert family.lives() == ["-b", "-a"]
    c = await family.child("c")
    c.tell(Fail(OSError()))
    await asyncio.sleep(1.0)
    assert family.lives() == ["-b", "-a", "+c", "-c"]
    await asyncio.sleep(10.0)
    assert family.lives() == ["-b", "-a", "+c", "-c", "+a", "+b", "+c"]


async def test_a_killed_leave_does_not_hold_the_restart_up(system: ActorSystem) -> None:
    family = Family(system, rules(Strategy.ONE_FOR_ALL, intensity=1))
    a, _, c = await family.children("abc")
    gate = family.plan.leaves["c"] = Gate()
    a.tell(Fail())
    await gate.entered.wait()
    c.kill()
    assert await c.ask("on", timeout=5) == "on"
    assert family.lives() == ["-b", "-a", "+a", "+b", "+c"]


@pytest.mark.parametrize("shut", [True, False])
async def test_a_parent_that_stops_ends_a_restart_under_way(system: ActorSystem, shut: bool) -> None:
    """R-T4: no timer of it is left."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL, backoff=Backoff(first=60, jitter=0, maximum=60)))
    a, b = await family.children("ab")
    a.tell(Fail())
    await until(lambda: family.lives() == ["-b", "-a"])
    brood = family.parent.kin.brood  # type: ignore[attr-defined]  # looked at from inside on purpose
    await until(lambda: brood._timer is not None)
    if shut:
        assert await system.shutdown() == []
    else:
        family.parent.stop()
        assert await family.parent.stopped(5)
    assert not a.alive
    assert not b.alive
    assert brood._timer is None


# -- budget, backoff, escalation ----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_siblings_restarted_together_share_a_budget(system: ActorSystem, strategy: Strategy) -> None:
    """R-S2: as in OTP, one a failure however many are restarted; one-for-one each child has its own."""
    family = Family(system, rules(strategy, intensity=3), supervision=GIVEN_UP)
    refs = await family.children("abcd")
    for ref in refs[:3]:
        with pytest.raises(ValueError, match="broken"):
            await ref.ask(Fail())
        if strategy is not Strategy.ONE_FOR_ONE:
            await until(lambda: family.lives()[-1:] == ["+d"])
            family.log.clear()
        for other in refs:
            assert await other.ask("on", timeout=5) == "on"
    refs[3].tell(Fail())
    if strategy is Strategy.ONE_FOR_ONE:
        assert await refs[3].ask("on") == "on"
    else:
        assert await family.parent.stopped(5)  # by the top level, to which it has escalated
        assert not any(ref.alive for ref in refs)


async def test_too_many_restarts_together_restart_the_parent_whose_budget_is_new(system: ActorSystem) -> None:
    """R-S2."""
    family = Family(
        system, rules(Strategy.ONE_FOR_ALL, intensity=1), keep=True, supervision=Supervision(backoff=AT_ONCE)
    )
    a, b = await family.children("ab")
    for _ in range(2):
        a.tell(Fail())
        for ref in (a, b):
            assert await ref.ask("on", timeout=5) == "on"
    assert restarts(system)["/p"] == 1
    b.tell(Fail())  # the new parent's first
    assert await b.ask("on", timeout=5) == "on"
    assert restarts(system)["/p"] == 1
    assert family.lives() == ["-b", "-a", "+a", "+b"] * 3


@pytest.mark.parametrize(("strategy", "left"), [(Strategy.ONE_FOR_ALL, ""), (Strategy.REST_FOR_ONE, "a")])
async def test_exceeded_by_stop_stops_whom_a_restart_would_concern(
    system: ActorSystem, strategy: Strategy, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R-S2: and the log says of how many it is the end."""
    family = Family(system, rules(strategy, intensity=0, exceeded=Directive.STOP))
    refs = await family.children("abc")
    refs[1].tell(Fail())
    for ref in refs[1:]:
        assert await ref.stopped(5)
    if not left:
        assert await refs[0].stopped(5)
    assert [ref.name for ref in refs if ref.alive] == list(left)
    assert family.parent.alive
    assert f"/p/b failed with ValueError: stop (with {1 if left else 2} of its siblings)" in caplog.text


async def test_none_starts_before_the_backoff_is_over(system: ActorSystem) -> None:
    """R-S2: all have left at once."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL, backoff=Backoff(first=0.2, jitter=0)))
    a, b = await family.children("ab")
    loop = asyncio.get_running_loop()
    began = loop.time()
    a.tell(Fail())
    await until(lambda: family.lives() == ["-b", "-a"])
    assert await b.ask("on", timeout=5) == "on"
    assert loop.time() - began > 0.19


@pytest.mark.virtual_time
async def test_an_elder_that_fails_during_the_backoff_leaves_at_once_and_all_wait_for_its_own(
    system: ActorSystem,
) -> None:
    """R-S1, R-S2: with rest-for-one; whoever has left waits for as long as the last failure says."""
    family = Family(system, rules(Strategy.REST_FOR_ONE, backoff=Backoff(first=10.0, factor=2.0, jitter=0)))
    a, b, c = await family.children("abc")
    loop = asyncio.get_running_loop()
    began = loop.time()
    c.tell(Fail())
    await asyncio.sleep(4.0)
    assert family.lives() == ["-c"]
    assert await b.ask("on", timeout=5) == "on"
    a.tell(Fail())
    await asyncio.sleep(1.0)
    assert family.lives() == ["-c", "-b", "-a"]
    assert await c.ask("on", timeout=100) == "on"
    assert family.lives() == ["-c", "-b", "-a", "+a", "+b", "+c"]
    assert loop.time() - began == pytest.approx(4.0 + 20.0, abs=0.1)


async def test_the_childs_own_directives_come_first(system: ActorSystem) -> None:
    """R-S1: it resumes, stops or escalates alone; only a restart is the group's."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    own = Supervision({KeyError: Directive.RESUME, OSError: Directive.STOP})
    a, b = await family.child("a"), await family.child("b", supervision=own)
    family.log.clear()
    b.tell(Fail(KeyError()))
    assert await b.ask("on") == "on"
    b.tell(Fail(OSError()))
    assert await b.stopped(5)
    assert await a.ask("on") == "on"
    assert family.lives() == ["xb"]


async def test_a_start_resumed_from_above_lets_the_restart_go_on(system: ActorSystem) -> None:
    """R-S1: nobody stays halted."""
    family = Family(
        system,
        rules(Strategy.REST_FOR_ONE, directives={OSError: Directive.ESCALATE}),
        supervision=Supervision({OSError: Directive.RESUME}),
    )
    a, b = await family.children("ab")
    family.plan.start_failures["a"] = [OSError()]
    a.tell(Fail())
    for ref in (a, b):
        assert await ref.ask("on", timeout=5) == "on"
    assert family.lives() == ["-b", "-a", "!a", "+b"]


@pytest.mark.parametrize("strategy", GROUPS)
async def test_kept_children_that_escalated_restart_with_whom_it_concerns(
    system: ActorSystem, strategy: Strategy
) -> None:
    family = Family(system, rules(strategy, directives={OSError: Directive.ESCALATE}), keep=True)
    a, b, c = await family.children("abc")
    b.tell(Fail(OSError()))
    for ref in (a, b, c):
        assert await ref.ask("on", timeout=5) == "on"
    await until(lambda: "+c" in family.log)
    expected = "-c -b -a +a +b +c" if strategy is Strategy.ONE_FOR_ALL else "-c -b +b +c"
    assert family.lives() == expected.split()


async def test_a_restart_together_is_logged_with_its_cause(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-S2."""
    caplog.set_level(logging.WARNING, "telestage.supervision")
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, _ = await family.children("ab")
    a.tell(Fail(ValueError("the cause")))
    await family.sees("-b -a +a +b")
    assert "/p/a failed with ValueError: restart in 0.00 s (with 1 of its siblings)" in caplog.text
    assert "ValueError: the cause" in caplog.text


async def test_top_level_actors_follow_the_systems_strategy() -> None:
    log: list[object] = []
    async with ActorSystem("test", supervision=rules(Strategy.ONE_FOR_ALL, intensity=1)) as system:
        a, b = (system.spawn(Kid, name, log, Plan(), name=name) for name in "ab")
        await b.ask("up")
        log.clear()
        a.tell(Fail())
        await until(lambda: len(log) == 4)
        assert log == ["-b", "-a", "+a", "+b"]
        b.tell(Fail())  # nobody above: given up together
        assert await a.stopped(5)
        assert await b.stopped(5)


# -- kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, ChildKind.TRANSIENT])
async def test_a_transient_child_is_restarted_after_a_failure_and_may_stop_itself(
    system: ActorSystem, kind: ChildKind | None
) -> None:
    """R-S1: and it is the default."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await (family.child("a") if kind is None else family.child("a", kind=kind))
    a.tell(Fail())
    assert await a.ask("on") == "on"
    a.tell(Leave())
    assert await a.stopped(5)


async def test_a_permanent_child_that_stops_itself_is_restarted_with_its_mailbox(system: ActorSystem) -> None:
    """R-S1: as in OTP; somebody else can stop it."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await family.child("a", kind=ChildKind.PERMANENT)
    family.log.clear()
    owed = asyncio.create_task(a.ask(Later()))
    await asyncio.sleep(0)
    a.tell("before")
    a.tell(Leave())
    a.tell("after")
    assert await a.ask("end", timeout=5) == "end"
    with pytest.raises(ActorRestarted):
        await owed
    await family.parent.ask("seen")
    noted = ("a", "ActorStopped", Directive.RESTART)
    assert noted in family.log
    assert [entry for entry in family.log if entry != noted] == ["before", "-a", "+a", "after", "end"]
    a.stop()
    assert await a.stopped(5)
    assert family.lives()[-1] == "xa"


async def test_a_permanent_child_that_is_stopped_as_it_stops_itself_ends_without_a_warning(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """`Ref.stop` ends one of any kind for good, and nothing has failed."""

    class Both(Kid):
        @handles(Leave)
        def leave(self, _: Leave) -> None:
            self.stop()
            self.ref.stop(drain=True)

    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await family.child("a", Both, kind=ChildKind.PERMANENT)
    family.log.clear()
    a.tell(Leave())
    a.tell("worked off")
    assert await a.stopped(5)
    assert family.log == ["worked off", "xa"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("directive", [Directive.RESUME, Directive.RESTART])
async def test_a_permanent_child_that_stops_itself_and_fails_is_restarted_once(
    system: ActorSystem, directive: Directive
) -> None:
    """R-S1: also where the failure's answer is to go on as if nothing had happened."""

    class Both(Kid):
        @handles(Leave)
        def leave(self, _: Leave) -> None:
            self.stop()
            raise LookupError("on purpose")

    rules = Supervision({LookupError: directive, OSError: Directive.RESUME}, backoff=AT_ONCE)
    family = Family(system, rules)
    a = await family.child("a", Both, kind=ChildKind.PERMANENT)
    a.tell(Leave())
    assert await a.ask("after", timeout=5) == "after"
    assert family.lives() == ["+a", "-a", "+a"]
    a.tell(Fail(OSError()))
    assert await a.ask("resumed", timeout=5) == "resumed"
    assert family.lives() == ["+a", "-a", "+a"]


async def test_a_permanent_child_that_keeps_stopping_itself_uses_up_the_budget(system: ActorSystem) -> None:
    """R-S2: whatever is said of errors."""
    stops = Supervision({Exception: Directive.STOP}, backoff=AT_ONCE, intensity=2)
    family = Family(system, stops, supervision=GIVEN_UP)
    a = await family.child("a", kind=ChildKind.PERMANENT)
    for _ in range(2):
        a.tell(Leave())
        assert await a.ask("on") == "on"
    a.tell(Leave())
    assert await family.parent.stopped(5)


async def test_a_permanent_child_that_stops_itself_restarts_its_siblings(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-S1: and the log doesn't call it a failure."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b = await family.child("a", kind=ChildKind.PERMANENT), await family.child("b")
    family.log.clear()
    a.tell(Leave())
    await family.sees("-b -a +a +b")
    assert "/p/a stopped itself: restart in 0.00 s (with 1 of its siblings)" in caplog.text
    assert await b.ask("on", timeout=5) == "on"


async def test_a_permanent_child_that_is_to_be_restarted_does_not_count_its_own_stop(system: ActorSystem) -> None:
    """R-S2: one end, one restart."""

    class Last(Kid):
        async def restarting(self, error: BaseException) -> None:
            await super().restarting(error)
            self.stop()

        @handles(Fail)
        async def fail(self, message: Fail) -> None:
            self.stop()
            raise message.error

    family = Family(system, rules(Strategy.ONE_FOR_ONE, intensity=1))
    a = await family.child("a", Last, kind=ChildKind.PERMANENT)
    a.tell(Fail())
    assert await a.ask("on", timeout=5) == "on"
    assert restarts(system)["a"] == 1


async def test_a_permanent_child_that_waits_to_leave_does_not_count_its_own_stop(system: ActorSystem) -> None:
    """R-S2."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL, intensity=1))
    a, b = await family.child("a", kind=ChildKind.PERMANENT), await family.child("b")
    family.log.clear()
    gate = family.plan.leaves["b"] = Gate()
    b.tell(Fail())
    await gate.entered.wait()
    a.tell(Leave())
    a.tell("goes on")
    await until(lambda: "goes on" in family.log)
    gate.open.set()
    await family.sees("-b -a +a +b")


async def test_a_permanent_child_that_waits_for_its_restart_needs_no_other(system: ActorSystem) -> None:
    """R-S2: such as when a stray task stops it."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE, backoff=Backoff(first=60, jitter=0, maximum=60)))
    a = await family.child("a", kind=ChildKind.PERMANENT)
    actor = a.actor  # type: ignore[attr-defined]  # held on to as a stray task would
    a.tell(Fail())
    await until(lambda: restarts(system)["a"] == 1)
    actor.stop()
    for _ in range(20):
        await asyncio.sleep(0)
    assert restarts(system)["a"] == 1


async def test_a_top_level_actor_is_transient_too(system: ActorSystem) -> None:
    """R-S1."""
    a, b = system.spawn(Kid, "a", [], Plan()), system.spawn(Kid, "b", [], Plan(), kind=ChildKind.PERMANENT)
    for ref in (a, b):
        ref.tell(Leave())
    assert await a.stopped(5)
    assert await b.ask("on") == "on"


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_temporary_child_that_fails_is_stopped_and_concerns_nobody(
    system: ActorSystem, strategy: Strategy
) -> None:
    """R-S1: nor does it count."""
    family = Family(system, rules(strategy, intensity=0))
    a = await family.child("a", kind=ChildKind.TEMPORARY)
    b = await family.child("b")
    family.log.clear()
    a.tell(Fail(ValueError("why")))
    waits = asyncio.create_task(a.ask("waits"))
    assert await a.stopped(5)
    with pytest.raises(ActorStopped) as error:
        await waits
    assert str(error.value.__cause__) == "why"
    assert await b.ask("on") == "on"
    assert family.lives() == ["xa"]


async def test_a_temporary_sibling_leaves_in_its_turn_and_does_not_come_back(system: ActorSystem) -> None:
    """R-S1."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a = await family.child("a")
    b = await family.child("b", kind=ChildKind.TEMPORARY)
    c = await family.child("c")
    family.log.clear()
    gate = Gate()
    ask = asyncio.create_task(b.ask(gate))
    await gate.entered.wait()
    a.tell(Fail())
    await family.sees("-c xb -a +a +c")
    assert await c.ask("on", timeout=5) == "on"
    with pytest.raises(ActorStopped) as stopped:
        await ask
    assert isinstance(stopped.value.__cause__, ValueError)
    assert not b.alive


async def test_a_temporary_child_that_escalated_is_not_restarted_with_its_parent(system: ActorSystem) -> None:
    family = Family(system, rules(Strategy.ONE_FOR_ONE, directives={OSError: Directive.ESCALATE}), keep=True)
    a = await family.child("a", kind=ChildKind.TEMPORARY)
    a.tell(Fail(OSError()))
    assert await a.stopped(5)
    assert await family.parent.ask("on") == "on"
    assert restarts(system)["/p"] == 1


# -- redelivery ---------------------------------------------------------------------------------------


class Stubborn(Kid):
    """Fails at a message as often as the message says."""

    @handles(list)
    async def take(self, message: list[int]) -> None:
        await asyncio.sleep(0)
        self.log.append(("took", message[0], self.sender))
        if message[0]:
            message[0] -= 1
            raise ValueError("not yet")


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("priority", [0, 1])
@pytest.mark.parametrize(("times", "tries"), [(0, [3]), (1, [3, 2]), (3, [3, 2, 1, 0]), (9, [3, 2, 1, 0])])
async def test_a_failing_message_is_given_again_first_as_often_as_its_policy_says(
    system: ActorSystem, strategy: Strategy, priority: int, times: int, tries: list[int]
) -> None:
    """R-S3."""
    quiet = rules(strategy)
    family = Family(system, quiet)
    a = await family.child("a", Stubborn, redeliver=times)
    family.log.clear()
    a.tell([3], priority=priority, sender=family.parent)
    a.tell("next", priority=priority)
    a.tell("last")
    assert await a.ask("end", priority=-1) == "end"
    took = [entry for entry in family.log if isinstance(entry, tuple) and entry[0] == "took"]
    assert took == [("took", left, family.parent) for left in tries]
    assert [entry for entry in family.log if entry in ("next", "last", "end")] == ["next", "last", "end"]
    assert family.log.index("next") > family.log.index(took[-1])
    assert restarts(system)["a"] == len([left for left in tries if left])


async def test_each_message_has_its_own_number_of_tries_even_the_same_object(system: ActorSystem) -> None:
    """R-S3."""

    class Once(Kid):
        @handles(int)
        def take(self, message: int) -> None:
            self.log.append(message)
            raise ValueError

    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await family.child("a", Once, redeliver=1)
    family.log.clear()
    for _ in range(3):
        a.tell(1)
    await a.ask("end")
    assert [entry for entry in family.log if entry == 1] == [1] * 6


async def test_what_was_asked_is_not_given_again(system: ActorSystem) -> None:
    """R-S3: its asker has the error, and may ask again."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await family.child("a", Stubborn, redeliver=5)
    with pytest.raises(ValueError, match="not yet"):
        await a.ask([1])
    assert await a.ask("end") == "end"
    assert restarts(system)["a"] == 1
    assert len([entry for entry in family.log if isinstance(entry, tuple) and entry[0] == "took"]) == 1


async def test_a_message_given_again_comes_before_the_system_lane(system: ActorSystem) -> None:
    """R-S3."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a = await family.child("a", Stubborn, redeliver=1)
    family.log.clear()
    a.tell([1])
    await asyncio.sleep(0)  # it is being handled
    a.signal("signalled")
    await a.ask("end")
    mail = [entry for entry in family.log if entry in (("took", 1, None), ("took", 0, None), "signalled", "end")]
    assert mail == [("took", 1, None), ("took", 0, None), "signalled", "end"]


async def test_a_message_that_fails_while_its_actor_waits_to_leave_is_given_again_too(system: ActorSystem) -> None:
    """R-S3: and nothing else is handled before the restart."""
    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b = await family.child("a", Stubborn, redeliver=1), await family.child("b")
    family.log.clear()
    gate = family.plan.leaves["b"] = Gate()
    b.tell(Fail())
    await gate.entered.wait()
    a.tell([1])
    a.tell("next")
    await until(lambda: ("took", 1, None) in family.log)
    for _ in range(20):
        await asyncio.sleep(0)
    assert "next" not in family.log
    gate.open.set()
    assert await a.ask("end", timeout=5) == "end"
    mail = [entry for entry in family.log if entry in (("took", 1, None), ("took", 0, None), "next", "end")]
    assert mail == [("took", 1, None), ("took", 0, None), "next", "end"]


async def test_a_notice_is_told_once_even_so(system: ActorSystem) -> None:
    """R-S4."""

    class Watcher(Kid):
        @handles(Terminated)
        def ended(self, message: Terminated) -> None:
            self.log.append(message)
            raise ValueError

        @handles(Gate)
        async def wait(self, gate: Gate) -> None:
            b = self.system.find("/p/b")
            assert b is not None
            self.watch(b)

    family = Family(system, rules(Strategy.ONE_FOR_ONE))
    a, b = await family.child("a", Watcher, redeliver=5), await family.child("b")
    await a.ask(Gate())
    b.stop()
    assert await b.stopped(5)
    await a.ask("end")
    await until(lambda: restarts(system)["a"] == 1)
    assert await a.ask("end") == "end"
    assert family.log.count(Terminated(b, None)) == 1


@pytest.mark.parametrize("fails", [True, False])
async def test_a_siblings_message_that_was_cut_short_is_given_again_once(system: ActorSystem, fails: bool) -> None:
    """R-S3: also if its handler turns the cancellation into an error."""

    class Slow(Kid):
        @handles(Gate)
        async def wait(self, gate: Gate) -> None:
            self.log.append("begins")
            gate.entered.set()
            try:
                await gate.open.wait()
            except asyncio.CancelledError:
                gate.open.set()
                if fails:
                    raise ValueError("instead") from None
                raise

    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b = await family.child("a"), await family.child("b", Slow, redeliver=3)
    gate = Gate()
    b.tell(gate)
    await gate.entered.wait()
    a.tell(Fail())
    assert await b.ask("end", timeout=5) == "end"
    assert family.log.count("begins") == 2


@pytest.mark.parametrize("fails", [True, False])
async def test_one_cut_short_for_the_last_time_is_dropped_even_if_it_then_fails(
    system: ActorSystem, fails: bool
) -> None:
    """R-S3: the cut and the error count as one. The same message told anew is a new one."""
    entered = asyncio.Event()

    class Slow(Kid):
        @handles(int)
        async def wait(self, number: int) -> None:
            self.log.append(number)
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if fails:
                    raise ValueError("instead") from None
                raise

    family = Family(system, rules(Strategy.ONE_FOR_ALL))
    a, b = await family.child("a"), await family.child("b", Slow, redeliver=1)
    family.log.clear()
    for _ in range(2):
        b.tell(7)
    for _ in range(4):
        await asyncio.wait_for(entered.wait(), 5)
        entered.clear()
        a.tell(Fail())
    await b.ask("end", timeout=5)
    assert family.log.count(7) == 4


async def test_a_message_to_be_given_again_to_an_actor_that_stops_is_a_dead_letter(system: ActorSystem) -> None:
    """R-S5."""
    family = Family(system, rules(Strategy.ONE_FOR_ONE, backoff=Backoff(first=60, maximum=60)))
    a = await family.child("a", redeliver=1)
    message = Fail()
    a.tell(message)
    await until(lambda: restarts(system)["a"] == 1)
    a.stop()
    assert await a.stopped(5)
    assert [letter.message for letter in system.dead_letters.recent] == [message]


# -- mistakes -----------------------------------------------------------------------------------------


def test_a_strategy_is_the_parents_to_choose_and_times_are_not_negative() -> None:
    async def wrong(**options: object) -> None:
        async with ActorSystem("test") as system:
            system.spawn(Kid, "a", [], Plan(), **options)  # type: ignore[arg-type]  # the mistakes are the point

    with pytest.raises(ValueError, match="one-for-all is for the parent of Kid"):
        asyncio.run(wrong(supervision=Supervision(strategy=Strategy.ONE_FOR_ALL)))
    with pytest.raises(ValueError, match="redeliver of Kid must be 0"):
        asyncio.run(wrong(redeliver=-1))
