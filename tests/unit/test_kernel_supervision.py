"""How failures are answered: directives, restarts with backoff, escalation, kill, watch, timers."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorKilled,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    ChildFailed,
    Directive,
    Ref,
    StartTimeout,
    Supervision,
    Terminated,
    handles,
)
from telestage.actors.kernel.supervision import RestartLog

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)
SLOWLY = Supervision(backoff=Backoff(first=60, maximum=60, jitter=0))


class Fail:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Wait:
    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


class Spawn:
    def __init__(self, cls: type[Actor], *args: object, **options: object) -> None:
        self.cls, self.args, self.options = cls, args, options


class Kid(Actor):
    """Logs what happens to it."""

    def __init__(self, log: list[object] | None = None) -> None:
        self.log: list[object] = [] if log is None else log
        self.log.append("born")

    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise message.error

    @handles(Wait)
    async def wait(self, message: Wait) -> str:
        message.entered.set()
        await message.open.wait()
        return "waited"

    @handles(Spawn)
    def make(self, message: Spawn) -> Ref:
        return self.spawn(message.cls, *message.args, **message.options)  # type: ignore[arg-type]  # spawn's own

    @handles(object)
    async def record(self, message: object) -> object:
        self.log.append(message)
        return message


class Observer(Kid):
    """Is told of failures and ends."""

    @handles(ChildFailed)
    def noted(self, message: ChildFailed) -> None:
        self.log.append((type(message.error).__name__, message.directive))

    @handles(Terminated)
    def ended(self, message: Terminated) -> None:
        self.log.append(message)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE, seed=1) as system:
        yield system


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def restarts(system: ActorSystem, ref: Ref) -> int:
    return next(actor.restarts for actor in system.statistics() if actor.path == ref.path)


# -- restart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("supervision", [AT_ONCE, Supervision(backoff=Backoff(first=0.01))])
async def test_a_restart_keeps_the_mailbox_in_order_without_the_failing_message(
    system: ActorSystem, supervision: Supervision
) -> None:
    """R-S3."""
    log: list[object] = []
    ref = system.spawn(Kid, log, supervision=supervision)
    ref.tell(1)
    ref.tell(Fail(ValueError()))
    for number in range(2, 200):
        ref.tell(number)
    assert await ref.ask("end") == "end"
    assert log == ["born", 1, "born", *range(2, 200), "end"]


async def test_a_restart_keeps_priorities(system: ActorSystem) -> None:
    """R-S3, R-Q3."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    for number in range(5):
        ref.tell(number, priority=number)
    ref.tell(Fail(ValueError()), priority=10)
    assert await ref.ask("end", priority=-1) == "end"
    assert log == ["born", "born", 4, 3, 2, 1, 0, "end"]


async def test_an_actor_restarted_with_an_empty_mailbox_takes_what_comes_later(system: ActorSystem) -> None:
    """The batch that was empty must not be taken for mail that is still to be worked off."""
    log: list[object] = []
    ref = system.spawn(Kid, log)
    ref.tell(Fail(ValueError()))
    await until(lambda: log == ["born", "born"])
    for _ in range(5):
        await asyncio.sleep(0)
    dispatcher = ref.dispatcher  # type: ignore[attr-defined]  # looked at from inside on purpose
    assert not dispatcher.ready
    assert not dispatcher.armed
    ref.tell("later")
    assert await ref.ask("asked", timeout=1) == "asked"
    assert log == ["born", "born", "later", "asked"]


async def test_state_is_rebuilt_and_the_ref_stays(system: ActorSystem) -> None:
    class Stateful(Kid):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        @handles(int)
        def add(self, amount: int) -> int:
            self.seen += amount
            return self.seen

    ref = system.spawn(Stateful, name="x")
    assert await ref.ask(2) == 2
    with pytest.raises(KeyError):
        await ref.ask(Fail(KeyError()))
    assert await ref.ask(3) == 3
    assert system.find("/x") is ref


