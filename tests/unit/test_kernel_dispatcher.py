"""How handlers run: in real tasks, one at a time, fairly, on either event loop."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
import uvloop

from telestage.actors.kernel import (
    Actor,
    ActorSystem,
    AskTimeout,
    Backoff,
    Ref,
    Supervision,
    TaskDetails,
    Unhandled,
    handles,
)
from telestage.actors.testkit import run

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)

Body = Callable[["Runs"], Awaitable[object]]


class Runs(Actor):
    """Runs the function it is told, and sees to it that only one runs."""

    def __init__(self) -> None:
        self.active = 0
        self.log: list[object] = []

    @handles(type(lambda: None))
    async def run(self, body: Body) -> object:
        self.active += 1
        assert self.active == 1
        try:
            return await body(self)
        finally:
            self.active -= 1

    @handles(object)
    async def record(self, message: object) -> object:
        assert self.active == 0
        self.log.append(message)
        return message


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


def workers() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == "telestage worker"}


def trims() -> list[asyncio.TimerHandle]:
    """The timers by which workers that a burst hired are let go."""
    timers: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return [timer for timer in timers if not timer.cancelled() and "_trim_reserve" in repr(timer)]


async def ask_both_ways(system: ActorSystem, body: Body) -> list[object]:
    """Runs `body` at once inside the asker, and from the mailbox."""
    ref = system.spawn(Runs)
    eager = await ref.ask(body, timeout=5)
    ref.tell("so that the ask waits")
    return [eager, await ref.ask(body, timeout=5)]


async def test_a_handlers_first_line_has_a_task_and_keeps_it(system: ActorSystem) -> None:
    async def body(actor: Runs) -> bool:
        first = asyncio.current_task()
        await asyncio.sleep(0.001)
        return first is not None and asyncio.current_task() is first

    me = asyncio.current_task()
    assert await ask_both_ways(system, body) == [True, True]
    assert asyncio.current_task() is me


async def test_timeouts_work_from_the_first_line(system: ActorSystem) -> None:
    async def body(actor: Runs) -> str:
        task = asyncio.current_task()
        assert task is not None
        for seconds in (0.002, 0):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.sleep(10)
            assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.002)
        return "timed out"

    for _ in range(3):
        assert await ask_both_ways(system, body) == ["timed out", "timed out"]


async def test_task_groups_work_from_the_first_line(system: ActorSystem) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError

    async def body(actor: Runs) -> object:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(5)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(10))
                group.create_task(fails())
        except* KeyError:
            results = [task.result() for task in tasks]
        return results

    assert await ask_both_ways(system, body) == [[0, 1, 2, 3, 4]] * 2


async def test_a_handler_may_cancel_itself_before_it_suspends(system: ActorSystem) -> None:
    async def body(actor: Runs) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            task.uncancel()
            return "delivered"
        return "lost"

    assert await ask_both_ways(system, body) == ["delivered", "delivered"]
    assert await system.spawn(Runs).ask("others are unharmed", timeout=1)


def test_the_very_first_handler_may_cancel_itself() -> None:
    """The Task of its worker has had no step of its own by then, and must not be lost for that."""

    class CancelsItself(Actor):
        @handles(str)
        async def run(self, message: str) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                task.uncancel()
            return message

    async def main() -> object:
        system = ActorSystem()
        await system.start()
        try:
            return await system.spawn(CancelsItself).ask("delivered", timeout=5)
        finally:
            await system.shutdown()

    assert asyncio.run(main()) == "delivered"


async def test_futures_deliver_results_and_errors(system: ActorSystem) -> None:
    loop = asyncio.get_running_loop()
    ref = system.spawn(Runs)
    for when in ("before", "meanwhile", "after"):
        for fails in (False, True):
            future: asyncio.Future[str] = loop.create_future()

            def settle(future: asyncio.Future[str] = future, fails: bool = fails) -> None:
                if fails:
                    future.set_exception(LookupError())
                else:
                    future.set_result("result")

            async def body(actor: Runs, future: asyncio.Future[str] = future) -> str:
                try:
                    return await future
                except LookupError:
                    return "error"

            if when == "before":
                settle()
            ask = asyncio.create_task(ref.ask(body))
            if when == "meanwhile":
                loop.call_soon(settle)
            elif when == "after":
                loop.call_later(0.002, settle)
            assert await ask == ("error" if fails else "result")


async def test_a_suspended_actor_blocks_nobody(system: ActorSystem) -> None:
    gate = asyncio.Event()

    async def wait(actor: Runs) -> bool:
        return await gate.wait()

    slow, fast = system.spawn(Runs), system.spawn(Runs)
    slow.tell(wait)
    for number in range(1000):
        fast.tell(number)
    assert await fast.ask("end") == "end"
    gate.set()


async def test_thousands_of_handlers_wait_at_the_same_time(system: ActorSystem) -> None:
    gate = asyncio.Event()
    waiting = 0

    async def wait(actor: Runs) -> int:
        nonlocal waiting
        waiting += 1
        await gate.wait()
        return waiting

    refs = [system.spawn(Runs) for _ in range(3000)]
    asks = [asyncio.create_task(ref.ask(wait)) for ref in refs]
    while waiting < 3000:
        await asyncio.sleep(0)
    assert system.tasks.count(type="queue_processor") == 3000
    gate.set()
    assert await asyncio.gather(*asks) == [3000] * 3000
    for ref in refs[:200]:
        assert await ref.ask("on") == "on"


async def test_asks_nest_deeply_and_come_back(system: ActorSystem) -> None:
    """Run at once up to a depth, by the run queue beyond it; no worker is lost by errors on the way."""
    chain = [system.spawn(Runs) for _ in range(300)]

    def step(number: int, suspend: bool, fail: bool) -> Body:
        async def body(actor: Runs) -> object:
            if suspend and number % 7 == 0:
                await asyncio.sleep(0)
            if number == len(chain) - 1:
                if fail:
                    raise LookupError("from the end")
                return number
            try:
                return await actor.ask(chain[number + 1], step(number + 1, suspend, fail))
            except LookupError as error:
                return error

        return body

    for suspend in (False, True):
        for _ in range(3):
            assert await chain[0].ask(step(0, suspend, False)) == 299
            assert isinstance(await chain[0].ask(step(0, suspend, True)), LookupError)
    inside = system._root.dispatcher  # type: ignore[union-attr]  # looked at from inside on purpose
    assert len(inside._idle) + len(inside._reserve) == len(inside.workers)


async def test_an_ask_run_at_once_never_runs_beside_another_message(system: ActorSystem) -> None:
    """R-Q1: whoever asks, from wherever, and whatever suspends."""
    ref = system.spawn(Runs)

    def body(number: int) -> Body:
        async def nap(actor: Runs) -> int:
            for _ in range(number % 4):
                await asyncio.sleep(0)
            return number

        return nap

    async def caller(start: int) -> None:
        for number in range(start, start + 50):
            if number % 3 == 0:
                ref.tell(body(number))
            assert await ref.ask(body(number)) == number

    await asyncio.gather(*(caller(start) for start in range(20)))


async def test_what_a_handler_sets_and_resets_in_its_context_is_its_own(system: ActorSystem) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    def body(value: str) -> Body:
        async def set_it(actor: Runs) -> str:
            before = variable.get()
            token = variable.set(value)
            await asyncio.sleep(0)
            after = variable.get()
            variable.reset(token)
            return f"{before} {after}"

        return set_it

    refs = [system.spawn(Runs) for _ in range(50)]
    for _ in range(3):
        answers = await asyncio.gather(*(ref.ask(body(str(number))) for number, ref in enumerate(refs)))
        assert answers == [f"unset {number}" for number in range(50)]
    assert variable.get() == "unset"


async def test_a_handlers_context_is_not_that_of_whoever_told(system: ActorSystem) -> None:
    """A worker outlives the message: it must not carry the variables of the teller it was hired for."""
    variable = contextvars.ContextVar("variable", default="unset")
    gate = asyncio.Event()
    seen: list[str] = []

    async def look(actor: Runs) -> None:
        seen.append(variable.get())
        await gate.wait()

    async def teller() -> None:
        variable.set("the teller's")
        for _ in range(20):  # more than there are spare workers
            system.spawn(Runs).tell(look)

    await asyncio.create_task(teller())
    while len(seen) < 20:
        await asyncio.sleep(0)
    gate.set()
    assert seen == ["unset"] * 20


async def test_running_handlers_are_in_the_task_registry(system: ActorSystem) -> None:
    """R-T1, R-T2, R-Q6: type, operation, owner and age, without disturbing anybody."""
    gate = asyncio.Event()

    async def wait(actor: Runs) -> None:
        await gate.wait()

    ref = system.spawn(Runs, name="alice")
    ask = asyncio.create_task(ref.ask(wait))
    sending = system.tasks.spawn(gate.wait(), type="sending", owner="/alice", operation="send_message")
    system.tasks.spawn(gate.wait(), type="sending", owner="/alicia")
    while not system.tasks.count(type="queue_processor"):
        await asyncio.sleep(0)
    (handler,) = system.tasks.details(type="queue_processor")
    assert isinstance(handler, TaskDetails)
    assert (handler.owner, handler.operation) == ("/alice", "function")
    assert 0 <= handler.age < 5
    assert system.tasks.count(owner="/alice") == 2
    assert system.tasks.count(type="sending") == 2
    assert system.tasks.count() == 3
    (statistics,) = system.statistics()
    assert statistics.running == "function"
    while not system.statistics()[0].running_for > 0:  # it grows; uvloop's clock moves by milliseconds
        await asyncio.sleep(0.001)
    assert await system.tasks.cancel_all(owner="/alice") == []
    assert sending.cancelled()
    gate.set()
    await ask
    while system.tasks.count():
        await asyncio.sleep(0)


async def test_a_task_may_cancel_all_others_of_its_owner(system: ActorSystem) -> None:
    """R-T3: it isn't cancelled itself, nor waited for."""

    async def end_all() -> list[TaskDetails]:
        return await system.tasks.cancel_all(owner="/x")

    other = system.tasks.spawn(asyncio.Event().wait(), type="scraping", owner="/x")
    task = system.tasks.spawn(end_all(), type="sending", owner="/x")
    assert await asyncio.wait_for(task, 1) == []
    assert other.cancelled()


