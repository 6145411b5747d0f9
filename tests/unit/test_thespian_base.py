"""Unmodified Thespian actors on our kernel, by Thespian's own ActorSystem, in a real thread."""
# ruff: noqa: N802 - the names are Thespian's

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ActorSystem,
    ActorSystemException,
    ActorSystemFailure,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    NoCompatibleSystemForActor,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
    requireCapability,
)
from thespian.initmsgs import initializing_messages
from thespian.transient import transient
from thespian.troupe import troupe

from telestage.actors.kernel import AsyncioSystemBase

WAIT = timedelta(seconds=10)


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


class Echo(Actor):
    def receiveMessage(self, msg: Any, sender: Any) -> None:
        if isinstance(msg, str):
            self.send(sender, f"echo {msg}")


class Family(ActorTypeDispatcher):
    """Makes children, and logs what it hears of them."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Any] = []

    def receiveMsg_type(self, cls: type, sender: Any) -> None:
        self.send(sender, self.createActor(cls))

    def receiveMsg_ChildActorExited(self, msg: ChildActorExited, sender: Any) -> None:
        self.log.append(msg.childAddress)

    def receiveMsg_DeadEnvelope(self, msg: DeadEnvelope, sender: Any) -> None:
        self.log.append(msg.deadMessage)

    def receiveMsg_str(self, msg: str, sender: Any) -> None:
        if msg == "log":
            self.send(sender, list(self.log))
        elif msg == "dead letters":
            self.handleDeadLetters()
        elif msg == "no dead letters":
            self.handleDeadLetters(False)
        elif msg == "end it all":
            self.actorSystemShutdown()


@troupe(max_count=4, idle_count=1)
class Worker(ActorTypeDispatcher):  # at the top of the module: a troupe makes its members by name
    def receiveMsg_int(self, msg: int, sender: Any) -> None:
        self.send(sender, msg * msg)


def test_ask_and_tell_and_listen(system: ActorSystem) -> None:
    echo = system.createActor(Echo)
    assert system.ask(echo, "hello", WAIT) == "echo hello"
    system.tell(echo, "one")
    system.tell(echo, "two")
    assert system.listen(WAIT) == "echo one"
    assert system.listen(WAIT) == "echo two"
    assert system.listen(0.01) is None
    assert system.ask(echo, 5, 0.01) is None


def test_messages_of_one_sender_keep_their_order(system: ActorSystem) -> None:
    echo = system.createActor(Echo)
    for number in range(300):
        system.tell(echo, str(number))
    assert [system.listen(WAIT) for _ in range(300)] == [f"echo {number}" for number in range(300)]


def test_a_stale_answer_is_never_given_to_a_later_ask(system: ActorSystem) -> None:
    """The late answer went round by another actor and a timer; `listen` still gets it."""

    class Late(ActorTypeDispatcher):
        def receiveMsg_tuple(self, msg: Any, sender: Any) -> None:
            gate, answer = msg
            gate.wait(10)
            self.send(self.createActor(Echo), "waste")
            self.send(sender, answer)

    late, echo = system.createActor(Late), system.createActor(Echo)
    gate = threading.Event()
    assert system.ask(late, (gate, "stale"), 0.01) is None
    gate.set()
    for _ in range(20):
        assert system.ask(echo, "fresh", WAIT) == "echo fresh"
    assert system.listen(WAIT) == "stale"


def test_private_contexts_hear_only_their_own(system: ActorSystem) -> None:
    echo = system.createActor(Echo)
    answers: dict[int, list[object]] = {}

    def ask(number: int) -> None:
        with system.private() as context:
            answers[number] = [context.ask(echo, f"{number} {turn}", WAIT) for turn in range(50)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        assert answers[number] == [f"echo {number} {turn}" for turn in range(50)]


def test_an_exit_takes_children_along_and_parents_are_told(system: ActorSystem) -> None:
    parent = system.createActor(Family)
    child = system.ask(parent, Family, WAIT)
    grandchild = system.ask(child, Echo, WAIT)
    other = system.ask(parent, Echo, WAIT)
    system.tell(child, ActorExitRequest())
    until(lambda: system.ask(parent, "log", WAIT) == [child])
    assert system.ask(grandchild, "anybody?", 0.05) is None
    assert system.ask(other, "still", WAIT) == "echo still"


def test_an_exit_that_is_not_recursive_leaves_children(system: ActorSystem) -> None:
    parent = system.createActor(Family)
    child = system.ask(parent, Echo, WAIT)
    system.tell(parent, ActorExitRequest(recursive=False))
    assert system.ask(child, "orphan", WAIT) == "echo orphan"
    assert system.ask(parent, "log", 0.05) is None


def test_dead_letters_go_to_who_handles_them(system: ActorSystem) -> None:
    handler, echo = system.createActor(Family), system.createActor(Echo)
    system.tell(handler, "dead letters")
    system.tell(echo, ActorExitRequest())
    system.tell(echo, "too late")
    until(lambda: system.ask(handler, "log", WAIT) == ["too late"])
    system.tell(handler, "no dead letters")
    system.ask(handler, "log", WAIT)  # it has heard that before
    system.tell(echo, "nobody cares")
    assert system.ask(handler, "log", WAIT) == ["too late"]


def test_the_latest_to_handle_dead_letters_gets_them_alone(system: ActorSystem) -> None:
    first, second, echo = system.createActor(Family), system.createActor(Family), system.createActor(Echo)
    system.tell(echo, ActorExitRequest())
    for handler in (first, second):
        system.tell(handler, "dead letters")
        assert system.ask(handler, "log", WAIT) == []
    system.tell(first, "no dead letters")  # it hasn't been told any since: no effect
    system.ask(first, "log", WAIT)
    system.tell(echo, "for the second")
    until(lambda: system.ask(second, "log", WAIT) == ["for the second"])
    system.tell(second, ActorExitRequest())
    until(lambda: system.ask(second, "log", 0.05) is None)
    system.tell(echo, "for nobody")
    assert system.ask(first, "log", WAIT) == []


def test_a_message_that_fails_three_times_comes_back_as_poison(system: ActorSystem) -> None:
    class Delicate(ActorTypeDispatcher):
        tries = 0

        def receiveMsg_str(self, msg: str, sender: Any) -> None:
            self.tries += 1
            if msg == "poison" or (msg == "twice" and self.tries < 3):
                raise ValueError(msg)
            self.send(sender, self.tries)

    delicate = system.createActor(Delicate)
    poison = system.ask(delicate, "poison", WAIT)
    assert isinstance(poison, PoisonMessage)
    assert poison.poisonMessage == "poison"
    assert "ValueError" in poison.details
    assert system.ask(delicate, "state is kept", WAIT) == 4
    other = system.createActor(Delicate)
    assert system.ask(other, "twice", WAIT) == 3


def test_a_message_that_cannot_be_shown_is_poison_like_any_other(system: ActorSystem) -> None:
    class Unshowable:
        def __str__(self) -> str:
            raise ValueError("no text")

    class Shows(ActorTypeDispatcher):
        def receiveMsg_Unshowable(self, msg: Unshowable, sender: Any) -> None:
            str(msg)

    assert isinstance(system.ask(system.createActor(Shows), Unshowable(), WAIT), PoisonMessage)


def test_poison_that_poisons_its_sender_ends_there(system: ActorSystem) -> None:
    class Bad(ActorTypeDispatcher):
        poisons = 0

        def receiveMsg_str(self, msg: str, sender: Any) -> None:
            if msg == "count":
                self.send(sender, self.poisons)
            elif msg == "begin":
                self.send(self.createActor(Bad), "fail")
            else:
                raise ValueError(msg)

        def receiveMsg_PoisonMessage(self, msg: PoisonMessage, sender: Any) -> None:
            self.poisons += 1
            raise ValueError("poisoned")

    bad = system.createActor(Bad)
    system.tell(bad, "begin")
    until(lambda: system.ask(bad, "count", WAIT) == 2)


def test_wakeups_come_in_time_with_their_payload(system: ActorSystem) -> None:
    class Sleeper(ActorTypeDispatcher):
        def receiveMsg_float(self, seconds: float, sender: Any) -> None:
            self.wakeupAfter(timedelta(seconds=seconds), payload=sender)

        def receiveMsg_WakeupMessage(self, msg: WakeupMessage, sender: Any) -> None:
            assert sender == self.myAddress
            self.send(msg.payload, msg.delayPeriod)

    sleeper = system.createActor(Sleeper)
    system.tell(sleeper, 0.05)
    began = time.monotonic()
    assert system.listen(WAIT) == timedelta(seconds=0.05)
    assert 0.03 < time.monotonic() - began < 5
    system.tell(sleeper, 3600.0)
    status = system.ask(sleeper, Thespian_StatusReq(), WAIT)
    assert isinstance(status, Thespian_ActorStatus)


def test_a_wakeup_is_not_early_by_a_clock_read_after_it_was_asked_for(system: ActorSystem) -> None:
    """As `thespian.transient` reads it: an actor woken before what it expects doesn't end, then or ever."""

    class Sleeper(ActorTypeDispatcher):
        def receiveMsg_float(self, seconds: float, sender: Any) -> None:
            self.sleeper = sender
            self.wakeupAfter(seconds)
            time.sleep(0.1)  # as a thread does that has to wait for the processor
            self.due = time.monotonic() + seconds

        def receiveMsg_WakeupMessage(self, msg: WakeupMessage, sender: Any) -> None:
            self.send(self.sleeper, time.monotonic() - self.due)

    assert system.ask(system.createActor(Sleeper), 0.05, WAIT) >= 0