async def test_hooks_run_in_order_around_a_restart_and_a_stop(system: ActorSystem) -> None:
    log: list[object] = []

    class Hooked(Kid):
        async def started(self) -> None:
            await asyncio.sleep(0)
            self.log.append("started")

        async def restarting(self, error: BaseException) -> None:
            self.log.append(repr(error))

        async def stopped(self) -> None:
            self.log.append("stopped")

    ref = system.spawn(Hooked, log)
    ref.tell("first")
    ref.tell(Fail(ValueError(1)))
    assert await ref.ask("last") == "last"
    ref.stop()
    assert await ref.stopped(1)
    assert log == ["born", "started", "first", "ValueError(1)", "born", "started", "last", "stopped"]


async def test_a_cancelled_wait_is_a_failure_like_any_other(system: ActorSystem) -> None:
    ref = system.spawn(Kid)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Await(Kid):
        @handles(asyncio.Future)
        async def wait_for(self, message: asyncio.Future[None]) -> None:
            await message

    ref = system.spawn(Await)
    ask = asyncio.create_task(ref.ask(future))
    await asyncio.sleep(0)
    future.cancel()
    with pytest.raises(ActorKilled):
        await ask
    assert restarts(system, ref) == 1


async def test_base_exceptions_that_end_no_program_are_failures(system: ActorSystem) -> None:
    """R-M3: such as what `pytest.fail` raises: never to the event loop."""

    class Odd(BaseException):
        pass

    ref = system.spawn(Kid)
    with pytest.raises(Odd):
        await ref.ask(Fail(Odd()))
    ref.tell(Fail(Odd()))
    assert await ref.ask("on") == "on"
    assert restarts(system, ref) == 2


# -- directives ---------------------------------------------------------------------------------------


async def test_the_most_specific_directive_wins(system: ActorSystem) -> None:
    """R-S1."""
    rules = Supervision(
        {Exception: Directive.STOP, LookupError: Directive.RESUME, KeyError: Directive.RESTART},
        backoff=Backoff(first=0),
    )
    log: list[object] = []
    ref = system.spawn(Kid, log, supervision=rules)
    ref.tell(Fail(IndexError()))
    await ref.ask("resumed")
    ref.tell(Fail(KeyError()))
    await ref.ask("restarted")
    ref.tell(Fail(ValueError()))
    assert await ref.stopped(1)
    assert log == ["born", "resumed", "born", "restarted"]


async def test_a_stop_by_directive_fails_what_waits_with_the_cause(system: ActorSystem) -> None:
    ref = system.spawn(Kid, supervision=Supervision({ValueError: Directive.STOP}))
    wait = Wait()
    ref.tell(wait)
    await wait.entered.wait()
    ref.tell(Fail(ValueError("why")))
    ask = asyncio.create_task(ref.ask("waits"))
    ref.tell("told")
    await asyncio.sleep(0)
    wait.open.set()
    with pytest.raises(ActorStopped) as error:
        await ask
    assert str(error.value.__cause__) == "why"
    with pytest.raises(ActorStopped):
        await ref.ask("later")
    ref.tell("later")
    assert [letter.message for letter in system.dead_letters.recent] == ["told", "later"]


async def test_more_restarts_than_allowed_stop_a_top_level_actor(system: ActorSystem) -> None:
    """R-S2: five restarts are allowed; the sixth failure escalates, and above the top level nobody is."""
    log: list[object] = []
    ref = system.spawn(Kid, log, supervision=Supervision(backoff=Backoff(first=0)))
    other = system.spawn(Kid)
    for _ in range(5):
        with pytest.raises(ValueError, match="again"):
            await ref.ask(Fail(ValueError("again")))
        assert await ref.ask("alive") == "alive"
    with pytest.raises(ValueError, match="again"):
        await ref.ask(Fail(ValueError("again")))
    assert await ref.stopped(1)
    assert log.count("born") == 6
    assert await other.ask("unharmed") == "unharmed"