def test_handlers_are_found_by_type_then_by_nearest_base_whatever_was_met_before() -> None:
    class A:
        pass

    class B:
        pass

    class AB(A, B):
        pass

    class Left(A):
        pass

    class Right(A):
        pass

    class Both(Left, Right):
        pass

    class Base(Actor):
        @handles(B)
        def b(self, message: B) -> str:
            return "b"

        @handles(Right)
        def right(self, message: Right) -> str:
            return "right"

    class WithA(Base):
        def b(self, message: B) -> str:
            return "overridden"

        @handles(A)
        def a(self, message: A) -> str:
            return "a"

    async def main() -> None:
        async with ActorSystem() as system:
            base = system.spawn(Base)
            with pytest.raises(Unhandled):
                await base.ask(A())
            assert await base.ask(AB()) == "b"
            derived = system.spawn(WithA)
            assert await derived.ask(Left()) == "a"
            assert await derived.ask(Both()) == "right"
            assert await derived.ask(AB()) == "a"
            assert await derived.ask(B()) == "overridden"

    asyncio.run(main())


def test_two_handlers_of_one_type_are_refused() -> None:
    with pytest.raises(TypeError, match="both first and second"):

        class Twice(Actor):
            @handles(int)
            def first(self, message: int) -> None: ...

            @handles(int)
            def second(self, message: int) -> None: ...

    with pytest.raises(TypeError, match="classes"):
        handles("not a class")  # type: ignore[arg-type]  # the mistake is the point