def test_what_is_no_period_is_refused_where_the_actor_asks_for_it(system: ActorSystem) -> None:
    class Sleeper(ActorTypeDispatcher):
        def receiveMsg_list(self, periods: list[Any], sender: Any) -> None:
            for period in periods:
                try:
                    self.wakeupAfter(period)
                except (TypeError, ValueError) as error:
                    self.send(sender, type(error))

    sleeper = system.createActor(Sleeper)
    assert system.ask(sleeper, [None], WAIT) is TypeError
    assert system.ask(sleeper, ["soon"], WAIT) is TypeError
    assert system.ask(sleeper, [float("nan")], WAIT) is ValueError


def test_global_names_find_the_actor_until_it_exits(system: ActorSystem) -> None:
    first = system.createActor(Echo, globalName="the one")
    assert system.createActor(Family, globalName="the one") == first
    system.tell(first, ActorExitRequest())
    until(lambda: system.createActor(Echo, globalName="the one") != first)


def test_capabilities_decide_what_can_be_made(system: ActorSystem) -> None:
    needs_dogs = requireCapability("dogs")(type("NeedsDogs", (Echo,), {}))
    needs_cows = requireCapability("cows")(type("NeedsCows", (Echo,), {}))
    assert system.ask(system.createActor(needs_dogs), "woof", WAIT) == "echo woof"
    with pytest.raises(NoCompatibleSystemForActor, match=r"No compatible ActorSystem.*NeedsCows"):
        system.createActor(needs_cows)
    system.updateCapability("cows", True)
    assert system.ask(system.createActor(needs_cows), "moo", WAIT) == "echo moo"
    system.updateCapability("cows")
    with pytest.raises(NoCompatibleSystemForActor):
        system.createActor(needs_cows)


