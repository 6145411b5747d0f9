"""What instruments are told, and that those which aren't there cost nothing."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar

import msgspec
import pytest

from telestage.actors.kernel import (
    Actor,
    ActorSystem,
    Backoff,
    DeadLetter,
    Directive,
    Handling,
    Instrument,
    Ref,
    Supervision,
    handles,
)
from telestage.actors.kernel.cell import Cell

AT_ONCE = Supervision({KeyError: Directive.RESUME}, backoff=Backoff(first=0), intensity=1000)
PLACE: ContextVar[str] = ContextVar("PLACE", default="nowhere")


class Say(msgspec.Struct, frozen=True):
    word: str


class SayLater(msgspec.Struct, frozen=True, eq=False):
    gate: asyncio.Event


class Raise(msgspec.Struct, frozen=True, eq=False):
    error: Exception


class Parrot(Actor):
    @handles(Say)
    def say(self, message: Say) -> str:
        return f"{message.word} {PLACE.get()}"

    @handles(SayLater)
    async def say_later(self, message: SayLater) -> str:
        await message.gate.wait()
        return PLACE.get()

    @handles(Raise)
    async def fail(self, message: Raise) -> None:
        raise message.error


class PerMessage(Instrument):
    """Writes down what it is told of each message."""

    def __init__(self, name: str = "", log: list[object] | None = None) -> None:
        self.name = name
        self.log: list[object] = [] if log is None else log

    def departs(self, message: object, target: Ref) -> object:
        self.log.append((f"{self.name}departs", message, target.path))
        return f"{self.name}note"

    def begins(self, handling: Handling, note: object) -> object:
        self.log.append((f"{self.name}begins", handling.ref.path, handling.cls, handling.message, handling.asked, note))
        return f"{self.name}state"

    def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
        self.log.append((f"{self.name}ends", handling.message, begun, error))


class OfLife(Instrument):
    """Writes down who comes and goes."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def spawned(self, ref: Ref, cls: type[Actor]) -> None:
        self.log.append(("spawned", ref.path, cls))

    def failed(self, ref: Ref, cls: type[Actor], error: BaseException, directive: Directive) -> None:
        self.log.append(("failed", ref.path, cls, error, directive))

    def restarted(self, ref: Ref, cls: type[Actor]) -> None:
        self.log.append(("restarted", ref.path, cls))

    def stopped(self, ref: Ref, cls: type[Actor]) -> None:
        self.log.append(("stopped", ref.path, cls))

    def dead_letter(self, letter: DeadLetter) -> None:
        self.log.append(("dead letter", letter.message))

    def system_started(self, system: ActorSystem) -> None:
        self.log.append(("system started", system.running, len(system.statistics())))

    def system_stopped(self, system: ActorSystem) -> None:
        self.log.append(("system stopped", system.running))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


async def test_each_message_is_told_from_its_departure_to_its_end() -> None:
    seen = PerMessage()
    gate = asyncio.Event()
    gate.set()
    async with ActorSystem(instruments=[seen], supervision=AT_ONCE) as system:
        ref = system.spawn(Parrot, name="polly")
        assert await ref.ask(Say("hi")) == "hi nowhere"
        later, error = SayLater(gate), KeyError("on purpose")
        ref.tell(later)
        ref.tell(Raise(error))
        await until(lambda: len(seen.log) == 9)
    hi = Say("hi")
    assert seen.log[:3] == [
        ("departs", hi, "/polly"),
        ("begins", "/polly", Parrot, hi, True, "note"),
        ("ends", hi, "state", None),
    ]
    assert [entry[0] for entry in seen.log[3:5]] == ["departs", "departs"]  # type: ignore[index]  # all are tuples
    assert seen.log[5:7] == [("begins", "/polly", Parrot, later, False, "note"), ("ends", later, "state", None)]
    assert seen.log[8] == ("ends", seen.log[7][3], "state", error)  # type: ignore[index]  # all are tuples


async def test_the_end_of_a_cancelled_handler_is_told_too() -> None:
    seen = PerMessage()
    async with ActorSystem(instruments=[seen]) as system:
        ref = system.spawn(Parrot)
        asking = asyncio.ensure_future(ref.ask(SayLater(asyncio.Event()), timeout=60, cancel=True))
        await until(lambda: len(seen.log) == 2)
        asking.cancel()
        await until(lambda: len(seen.log) == 3)
    assert isinstance(seen.log[2][3], asyncio.CancelledError)  # type: ignore[index]  # all are tuples