async def test_escalation_restarts_the_parent_and_stops_its_children(system: ActorSystem) -> None:
    """R-S1, R-S2."""
    log: list[object] = []
    parent = system.spawn(Observer, log)
    escalate = Supervision({ValueError: Directive.ESCALATE})
    child = await parent.ask(Spawn(Kid, supervision=escalate), expecting=Ref)
    with pytest.raises(ValueError, match="up"):
        await child.ask(Fail(ValueError("up")))
    assert await parent.ask("after") == "after"
    assert not child.alive
    assert log == ["born", "born", ("ValueError", Directive.ESCALATE), "after"]


async def test_a_parent_that_resumes_resumes_whom_the_failure_came_from(system: ActorSystem) -> None:
    """R-S1: over any number of levels; nobody stays halted."""
    up = Supervision({ValueError: Directive.ESCALATE})
    top = system.spawn(Kid, supervision=Supervision({ValueError: Directive.RESUME}))
    middle = await top.ask(Spawn(Kid, supervision=up), expecting=Ref)
    low = await middle.ask(Spawn(Kid, supervision=up), expecting=Ref)
    with pytest.raises(ValueError, match="from below"):
        await low.ask(Fail(ValueError("from below")))
    for ref in (low, middle, top):
        assert await ref.ask("alive", timeout=1) == "alive"


async def test_kept_children_that_escalated_are_restarted_with_their_parent(system: ActorSystem) -> None:
    class Keeper(Kid):
        keep_children = True

    log: list[object] = []
    parent = system.spawn(Keeper)
    child = await parent.ask(Spawn(Kid, log, supervision=Supervision({ValueError: Directive.ESCALATE})), expecting=Ref)
    with pytest.raises(ValueError, match="up"):
        await child.ask(Fail(ValueError("up")))
    assert await child.ask("again", timeout=1) == "again"
    assert log == ["born", "born", "again"]
    assert restarts(system, parent) == 1


async def test_two_children_that_escalate_restart_their_parent_once(system: ActorSystem) -> None:
    up = Supervision({ValueError: Directive.ESCALATE})
    parent = system.spawn(Kid, supervision=Supervision(backoff=Backoff(first=0.01, jitter=0)))
    children = [await parent.ask(Spawn(Kid, supervision=up), expecting=Ref) for _ in range(2)]
    for child in children:
        child.tell(Fail(ValueError()))
    for child in children:
        assert await child.stopped(1)
    await parent.ask("on")
    assert restarts(system, parent) == 1


async def test_a_busy_parent_does_not_delay_its_childs_restart(system: ActorSystem) -> None:
    class Rules(Kid):
        supervision = AT_ONCE

    parent = system.spawn(Rules)
    child = await parent.ask(Spawn(Kid), expecting=Ref)
    wait = Wait()
    parent.tell(wait)
    await wait.entered.wait()
    child.tell(Fail(ValueError()))
    assert await child.ask("again", timeout=1) == "again"
    wait.open.set()


async def test_a_supervisor_told_of_a_failure_may_stop_the_child_before_it_is_made_anew(system: ActorSystem) -> None:
    """R-S1: a stop comes before a restart that has been decided and not begun."""
    log: list[object] = []

    class Strict(Observer):
        @handles(ChildFailed)
        def noted(self, message: ChildFailed) -> None:
            message.ref.stop()

    parent = system.spawn(Strict)
    child = await parent.ask(Spawn(Kid, log, supervision=AT_ONCE), expecting=Ref)
    child.tell(Fail(ValueError("once")))
    assert await child.stopped(1)
    assert log == ["born"]


async def test_a_failure_while_stopping_is_logged(system: ActorSystem, caplog: pytest.LogCaptureFixture) -> None:
    """R-M3: no error disappears."""
    ref = system.spawn(Kid)
    wait = Wait()

    class Late(Kid):
        @handles(Wait)
        async def wait(self, message: Wait) -> str:
            await super().wait(message)
            raise ValueError("late failure")

    ref = system.spawn(Late)
    ref.tell(wait)
    await wait.entered.wait()
    ref.stop()
    wait.open.set()
    assert await ref.stopped(1)
    assert "late failure" in caplog.text


