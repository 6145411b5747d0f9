"""Context variables that travel with messages."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context, ContextVar

import msgspec
import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorKilled,
    ActorSystem,
    AskTimeout,
    Backoff,
    Behaviour,
    MailboxFull,
    Ref,
    Supervision,
    handles,
)
from telestage.actors.kernel.cell import Cell

REQUEST: ContextVar[str] = ContextVar("REQUEST")
TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")
LOCAL: ContextVar[str] = ContextVar("LOCAL", default="untouched")
AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Note(msgspec.Struct, frozen=True):
    """Has it noted what is set."""


class NoteSlowly(msgspec.Struct, frozen=True, eq=False):
    gate: asyncio.Event


class Do(msgspec.Struct, frozen=True, eq=False):
    function: Callable[["Witness"], object]


class DoSlowly(msgspec.Struct, frozen=True, eq=False):
    function: Callable[["Witness"], Awaitable[object]]


class Once(msgspec.Struct, frozen=True, eq=False):
    """Fails the first time."""

    tries: list[str]


def seen() -> tuple[str, str]:
    return REQUEST.get("unset"), TENANT.get()


class Witness(Actor):
    def __init__(self, log: list[object] | None = None) -> None:
        self.log: list[object] = [] if log is None else log

    @handles(Note)
    def note(self, message: Note) -> object:
        self.log.append(seen())
        return seen()

    @handles(NoteSlowly)
    async def note_slowly(self, message: NoteSlowly) -> object:
        before = seen()
        await message.gate.wait()
        task = asyncio.create_task(_seen_later())
        async with asyncio.TaskGroup() as group:
            other = group.create_task(_seen_later())
        self.log += [before, seen(), await task, other.result()]
        return seen()

    @handles(Do)
    def do(self, message: Do) -> object:
        return message.function(self)

    @handles(DoSlowly)
    async def do_slowly(self, message: DoSlowly) -> object:
        return await message.function(self)

    @handles(Once)
    def once(self, message: Once) -> None:
        message.tries.append(REQUEST.get("unset"))
        if len(message.tries) == 1:
            raise LookupError("on purpose")


async def _seen_later() -> tuple[str, str]:
    await asyncio.sleep(0)
    return seen()


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    REQUEST.set("of whoever starts the system")
    async with ActorSystem("test", carry=(REQUEST, TENANT), supervision=AT_ONCE) as system:
        yield system


@pytest.fixture
def log() -> list[object]:
    return []


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


WAYS: dict[str, Callable[[Ref], Awaitable[object] | None]] = {
    "tell": lambda ref: ref.tell(Note()),
    "tell with priority": lambda ref: ref.tell(Note(), priority=3),
    "signal": lambda ref: ref.signal(Note()),
    "send": lambda ref: ref.send(Note()),
    "ask": lambda ref: ref.ask(Note()),
    "ask, waiting its turn": lambda ref: asyncio.gather(ref.ask(Note()), ref.send(Note())),
    "after": lambda ref: ref.ask(Do(lambda self: self.after(0.001, Note()))),
    "every": lambda ref: ref.ask(Do(lambda self: self.every(0.001, Note()))),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_senders_values_are_set_while_the_handler_runs(
    system: ActorSystem, log: list[object], way: str
) -> None:
    ref = system.spawn(Witness, log)
    REQUEST.set("7f")
    TENANT.set("acme")
    going = WAYS[way](ref)
    if going is not None:
        await going
    REQUEST.set("another")
    await until(lambda: len(log) >= (2 if way in ("every", "ask, waiting its turn") else 1))
    assert set(log) == {("7f", "acme")}


async def test_they_stay_set_when_the_handler_waits_and_in_tasks_it_starts(
    system: ActorSystem, log: list[object]
) -> None:
    ref, other = system.spawn(Witness, log), system.spawn(Witness)
    gate = asyncio.Event()
    REQUEST.set("7f")
    asking = asyncio.ensure_future(ref.ask(NoteSlowly(gate)))
    await until(lambda: system.statistics()[0].running is not None)
    REQUEST.set("another")
    assert await other.ask(Note()) == ("another", "nobody")
    gate.set()
    assert await asking == ("7f", "nobody")
    assert log == [("7f", "nobody")] * 4


async def test_what_the_sender_has_not_set_is_not_set(system: ActorSystem, log: list[object]) -> None:
    """Not even if whoever started the system had."""
    ref = system.spawn(Witness, log)
    outside = asyncio.Event()

    def tell() -> None:
        ref.tell(Note())
        outside.set()

    REQUEST.set("7f")
    await ref.ask(Note())
    Context().run(asyncio.get_running_loop().call_soon, tell)
    await outside.wait()
    await until(lambda: len(log) == 2)
    assert log == [("7f", "nobody"), ("unset", "nobody")]


async def test_what_a_handler_leaves_set_is_seen_by_no_other_message(system: ActorSystem, log: list[object]) -> None:
    def leave(self: Witness) -> None:
        REQUEST.set("left")
        LOCAL.set("left")

    async def leave_slowly(self: Witness) -> None:
        await asyncio.sleep(0)
        leave(self)

    ref = system.spawn(Witness, log)
    REQUEST.set("7f")
    for message in (Do(leave), DoSlowly(leave_slowly)):
        await ref.ask(message)
        ref.tell(message)
        ref.tell(message)
        assert await ref.ask(Do(lambda self: (REQUEST.get(), LOCAL.get()))) == ("7f", "untouched")
        ref.tell(message)
        ref.tell(Do(lambda self: log.append((REQUEST.get(), LOCAL.get()))))
        await ref.ask(Note())
    assert set(log) == {("7f", "untouched"), ("7f", "nobody")}


async def test_they_travel_on_from_actor_to_actor(system: ActorSystem, log: list[object]) -> None:
    last = system.spawn(Witness, log)
    middle = system.spawn(Witness)
    REQUEST.set("7f")
    middle.tell(Do(lambda self: self.tell(last, Note())))
    assert await middle.ask(DoSlowly(lambda self: self.ask(last, Note()))) == ("7f", "nobody")
    await until(lambda: len(log) == 2)
    assert set(log) == {("7f", "nobody")}


async def test_a_message_given_again_still_has_them(system: ActorSystem) -> None:
    ref = system.spawn(Witness, redeliver=1)
    tries: list[str] = []
    REQUEST.set("7f")
    ref.tell(Once(tries))
    REQUEST.set("another")
    await until(lambda: len(tries) == 2)
    assert tries == ["7f", "7f"]


async def test_what_is_handed_on_or_put_aside_still_has_them(system: ActorSystem, log: list[object]) -> None:
    class Desk(Witness):
        busy = Behaviour()

        @busy.handles(Note)
        def later(self, message: Note) -> object:
            return self.stash()

        @handles(str)
        def open_or_close(self, message: str) -> None:
            if message == "close":
                self.become(Desk.busy)
            else:
                self.unbecome()
                self.unstash_all()

        @handles(NoteSlowly)
        def hand_on(self, message: NoteSlowly) -> object:
            return self.forward(other)

    other = system.spawn(Witness, log)
    desk = system.spawn(Desk, log)
    gate = asyncio.Event()
    gate.set()
    await desk.ask("close")
    REQUEST.set("7f")
    aside = asyncio.ensure_future(desk.ask(Note()))
    desk.tell(Note())
    await asyncio.sleep(0)
    assert log == []
    REQUEST.set("another")
    await desk.ask("open")
    assert await aside == ("7f", "nobody")
    await until(lambda: len(log) == 2)
    REQUEST.set("7f")
    assert await desk.ask(NoteSlowly(gate)) == ("7f", "nobody")
    desk.tell(NoteSlowly(gate))
    REQUEST.set("another")
    await until(lambda: len(log) == 10)
    assert set(log) == {("7f", "nobody")}


async def test_what_is_seen_of_a_message_is_the_message_itself(system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = system.spawn(Witness, name="alice", capacity=1)
    busy = asyncio.ensure_future(ref.ask(NoteSlowly(gate)))
    await until(lambda: system.statistics()[0].running is not None)
    assert system.statistics()[0].running == "NoteSlowly"
    assert system.tasks.details()[0].operation == "NoteSlowly"
    assert system.tree().children[0].current == "NoteSlowly"
    file = io.StringIO()
    system.dump(file)
    assert "in Witness.note_slowly\n        await message.gate.wait()\n" in file.getvalue()
    ref.tell(1)
    with pytest.raises(MailboxFull) as full:
        await ref.send(Note(), timeout=0.001)
    assert full.value.message == Note()
    ref.tell(Note())
    assert system.dead_letters.recent[-1].message == Note()
    gate.set()
    await busy
    with pytest.raises(AskTimeout) as late:
        await ref.ask(NoteSlowly(asyncio.Event()), timeout=0.001, cancel=True)
    assert isinstance(late.value.message, NoteSlowly)
    ref.stop()
    assert await ref.stopped(5)
    ref.signal(Note())
    assert system.dead_letters.recent[-1].message == Note()
    assert set(system.dead_letters.by_type) <= {"int", "Note", "tuple"}


async def test_handlers_answer_fail_wait_and_are_cancelled_as_ever(system: ActorSystem) -> None:
    ref = system.spawn(Witness)
    replies = []

    def later(self: Witness) -> object:
        replies.append(self.reply_later())
        return NO_REPLY

    def fail(self: Witness) -> None:
        raise LookupError("on purpose")

    async def stop_iteration(self: Witness) -> None:
        await asyncio.sleep(0)
        raise StopIteration

    async def timeout(self: Witness) -> object:
        task = asyncio.current_task()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        return asyncio.current_task() is task is not None

    asking = asyncio.ensure_future(ref.ask(Do(later)))
    await until(lambda: bool(replies))
    replies[0].send(5)
    assert await asking == 5
    with pytest.raises(LookupError):
        await ref.ask(Do(fail))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await ref.ask(DoSlowly(stop_iteration))
    assert await ref.ask(DoSlowly(timeout)) is True
    asking = asyncio.ensure_future(ref.ask(NoteSlowly(asyncio.Event())))
    await until(lambda: system.statistics()[0].running is not None)
    ref.kill()
    with pytest.raises(ActorKilled):
        await asking


async def test_a_system_that_carries_nothing_uses_the_plain_cell_and_the_classes_own_handlers() -> None:
    """No cost when off: the objects on the path are the very same."""
    async with ActorSystem() as system:
        ref = system.spawn(Witness)
        assert type(ref) is Cell
        assert ref.spec is Witness.plain_spec
        assert ref.spec.handlers is Witness.handler_table()
        ref.tell(1)
        assert ref.inbox == [1]
