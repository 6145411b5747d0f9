"""Native actors and plain Thespian ones in one system: each reaches the other in its own way."""
# ruff: noqa: N802 - the names are Thespian's

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest
from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystem,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
)

from telestage.actors import NO_REPLY, ActorError, AskTimeout, AsyncioSystemBase, Ref, Terminated, handles
from telestage.actors import Actor as NativeActor

WAIT = timedelta(seconds=10)


class Add(msgspec.Struct, frozen=True):
    amount: int


class Take(msgspec.Struct, frozen=True):
    amount: int


class Get(msgspec.Struct, frozen=True):
    pass


class Heard(msgspec.Struct, frozen=True):
    number: int


class Fails(msgspec.Struct, frozen=True):
    pass


class Later(msgspec.Struct, frozen=True):
    gate: threading.Event


class Counter(NativeActor):
    """Native: what it is asked it answers, and whoever tells it something hears how much it is."""

    def __init__(self, capabilities: dict[str, object]) -> None:
        self.total = 0
        self.dogs = capabilities["dogs"]

    @handles(Add)
    async def add(self, message: Add) -> None:
        self.total += message.amount
        if self.sender is not None:
            self.tell(self.sender, Heard(self.total))

    @handles(Take)
    def take(self, message: Take) -> None:
        self.total -= message.amount

    @handles(Get)
    def get(self, message: Get) -> int:
        return self.total

    @handles(str)
    def dogs_allowed(self, message: str) -> object:
        return self.dogs

    @handles(Fails)
    def fail(self, message: Fails) -> None:
        raise ValueError("on purpose")

    @handles(Later)
    def later(self, message: Later) -> object:
        reply = self.reply_later()
        self.after(0.0, (reply, message.gate))
        return NO_REPLY

    @handles(tuple)
    def answer(self, message: tuple[Any, threading.Event]) -> None:
        reply, gate = message
        if gate.is_set():
            reply.send("late")
        else:
            self.after(0.001, message)


class Boss(ActorTypeDispatcher):
    """Thespian: makes a native child, and hands messages on to it and back."""

    def __init__(self) -> None:
        super().__init__()
        self.child: Any = None
        self.asker: Any = None
        self.log: list[object] = []

    def receiveMsg_type(self, cls: type, sender: Any) -> None:
        self.child = self.createActor(cls)
        self.send(sender, self.child)

    def receiveMsg_Add(self, msg: Add, sender: Any) -> None:
        self.asker = sender
        self.send(self.child, msg)

    def receiveMsg_Heard(self, msg: Heard, sender: Any) -> None:
        assert sender == self.child
        self.send(self.asker, msg)

    def receiveMsg_ChildActorExited(self, msg: ChildActorExited, sender: Any) -> None:
        self.log.append(msg.childAddress == self.child)

    def receiveMsg_DeadEnvelope(self, msg: DeadEnvelope, sender: Any) -> None:
        self.log.append(msg.deadMessage)

    def receiveMsg_ActorExitRequest(self, msg: ActorExitRequest, sender: Any) -> None:
        pass

    def receiveMsg_str(self, msg: str, sender: Any) -> None:
        if msg == "log":
            self.send(sender, list(self.log))
        elif msg == "end":
            self.send(self.child, Add(1))
            self.send(self.child, ActorExitRequest())
            self.send(self.child, Add(1))
        elif msg == "dead letters":
            self.handleDeadLetters()


class Introduced(msgspec.Struct, frozen=True):
    pass


class Introduces(ActorTypeDispatcher):
    """Thespian: introduces itself to whom it is told of; answers a number by its square, and fails on None."""

    def receiveMsg_ActorAddress(self, msg: Any, sender: Any) -> None:
        self.send(msg, Introduced())

    def receiveMsg_int(self, msg: int, sender: Any) -> None:
        if msg >= 0:
            self.send(sender, msg * msg)
            self.send(sender, "one too many")

    def receiveMsg_NoneType(self, msg: None, sender: Any) -> None:
        raise ValueError("none")