async def test_sender_is_who_told_or_asked(system: ActorSystem) -> None:
    class Named(Actor):
        @handles(str)
        def who(self, message: str) -> Ref | None:
            return self.sender

        @handles(tuple)
        async def pass_on(self, way: tuple[Ref, str]) -> object:
            return await self.ask(*way)

        @handles(list)
        def told(self, log: list[object]) -> None:
            log.append(self.sender)

        @handles(dict)
        def tell_on(self, message: dict[Ref, list[object]]) -> None:
            for ref, log in message.items():
                self.tell(ref, log)

    a, b = system.spawn(Named), system.spawn(Named)
    assert await a.ask("nobody") is None
    assert await a.ask((b, "you")) is a
    log: list[object] = []
    await a.ask({b: log})
    assert await b.ask("flush") is None
    assert log == [a]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("when", ["before it waits", "after it has waited"])
async def test_each_step_of_a_handler_is_busy_time(system: ActorSystem, when: str, asked: bool) -> None:
    def work() -> None:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass

    async def run(actor: Runs) -> None:
        if when == "before it waits":
            work()
        await asyncio.sleep(0)
        if when == "after it has waited":
            work()

    ref = system.spawn(Runs)
    if asked:
        await ref.ask(run)
    else:
        ref.tell(run)
        await system.idle()
    (statistics,) = system.statistics()
    assert statistics.busy >= 0.002