def test_requirements_and_capabilities_reach_the_class(system: ActorSystem) -> None:
    class Knows(Actor):
        def __init__(self, capabilities: Any, requirements: Any) -> None:
            self.known = capabilities["dogs"], requirements

        @staticmethod
        def actorSystemCapabilityCheck(capabilities: Any, requirements: Any) -> bool:
            return bool(requirements["ok"])

        def receiveMessage(self, msg: Any, sender: Any) -> None:
            self.send(sender, self.known)

    knows = system.createActor(Knows, targetActorRequirements={"ok": 1})
    assert system.ask(knows, "?", WAIT) == (True, {"ok": 1})
    with pytest.raises(NoCompatibleSystemForActor):
        system.createActor(Knows, targetActorRequirements={"ok": 0})


def test_a_child_that_cannot_be_made_has_exited(system: ActorSystem) -> None:
    class Broken(Actor):
        def __init__(self) -> None:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        system.createActor(Broken)
    parent = system.createActor(Family)
    child = system.ask(parent, Broken, WAIT)
    until(lambda: system.ask(parent, "log", WAIT) == [child])


def test_troupes_and_initializing_and_transient_actors_run_as_they_are(system: ActorSystem) -> None:
    @initializing_messages([("prefix", str)], initdone="ready")
    class Initialized(ActorTypeDispatcher):
        prefix: str

        def ready(self) -> None:
            self.prefix += "!"

        def receiveMsg_int(self, msg: int, sender: Any) -> None:
            self.send(sender, f"{self.prefix}{msg}")

    @transient(timedelta(milliseconds=20))
    class Brief(ActorTypeDispatcher):
        def receiveMsg_str(self, msg: str, sender: Any) -> None:
            self.send(sender, msg)

    workers = system.createActor(Worker)
    for number in range(1, 21):
        system.tell(workers, number)
    squares = sorted(int(str(system.listen(WAIT))) for _ in range(20))
    assert squares == [number * number for number in range(1, 21)]

    initialized = system.createActor(Initialized)
    system.tell(initialized, 7)  # kept until it is initialized
    system.tell(initialized, "hi")
    assert system.listen(WAIT) == "hi!7"

    handler = system.createActor(Family)
    system.tell(handler, "dead letters")
    brief = system.createActor(Brief)
    until(lambda: system.ask(brief, "there?", 0.05) is None)