class Mathematician(NativeActor):
    """Native: asks a Thespian actor, which has introduced itself, and tells what came of it when asked for it."""

    def __init__(self) -> None:
        self.other: Ref | None = None
        self.heard: list[object] = []

    @handles(Introduced)
    def meet(self, message: Introduced) -> None:
        assert self.sender is not None
        self.other = self.sender
        self.watch(self.other)

    @handles(int)
    async def square(self, number: int) -> object:
        assert self.other is not None
        try:
            return await self.ask(self.other, number, timeout=0.05 if number < 0 else 5)
        except AskTimeout:
            return "no answer"

    @handles(float)
    async def square_directly(self, number: float) -> object:
        assert self.other is not None
        return await self.other.ask(int(number), expecting=int, timeout=5)

    @handles(list)
    async def fail(self, message: list[object]) -> str:
        assert self.other is not None
        with pytest.raises(ActorError, match="failed on the message"):
            await self.ask(self.other, None, timeout=5)
        return "failed"

    @handles(bytes)
    def stop_it(self, message: bytes) -> None:
        assert self.other is not None
        self.other.stop()

    @handles(Terminated)
    def ended(self, message: Terminated) -> None:
        self.heard.append(message.ref == self.other)

    @handles(str)
    def log(self, message: str) -> object:
        return list(self.heard)


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    capabilities = {"dogs": True}
    system = ActorSystem(AsyncioSystemBase(capabilities), capabilities, logDefs=False, transientUnique=True)
    yield system
    system.shutdown()
    assert [thread for thread in threading.enumerate() if thread.name == "telestage thespian"] == []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_native_actor_is_made_and_asked_as_any_other(system: ActorSystem) -> None:
    counter = system.createActor(Counter)
    for _ in range(100):
        system.tell(counter, Take(1))
    assert system.ask(counter, Get(), WAIT) == -100
    assert system.ask(counter, "dogs", WAIT) is True
    assert isinstance(system.ask(counter, Thespian_StatusReq(), WAIT), Thespian_ActorStatus)


def test_what_it_tells_its_sender_arrives_outside(system: ActorSystem) -> None:
    counter = system.createActor(Counter)
    system.tell(counter, Add(2))
    system.tell(counter, Add(3))
    assert [system.listen(WAIT), system.listen(WAIT)] == [Heard(2), Heard(5)]
    with system.private() as private:
        private.tell(counter, Add(1))
        assert private.listen(WAIT) == Heard(6)
    assert system.listen(0.01) is None


def test_what_a_native_actor_fails_on_comes_back_as_poison_and_it_is_restarted(system: ActorSystem) -> None:
    counter = system.createActor(Counter)
    system.tell(counter, Add(2))
    assert system.listen(WAIT) == Heard(2)
    poison = system.ask(counter, Fails(), WAIT)
    assert isinstance(poison, PoisonMessage)
    assert poison.poisonMessage == Fails()
    assert "ValueError: on purpose" in poison.details
    assert system.ask(counter, Get(), WAIT) == 0


def test_a_late_answer_of_a_native_actor_is_given_to_no_other_ask(system: ActorSystem) -> None:
    counter = system.createActor(Counter)
    gate = threading.Event()
    assert system.ask(counter, Later(gate), 0.01) is None
    gate.set()
    for _ in range(20):
        assert system.ask(counter, Get(), WAIT) == 0
    assert system.listen(WAIT) == "late"


def test_a_thespian_actor_has_a_native_child_that_answers_it(system: ActorSystem) -> None:
    """And what goes round by the child goes back to the ask that it began with."""
    boss = system.createActor(Boss)
    child = system.ask(boss, Counter, WAIT)
    assert isinstance(child, ActorAddress)
    assert system.ask(boss, Add(4), WAIT) == Heard(4)
    with system.private() as private:
        assert private.ask(boss, Add(1), WAIT) == Heard(5)
    assert system.ask(child, Get(), WAIT) == 5


