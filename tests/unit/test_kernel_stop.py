"""How actors and systems end: in order, in time, with everything settled and nothing left."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import contextlib
import gc
import logging
import time
import weakref
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    Backoff,
    NameTaken,
    Ref,
    Supervision,
    handles,
    interrupting,
)
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.working import TURN

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)
SLOWLY = Supervision(backoff=Backoff(first=60, maximum=60, jitter=0))


class Wait:
    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


class Resist(Wait):
    """Swallows every cancellation until the gate is open."""


class Fail:
    pass


class Kid(Actor):
    def __init__(self, log: list[object], children: int = 0, name: str = "") -> None:
        self.log = log
        self.label = name
        for number in range(children):
            self.spawn(Kid, log, 0, f"{name}child {number}", name=f"child-{number}")

    @handles(Wait)
    async def wait(self, message: Wait) -> str:
        message.entered.set()
        await message.open.wait()
        return "waited"

    @handles(Resist)
    async def resist(self, message: Resist) -> None:
        message.entered.set()
        while not message.open.is_set():
            try:
                await message.open.wait()
            except asyncio.CancelledError:
                self.log.append("swallowed")

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError("fail")

    @handles(object)
    async def record(self, message: object) -> object:
        self.log.append(message)
        return message

    async def stopped(self) -> None:
        self.log.append(f"{self.label} stopped".strip())


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that resists is left behind after 50 ms instead of 4 s."""
    monkeypatch.setattr(interrupting, "PATIENCE", 0.05)


async def waiting(ref: Ref) -> Wait:
    wait = Wait()
    ref.tell(wait)
    await wait.entered.wait()
    return wait


async def test_stop_settles_what_waits_and_what_comes_later(system: ActorSystem) -> None:
    """R-D3, R-S5."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    wait = await waiting(ref)
    ask = asyncio.create_task(ref.ask("asked"))
    await asyncio.sleep(0)
    ref.tell("told", priority=3)
    ref.stop()
    assert not ref.alive
    with pytest.raises(ActorStopped):
        await ref.ask("refused")
    ref.tell("dead")
    wait.open.set()
    assert await ref.stopped(1)
    with pytest.raises(ActorStopped):
        await ask
    ref.signal("dead signal")
    assert log == ["stopped"]
    assert [letter.message for letter in system.dead_letters.recent] == ["dead", "told", "dead signal"]


async def test_children_stop_before_their_parent(system: ActorSystem) -> None:
    """R-S1."""
    log: list[object] = []
    ref = system.spawn(Kid, log, 3, "parent")
    ref.stop()
    assert await ref.stopped(1)
    assert log[-1] == "parent stopped"
    assert sorted(map(str, log[:-1])) == [f"parentchild {number} stopped" for number in range(3)]
    assert system.statistics() == []


async def test_drain_works_off_what_waits_and_takes_nothing_new(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Kid, log)
    wait = await waiting(ref)
    for number in range(100):
        ref.tell(number)
    ref.tell("urgent", priority=1)
    ref.stop(drain=True)
    wait.open.set()
    while len(log) < 10:
        ref.tell("too late")
        await asyncio.sleep(0)
    assert await ref.stopped(1)
    assert log == ["urgent", *range(100), "stopped"]
    assert {letter.message for letter in system.dead_letters.recent} == {"too late"}


def dead(system: ActorSystem) -> list[object]:
    return [letter.message for letter in system.dead_letters.recent]


@pytest.mark.parametrize("capacity", [None, 10])
async def test_drain_takes_nothing_new_without_priorities_either(system: ActorSystem, capacity: int | None) -> None:
    """The batch that a drain begins must not open the mailbox again."""
    log: list[object] = []

    class Echo(Kid):
        @handles(int)
        async def echo(self, message: int) -> None:
            self.log.append(message)
            self.ref.tell(message + 1)
            self.log.append(dead(system))

    ref = system.spawn(Echo, log, capacity=capacity)
    ref.tell(1)
    ref.stop(drain=True)
    assert await ref.stopped(1)
    assert log == [1, [2], "stopped"]
    assert dead(system) == [2]


@pytest.mark.parametrize("capacity", [None, 10])
@pytest.mark.parametrize("priority", [0, 1])
async def test_what_is_told_after_a_drain_while_the_hook_runs_is_refused_at_once(
    system: ActorSystem, capacity: int | None, priority: int
) -> None:
    """R-S5: that nothing waits any more, by priorities or without, doesn't open the mailbox again."""

    class Asked(Kid):
        async def stopped(self) -> None:
            for message in ("late", "too late"):
                self.ref.tell(message)
                self.log.append((self.ref.waiting, dead(system)))

    log: list[object] = []
    ref = system.spawn(Asked, log, capacity=capacity)
    ref.tell("told", priority=priority)
    ref.stop(drain=True)
    assert await ref.stopped(1)
    assert log == ["told", (0, ["late"]), (0, ["late", "too late"])]