def test_an_actor_can_end_the_system_and_nobody_waits_for_ever() -> None:
    base = AsyncioSystemBase()
    system = ActorSystem(base, logDefs=False, transientUnique=True)
    family = system.createActor(Family)
    assert system.ask(family, "end it all", None) is None
    until(lambda: not base._thread.alive)
    with pytest.raises(ActorSystemFailure):
        system.tell(family, "anybody?")
    with pytest.raises(ActorSystemFailure):
        system.createActor(Echo)
    system.shutdown()


def test_shutdown_asks_every_actor_to_exit_and_ends_the_thread() -> None:
    """R-T4."""
    exits: list[str] = []

    class Notes(Family):
        def receiveMsg_ActorExitRequest(self, msg: ActorExitRequest, sender: Any) -> None:
            exits.append(str(self.myAddress))

    system = ActorSystem(AsyncioSystemBase(), logDefs=False, transientUnique=True)
    parents = [system.createActor(Notes) for _ in range(3)]
    children = [system.ask(parent, Notes, WAIT) for parent in parents]
    system.shutdown()
    assert sorted(exits) == sorted(str(address) for address in parents + children)
    assert [thread for thread in threading.enumerate() if thread.name == "telestage thespian"] == []


def test_what_an_actor_cannot_do_is_said(system: ActorSystem) -> None:
    class Confused(Actor):
        def receiveMessage(self, msg: Any, sender: Any) -> None:
            try:
                if msg == "convention":
                    self.preRegisterRemoteSystem("10.0.0.1", {})
                elif msg == "ask":
                    system.ask(sender, "from inside", 1)
            except ActorSystemException as error:
                self.send(sender, str(error))

    confused = system.createActor(Confused)
    assert "no convention" in str(system.ask(confused, "convention", WAIT))
    assert "can't wait for its own system" in str(system.ask(confused, "ask", WAIT))