class Slow(NativeActor):
    gate = threading.Event()

    @handles(Add)
    async def add(self, message: Add) -> None:
        assert self.sender is not None
        while not self.gate.is_set():  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(0.001)
        await self.sender.send(Heard(message.amount), sender=self.ref)


def test_a_stale_answer_that_went_by_a_native_actor_is_given_to_no_later_ask(system: ActorSystem) -> None:
    boss = system.createActor(Boss)
    Slow.gate.clear()
    system.ask(boss, Slow, WAIT)
    assert system.ask(boss, Add(4), 0.01) is None
    Slow.gate.set()
    for _ in range(50):
        assert system.ask(boss, "log", WAIT) == []
        time.sleep(0.001)
    assert system.listen(WAIT) == Heard(4)


def test_a_native_child_that_exits_handles_its_mail_and_its_parent_is_told(system: ActorSystem) -> None:
    boss = system.createActor(Boss)
    child = system.ask(boss, Counter, WAIT)
    system.tell(boss, "dead letters")
    system.tell(boss, "end")
    until(lambda: system.ask(boss, "log", WAIT) and True in system.ask(boss, "log", WAIT))
    log = system.ask(boss, "log", WAIT)
    assert log.count(True) == 1
    assert Add(1) in log  # what came after the exit
    system.tell(child, Add(7))
    until(lambda: Add(7) in system.ask(boss, "log", WAIT))
    assert system.ask(child, Get(), 0.05) is None


@pytest.fixture
def mathematician(system: ActorSystem) -> Any:
    native = system.createActor(Mathematician)
    thespian = system.createActor(Introduces)
    system.tell(thespian, native)
    until(lambda: not isinstance(system.ask(native, 1, WAIT), PoisonMessage))
    return native


def test_a_native_actor_asks_a_thespian_one_and_gets_its_first_answer(system: ActorSystem, mathematician: Any) -> None:
    for number in range(20):
        assert system.ask(mathematician, number, WAIT) == number * number
    assert system.ask(mathematician, 3.0, WAIT) == 9
    assert system.ask(mathematician, [], WAIT) == "failed"
    for _ in range(3):
        assert system.ask(mathematician, -1, WAIT) == "no answer"
    assert system.ask(mathematician, 4, WAIT) == 16


def test_a_native_actor_watches_a_thespian_one_and_ends_it(system: ActorSystem, mathematician: Any) -> None:
    system.tell(mathematician, b"stop")
    until(lambda: system.ask(mathematician, "log", WAIT) == [True])


def test_questions_that_nobody_answers_leave_nothing_behind(system: ActorSystem, mathematician: Any) -> None:
    office = system._systemBase._office
    for _ in range(5):
        system.ask(mathematician, -1, WAIT)
    assert len(office._replies) == 5
    office._most_replies = 5
    system.ask(mathematician, -1, WAIT)
    assert len(office._replies) == 1


class Ends(NativeActor):
    log: ClassVar[list[str]] = []

    @handles(str)
    async def work(self, message: str) -> None:
        await asyncio.sleep(0.01)
        self.log.append(message)

    async def stopped(self) -> None:
        self.log.append("stopped")


@pytest.mark.parametrize("system_too", [False, True])
def test_native_actors_end_after_what_waits_for_them(caplog: pytest.LogCaptureFixture, system_too: bool) -> None:
    """When they are asked to exit, and when the system ends."""
    Ends.log.clear()
    system = ActorSystem(AsyncioSystemBase(), logDefs=False, transientUnique=True)
    address = system.createActor(Ends)
    for word in "abc":
        system.tell(address, word)
    if not system_too:
        system.tell(address, ActorExitRequest())
        until(lambda: "stopped" in Ends.log)
    system.shutdown()
    assert Ends.log == ["a", "b", "c", "stopped"]
    assert "did not exit" not in caplog.text


def test_a_native_actor_has_a_global_name_until_it_exits(system: ActorSystem) -> None:
    counter = system.createActor(Counter, globalName="counter")
    assert system.createActor(Counter, globalName="counter") == counter
    system.tell(counter, ActorExitRequest())
    until(lambda: system.createActor(Counter, globalName="counter") != counter)