async def test_drain_of_an_actor_that_has_not_started_yet_waits_for_its_start(system: ActorSystem) -> None:
    log: list[object] = []

    class Slow(Kid):
        async def started(self) -> None:
            await asyncio.sleep(0.01)
            self.log.append("started")

    ref = system.spawn(Slow, log)
    ref.tell("told")
    ref.stop(drain=True)
    assert await ref.stopped(1)
    assert log == ["started", "told", "stopped"]


async def test_drain_ends_at_a_failure_or_during_a_backoff(system: ActorSystem) -> None:
    """Nothing is restarted for the sake of a drain, and nobody waits out the grace for it."""
    for first in ("drain", "fail"):
        log: list[object] = []
        ref = system.spawn(Kid, log, supervision=SLOWLY)
        ref.tell(Fail())
        ref.tell("behind it")
        if first == "fail":
            while not system.statistics()[0].restarts:
                await asyncio.sleep(0)
        ref.stop(drain=True, grace=30)
        assert await ref.stopped(1), first
        assert log == ["stopped"]


async def test_the_grace_lets_a_handler_end_well(system: ActorSystem) -> None:
    ref = system.spawn(Kid, [])
    wait = Wait()
    ask = asyncio.create_task(ref.ask(wait))
    await wait.entered.wait()
    ref.stop(grace=5)
    wait.open.set()
    assert await ask == "waited"
    assert await ref.stopped(1)


@pytest.mark.parametrize("drain", [True, False])
async def test_out_of_grace_the_handler_is_cancelled(system: ActorSystem, drain: bool) -> None:
    """R-M4, R-T3: and what waits behind it isn't worked off."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    wait = Wait()
    ask = asyncio.create_task(ref.ask(wait))
    await wait.entered.wait()
    ref.tell("waits")
    ref.stop(grace=0.01, drain=drain)
    with pytest.raises(ActorStopped):
        await ask
    assert await ref.stopped(1)
    assert log == ["stopped"]


async def test_a_second_stop_may_shorten_the_grace_but_not_lengthen_it(system: ActorSystem) -> None:
    ref = system.spawn(Kid, [])
    await waiting(ref)
    ref.stop(grace=30)
    ref.stop(grace=60)
    ref.stop(grace=0.01)
    ref.stop(grace=30)
    assert await ref.stopped(1)


@pytest.mark.parametrize(("drains", "log"), [((True, False), []), ((False, True), []), ((True, True), ["waits"])])
async def test_a_second_stop_may_end_a_drain_but_not_begin_one(
    system: ActorSystem, drains: tuple[bool, bool], log: list[object]
) -> None:
    """R-S5: nobody waits for the mail if one of those who stop the actor doesn't want it worked off."""
    handled: list[object] = []
    ref = system.spawn(Kid, handled)
    wait = await waiting(ref)
    ref.tell("waits")
    for drain in drains:
        ref.stop(drain=drain)
    wait.open.set()
    assert await ref.stopped(1)
    assert handled == [*log, "stopped"]
    assert [letter.message for letter in system.dead_letters.recent] == (["waits"] if not log else [])


