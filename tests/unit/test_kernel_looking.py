"""Looking inside: the tree of actors as a value, and the dump for when something hangs."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import io
import os
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NoReturn

import msgspec
import pytest
import pytest_asyncio
import uvloop

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorNode,
    ActorState,
    ActorSystem,
    Backoff,
    Ref,
    Supervision,
    handles,
)

SECRET = "p4ssw0rd"
SLOWLY = Supervision(backoff=Backoff(first=60, maximum=60, jitter=0))


class Gate:
    """Something to wait for."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def passed(self) -> None:
        self.entered.set()
        await self.open.wait()

    async def steps(self) -> AsyncIterator[int]:
        await self.passed()  # the innermost line of ours, when a generator waits
        yield 1


class Wait(msgspec.Struct, frozen=True, eq=False):
    gate: Gate
    secret: str = SECRET


class Steps(msgspec.Struct, frozen=True, eq=False):
    gate: Gate


class AskOn(msgspec.Struct, frozen=True):
    target: Ref
    message: object


class Call(msgspec.Struct, frozen=True):
    function: Callable[[], object]


class Promise:
    pass


class Worker(Actor):
    """Does what it is told, and shouts if somebody runs its code to look at it."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    def inspect(self) -> NoReturn:
        raise AssertionError("looking runs no code of an actor")

    @handles(Wait)
    async def wait(self, message: Wait) -> None:
        await message.gate.passed()

    @handles(Steps)
    async def step(self, message: Steps) -> None:
        async for _ in message.gate.steps():
            pass

    @handles(AskOn)
    async def ask_on(self, message: AskOn) -> object:
        return await self.ask(message.target, message.message)

    @handles(Call)
    def call(self, message: Call) -> object:
        return message.function()

    @handles(Promise)
    def promise(self, message: Promise) -> object:
        self.kept.append(self.reply_later())
        return NO_REPLY


class Hooked(Worker):
    """Takes its time to start and to stop."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    async def started(self) -> None:
        await self.gate.passed()

    async def stopped(self) -> None:
        await self.gate.passed()


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=SLOWLY) as system:
        yield system


def node(system: ActorSystem, name: str) -> ActorNode:
    return next(child for child in system.tree().children if child.path == f"/{name}")


def dumped(system: ActorSystem) -> str:
    file = io.StringIO()
    system.dump(file)
    return file.getvalue()


def block(dump: str, begin: str) -> str:
    """The lines from the one that begins so to the next that isn't indented."""
    match = re.search(rf"^{re.escape(begin)}.*\n(?:    .*\n)*", dump, re.MULTILINE)
    assert match is not None, dump
    return match.group()


def fail() -> NoReturn:
    raise LookupError("on purpose")


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


async def test_the_tree_tells_what_each_actor_is_at(system: ActorSystem) -> None:
    starting, stopping, gate = Gate(), Gate(), Gate()
    system.spawn(Worker, name="idle")
    system.spawn(Hooked, starting, name="starting")
    await starting.entered.wait()
    system.spawn(Worker, name="suspended").tell(Wait(gate))
    paused = system.spawn(Worker, name="paused")
    paused.pause()
    paused.tell(1)
    system.spawn(Worker, name="failed").tell(Call(fail))
    draining = system.spawn(Worker, name="draining")
    draining.tell(Wait(gate))
    leaving = system.spawn(Hooked, stopping, name="stopping")
    await stopping.entered.wait()
    stopping.open.set()
    await leaving.ask(Call(stopping.open.clear))
    stopping.entered.clear()
    leaving.stop()
    await stopping.entered.wait()
    await until(lambda: node(system, "draining").state is ActorState.SUSPENDED)
    draining.stop(drain=True)
    running = system.spawn(Worker, name="running")
    seen = await running.ask(Call(lambda: node(system, "running").state))
    assert seen is ActorState.RUNNING
    system.spawn(Worker, name="ready").tell(1)
    assert {child.path[1:]: child.state.value for child in system.tree().children if child.path != "/running"} == {
        state.value: state.value
        for state in ActorState
        if state not in (ActorState.RUNNING, ActorState.RESTARTING, ActorState.STOPPED)
    }
    failed = node(system, "failed")
    assert failed.cause == "LookupError"
    assert failed.restart_in is not None
    assert 50 < failed.restart_in <= 60
    for each in (starting, stopping, gate):
        each.open.set()