# -- starting -----------------------------------------------------------------------------------------


async def test_a_failing_start_is_retried_with_backoff_and_blocks_nobody(system: ActorSystem) -> None:
    """R-S2: parent and siblings go on meanwhile."""
    log: list[object] = []

    class Stubborn(Kid):
        async def started(self) -> None:
            await asyncio.sleep(0)
            if self.log.count("born") < 4:
                raise OSError("not yet")

    parent = system.spawn(Kid)
    child = await parent.ask(Spawn(Stubborn, log, supervision=Supervision(backoff=Backoff(first=0.01))), expecting=Ref)
    ask = asyncio.create_task(child.ask("hello"))
    assert await parent.ask("free", timeout=1) == "free"
    sibling = await parent.ask(Spawn(Kid), expecting=Ref)
    assert await sibling.ask("free", timeout=1) == "free"
    assert not ask.done()
    assert await ask == "hello"
    assert log == ["born"] * 4 + ["hello"]


async def test_a_start_that_hangs_is_a_failure(system: ActorSystem) -> None:
    """R-D3."""

    class Hangs(Kid):
        start_timeout = 0.01

        async def started(self) -> None:
            if self.log.count("born") < 2:
                await asyncio.Event().wait()

    log: list[object] = []
    parent = system.spawn(Observer, log)
    child = await parent.ask(Spawn(Hangs, []), expecting=Ref)
    assert await child.ask("up", timeout=5) == "up"
    assert log == ["born", ("StartTimeout", Directive.RESTART)]
    assert issubclass(StartTimeout, Exception)


async def test_a_cancelled_start_is_a_failure_and_not_the_end(system: ActorSystem) -> None:
    """What `started` awaits may be cancelled by others; the actor must not stay halted for ever."""

    class Fragile(Kid):
        async def started(self) -> None:
            if self.log.count("born") < 2:
                raise asyncio.CancelledError

    ref = system.spawn(Fragile, [])
    assert await ref.ask("up", timeout=1) == "up"
    assert restarts(system, ref) == 1


async def test_a_stray_cancellation_of_the_task_that_starts_an_actor_is_a_failure(system: ActorSystem) -> None:
    """Of the one that waits for the hook: the actor isn't left halted."""
    log: list[object] = []
    begun = asyncio.Event()

    class Slow(Kid):
        async def started(self) -> None:
            if not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            self.log.append("started")

    ref = system.spawn(Slow, log, supervision=AT_ONCE)
    await begun.wait()
    ref.worker.task.cancel()  # type: ignore[attr-defined]  # looked at from inside on purpose
    assert await ref.ask("up", timeout=1) == "up"
    assert log == ["born", "born", "started", "up"]


async def test_each_start_of_an_actor_can_be_killed(system: ActorSystem) -> None:
    """R-S2: the second one as well as the first, and at once."""
    log: list[object] = []
    begun: asyncio.Queue[str] = asyncio.Queue()

    class Slow(Kid):
        async def started(self) -> None:
            if self.log.count("born") <= 3:
                begun.put_nowait("begun")
                await asyncio.Event().wait()

    ref = system.spawn(Slow, log, supervision=AT_ONCE)
    for _ in range(3):
        assert await asyncio.wait_for(begun.get(), 1) == "begun"
        ref.kill()
    assert await ref.ask("up", timeout=1) == "up"
    assert log == [*["born"] * 4, "up"]