async def test_without_a_grace_nothing_more_is_done(system: ActorSystem) -> None:
    """A handler whose wait has just ended is cancelled all the same, and no mail is worked off."""
    log: list[object] = []
    ref, idle = system.spawn(Kid, log), system.spawn(Kid, log)
    wait = Wait()
    ask = asyncio.create_task(ref.ask(wait))
    await wait.entered.wait()
    wait.open.set()
    ref.stop(grace=0)
    with pytest.raises(ActorStopped):
        await ask
    idle.tell("waits")
    idle.stop(drain=True, grace=0)
    assert await ref.stopped(1)
    assert await idle.stopped(1)
    assert log == ["stopped", "stopped"]


async def test_who_stops_in_time_is_not_warned_of(system: ActorSystem, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is anything of it left behind, though its hook and its children keep its turn waiting."""
    log: list[object] = []

    class Slow(Kid):
        async def stopped(self) -> None:
            await asyncio.sleep(0)
            await super().stopped()

    ref = system.spawn(Slow, log, 3, "parent")
    await waiting(ref)
    ref.stop(grace=0)
    assert await ref.stopped(1)
    assert len(log) == 4
    assert await system.spawn(Kid, log).ask("others go on") == "others go on"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("impatient")
async def test_a_handler_that_resists_is_left_behind_in_time_and_named(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-M4, R-T3."""
    log: list[object] = []
    ref = system.spawn(Kid, log, name="stubborn")
    resist = Resist()
    ask = asyncio.create_task(ref.ask(resist))
    await resist.entered.wait()
    ref.stop(grace=0)
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(ask, 1)
    assert await ref.stopped(1)
    assert log == ["swallowed", "stopped"]
    assert "abandoned a handler of /stubborn that resists cancellation: Resist" in caplog.text
    resist.open.set()


@pytest.mark.usefixtures("impatient")
async def test_an_actor_goes_on_without_a_handler_it_left_behind(system: ActorSystem) -> None:
    """Killed, abandoned, restarted: the mailbox stays in order, the old handler's end changes nothing."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    resist = Resist()
    ref.tell(resist)
    for number in range(100):
        ref.tell(number)
    await resist.entered.wait()
    ref.kill()
    assert await ref.ask("end", timeout=5) == "end"
    assert log == ["swallowed", *range(100), "end"]
    resist.open.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await ref.ask("still") == "still"


@pytest.mark.usefixtures("impatient")
async def test_an_ask_with_cancel_is_free_of_a_handler_that_resists(system: ActorSystem) -> None:
    """R-Q8: a running operation ends within 5 s, whatever it does; the session takes its next message."""
    ref = system.spawn(Kid, [])
    resist = Resist()
    ask = asyncio.create_task(ref.ask(resist, cancel=True))
    await resist.entered.wait()
    ask.cancel()
    assert await ref.ask("next", timeout=5) == "next"
    resist.open.set()


async def test_a_full_mailbox_of_a_suspended_actor_stops(system: ActorSystem) -> None:
    ref = system.spawn(Kid, [], capacity=10)
    await waiting(ref)
    asks = [asyncio.create_task(ref.ask(number)) for number in range(10)]
    await asyncio.sleep(0)
    ref.stop(grace=0)
    ends = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(end, ActorStopped) for end in ends)
    assert await ref.stopped(1)


async def test_stop_during_the_start_and_during_a_backoff(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Hangs(Kid):
        async def started(self) -> None:
            await asyncio.Event().wait()

    starting = system.spawn(Hangs, [])
    await asyncio.sleep(0)
    fresh = system.spawn(Hangs, [])
    failing = system.spawn(Kid, [], supervision=SLOWLY)
    failing.tell(Fail())
    asks = [asyncio.create_task(ref.ask("waits")) for ref in (starting, fresh, failing)]
    while not system.statistics()[2].restarts:
        await asyncio.sleep(0)
    for ref in (starting, fresh, failing):
        ref.stop(grace=0.01)
        assert await ref.stopped(1)
    for ask in asks:
        with pytest.raises(ActorStopped):
            await ask
    assert "while stopping" not in caplog.text, "a start that is ended for the stop is no failure"


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_resists_does_not_keep_its_actor(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """R-M4: the hook is left behind, and its worker with it."""
    gate = asyncio.Event()

    class Stubborn(Kid):
        async def started(self) -> None:
            while not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()

    log: list[object] = []
    ref = system.spawn(Stubborn, log, name="stubborn")
    while not system.tasks.count(type="started"):
        await asyncio.sleep(0)
    ref.stop(grace=0)
    assert await ref.stopped(1)
    assert log == ["stopped"]
    while "started() of /stubborn resists cancellation" not in caplog.text:
        await asyncio.sleep(0.01)
    gate.set()
    while any("started" in task.get_name() for task in asyncio.all_tasks()):
        await asyncio.sleep(0)


async def test_an_actor_that_stops_itself_ends_after_the_message_with_its_error(system: ActorSystem) -> None:
    """R-X4 rests on it."""

    class Revoked(Kid):
        @handles(Fail)
        async def end(self, message: Fail) -> str:
            self.stop(KeyError("revoked"))
            await asyncio.sleep(0)
            return "answered"

    ref = system.spawn(Revoked, [])
    first = asyncio.create_task(ref.ask(Fail()))
    await asyncio.sleep(0)
    second = asyncio.create_task(ref.ask("waits"))
    assert await first == "answered"
    for ask in (second, asyncio.create_task(ref.ask("later"))):
        with pytest.raises(KeyError, match="revoked"):
            await ask


async def test_a_name_is_free_once_its_actor_has_stopped(system: ActorSystem) -> None:
    first = system.spawn(Kid, [], name="x")
    with pytest.raises(NameTaken):
        system.spawn(Kid, [], name="x")
    first.stop()
    assert await first.stopped(1)
    assert system.spawn(Kid, [], name="x") is system.find("/x")
    for bad in ("", "a/b", "$1"):
        with pytest.raises(ValueError, match="name"):
            system.spawn(Kid, [], name=bad)


async def test_waiting_for_a_stop_ends_at_its_deadline_and_leaves_nothing(system: ActorSystem) -> None:
    """R-D3."""
    ref = system.spawn(Kid, [])
    assert not await ref.stopped(0.001)
    assert not ref.kin.stop_waiters  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_a_hook_that_fails_or_hangs_does_not_keep_its_actor(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Kid):
        stop_timeout = 0.01

        async def stopped(self) -> None:
            if self.label == "fails":
                raise OSError("closing failed")
            if self.label == "cancelled":
                raise asyncio.CancelledError
            await asyncio.Event().wait()

    for label in ("fails", "hangs", "cancelled"):
        ref = system.spawn(Bad, [], 0, label)
        ref.stop()
        assert await ref.stopped(1)
    assert "closing failed" in caplog.text
    assert "did not end within 0.01 s" in caplog.text


# -- the system ---------------------------------------------------------------------------------------


async def test_shutdown_leaves_no_task_and_no_timer() -> None:
    """R-T4."""
    before = asyncio.all_tasks()
    system = ActorSystem("ending", supervision=SLOWLY)
    await system.start()
    log: list[object] = []

    class Ticking(Kid):
        async def started(self) -> None:
            self.every(1000, "tick")

    refs = [system.spawn(Ticking, log, 2) for _ in range(50)]
    asks = [asyncio.create_task(ref.ask(Wait())) for ref in refs[:20]]
    for ref in refs[20:30]:
        ref.tell(Fail())
    while sum(actor.restarts for actor in system.statistics()) < 10 or system.tasks.count(type="queue_processor") > 20:
        await asyncio.sleep(0)
    background = system.tasks.spawn(asyncio.Event().wait(), type="sending", owner="/x")
    assert system.tasks.count(type="queue_processor") == 20
    assert await system.shutdown(timeout=4.5) == []
    assert await system.shutdown() == []
    assert background.cancelled()
    for end in await asyncio.gather(*asks, return_exceptions=True):
        assert isinstance(end, ActorStopped)
    assert asyncio.all_tasks() == before
    loop = asyncio.get_running_loop()
    timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    assert timers == []
    assert log.count("stopped") == 50
    with pytest.raises(RuntimeError):
        system.spawn(Kid, [])


@pytest.mark.usefixtures("impatient")
async def test_shutdown_names_what_resists_and_returns_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """R-T3, R-T4: also a task that swallows its cancellation."""
    system = await ActorSystem("stubborn").start()
    ref = system.spawn(Kid, [], name="mule")
    resist = Resist()
    ref.tell(resist)
    await resist.entered.wait()

    async def swallow() -> None:
        while not resist.open.is_set():
            try:
                await resist.open.wait()
            except asyncio.CancelledError:
                continue

    system.tasks.spawn(swallow(), type="scraping", owner="/mule")
    await asyncio.sleep(0)
    began = time.monotonic()
    resisting = await system.shutdown(timeout=1)
    assert time.monotonic() - began < 5
    assert any("scraping" in name for name in resisting)
    assert any("/mule" in name and "Resist" in name for name in resisting)
    assert "a scraping task of /mule resists cancellation" in caplog.text
    assert system.tasks.count() == 0
    resist.open.set()
    while any(task.get_name() in resisting for task in asyncio.all_tasks()):
        await asyncio.sleep(0)


@pytest.mark.virtual_time
async def test_a_shutdown_leaves_nobody_waiting_for_room_below_an_actor_that_resists() -> None:
    """R-D3: its parent never came to stop that child."""

    class Parent(Kid):
        def __init__(self, log: list[object]) -> None:
            super().__init__(log)
            self.spawn(Kid, log, name="child", capacity=1)

    system = await ActorSystem("stubborn").start()
    parent = system.spawn(Parent, [], name="parent")
    child = system.find("/parent/child")
    assert child is not None
    resist = Resist()
    parent.tell(resist)
    await resist.entered.wait()
    await waiting(child)
    child.tell("fills it")
    send = asyncio.create_task(child.send("waits for room", timeout=1000))
    await asyncio.sleep(0)
    resisting = await system.shutdown(timeout=2)
    assert any("/parent" in name for name in resisting)
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(send, 1)
    resist.open.set()
    while any(task.get_name() in resisting for task in asyncio.all_tasks()):
        await asyncio.sleep(0)


async def test_shutdown_drains_if_asked_to() -> None:
    log: list[object] = []
    system = await ActorSystem().start()
    for _ in range(10):
        ref = system.spawn(Kid, log)
        for number in range(100):
            ref.tell(number)
    await system.shutdown(drain=True)
    assert sum(isinstance(entry, int) for entry in log) == 1000


async def test_a_cancelled_shutdown_still_ends_everything() -> None:
    """R-T4."""
    before = asyncio.all_tasks()
    system = await ActorSystem().start()
    ref = system.spawn(Kid, [])
    ask = asyncio.create_task(ref.ask(Wait()))
    await asyncio.sleep(0)
    ending = asyncio.create_task(system.shutdown(timeout=30))
    while ref.alive:
        await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    with pytest.raises(ActorStopped):
        await ask
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_handler_cannot_shut_its_own_system_down(system: ActorSystem) -> None:
    """It would wait for its own end."""

    class Ender(Actor):
        @handles(str)
        async def end(self, message: str) -> list[str]:
            return await self.system.shutdown()

    with pytest.raises(RuntimeError, match="its own system"):
        await system.spawn(Ender).ask("now")
    assert system.running


async def test_a_system_can_be_started_again() -> None:
    system = ActorSystem()
    for _ in range(2):
        async with system:
            assert await system.spawn(Kid, [], name="x").ask("up") == "up"
            with pytest.raises(RuntimeError, match="runs already"):
                await system.start()


async def test_a_statistic_that_fails_hides_no_other(system: ActorSystem) -> None:
    """R-Q6."""

    class Secret(Kid):
        def inspect(self) -> dict[str, object]:
            raise OSError("secret")

    system.spawn(Secret, [])
    system.spawn(Kid, [], name="plain")
    secret, plain = system.statistics()
    assert secret.details == {"error": "OSError('secret')"}
    assert plain.path == "/plain"


def test_the_end_of_the_loop_without_shutdown_neither_hangs_nor_begins_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-T4: `asyncio.run` ending under a running system."""
    log: list[object] = []

    async def main() -> None:
        system = await ActorSystem().start()
        for _ in range(20):
            ref = system.spawn(Kid, log)
            ref.tell(Wait())
            ref.tell(Wait())
            ref.tell("never")
        while system.tasks.count(type="queue_processor") < 20:
            await asyncio.sleep(0)

    began = time.monotonic()
    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert time.monotonic() - began < 2
    assert log == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("at_work", [0, 10])
def test_what_waits_for_the_next_turn_of_a_loop_that_ends_is_not_begun(at_work: int) -> None:
    """R-T4: all tasks have been cancelled by then; it would run in a new one, which nobody cancels."""
    log: list[object] = []

    async def main() -> None:
        system = await ActorSystem().start()
        for _ in range(at_work):
            await waiting(system.spawn(Kid, log))
        ref = system.spawn(Kid, log)
        for number in range(TURN + 1):
            ref.tell(number)

    asyncio.run(main())
    assert log == list(range(TURN))


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_what_is_told_at_the_end_of_the_loop_is_not_begun_and_fails_nobody(turns: int) -> None:
    """R-T4: by a task that takes its time to end, and when the loop is closed."""
    log: list[object] = []
    refs: list[Ref] = []

    async def tell_at_its_end(ref: Ref) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(turns):
                await asyncio.sleep(0)
            ref.tell("never")

    async def main() -> None:
        system = await ActorSystem().start()
        refs.extend(system.spawn(Kid, log) for _ in range(2))
        telling = asyncio.create_task(tell_at_its_end(refs[0]))
        await asyncio.sleep(0)
        assert not telling.done()

    asyncio.run(main())
    refs[1].tell("nor after it")
    assert log == []


def test_who_tells_when_the_loop_is_closed_is_not_failed() -> None:
    """`tell` never fails: nobody is there to process it any more."""

    async def main() -> Ref:
        system = await ActorSystem().start()
        return system.spawn(Kid, log)

    log: list[object] = []
    asyncio.run(main()).tell("never")
    assert log == []


def test_what_a_shutdown_left_behind_may_end_when_the_loop_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """R-T4: as the interpreter lets go of it. Nothing is begun for that, though others were at work until the end."""
    caplog.set_level(logging.ERROR)  # a record of a dead letter would keep everything
    log: list[object] = []

    class Stubborn(Kid):
        @handles(Resist)
        async def resist(self, message: Resist) -> None:
            try:
                await super().resist(message)
            finally:
                self.log.append("let go")

    async def main() -> None:
        system = await ActorSystem().start()
        resist = Resist()
        system.spawn(Stubborn, log).tell(resist)
        await resist.entered.wait()
        ref = system.spawn(Kid, log)
        for number in range(10 * TURN):
            ref.tell(number)
        ending = asyncio.create_task(system.shutdown(timeout=30, drain=True))
        while not log:
            await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        log.clear()

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(main())
    del loop
    gc.collect()
    assert log == ["let go"]


def test_a_system_whose_owner_is_cancelled_at_the_end_of_the_loop_still_stops_its_actors() -> None:
    """The owner is an ordinary task: all tasks are cancelled at once, and the hooks must still run."""
    log: list[object] = []

    async def owner(up: asyncio.Event) -> None:
        async with ActorSystem() as system:
            system.spawn(Kid, log)
            system.spawn(Kid, log).tell(Wait())
            while not system.tasks.count(type="queue_processor"):
                await asyncio.sleep(0)
            up.set()
            await asyncio.Event().wait()

    async def main() -> None:
        up = asyncio.Event()
        global _owner  # a task must be held on to
        _owner = asyncio.create_task(owner(up))
        await up.wait()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 2
    assert log == ["stopped", "stopped"]


def who_is_interrupted(suspends: bool) -> type[Kid]:
    """Who gets a KeyboardInterrupt as it is told to fail, at once or when it has waited."""

    class Interrupted(Kid):
        @handles(Fail)
        async def fail_hard(self, message: Fail) -> None:
            if suspends:
                await asyncio.sleep(0)
            raise KeyboardInterrupt

    return Interrupted


@pytest.mark.parametrize("suspends", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_a_keyboard_interrupt_in_a_handler_ends_the_program_cleanly(suspends: bool, asked: bool) -> None:
    """It goes to the loop; the actors still stop, in time."""
    log: list[object] = []

    async def main() -> None:
        async with ActorSystem(supervision=AT_ONCE) as system:
            ref = system.spawn(who_is_interrupted(suspends), log)
            if asked:
                await ref.ask(Fail())
            ref.tell(Fail())
            await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert time.monotonic() - began < 2
    assert log == ["stopped"]


_owner: asyncio.Task[None] | None = None


@pytest.mark.usefixtures("impatient")
def test_a_handler_that_was_left_behind_may_still_end_the_program_but_not_fail_its_actor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Exits(Kid):
        @handles(Resist)
        async def resist(self, message: Resist) -> None:
            await super().resist(message)
            raise SystemExit(3)

    async def main() -> None:
        async with ActorSystem(supervision=AT_ONCE) as system:
            ref = system.spawn(Exits, log)
            ask = asyncio.create_task(ref.ask(resist := Resist(), cancel=True))
            await resist.entered.wait()
            ask.cancel()
            assert await ref.ask("next", timeout=5) == "next"
            resist.open.set()
            await asyncio.Event().wait()

    log: list[object] = []
    with pytest.raises(SystemExit, match="3"):
        asyncio.run(main())
    assert log == ["swallowed", "next", "stopped"]
    assert [record.getMessage() for record in caplog.records if record.name == "telestage.supervision"] == []


@pytest.mark.parametrize("suspends", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_a_program_that_goes_on_after_a_keyboard_interrupt_finds_its_actors_at_work(
    suspends: bool, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler's own has failed and is restarted; its worker is gone, and of that the loop has nothing to say."""

    async def start() -> None:
        await system.start()

    async def interrupted() -> None:
        ref = system.spawn(who_is_interrupted(suspends), log, name="interrupted")
        other = system.spawn(Kid, log, name="other")
        if asked:
            await ref.ask(Fail())
        ref.tell(Fail())
        ref.tell("kept")
        other.tell("told")
        await asyncio.Event().wait()

    async def workers() -> int:
        return len([task for task in asyncio.all_tasks() if task.get_name() == "telestage worker"])

    async def go_on() -> None:
        await system.idle()
        assert await workers() == hired - 1
        ref = system.find("/interrupted")
        assert ref is not None
        assert await ref.ask("up", timeout=5) == "up"
        ref.kill()
        assert await ref.ask("up again", timeout=5) == "up again"
        assert [each.restarts for each in system.statistics()] == [2, 0]
        await system.shutdown()

    log: list[object] = []
    gc.collect()
    caplog.clear()  # of what others left
    system = ActorSystem(supervision=AT_ONCE)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(start())
        hired = loop.run_until_complete(workers())
        task = loop.create_task(interrupted())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        task.cancel()
        del task
        loop.run_until_complete(go_on())
        gc.collect()
    assert log == [*([] if asked else ["told", "kept"]), "up", "up again", "stopped", "stopped"]
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_an_idle_actor_without_hooks_has_stopped_when_stop_returns(system: ActorSystem) -> None:
    """Nothing is left to do for it, so no turn is waited for: the name is free, and later messages are dead letters."""

    class Plain(Actor):
        pass

    ref = system.spawn(Plain, name="plain")
    ref.stop()
    assert not ref.alive
    assert await ref.stopped(0)
    assert system.find("/plain") is None
    other = system.spawn(Plain, name="plain")
    ref.tell("late")
    assert [letter.message for letter in system.dead_letters.recent] == ["late"]
    with pytest.raises(ActorStopped):
        await ref.ask("late")
    ref.stop()
    assert system.find("/plain") is other


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("before", [0, 1, 100])
@pytest.mark.parametrize("priority", [0, -1])
async def test_who_has_done_all_is_idle_before_the_next_actor_has_its_turn(
    system: ActorSystem, priority: int, before: int, waits: bool
) -> None:
    """Whatever it did, and though others are ready: it costs no inbox, and has stopped when `stop` returns."""

    class Works(Actor):
        @handles(int)
        def work(self, message: int) -> None:
            pass

        @handles(str)
        async def work_last(self, message: str) -> None:
            if waits:
                await asyncio.sleep(0)
            following.tell("stop it")

    class Stops(Actor):
        @handles(str)
        def stop_it(self, message: str) -> None:
            ref.stop()
            stopped.set_result(isinstance(ref, Cell) and ref.final)

    stopped: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    ref, following = system.spawn(Works), system.spawn(Stops)
    for number in range(before):
        ref.tell(number)
    ref.tell("last", priority=priority)
    assert await stopped


async def test_an_actor_may_stop_itself_as_it_is_made(system: ActorSystem) -> None:
    class Reluctant(Actor):
        def __init__(self) -> None:
            self.stop()

    ref = system.spawn(Reluctant)
    assert not ref.alive
    assert await ref.stopped(5)
    assert not system.statistics()


async def test_nothing_is_kept_of_an_idle_actor_that_has_stopped(system: ActorSystem) -> None:
    """A ref that outlives it keeps neither the instance nor its siblings."""

    class Plain(Actor):
        pass

    refs = [system.spawn(Plain) for _ in range(5)]
    cells = [ref for ref in refs if isinstance(ref, Cell)]
    instances = [weakref.ref(cell.actor) for cell in cells]
    for number in (2, 0, 4):
        refs[number].stop()
        refs[number].stop()
        assert cells[number].elder is cells[number].younger is instances[number]() is None
        assert cells[number].family is None
    assert [each.path for each in system.statistics()] == [cells[1].path, cells[3].path]
    assert system.find(cells[3].path) is refs[3]


async def test_the_instance_of_an_actor_that_took_turns_to_stop_is_not_kept_either(system: ActorSystem) -> None:
    """Nor its system lane, in which what waited is a dead letter."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    assert isinstance(ref, Cell)
    instance = weakref.ref(ref.actor)
    ref.stop()
    ref.signal("comes before the end")
    assert await ref.stopped(1)
    assert ref.actor is ref.kin.control is instance() is None
    assert log == ["stopped"]
    assert dead(system) == ["comes before the end"]


async def test_a_ref_to_who_has_stopped_keeps_nobody_who_waited_for_that(system: ActorSystem) -> None:
    """Neither a watcher, nor whom it watched itself, nor what its parent awaited."""

    class Watches(Kid):
        @handles(Ref)
        def look(self, other: Ref) -> None:
            self.watch(other)

    first, parent, third = system.spawn(Watches, []), system.spawn(Watches, [], 1), system.spawn(Watches, [])
    child = system.find(f"{parent.path}/child-0")
    assert isinstance(parent, Cell)
    assert isinstance(child, Cell)
    await first.ask(parent)
    await parent.ask(third)
    assert parent.kin.watchers
    assert parent.kin.watching
    parent.stop()
    assert await parent.stopped(1)
    assert not parent.kin.watchers
    assert not parent.kin.watching
    assert not child.kin.stop_waiters


async def test_an_idle_actor_stops_with_the_error_it_is_stopped_with(system: ActorSystem) -> None:
    """From a task of its own, between two messages."""

    class Gives(Actor):
        @handles(str)
        def up(self, message: str) -> None:
            asyncio.get_running_loop().call_soon(self.stop, KeyError(message))

    ref = system.spawn(Gives)
    await ref.ask("why")
    await asyncio.sleep(0)
    assert not ref.alive
    with pytest.raises(KeyError, match="why"):
        await ref.ask("late")
