"""Endings: what other actor frameworks are known to hang on, or to burn, and must not happen here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorKilled,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    Ref,
    Supervision,
    handles,
    interrupting,
)

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)
SLOWLY = Supervision(backoff=Backoff(first=60, maximum=60, jitter=0))


class Fail:
    pass


class Resist:
    """Its handler swallows every cancellation until the gate is open."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.swallowed = 0


class EndsWell(Resist):
    """Its handler swallows one cancellation, and returns as if nothing had been."""


class Stubborn(Actor):
    def __init__(self, log: list[object], leave: asyncio.Event | None = None) -> None:
        self.log = log
        self.leave = leave
        self.log.append("born")

    @handles(Resist)
    async def resist(self, message: Resist) -> None:
        message.entered.set()
        while not message.open.is_set():
            try:
                await message.open.wait()
            except asyncio.CancelledError:
                message.swallowed += 1

    @handles(EndsWell)
    async def end_well(self, message: EndsWell) -> str:
        message.entered.set()
        try:
            await message.open.wait()
        except asyncio.CancelledError:
            message.swallowed += 1
        return "ended well"

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError("fail")

    @handles(type)
    def make(self, cls: type[Actor]) -> Ref:
        return self.spawn(cls, self.log, self.leave)

    @handles(object)
    def record(self, message: object) -> object:
        self.log.append(message)
        return message


class LeavesLate(Stubborn):
    async def stopped(self) -> None:
        assert self.leave is not None
        await self.leave.wait()


class NeverLeaves(Stubborn):
    stop_timeout = 1000.0

    async def stopped(self) -> None:
        await asyncio.Event().wait()


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that resists is left behind after 50 ms instead of 4 s."""
    monkeypatch.setattr(interrupting, "PATIENCE", 0.05)


@pytest_asyncio.fixture
async def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many turns the event loop has made."""
    loop = asyncio.get_running_loop()
    run_once: Callable[[], None] = loop._run_once  # type: ignore[attr-defined]  # the loop's own, which calls it so
    made = 0

    def counted() -> None:
        nonlocal made
        made += 1
        run_once()

    monkeypatch.setattr(loop, "_run_once", counted)
    return lambda: made


@pytest.fixture
def gates() -> Iterator[Callable[[], Resist]]:
    """Makes messages that are resisted until the end of the test, even of one that fails."""
    made: list[Resist] = []

    def make() -> Resist:
        made.append(Resist())
        return made[-1]

    yield make
    for message in made:
        message.open.set()


async def entered(ref: Ref, message: Resist) -> Resist:
    ref.tell(message)
    await message.entered.wait()
    return message


# -- busy spin while terminating ----------------------------------------------------------------------


