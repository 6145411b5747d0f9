"""A program without an event loop has actors too, and gets rid of them again."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    BlockingActorSystem,
    MailboxFull,
    NameTaken,
    Ref,
    Supervision,
    WrongReply,
    handles,
)

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Add:
    def __init__(self, amount: int) -> None:
        self.amount = amount


class Get:
    pass


class Sleep:
    def __init__(self, seconds: float, *, blocking: bool = False) -> None:
        self.seconds = seconds
        self.blocking = blocking


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.total = start
        self.cancelled = False

    @handles(Add)
    def add(self, message: Add) -> None:
        self.total += message.amount

    @handles(Get)
    async def get(self, message: Get) -> int:
        await asyncio.sleep(0)
        return self.total

    @handles(Sleep)
    async def sleep(self, message: Sleep) -> str:
        if message.blocking:
            time.sleep(message.seconds)  # noqa: ASYNC251 - what shouldn't be done, done on purpose
        try:
            await asyncio.sleep(message.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "slept"

    @handles(str)
    def fail(self, message: str) -> None:
        raise ValueError(message)

    @handles(SystemExit)
    def end_all(self, message: SystemExit) -> None:
        raise message

    @handles(bool)
    def was_cancelled(self, message: bool) -> bool:
        return self.cancelled

    @handles(Ref)
    def give_ref(self, message: Ref) -> Ref:
        return self.ref


@pytest.fixture
def system() -> Iterator[BlockingActorSystem]:
    with BlockingActorSystem(ActorSystem("blocking", supervision=AT_ONCE)) as system:
        yield system


def test_actors_are_told_and_asked_from_outside(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter, 3, name="counter", capacity=100)
    counter.tell(Add(2))
    assert counter.ask(Get(), timeout=5) == 5
    assert counter.path == "/counter"
    assert repr(counter) == "<BlockingRef /counter>"
    found = system.find("/counter")
    assert found is not None
    assert found.ask(Get(), expecting=int, timeout=5) == 5
    assert system.find("/nobody") is None


def test_errors_are_raised_in_the_caller(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter, name="counter", capacity=1)
    with pytest.raises(ValueError, match="boom"):
        counter.ask("boom")
    with pytest.raises(WrongReply):
        counter.ask(Get(), expecting=str)
    with pytest.raises(NameTaken):
        system.spawn(Counter, name="counter")
    with pytest.raises(AskTimeout):
        counter.ask(Sleep(60), timeout=0.02, cancel=True)
    assert counter.ask(False) is True
    system.call(counter.ref.pause)
    counter.tell(Add(1))
    with pytest.raises(MailboxFull):
        counter.ask(Get())


def test_any_number_of_threads_can_ask_at_once(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter)

    def work() -> None:
        for _ in range(50):
            counter.tell(Add(1))
            counter.ask(Get(), timeout=20)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.ask(Get()) == 400


def test_what_a_thread_tells_arrives_in_order(system: BlockingActorSystem) -> None:
    seen: list[int] = []

    class Log(Actor):
        @handles(int)
        def note(self, message: int) -> list[int]:
            seen.append(message)
            return seen

    log = system.spawn(Log)
    for number in range(200):
        log.tell(number)
    assert log.ask(200) == list(range(201))


def test_a_handler_that_blocks_the_loop_does_not_keep_the_asker(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter)
    began = time.monotonic()
    with pytest.raises(AskTimeout):
        counter.ask(Sleep(3, blocking=True), timeout=0.1, cancel=True)
    assert time.monotonic() - began < 2.5


def test_an_actor_that_would_wait_for_its_own_loop_is_told_so(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter)

    class Confused(Actor):
        @handles(str)
        def ask_it(self, message: str) -> object:
            return counter.ask(Get())

        @handles(int)
        def end_it(self, message: int) -> object:
            return system.shutdown()

    confused = system.spawn(Confused)
    with pytest.raises(RuntimeError, match="await it"):
        confused.ask("now")
    with pytest.raises(RuntimeError, match="its own system"):
        confused.ask(1)


def test_the_end_settles_who_waits_and_leaves_no_thread() -> None:
    system = BlockingActorSystem(ActorSystem("blocking"))
    system.start()
    with pytest.raises(RuntimeError, match="runs already"):
        system.start()
    counter = system.spawn(Counter)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            counter.ask(Sleep(60), timeout=60)
        except ActorStopped as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while counter.ref.waiting or not any(row.running for row in system.call(system.system.statistics)):
        time.sleep(0.001)
    assert system.shutdown() == []
    waiting.join(5)
    assert len(errors) == 1
    assert not any("blocking" in thread.name for thread in threading.enumerate())
    assert system.shutdown() == []
    with pytest.raises(ActorStopped):
        counter.ask(Get())
    counter.tell(late := Add(1))
    counter.stop()
    assert counter.stopped(1)
    assert system.system.dead_letters.recent[-1].message is late
    with pytest.raises(RuntimeError, match="ended"):
        system.spawn(Counter)


def test_an_exception_in_the_block_ends_the_system() -> None:
    def fail() -> None:
        with BlockingActorSystem(ActorSystem("blocking")) as system:
            system.spawn(Counter)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any("blocking" in thread.name for thread in threading.enumerate())


def test_a_handler_that_ends_the_program_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with BlockingActorSystem(ActorSystem("blocking")) as system:
        counter = system.spawn(Counter)
        with pytest.raises(SystemExit):
            counter.ask(SystemExit(3), timeout=20)
    with BlockingActorSystem(ActorSystem("blocking")) as system:
        counter = system.spawn(Counter)
        counter.tell(SystemExit(3))
        with pytest.raises(ActorStopped):
            counter.ask(Sleep(60), timeout=20)
        with pytest.raises(ActorStopped):
            counter.ask(Get(), timeout=20)


def test_what_waits_is_handled_before_the_end_if_so_wished() -> None:
    with BlockingActorSystem(ActorSystem("blocking"), drain=True) as system:
        counter = system.spawn(Counter)
        actor = system.call(lambda: counter.ref.cell.actor)
        counter.tell(Sleep(0.01))
        for _ in range(5):
            counter.tell(Add(1))
    assert actor.total == 5


def test_a_system_that_does_not_run_says_so() -> None:
    system = BlockingActorSystem()
    with pytest.raises(RuntimeError, match="does not run"):
        system.spawn(Counter)
    assert system.shutdown() == []


def test_an_actor_can_be_stopped_and_waited_for(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter)
    assert counter.alive
    assert not counter.stopped(0.01)
    counter.stop()
    assert counter.stopped(5)
    assert not counter.alive


def test_a_ref_from_an_answer_can_be_used_outside(system: BlockingActorSystem) -> None:
    counter = system.spawn(Counter, 7)
    ref = counter.ask(counter.ref, expecting=Ref)
    assert system.outside(ref).ask(Get()) == 7


def test_context_variables_of_the_caller_travel() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    class Look(Actor):
        @handles(str)
        async def look(self, message: str) -> str:
            return tenant.get()

    with BlockingActorSystem(ActorSystem("blocking", carry=[tenant])) as system:
        look = system.spawn(Look)
        tenant.set("alice")
        assert look.ask("whose") == "alice"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send to one process")
def test_ctrl_c_gives_the_ask_up_and_ends_cleanly() -> None:
    code = textwrap.dedent(
        """
        import asyncio, threading
        from telestage.actors.kernel import Actor, BlockingActorSystem, handles

        class Slow(Actor):
            @handles(str)
            async def wait(self, message):
                print("waiting", flush=True)
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    print("cancelled", flush=True)
                    raise

        try:
            with BlockingActorSystem() as system:
                system.spawn(Slow).ask("go", timeout=60, cancel=True)
        except KeyboardInterrupt:
            print("threads", threading.active_count(), flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().split("\n") == ["cancelled", "threads 1", ""]
    assert process.returncode == 0