async def test_a_failing_init_spawns_nothing_and_leaves_nothing(system: ActorSystem) -> None:
    watched = system.spawn(Kid)
    refs: list[Ref] = []

    class Broken(Actor):
        def __init__(self) -> None:
            refs.append(self.ref)
            refs.append(self.spawn(Kid))
            self.watch(watched)
            self.after(0, "due")
            self.tell(self.ref, "to myself")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        system.spawn(Broken, name="broken")
    me, child = refs
    assert not me.alive
    assert await child.stopped(1)
    with pytest.raises(ActorStopped):
        await me.ask("anything")
    assert [letter.message for letter in system.dead_letters.recent] == ["to myself"]
    assert [actor.path for actor in system.statistics()] == [watched.path]
    assert not watched.kin.watchers  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_an_init_that_fails_at_a_restart_is_retried(system: ActorSystem) -> None:
    log: list[object] = []

    class Flaky(Kid):
        def __init__(self, log: list[object]) -> None:
            super().__init__(log)
            if log.count("born") in (2, 3):
                raise OSError("flaky")

    ref = system.spawn(Flaky, log)
    ref.tell(Fail(ValueError()))
    assert await ref.ask("up", timeout=1) == "up"
    assert log == ["born"] * 4 + ["up"]


# -- kill ---------------------------------------------------------------------------------------------


async def test_kill_of_an_idle_actor_restarts_it_once(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Kid, log)
    ref.kill("why not")
    ref.kill("twice")
    assert await ref.ask("up") == "up"
    assert log == ["born", "born", "up"]
    assert restarts(system, ref) == 1


@pytest.mark.parametrize("way", ["asked", "alone", "in a batch"])
async def test_kill_of_an_idle_actor_that_has_waited_disturbs_nobody_else(system: ActorSystem, way: str) -> None:
    """The task that its handler waited in is another actor's by then."""

    class Naps(Kid):
        @handles(float)
        async def nap(self, seconds: float) -> None:
            await asyncio.sleep(seconds)
            tasks.append(asyncio.current_task())

    tasks: list[object] = []
    ref, other = system.spawn(Naps), system.spawn(Naps)
    if way == "asked":
        await ref.ask(0.0)
    else:
        if way == "in a batch":
            ref.tell("before")
        ref.tell(0.0)
        await system.idle()
    nap = asyncio.create_task(other.ask(0.01))
    await asyncio.sleep(0)
    ref.kill()
    await nap
    assert tasks[0] is tasks[1]
    assert await ref.ask("up", timeout=5) == "up"
    assert (restarts(system, ref), restarts(system, other)) == (1, 0)


async def test_kill_of_an_idle_actor_is_told_with_its_reason(system: ActorSystem) -> None:
    ref = system.spawn(Kid, supervision=Supervision({ActorKilled: Directive.STOP}))
    ref.kill("it is the wrong one")
    assert await ref.stopped(1)
    with pytest.raises(ActorStopped) as stopped:
        await ref.ask("late")
    assert isinstance(stopped.value.__cause__, ActorKilled)
    assert "it is the wrong one" in str(stopped.value.__cause__)


async def test_kill_of_a_suspended_handler_cancels_it_and_tells_its_asker(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Kid, log)
    wait = Wait()
    ask = asyncio.create_task(ref.ask(wait))
    await wait.entered.wait()
    ref.tell("kept")
    ref.kill("enough")
    with pytest.raises(ActorKilled) as error:
        await ask
    assert error.value.reason == "enough"
    assert await ref.ask("up") == "up"
    assert log == ["born", "born", "kept", "up"]
    assert restarts(system, ref) == 1


@pytest.mark.parametrize("stop", [True, False])
async def test_a_handler_that_ends_its_own_actor_before_it_suspends_is_interrupted(
    system: ActorSystem, stop: bool
) -> None:
    """Its Task isn't its own yet when it is interrupted: it must not wait for ever afterwards."""

    class Suicidal(Kid):
        @handles(Wait)
        async def wait(self, message: Wait) -> str:
            if stop:
                self.ref.stop(grace=0)
            else:
                self.ref.kill("own hand")
            return await super().wait(message)

    log: list[object] = []
    ref = system.spawn(Suicidal, log)
    with pytest.raises(ActorStopped if stop else ActorKilled):
        await ref.ask(Wait(), timeout=5)
    if stop:
        assert await ref.stopped(1)
    else:
        assert await ref.ask("up") == "up"
        assert log == ["born", "born", "up"]