async def test_an_actor_that_is_yet_to_begin_its_start_is_starting(system: ActorSystem) -> None:
    gate = Gate()
    system.spawn(Hooked, gate, name="early")
    assert node(system, "early").state is ActorState.STARTING
    gate.open.set()


async def test_a_handler_that_has_waited_and_goes_on_is_running(system: ActorSystem) -> None:
    async def look() -> ActorState:
        await asyncio.sleep(0)
        return node(system, "alice").state

    assert await system.spawn(Worker, name="alice").ask(Call(look)) is ActorState.RUNNING


async def test_the_age_is_that_of_the_message_being_handled(system: ActorSystem) -> None:
    """Not that of the first one of the same turn which waited."""
    first, second = Gate(), Gate()
    ref = system.spawn(Worker, name="alice")
    ref.tell(Wait(first))
    ref.tell(Wait(second))
    await first.entered.wait()
    await asyncio.sleep(0.01)  # what is measured is time
    opened = asyncio.get_running_loop().time()
    first.open.set()
    await second.entered.wait()
    await asyncio.sleep(0)
    age = node(system, "alice").age
    assert age is not None
    assert asyncio.get_running_loop().time() - age >= opened
    second.open.set()


async def test_a_dump_shows_what_a_shutdown_waits_for() -> None:
    gate = Gate()
    system = await ActorSystem("test").start()
    system.spawn(Hooked, gate, name="slow")
    gate.open.set()
    await until(lambda: node(system, "slow").state is ActorState.IDLE)
    gate.open.clear()
    gate.entered.clear()
    ending = asyncio.ensure_future(system.shutdown())
    await gate.entered.wait()
    assert "in Hooked.stopped" in block(dumped(system), "/slow  Hooked  stopping for ")
    gate.open.set()
    await ending
    assert "doesn't run" in dumped(system)


async def test_an_actor_between_two_instances_is_restarting(system: ActorSystem) -> None:
    gate = Gate()

    class Leaver(Worker):
        async def restarting(self, error: BaseException) -> None:
            await gate.passed()

    system.spawn(Leaver, name="leaver", supervision=Supervision(backoff=Backoff(first=0))).tell(Call(fail))
    await gate.entered.wait()
    found = node(system, "leaver")
    assert (found.state, found.cause) == (ActorState.RESTARTING, "LookupError")
    gate.open.set()


async def test_the_tree_tells_who_waits_for_whom_since_when(system: ActorSystem) -> None:
    gate = Gate()
    back = system.spawn(Worker, name="back", capacity=3)
    front = system.spawn(Worker, name="front")
    front.tell(AskOn(back, Wait(gate)))
    await gate.entered.wait()
    for _ in range(3):
        back.tell(1)
    sending = asyncio.create_task(back.send(1))
    await until(lambda: node(system, "back").blocked_senders == 1)
    await until(lambda: (node(system, "front").age or 0) > 0)  # it grows
    found = node(system, "front")
    assert (found.state, found.current, found.asked) == (ActorState.SUSPENDED, "AskOn", False)
    assert found.waits_for == ("/back",)
    found = node(system, "back")
    assert (found.state, found.current, found.asked, found.sender) == (ActorState.SUSPENDED, "Wait", True, "/front")
    assert (found.waiting, found.capacity, found.waits_for) == (3, 3, ())
    gate.open.set()
    await sending
    await until(lambda: node(system, "back").processed == 5)
    assert node(system, "front").waits_for == ()