def test_two_systems_live_side_by_side() -> None:
    systems = [ActorSystem(AsyncioSystemBase(), logDefs=False, transientUnique=True) for _ in range(2)]
    echoes = [system.createActor(Echo) for system in systems]
    for system, echo in zip(systems, echoes, strict=True):
        assert system.ask(echo, "hello", WAIT) == "echo hello"
    systems[0].shutdown()
    assert systems[1].ask(echoes[1], "still", WAIT) == "echo still"
    systems[1].shutdown()


def test_an_actor_that_calls_sys_exit_ends_alone_with_its_children(system: ActorSystem) -> None:
    class Quits(Family):
        def receiveMsg_int(self, msg: int, sender: Any) -> None:
            sys.exit(msg)

    class Stillborn(Actor):
        def __init__(self) -> None:
            sys.exit("never lived")

    parent = system.createActor(Family)
    quits = system.ask(parent, Quits, WAIT)
    child = system.ask(quits, Echo, WAIT)
    system.tell(quits, 3)
    until(lambda: system.ask(parent, "log", WAIT) == [quits])
    assert system.ask(child, "anybody?", 0.05) is None
    stillborn = system.ask(parent, Stillborn, WAIT)
    until(lambda: system.ask(parent, "log", WAIT) == [quits, stillborn])


class Watcher(ActorTypeDispatcher):
    """Reads a byte at a time from one file; watches it until told otherwise."""

    def __init__(self) -> None:
        self.fileno = -1
        self.watched = True
        self.read: list[bytes] = []

    def watch(self) -> ThespianWatch | None:
        return ThespianWatch([self.fileno]) if self.watched else None

    def receiveMsg_int(self, fileno: int, sender: Any) -> ThespianWatch | None:
        self.fileno = fileno
        return self.watch()

    def receiveMsg_WatchMessage(self, msg: WatchMessage, sender: Any) -> ThespianWatch | None:
        assert sender == self.myAddress
        for fileno in msg.ready:
            self.read.append(os.read(fileno, 1))
        self.watched = self.read[-1] not in (b"", b".")
        return self.watch()

    def receiveMsg_str(self, msg: str, sender: Any) -> ThespianWatch | None:
        if msg == "close":
            os.close(self.fileno)
            self.watched = False
        self.send(sender, b"".join(self.read))
        return self.watch()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_an_actor_watches_a_file_for_as_long_as_its_handlers_return_it(
    system: ActorSystem, pipe: tuple[int, int]
) -> None:
    watcher = system.createActor(Watcher)
    system.tell(watcher, pipe[0])
    assert system.ask(watcher, "what?", WAIT) == b""
    os.write(pipe[1], b"ab")
    until(lambda: system.ask(watcher, "what?", WAIT) == b"ab")
    os.write(pipe[1], b".never read")
    until(lambda: system.ask(watcher, "what?", WAIT) == b"ab.")
    for _ in range(20):  # as many turns of the loop
        assert system.ask(watcher, "what?", WAIT) == b"ab."


def test_a_watched_file_may_be_closed_and_its_number_used_again(system: ActorSystem, pipe: tuple[int, int]) -> None:
    watcher = system.createActor(Watcher)
    system.tell(watcher, pipe[0])
    system.ask(watcher, "close", WAIT)
    reader, writer = os.pipe()
    try:
        assert reader == pipe[0]
        second = system.createActor(Watcher)
        system.tell(second, reader)
        os.write(writer, b"x")
        until(lambda: system.ask(second, "what?", WAIT) == b"x")
        assert system.ask(watcher, "what?", WAIT) == b""
    finally:
        system.ask(second, "close", WAIT)
        os.close(writer)


def test_an_actor_that_exits_watches_no_more_and_what_cannot_be_watched_is_left_out(
    system: ActorSystem, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    watcher, other = system.createActor(Watcher), system.createActor(Watcher)
    system.tell(watcher, pipe[0])
    system.tell(watcher, ActorExitRequest())
    system.tell(other, 999_999)
    os.write(pipe[1], b"x")
    until(lambda: "can't watch file 999999" in caplog.text)
    system.tell(other, pipe[0])
    until(lambda: system.ask(other, "what?", WAIT) == b"x")