async def test_a_handler_that_kills_its_own_actor_and_then_raises_has_failed_once(system: ActorSystem) -> None:
    """R-S2: one end, one restart, one of the budget."""

    class Twice(Kid):
        @handles(Fail)
        async def fail(self, message: Fail) -> None:
            self.ref.kill("own hand")
            raise message.error

    log: list[object] = []
    ref = system.spawn(Twice, log)
    ref.tell(Fail(ValueError("and an error")))
    assert await ref.ask("up", timeout=1) == "up"
    assert log == ["born", "born", "up"]
    assert restarts(system, ref) == 1


async def test_a_resumed_kill_is_decided_once(system: ActorSystem) -> None:
    log: list[object] = []
    parent = system.spawn(Observer, log)
    rules = Supervision({ActorKilled: Directive.RESUME})
    child = await parent.ask(Spawn(Kid, supervision=rules), expecting=Ref)
    for swallow in (False, True):
        wait = Wait()

        class Swallow(Kid):
            @handles(Wait)
            async def wait(self, message: Wait) -> str:
                try:
                    return await super().wait(message)
                except asyncio.CancelledError:
                    return "swallowed"

        child = await parent.ask(Spawn(Swallow if swallow else Kid, supervision=rules), expecting=Ref)
        child.tell(wait)
        await wait.entered.wait()
        child.kill()
        assert await child.ask("on", timeout=1) == "on"
    await parent.ask("end")
    assert log == ["born", *[("ActorKilled", Directive.RESUME)] * 2, "end"]


async def test_kill_during_a_backoff_does_not_restart_twice(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Kid, log, supervision=Supervision(backoff=Backoff(first=0.03, jitter=0)))
    ref.tell(Fail(ValueError()))
    await until(lambda: restarts(system, ref) == 1)
    ref.kill()
    assert await ref.ask("up", timeout=5) == "up"
    assert not ref.restart_due  # type: ignore[attr-defined]  # looked at from inside on purpose
    assert log == ["born", "born", "up"]
    assert restarts(system, ref) == 1


async def test_kill_of_a_starting_actor_ends_its_start(system: ActorSystem) -> None:
    entered = asyncio.Event()

    class Slow(Kid):
        async def started(self) -> None:
            if self.log.count("born") < 3:
                entered.set()
                await asyncio.Event().wait()

    ref = system.spawn(Slow, [])
    ref.kill("before its start")
    await entered.wait()
    ref.kill("in its start")
    assert await ref.ask("up", timeout=5) == "up"
    assert restarts(system, ref) == 2


async def test_kill_while_an_abandoned_ask_is_being_cancelled_still_fails_the_actor(system: ActorSystem) -> None:
    """The asker's cancellation came first; the kill must not be lost."""

    class Slow(Kid):
        @handles(Wait)
        async def wait(self, message: Wait) -> str:
            try:
                return await super().wait(message)
            finally:
                self.log.append("cleaning up")
                await message.open.wait()

    log: list[object] = []
    ref = system.spawn(Slow, log)
    wait = Wait()
    with pytest.raises(AskTimeout):
        await ref.ask(wait, timeout=0.01, cancel=True)
    await until(lambda: "cleaning up" in log)
    ref.kill()
    wait.open.set()
    assert await ref.ask("up") == "up"
    assert restarts(system, ref) == 1


async def test_a_stray_cancellation_of_a_handlers_task_is_a_failure(system: ActorSystem) -> None:
    tasks: list[asyncio.Task[object]] = []

    class Leaky(Kid):
        @handles(Wait)
        async def wait(self, message: Wait) -> str:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            return await super().wait(message)

    ref = system.spawn(Leaky)
    wait = Wait()
    ask = asyncio.create_task(ref.ask(wait))
    await wait.entered.wait()
    tasks[0].cancel()
    with pytest.raises(ActorKilled):
        await ask
    assert await ref.ask("up") == "up"
    for _ in range(10):  # and of one that went back to work for others
        wait = Wait()
        wait.open.set()
        await ref.ask(wait)
        tasks[-1].cancel()
        assert await ref.ask("up", timeout=1) == "up"
    assert restarts(system, ref) == 1