async def test_several_instruments_end_in_the_opposite_order_each_with_its_own() -> None:
    log: list[object] = []
    async with ActorSystem(instruments=[PerMessage("a ", log), OfLife(), PerMessage("b ", log)]) as system:
        await system.spawn(Parrot).ask(Say("hi"))
    told = [(entry[0], entry[-1] if "begins" in entry[0] else entry[2]) for entry in log]  # type: ignore[index]  # tuples
    assert told[2:] == [
        ("a begins", "a note"),
        ("b begins", "b note"),
        ("b ends", "b state"),
        ("a ends", "a state"),
    ]


async def test_what_an_instrument_sets_as_a_handler_begins_holds_for_that_message_alone() -> None:
    class Setting(Instrument):
        def begins(self, handling: Handling, note: object) -> object:
            assert PLACE.get() == "nowhere"
            assert note is None
            PLACE.set("in a tree")
            return None

        def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
            ended.append(PLACE.get())

    ended: list[str] = []
    gate = asyncio.Event()
    async with ActorSystem(instruments=[Setting()]) as system:
        ref = system.spawn(Parrot)
        assert await ref.ask(Say("hi")) == "hi in a tree"
        asking = asyncio.ensure_future(ref.ask(SayLater(gate)))
        await asyncio.sleep(0)
        gate.set()
        assert await asking == "in a tree"
    assert ended == ["in a tree", "in a tree"]


async def test_who_comes_and_goes_is_told() -> None:
    seen = OfLife()

    class Broken(Parrot):
        def __init__(self) -> None:
            raise LookupError("can't be made")

    system = ActorSystem(instruments=[seen], supervision=AT_ONCE)
    async with system:
        ref = system.spawn(Parrot, name="polly")
        resumed, restarted = KeyError("on purpose"), ValueError("on purpose")
        ref.tell(Raise(resumed))
        ref.tell(Raise(restarted))
        await until(lambda: ("restarted", "/polly", Parrot) in seen.log)
        with pytest.raises(LookupError):
            system.spawn(Broken)
        ref.tell(3.5)
        await until(lambda: ("dead letter", 3.5) in seen.log)
    assert seen.log == [
        ("system started", True, 0),
        ("spawned", "/polly", Parrot),
        ("failed", "/polly", Parrot, resumed, Directive.RESUME),
        ("failed", "/polly", Parrot, restarted, Directive.RESTART),
        ("restarted", "/polly", Parrot),
        ("dead letter", 3.5),
        ("stopped", "/polly", Parrot),
        ("system stopped", False),
    ]
    async with system:
        system.spawn(Parrot, name="idle").stop()
        assert seen.log[9:] == [("spawned", "/idle", Parrot), ("stopped", "/idle", Parrot)]
    del seen.log[8:]
    system.dead_letters.add(1, None, None, "after the end")
    assert len(seen.log) == 8


async def test_a_hook_that_raises_is_logged_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Instrument):
        def departs(self, message: object, target: Ref) -> object:
            raise LookupError("departs")

        def begins(self, handling: Handling, note: object) -> object:
            raise LookupError("begins")

        def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
            raise LookupError("ends")

        def spawned(self, ref: Ref, cls: type[Actor]) -> None:
            raise LookupError("spawned")

    good = PerMessage()
    with caplog.at_level(logging.ERROR, "telestage.instruments"):
        async with ActorSystem(instruments=[Broken(), good]) as system:
            ref = system.spawn(Parrot)
            for _ in range(3):
                assert await ref.ask(Say("hi")) == "hi nowhere"
    assert len(good.log) == 9
    assert sorted(str(record.exc_info[1]) for record in caplog.records if record.exc_info) == [
        "begins",
        "departs",
        "ends",
        "spawned",
    ]


async def test_without_hooks_per_message_the_cell_and_the_handlers_are_the_very_same() -> None:
    """No cost when off: not a timing, but the objects on the path."""
    for instruments in ([], [OfLife()]):
        async with ActorSystem(instruments=instruments) as system:
            ref = system.spawn(Parrot)
            assert type(ref) is Cell
            assert ref.spec.handlers is Parrot.handler_table()
            assert ref.spec.handlers[Say] is Parrot.say
            assert (ref.dispatcher.life is None) is (not instruments)


async def test_an_instrument_without_departures_leaves_messages_bare() -> None:
    class Ends(Instrument):
        def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
            done.append(handling.message)

    done: list[object] = []
    async with ActorSystem(instruments=[Ends()]) as system:
        ref = system.spawn(Parrot)
        assert type(ref).tell is Cell.tell
        ref.tell(Say("hi"))
        assert isinstance(ref, Cell)
        assert ref.inbox == [Say("hi")]
        await until(lambda: bool(done))
    assert done == [Say("hi")]