async def test_the_tree_counts_debts_watchers_timers_and_children(system: ActorSystem) -> None:
    class Busy(Worker):
        def __init__(self, other: Ref) -> None:
            super().__init__()
            self.watch(other)
            self.after(60, 1)
            self.spawn(Worker, name="kid")
            self.spawn(Worker, name="younger")

    other = system.spawn(Worker, name="other")
    busy = system.spawn(Busy, other, name="busy")
    asking = asyncio.create_task(busy.ask(Promise()))
    await until(lambda: node(system, "busy").owed == 1)
    found = node(system, "busy")
    assert (found.cls, found.timers, found.restarts) == ("Busy", 1, 0)
    assert [child.path for child in found.children] == ["/busy/kid", "/busy/younger"]
    assert node(system, "other").watchers == 1
    assert system.tree().path == "/"
    asking.cancel()


async def test_a_system_that_does_not_run_has_no_tree_but_a_dump() -> None:
    system = ActorSystem("asleep")
    with pytest.raises(RuntimeError, match="asleep"):
        system.tree()
    assert "doesn't run" in dumped(system)


async def test_a_dump_shows_the_line_at_which_each_handler_waits(system: ActorSystem) -> None:
    gate, other = Gate(), Gate()
    system.spawn(Worker, name="plain").tell(Wait(gate))
    system.spawn(Worker, name="generator").tell(Steps(other))
    await gate.entered.wait()
    await other.entered.wait()
    dump = dumped(system)
    plain = block(dump, "/plain  Worker  suspended for ")
    assert re.search(r"test_kernel_looking\.py:\d+ in Worker\.wait\n", plain)
    assert re.search(r"test_kernel_looking\.py:\d+ in Gate\.passed\n        await self\.open\.wait\(\)\n", plain)
    assert re.search(r"asyncio/locks\.py:\d+ in Event\.wait\n", plain)
    assert "in Wait" in plain
    generator = block(dump, "/generator  Worker")
    assert re.search(r"in Worker\.step\n.* in Gate\.steps\n.* in Gate\.passed\n", generator)
    gate.open.set()
    other.open.set()


async def test_a_dump_shows_the_hook_that_a_start_waits_in(system: ActorSystem) -> None:
    gate = Gate()
    system.spawn(Hooked, gate, name="slow")
    await gate.entered.wait()
    dump = dumped(system)
    assert "in Hooked.started" in block(dump, "/slow  Hooked  starting for ")
    assert "in Hooked.started" in block(dump, "started of /slow")
    gate.open.set()


async def test_a_dump_says_who_holds_up_whom(system: ActorSystem) -> None:
    gate = Gate()
    root = system.spawn(Worker, name="root")
    middle = system.spawn(Worker, name="middle")
    for number in range(7):
        system.spawn(Worker, name=f"leaf-{number}").tell(AskOn(middle, AskOn(root, Wait(gate))))
    await gate.entered.wait()
    await until(lambda: node(system, "leaf-6").waits_for == ("/middle",))
    dump = dumped(system)
    assert block(dump, "/root: ").startswith("/root: /middle, /leaf-0, ")  # the nearest first
    assert "and 3 more" in block(dump, "/root: ")
    assert "\n/middle: " not in dump  # it waits itself
    assert "waits for /root (Wait, being handled)" in block(dump, "/middle  Worker")
    assert "waits for /middle (in its mailbox)" in block(dump, "/leaf-6  Worker")
    gate.open.set()


async def test_a_dump_names_debts_dead_letters_and_failures(system: ActorSystem) -> None:
    owing = system.spawn(Worker, name="owing")
    asker = system.spawn(Worker, name="asker")
    asker.tell(AskOn(owing, Promise()))
    system.spawn(Worker, name="broken").tell(Call(fail))
    await until(lambda: node(system, "owing").owed == 1)
    owing.tell(3.5)
    await until(lambda: len(system.dead_letters) == 1)
    dump = dumped(system)
    assert "1 answer owed" in block(dump, "/owing  Worker  idle")
    assert "waits for /owing (Promise, to be answered later)" in block(dump, "/asker  Worker")
    assert "1 dead letter: 1 float" in dump
    assert "float to /owing: actor /owing has no handler for float" in dump
    assert "failed because of LookupError, to be restarted in " in block(dump, "/broken  Worker")
    assert re.search(r"^! broken  Worker  failed$", dump, re.MULTILINE)
    assert re.search(r"^  owing  Worker  idle$", dump, re.MULTILINE)