async def test_busy_time_is_the_turns_not_the_waiting(system: ActorSystem) -> None:
    async def wait(actor: Runs) -> None:
        await asyncio.sleep(0.05)

    loop = asyncio.get_running_loop()
    began = loop.time()
    ref = system.spawn(Runs)
    await ref.ask(wait)
    for number in range(1000):
        ref.tell(number)
    await ref.ask("end")
    (statistics,) = system.statistics()
    assert 0 < statistics.busy <= loop.time() - began - 0.045  # however slow the machine
    assert statistics.processed == 1002


@pytest.mark.parametrize(
    ("loop_factory", "debug"),
    [(asyncio.new_event_loop, False), (asyncio.new_event_loop, True), (uvloop.new_event_loop, False)],
    ids=["asyncio", "asyncio-debug", "uvloop"],
)
def test_the_kernel_works_on_both_loops(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Every test above that needs only a system, on the stock loop and on uvloop, also in debug mode."""
    caplog.set_level(logging.WARNING, "asyncio")
    found = [
        test
        for name, test in globals().items()
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["system"]
    ]
    assert len(found) >= 10

    async def main() -> None:
        for test in found:
            async with ActorSystem("test", supervision=AT_ONCE) as system:
                await asyncio.wait_for(test(system), 30)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        runner.run(main())
    assert "never retrieved" not in caplog.text
    assert "destroyed" not in caplog.text


async def test_a_plain_handler_that_hogs_the_loop_delays_deadlines_but_breaks_none(system: ActorSystem) -> None:
    """R-D3: the deadline fires as soon as the loop is free; the message behind it is never executed."""

    class Hog(Actor):
        def __init__(self) -> None:
            self.log: list[object] = []

        @handles(float)
        def hog(self, seconds: float) -> None:
            loop = asyncio.get_running_loop()
            until = loop.time() + seconds
            while loop.time() < until:
                pass

        @handles(str)
        def record(self, message: str) -> list[object]:
            self.log.append(message)
            return self.log

    async def wait(actor: Runs) -> None:
        await asyncio.sleep(0.02)

    ref = system.spawn(Hog)
    runs = system.spawn(Runs)
    runs.tell(wait)
    ask = asyncio.create_task(runs.ask("too late", timeout=0.01))
    await asyncio.sleep(0)
    ref.tell(0.05)
    with pytest.raises(AskTimeout):
        await ask
    assert await ref.ask("on") == ["on"]


async def test_a_caller_that_only_asks_does_not_keep_the_loop_to_itself():
    """Asks of an idle actor are answered at once, but not for ever without a turn of the loop."""
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with ActorSystem() as system:
        actor = system.spawn(Runs)
        counting = asyncio.create_task(count_turns())
        for number in range(5000):
            assert await actor.ask(number) == number
        counting.cancel()
        assert turns >= 5


async def test_each_message_of_a_batch_goes_to_the_handler_of_its_own_type(system: ActorSystem) -> None:
    """`async` handlers and plain ones in every order: the look-up that is saved for equals never misleads."""

    class Mixed(Actor):
        def __init__(self) -> None:
            self.seen: list[tuple[str, object]] = []

        @handles(int)
        async def on_int(self, message: int) -> None:
            self.seen.append(("int", message))

        @handles(float)
        async def on_float(self, message: float) -> None:
            self.seen.append(("float", message))

        @handles(str)
        def on_str(self, message: str) -> None:
            self.seen.append(("str", message))

        @handles(list)
        def on_list(self, message: list[object]) -> object:
            return self.seen

    for order in itertools.product((1, 2.0, "three"), repeat=4):
        ref = system.spawn(Mixed)
        for message in order:
            ref.tell(message)
        assert await ref.ask([]) == [(type(message).__name__, message) for message in order]


def test_workers_hired_for_a_burst_are_kept_for_the_next_one_and_let_go_in_the_end() -> None:
    """In virtual time: none passes during the bursts, and ten seconds after them."""

    async def main() -> None:
        gate = asyncio.Event()

        async def wait(actor: Runs) -> None:
            await gate.wait()

        async with ActorSystem() as system:
            refs = [system.spawn(Runs) for _ in range(3000)]
            hired: list[set[asyncio.Task[object]]] = []
            for burst in (refs[:1000], refs[:1000], refs):
                gate.clear()
                asks = [asyncio.ensure_future(ref.ask(wait)) for ref in burst]
                while sum(1 for each in system.statistics() if each.running) < len(burst):
                    await asyncio.sleep(0)
                hired.append(workers())
                gate.set()
                await asyncio.gather(*asks)
            assert hired[0] == hired[1]
            assert 1000 < len(workers()) < 1200, "a very large burst's are let go at once"
            kept = len(workers()) - 64
            await asyncio.sleep(1.5)
            assert len(workers()) == 64 + kept // 2, "half of the others each second"
            await asyncio.sleep(20)
            assert len(workers()) == 64
            assert trims() == []
            assert await refs[0].ask("on") == "on"

    run(main())


@pytest.mark.parametrize("waits", [False, True])
async def test_a_system_that_has_enough_workers_hires_none(system: ActorSystem, waits: bool) -> None:
    """However long it is at work."""

    async def work(actor: Runs) -> None:
        if waits:
            await asyncio.sleep(0)

    refs = [system.spawn(Runs) for _ in range(3)]
    hired = workers()
    for _ in range(20):
        for ref in refs:
            ref.tell(work)
        await system.idle()
    assert workers() == hired


async def test_a_shutdown_after_a_burst_leaves_no_timer() -> None:
    """R-T4: that of the workers which the burst hired included."""

    async def wait(actor: Runs) -> None:
        await asyncio.sleep(0)

    async with ActorSystem() as system:
        for _ in range(100):
            system.spawn(Runs).tell(wait)
        await system.idle()
        assert len(trims()) == 1
    assert trims() == []


async def test_a_task_that_was_cancelled_is_not_used_again(system: ActorSystem) -> None:
    """Though its handler swallowed that: the next one would take itself for cancelled."""

    async def swallow(actor: Runs) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    async def requests(actor: Runs) -> int:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    ref = system.spawn(Runs)
    for _ in range(10):
        await ref.ask(swallow)
        assert await ref.ask(requests) == 0


async def test_a_task_whose_cancellation_was_taken_back_is_used_again(system: ActorSystem) -> None:
    """As `asyncio.timeout` does when it has run out."""

    async def run_out(actor: Runs) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not timed out"

    ref = system.spawn(Runs)
    hired = workers()
    for _ in range(20):
        assert await ref.ask(run_out) == "timed out"
    assert workers() == hired


@pytest.mark.parametrize("how", ["idle", "by its own handler"])
async def test_an_ask_is_not_run_in_a_task_that_a_stray_has_cancelled(system: ActorSystem, how: str) -> None:
    """The Task of a worker without work, or one that a handler cancelled and then didn't wait in."""

    async def cancel(actor: Runs) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def suspend(actor: Runs) -> str:
        await asyncio.sleep(0)
        return "not cancelled"

    if how == "idle":
        for task in asyncio.all_tasks():
            if task.get_name() == "telestage worker":
                task.cancel()
    else:
        await system.spawn(Runs).ask(cancel)
    assert await system.spawn(Runs).ask(suspend) == "not cancelled"


@pytest.mark.parametrize("how", ["well", "by an error"])
def test_a_handler_that_was_left_behind_takes_nothing_more_of_its_actor(how: str) -> None:
    """R-Q8: however late it ends, and whether by an error: by then the actor is at something else."""
    log: list[object] = []
    let_go, go_on = asyncio.Event(), asyncio.Event()

    class Resists(Actor):
        @handles(int)
        async def resist(self, message: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await let_go.wait()
            log.append("let go")
            if how == "by an error":
                raise LookupError("too late")

        @handles(str)
        async def wait(self, message: str) -> None:
            log.append(f"{message} begins")
            await go_on.wait()
            log.append(f"{message} ends")

    async def main() -> None:
        async with ActorSystem(supervision=AT_ONCE) as system:
            ref = system.spawn(Resists)
            for message in (1, "second", "third"):
                ref.tell(message)
            await asyncio.sleep(1)
            ref.kill()
            await asyncio.sleep(10)
            assert log == ["second begins"]
            let_go.set()
            await asyncio.sleep(1)
            assert log == ["second begins", "let go"]
            assert ref.waiting == 1
            assert system.statistics()[0].running == "str"
            go_on.set()
            await asyncio.sleep(1)
            assert log[2:] == ["second ends", "third begins", "third ends"]

    run(main())


@pytest.mark.parametrize("throughput", [64, 3000])
async def test_what_has_been_handled_is_let_go_while_others_of_its_batch_wait(throughput: int) -> None:
    """Else all of it would go at once at the end, with the loop waiting: 4 ms for 200,000."""

    class Message:
        pass

    async with ActorSystem("test", throughput=throughput) as system:
        ref = system.spawn(Runs)
        messages = [Message() for _ in range(10_000)]
        known = [weakref.ref(message) for message in messages]
        for message in messages:
            ref.tell(message)
        del messages, message
        actor: Runs = ref.actor  # type: ignore[attr-defined]  # a look inside
        async with asyncio.timeout(10):
            while ref.waiting:
                await asyncio.sleep(0)
                actor.log.clear()
                handled = known[: len(known) - ref.waiting]
                assert sum(one() is not None for one in handled) <= 1024 + throughput


@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_run_queue_that_never_runs_empty_stays_short(system: ActorSystem, at_once: int) -> None:
    """Whether its actors have one message each in their turn, or several."""

    class Passing(Actor):
        @handles(Ref)
        def join(self, following: Ref) -> None:
            self.next = following

        @handles(int)
        def hand_on(self, number: int) -> None:
            self.next.tell(number)

    links = [system.spawn(Passing) for _ in range(3)]
    for link, following in zip(links, links[1:] + links[:1], strict=True):
        link.tell(following)
    for number in range(at_once):
        links[0].tell(number)
    ready = system._root.dispatcher.ready  # type: ignore[union-attr]  # looked at from inside on purpose
    for _ in range(20):
        await asyncio.sleep(0)
        assert ready.waiting == len(ready) == 1