# -- watch --------------------------------------------------------------------------------------------


class Watch:
    def __init__(self, ref: Ref, times: int = 1) -> None:
        self.ref = ref
        self.times = times


class Watcher(Observer):
    @handles(Watch)
    def begin(self, message: Watch) -> None:
        for _ in range(message.times):
            self.watch(message.ref)


async def test_a_watcher_gets_exactly_one_terminated(system: ActorSystem) -> None:
    """R-S4."""
    log: list[object] = []
    watcher, watched = system.spawn(Watcher, log), system.spawn(Kid)
    await watcher.ask(Watch(watched, times=3))
    watched.tell(Fail(ValueError()))  # a restart is no end
    await watched.ask("up")
    watched.stop()
    watched.stop()
    assert await watched.stopped(1)
    await watcher.ask("end")
    assert log == ["born", Terminated(watched, None), "end"]


async def test_a_watcher_is_told_why(system: ActorSystem) -> None:
    """R-S4: by what ended the actor it watches; that it was stopped needs no reason."""
    log: list[object] = []
    watcher = system.spawn(Watcher, log)
    watched = system.spawn(Kid, supervision=Supervision({ValueError: Directive.STOP}))
    await watcher.ask(Watch(watched))
    watched.tell(Fail(ValueError("why")))
    assert await watched.stopped(1)
    await watcher.ask("end")
    _, terminated, _ = log
    assert isinstance(terminated, Terminated)
    assert terminated.error is not None
    assert isinstance(terminated.error.__cause__, ValueError)


async def test_watching_an_actor_that_has_stopped_is_answered_at_once(system: ActorSystem) -> None:
    """R-S4."""
    log: list[object] = []
    watcher = system.spawn(Watcher, log)
    watched = system.spawn(Kid, supervision=Supervision({ValueError: Directive.STOP}))
    watched.tell(Fail(ValueError("why")))
    assert await watched.stopped(1)
    await watcher.ask(Watch(watched))
    await watcher.ask("end")
    terminated = log[1]
    assert isinstance(terminated, Terminated)
    assert terminated.ref is watched
    assert isinstance(terminated.error, ActorStopped)
    assert isinstance(terminated.error.__cause__, ValueError)
    assert log[2:] == ["end"]


async def test_a_watcher_that_ends_first_leaves_nothing(system: ActorSystem) -> None:
    watcher, watched = system.spawn(Watcher, []), system.spawn(Kid)
    await watcher.ask(Watch(watched))
    watcher.stop()
    assert await watcher.stopped(1)
    assert not watcher.kin.watching  # type: ignore[attr-defined]  # looked at from inside on purpose
    assert not watched.kin.watchers  # type: ignore[attr-defined]  # as above
    watched.stop()
    assert await watched.stopped(1)
    assert len(system.dead_letters) == 0


async def test_a_watcher_keeps_nothing_of_who_has_ended(system: ActorSystem) -> None:
    """One that lives long may see many come and go."""
    watcher, watched = system.spawn(Watcher, []), system.spawn(Kid)
    await watcher.ask(Watch(watched))
    watched.stop()
    assert await watched.stopped(1)
    assert not watcher.kin.watching  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_terminated_comes_through_a_full_or_halted_mailbox(system: ActorSystem) -> None:
    """R-Q2, R-S4: by the system lane; a restart in between keeps it."""
    log: list[object] = []
    watcher, watched = system.spawn(Watcher, log, capacity=1), system.spawn(Kid)
    await watcher.ask(Watch(watched))
    watcher.pause()
    watcher.tell("waits")
    watched.stop()
    assert await watched.stopped(1)
    await until(lambda: Terminated(watched, None) in log)
    assert "waits" not in log
    watcher.resume()


# -- timers -------------------------------------------------------------------------------------------


class Clock(Kid):
    def __init__(self, log: list[object]) -> None:
        super().__init__(log)
        self.after(0.01, "once")
        self.every(0.01, "often")
        self.cancelled = self.after(0.01, "never")
        self.cancelled.cancel()

    async def stopped(self) -> None:
        self.after(0, "too late")
        self.every(0.01, "far too late")