async def test_a_dump_shows_types_of_messages_and_never_what_they_say(system: ActorSystem) -> None:
    gate = Gate()
    ref = system.spawn(Worker, name="alice")
    ref.tell(Wait(gate))
    ref.tell(SECRET)
    await gate.entered.wait()
    system.dead_letters.add(SECRET, None, ref, "refused")
    assert SECRET not in dumped(system)
    gate.open.set()


async def test_a_dump_of_very_many_actors_is_short_and_says_what_it_leaves_out(system: ActorSystem) -> None:
    gates = [Gate() for _ in range(50)]
    for gate in gates:
        system.spawn(Worker).tell(Wait(gate))
    for _ in range(5_000):
        system.spawn(Worker)
    await gates[-1].entered.wait()
    dump = dumped(system)
    assert "5,050 actors: 5,000 idle, 50 suspended" in dump
    assert "... and 30 more actors ..." in dump
    assert re.search(r"^ +5,000  Worker idle$", dump, re.MULTILINE)
    assert len(dump.splitlines()) < 250
    for gate in gates:
        gate.open.set()


async def test_a_dump_never_raises_and_shows_what_it_can(system: ActorSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left")

    system.spawn(Worker, name="alice")
    system.dump(Full())
    monkeypatch.setattr("telestage.actors.kernel.dump.asyncio", None)
    dump = dumped(system)
    assert "(tasks_part could not be read: AttributeError" in dump
    assert "alice  Worker  idle" in dump


async def test_a_dump_goes_to_the_standard_error(system: ActorSystem, capfd: pytest.CaptureFixture[str]) -> None:
    system.dump()
    assert capfd.readouterr().err.endswith("==== end of the dump of 'test' ====\n")


async def test_another_thread_may_dump_while_a_handler_keeps_the_loop(system: ActorSystem) -> None:
    dumps: list[str] = []

    def hog() -> None:
        thread = threading.Thread(target=lambda: dumps.append(dumped(system)))
        thread.start()
        thread.join()

    await system.spawn(Worker, name="hog").ask(Call(hog))
    assert "/hog  Worker  running in Call, asked by no actor" in dumps[0]
    assert re.search(r"hog\n        thread\.(start|join)\(\)\n", block(dumps[0], "the loop's thread is at"))


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("hogged", [True, False], ids=["hogged", "waiting"])
def test_a_signal_has_a_dump_written_whether_or_not_the_loop_turns(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], hogged: bool
) -> None:
    file = io.StringIO()

    def hog() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while not file.getvalue() and time.monotonic() < deadline:
            pass

    async def main() -> None:
        async with ActorSystem("test") as system:
            system.dump_on(signal.SIGUSR1, file)
            ref = system.spawn(Worker, name="alice")
            if hogged:
                await ref.ask(Call(hog))
            else:
                threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                while not file.getvalue():
                    await asyncio.sleep(0.001)

    before = signal.getsignal(signal.SIGUSR1)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert "alice  Worker  " + ("running" if hogged else "idle") in file.getvalue()
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.fixture
def theirs() -> Iterator[list[int]]:
    """Who had the signal before."""
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    yield got
    signal.signal(signal.SIGUSR1, before)


async def test_the_signal_is_given_back_when_asked_to_and_not_taken_from_others(theirs: list[int]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    async with ActorSystem("test") as system:
        end = system.dump_on(signal.SIGUSR1, io.StringIO())
        assert signal.getsignal(signal.SIGUSR1) != before
        end()
        end()
        assert signal.getsignal(signal.SIGUSR1) == before
        system.dump_on(signal.SIGUSR1, io.StringIO())
        mine = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN != mine