async def _in_its_hook(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = system.spawn(LeavesLate, [], leave)
    ref.stop()
    return ref


async def _for_its_child(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = system.spawn(Stubborn, [], leave)
    await ref.ask(LeavesLate)
    for number in range(3):
        ref.tell(number)
    ref.stop()
    return ref


async def _for_its_handler(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = system.spawn(Stubborn, [], leave)
    message = Resist()
    message.open = leave
    await entered(ref, message)
    for number in range(3):
        ref.tell(number)
    ref.stop()
    return ref


async def _for_a_handler_that_resists(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = await _for_its_handler(system, leave)
    ref.stop(grace=0)
    return ref


async def _paused_in_a_drain(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = system.spawn(Stubborn, [], leave)
    ref.pause()
    ref.tell("waits")
    ref.stop(drain=True, grace=0.5)
    return ref


async def _for_its_restart(system: ActorSystem, leave: asyncio.Event) -> Ref:
    ref = system.spawn(Stubborn, [], leave, supervision=SLOWLY)
    ref.tell(Fail())
    for number in range(3):
        ref.tell(number)
    return ref


@pytest.mark.parametrize(
    "waits",
    [
        _in_its_hook,
        _for_its_child,
        _for_its_handler,
        _for_a_handler_that_resists,
        _paused_in_a_drain,
        _for_its_restart,
    ],
)
async def test_an_actor_that_waits_to_end_costs_no_turns(
    system: ActorSystem, turns: Callable[[], int], waits: Callable[[ActorSystem, asyncio.Event], object]
) -> None:
    """An actor that ends, with mail that it won't take any more, is scheduled over and over until its child has ended.

    Known of dispatchers that look at the mailbox alone (actor-ts #915: 412,000 turns a second; akka #25745).
    Counted in turns of the loop: waiting takes none but those that the test makes itself.
    """
    leave = asyncio.Event()
    ref: Ref = await waits(system, leave)  # type: ignore[misc]  # each is a coroutine function
    for number in range(3):
        ref.tell(f"too late {number}")
    await asyncio.sleep(0.01)
    before = turns()
    await asyncio.sleep(0.05)
    assert turns() - before <= 5
    assert not await ref.stopped(0)
    leave.set()
    ref.stop(grace=0)
    assert await ref.stopped(5)


# -- shutdown without an overall deadline -------------------------------------------------------------


async def test_a_shutdown_has_one_deadline_however_many_resist(caplog: pytest.LogCaptureFixture) -> None:
    """A deadline an actor, or a level of the tree: a hundred that resist take a hundred times as long.

    Known of shutdowns that stop one child after the other, or wait without an end (tenzir #4965, monarch #1598).
    """
    loop = asyncio.get_running_loop()
    system = ActorSystem("ending")
    await system.start()
    gate = asyncio.Event()
    for number in range(40):
        ref: Ref = system.spawn(Stubborn, [], gate, name=f"top {number}")
        for _ in range(3):  # in a tree as well as side by side
            message = Resist()
            message.open = gate
            below = await ref.ask(LeavesLate, expecting=Ref)
            await entered(ref, message)
            ref = below
    stubborn = system.tasks.spawn(_resisting(gate), type="sending", owner="/top 0")
    await asyncio.sleep(0)
    began = loop.time()
    resisting = await system.shutdown(timeout=2.0)
    took = loop.time() - began
    gate.set()
    await stubborn
    assert took < 2.0 + 0.45  # the last turns of what was cancelled, and a slow machine
    assert {f"/top {number}" for number in range(40)} <= set(resisting)
    assert "left" in caplog.text


@pytest.mark.virtual_time
async def test_a_parent_gives_up_on_children_whose_end_never_comes(caplog: pytest.LogCaptureFixture) -> None:
    """As above, for the stop of one actor with children, however patient their own deadlines are."""
    loop = asyncio.get_running_loop()
    async with ActorSystem("ending") as system:
        parent = system.spawn(Stubborn, [], name="parent")
        below: Ref = parent
        for _ in range(3):
            below = await below.ask(NeverLeaves, expecting=Ref)
        began = loop.time()
        parent.stop(grace=2.0)
        assert await parent.stopped(100)
        assert loop.time() - began == 2.0 + 12.0
        assert not below.alive
        assert "did not stop within its deadline; given up on" in caplog.text
        assert f"abandoned a hook of {below.path} that resists" in caplog.text


async def _resisting(gate: asyncio.Event) -> None:
    while not gate.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await gate.wait()


# -- handlers that swallow cancellation ---------------------------------------------------------------


async def _stop(ref: Ref, message: Resist) -> None:
    ref.stop(grace=0)
    assert await ref.stopped(5)


async def _kill(ref: Ref, message: Resist) -> None:
    ref.kill()
    assert await ref.ask("goes on", timeout=5) == "goes on"


async def _give_up(ref: Ref, message: Resist) -> None:
    with pytest.raises(AskTimeout):
        await ref.ask(message, timeout=0.01, cancel=True)
    assert await ref.ask("goes on", timeout=5) == "goes on"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("end", [_stop, _kill, _give_up])
async def test_a_handler_that_swallows_cancellation_is_left_behind_and_named(
    system: ActorSystem,
    caplog: pytest.LogCaptureFixture,
    gates: Callable[[], Resist],
    end: Callable[[Ref, Resist], object],
) -> None:
    """`except BaseException: pass` around an await keeps its actor, who waits for it, and the shutdown for ever.

    Known of everything that cancels a task and then awaits it (asyncio's own shutdown among it).
    """
    log: list[object] = []
    ref = system.spawn(Stubborn, log, name="stubborn")
    message = gates()
    ask: asyncio.Task[object] | None = None
    if end is not _give_up:
        ask = asyncio.create_task(ref.ask(message))
        await message.entered.wait()
    await end(ref, message)  # type: ignore[misc]  # each is a coroutine function
    if ask is not None:
        with pytest.raises(ActorStopped if end is _stop else ActorKilled):
            await ask
    assert message.swallowed == 1
    assert "abandoned a handler of /stubborn that resists cancellation: Resist" in caplog.text
    assert log == {_stop: ["born"], _kill: ["born", "born", "goes on"], _give_up: ["born", "goes on"]}[end]
    assert not message.open.is_set()


async def test_a_handler_that_swallows_a_kill_and_ends_well_has_failed_all_the_same(system: ActorSystem) -> None:
    """As above: a swallowed kill must not count as none."""
    log: list[object] = []
    ref = system.spawn(Stubborn, log)
    message = EndsWell()
    ask = asyncio.create_task(ref.ask(message))
    await message.entered.wait()
    ref.tell("next")
    ref.kill()
    assert await ask == "ended well"  # it has an answer: the asker gets it
    assert await ref.ask("end") == "end"
    assert message.swallowed == 1
    assert log == ["born", "born", "next", "end"]


async def test_a_handler_that_swallows_the_cancellation_of_its_ask_keeps_its_actor(system: ActorSystem) -> None:
    """As above: it has not failed, and no later message is cancelled in its stead."""
    log: list[object] = []
    ref = system.spawn(Stubborn, log)
    message = EndsWell()
    with pytest.raises(AskTimeout):
        await ref.ask(message, timeout=0.01, cancel=True)
    assert await ref.ask("end") == "end"
    assert message.swallowed == 1
    assert log == ["born", "end"]
    assert [letter.message for letter in system.dead_letters.recent] == ["ended well"]