async def test_timers_tell_and_can_be_cancelled(system: ActorSystem) -> None:
    log: list[object] = []
    system.spawn(Clock, log)
    await until(lambda: log.count("often") == 3)
    assert log.count("once") == 1
    assert "never" not in log


async def test_timers_end_as_soon_as_a_restart_is_decided(system: ActorSystem) -> None:
    """They belong to the instance; during a long backoff they must not fill the mailbox."""
    log: list[object] = []
    ref = system.spawn(Clock, log, supervision=SLOWLY)
    ref.tell(Fail(ValueError()))
    await until(lambda: restarts(system, ref) == 1)
    assert not ref.kin.timers  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_a_timer_that_the_restarting_hook_sets_ends_with_the_instance_that_leaves(system: ActorSystem) -> None:
    """Nothing of it comes to the new one."""

    class Late(Kid):
        async def restarting(self, error: BaseException) -> None:
            self.after(1000, "too late")
            self.log.append(len(self.ref.kin.timers))  # type: ignore[attr-defined]  # looked at from inside on purpose

    log: list[object] = []
    ref = system.spawn(Late, log)
    ref.tell(Fail(ValueError()))
    assert await ref.ask("up", timeout=1) == "up"
    assert log == ["born", 1, "born", "up"]
    assert not ref.kin.timers  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_timers_end_with_the_actor_even_those_set_too_late(system: ActorSystem) -> None:
    """R-T4."""
    ref = system.spawn(Clock, [])
    actor = ref.actor  # type: ignore[attr-defined]  # held on to as a stray task would
    ref.stop()
    assert await ref.stopped(1)
    assert not ref.kin.timers  # type: ignore[attr-defined]  # looked at from inside on purpose
    timer = actor.every(0.001, "after the end")
    assert not timer.active
    assert system.dead_letters.recent[-1].message == "after the end"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
async def test_a_timer_needs_a_delay_that_can_be(system: ActorSystem, seconds: float) -> None:
    class Wrong(Actor):
        def __init__(self) -> None:
            self.after(seconds, "x")

    with pytest.raises(ValueError, match="timer"):
        system.spawn(Wrong)


async def test_every_restart_is_logged_with_its_cause(system: ActorSystem, caplog: pytest.LogCaptureFixture) -> None:
    """R-S2, R-M3."""
    caplog.set_level(logging.WARNING, "telestage.supervision")
    ref = system.spawn(Kid, name="logged")
    ref.tell(Fail(ValueError("the cause")))
    await ref.ask("up")
    assert "/logged failed with ValueError: restart" in caplog.text
    assert "ValueError: the cause" in caplog.text


async def test_what_is_answered_by_going_on_is_a_warning_and_what_ends_an_actor_an_error(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks at errors alone misses no actor that is gone, and sees nothing that has mended itself."""
    rules = Supervision({KeyError: Directive.RESUME, OSError: Directive.STOP}, backoff=Backoff(first=0))
    ref = system.spawn(Kid, supervision=rules, name="a")
    for error in (KeyError(), ValueError(), OSError()):
        ref.tell(Fail(error))
    assert await ref.stopped(1)
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert logged == [
        ("WARNING", "/a failed with KeyError: resume"),
        ("WARNING", "/a failed with ValueError: restart in 0.00 s (restart 1)"),
        ("ERROR", "/a failed with OSError: stop"),
    ]


def test_each_restart_within_the_period_waits_longer_than_the_one_before():
    """R-S2: until the maximum; the first one after a quiet period waits as little as the first of all."""
    rules = Supervision(intensity=10, period=60.0, backoff=Backoff(first=0.1, factor=2.0, maximum=1.0, jitter=0.0))
    log, rng = RestartLog(), random.Random(1)
    delays = [rules.restart(log, now, rng).delay for now in range(6)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert rules.restart(log, 100.0, rng).delay == pytest.approx(0.1)
