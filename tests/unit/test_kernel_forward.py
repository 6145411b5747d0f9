"""A message that is handed on keeps its sender, and an ask its asker, deadlines and place in the wait-for graph."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskDirection,
    AskTimeout,
    Backoff,
    Behaviour,
    MailboxFull,
    QueueWaitTimeout,
    Ref,
    Supervision,
    Unhandled,
    WrongReply,
    handles,
)

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Question:
    """Goes the way it is given; the last one on it answers."""

    def __init__(self, *way: Ref, first: str = "") -> None:
        self.way = list(way)
        self.first = first  # what its first receiver does besides


class Gate:
    """Holds up whoever handles it."""

    def __init__(self, to: Ref | None = None) -> None:
        self.to = to
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.ended: str | None = None


class Ask:
    def __init__(self, target: Ref, message: object) -> None:
        self.target = target
        self.message = message


class Who:
    pass


class Desk(Actor):
    def __init__(self) -> None:
        self.seen: list[object] = []

    @handles(Question)
    async def question(self, message: Question) -> object:
        self.seen.append(self.sender)
        first, message.first = message.first, ""
        if first == "waits":
            await asyncio.sleep(0)
        if not message.way:
            return f"{self.ref.name}, to {None if self.sender is None else self.sender.name}"
        forwarded = self.forward(message.way.pop(0))
        if first == "forgets":
            return None
        if first == "answers":
            return "nonsense"
        if first == "fails":
            raise ValueError("too late to be the asker's")
        if first == "lingers":
            await asyncio.sleep(0.01)
            return None
        if first == "twice":
            self.forward(self.ref)
        return forwarded

    @handles(Gate)
    async def gate(self, message: Gate) -> object:
        if message.to is not None:
            to, message.to = message.to, None
            return self.forward(to)
        message.entered.set()
        try:
            await message.open.wait()
        except asyncio.CancelledError:
            message.ended = "cancelled"
            raise
        message.ended = "well"
        return "through"

    @handles(Ask)
    async def ask_it(self, message: Ask) -> object:
        return await self.ask(message.target, message.message, timeout=5)

    @handles(Who)
    def who(self, message: Who) -> list[object]:
        return self.seen

    @handles(str)
    def other_words(self, message: str) -> object:
        target = self.children.get("other") or self.spawn(Desk, name="other")
        return self.forward(target, message=Question())


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


@pytest.fixture
def desks(system: ActorSystem) -> list[Ref]:
    return [system.spawn(Desk, name=f"desk-{number}") for number in range(4)]


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("first", ["", "waits", "forgets", "answers", "lingers"])
async def test_the_last_one_answers_whatever_the_first_does_afterwards(
    system: ActorSystem, desks: list[Ref], first: str, busy: bool
) -> None:
    asker, first_desk, *way = desks
    if busy:
        first_desk.tell(Question())  # so that the ask goes by the mailbox
    assert await asker.ask(Ask(first_desk, Question(*way, first=first))) == "desk-3, to desk-0"
    seen = await desks[2].ask(Who())
    assert seen == [asker]
    assert await first_desk.ask(Who())
    letters = [letter.message for letter in system.dead_letters.recent]
    assert letters == (["nonsense"] if first == "answers" else [])


async def test_a_message_told_is_handed_on_with_its_sender_and_priority(system: ActorSystem, desks: list[Ref]) -> None:
    first, last, sender = desks[:3]
    gate = Gate()
    last.tell(gate)
    await gate.entered.wait()
    order: list[str] = []

    class Note(Question):
        def __init__(self, name: str, *way: Ref) -> None:
            super().__init__(*way)
            self.name = name

    class Sorter(Desk):
        @handles(Note)
        def sort(self, message: Note) -> object:
            if message.way:
                return self.forward(message.way.pop(0), priority=5)
            order.append(f"{message.name} of {self.sender.name if self.sender else None}")
            return None

    sorter, end = system.spawn(Sorter), system.spawn(Sorter, name="end")
    end.pause()
    end.tell(Note("low"))
    sorter.tell(Note("high", end), sender=sender)
    await sorter.ask(Who())
    end.resume()
    await end.ask(Who())
    assert order == ["high of desk-2", "low of None"]
    gate.open.set()
    first.tell(Question(last))
    await first.ask(Who())


async def test_another_message_can_be_handed_on_instead(system: ActorSystem, desks: list[Ref]) -> None:
    assert await desks[0].ask("whatever") == "other, to None"


async def test_an_error_of_the_last_one_is_the_askers(system: ActorSystem, desks: list[Ref]) -> None:
    class Plain(Actor):
        pass

    plain = system.spawn(Plain)
    with pytest.raises(Unhandled) as error:
        await desks[0].ask(Question(plain))
    assert error.value.path == plain.path


async def test_a_failure_after_handing_on_is_the_actors_own_and_gives_nothing_again(system: ActorSystem) -> None:
    handed: list[str] = []

    class Hasty(Actor):
        def __init__(self, last: Ref) -> None:
            self.last = last

        @handles(str)
        def hand_on(self, message: str) -> object:
            self.forward(self.last)
            raise ValueError("after that")

    class Last(Actor):
        @handles(str)
        def take(self, message: str) -> str:
            handed.append(message)
            return message.upper()

    last = system.spawn(Last)
    hasty = system.spawn(Hasty, last, name="hasty", redeliver=3)
    assert await hasty.ask("a") == "A"
    hasty.tell("b")
    assert await hasty.ask("c") == "C"
    assert handed == ["a", "b", "c"]
    (restarts,) = [row.restarts for row in system.statistics() if row.path == "/hasty"]
    assert restarts == 3


async def test_a_wrong_answer_is_blamed_on_who_gave_it(desks: list[Ref]) -> None:
    with pytest.raises(WrongReply) as error:
        await desks[0].ask(Question(desks[1]), expecting=int)
    assert error.value.path == "/desk-1"


@pytest.mark.parametrize("busy", [False, True])
async def test_the_deadline_goes_with_the_ask(system: ActorSystem, desks: list[Ref], busy: bool) -> None:
    first, last = desks[:2]
    if busy:
        first.tell(Question())
    gate = Gate(to=last)
    with pytest.raises(AskTimeout) as error:
        await first.ask(gate, timeout=0.02)
    assert error.value.path == last.path
    gate.open.set()
    await last.ask(Who())
    assert gate.ended == "well"
    assert [letter.message for letter in system.dead_letters.recent] == ["through"]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_deadline_for_being_begun_goes_with_the_ask(desks: list[Ref], busy: bool) -> None:
    first, last = desks[:2]
    ahead, gate = Gate(), Gate(to=last)
    last.tell(ahead)
    await ahead.entered.wait()
    if busy:
        first.tell(Question())
    with pytest.raises(QueueWaitTimeout) as error:
        await first.ask(gate, queue_timeout=0.02, timeout=5)
    assert error.value.path == last.path
    ahead.open.set()
    assert await last.ask(Question()) == "desk-1, to None"
    assert not gate.entered.is_set()


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_cancelled_asker_cancels_the_handler_that_has_it_now(desks: list[Ref], cancel: bool) -> None:
    first, last = desks[:2]
    gate = Gate(to=last)
    ask = asyncio.create_task(first.ask(gate, cancel=cancel))
    await gate.entered.wait()
    ask.cancel()
    await asyncio.wait({ask})
    gate.open.set()
    await last.ask(Who())
    assert ask.cancelled()
    assert gate.ended == ("cancelled" if cancel else "well")


async def test_a_cancelled_asker_frees_the_place_where_the_ask_waits(system: ActorSystem, desks: list[Ref]) -> None:
    first, last = desks[0], system.spawn(Desk, capacity=1)
    ahead, gate = Gate(), Gate(to=last)
    last.tell(ahead)
    await ahead.entered.wait()
    ask = asyncio.create_task(first.ask(gate))
    await asyncio.sleep(0)
    assert last.waiting == 1
    ask.cancel()
    await asyncio.wait({ask})
    assert last.waiting == 0
    last.tell(question := Question())
    ahead.open.set()
    while last.waiting:
        await asyncio.sleep(0)
    assert (await last.ask(Who()), question.way) == ([None], [])
    assert not gate.entered.is_set()


async def test_an_ask_is_refused_at_once_by_a_full_mailbox_and_by_a_stopped_actor(
    system: ActorSystem, desks: list[Ref]
) -> None:
    full = system.spawn(Desk, capacity=1)
    full.pause()
    full.tell(Question())
    question = Question(full)
    with pytest.raises(MailboxFull) as error:
        await desks[0].ask(question, timeout=1)
    assert error.value.message is question
    full.stop(grace=0)
    assert await full.stopped(1)
    with pytest.raises(ActorStopped):
        await desks[0].ask(Question(full), timeout=1)
    desks[0].tell(told := Question(full))
    await desks[0].ask(Who())
    assert system.dead_letters.recent[-1].message is told


async def test_an_ask_that_nobody_waits_for_is_not_handed_on(desks: list[Ref]) -> None:
    first, last = desks[:2]

    question = Question(last, first="waits")
    ask = asyncio.create_task(first.ask(question))
    await asyncio.sleep(0)
    ask.cancel()
    await asyncio.wait({ask})
    assert len(await first.ask(Who())) == 1
    assert await last.ask(Who()) == []


async def test_handing_on_to_oneself_is_refused(desks: list[Ref]) -> None:
    with pytest.raises(AskCycle) as error:
        await desks[0].ask(Question(desks[0]), timeout=1)
    assert error.value.path == ("/desk-0", "/desk-0")


async def test_handing_on_to_who_asks_is_refused(desks: list[Ref]) -> None:
    asker, first = desks[:2]
    with pytest.raises(AskCycle) as error:
        await asker.ask(Ask(first, Question(asker)), timeout=1)
    assert error.value.path == ("/desk-0", "/desk-0")


async def test_handing_on_to_who_waits_for_the_asker_is_refused(desks: list[Ref]) -> None:
    asker, first, waiting = desks[:3]
    with pytest.raises(AskCycle) as error:
        await waiting.ask(Ask(asker, Ask(first, Question(waiting))), timeout=1)
    assert error.value.path == ("/desk-0", "/desk-2", "/desk-0")


async def test_the_asker_waits_for_who_has_it_now_and_no_more_for_who_had_it(desks: list[Ref]) -> None:
    """R-D2: the graph is exact."""
    asker, first, last, other = desks
    gate = Gate(to=last)
    ask = asyncio.create_task(asker.ask(Ask(first, gate), timeout=5))
    await gate.entered.wait()
    back = asyncio.create_task(first.ask(Ask(asker, Question()), timeout=5))  # no circle: asker waits for last
    await asyncio.sleep(0)
    with pytest.raises(AskCycle):
        await asyncio.create_task(_asking(last, asker))
    gate.open.set()
    assert await ask == "through"
    assert await back == "desk-0, to desk-1"
    assert await last.ask(Ask(asker, Question())) == "desk-0, to desk-2"  # nobody waits any more
    assert await asker.ask(Ask(first, Question(last, other))) == "desk-3, to desk-0"


async def _asking(who: Ref, target: Ref) -> object:
    """An ask in the name of `who`, from a task of its own."""
    from telestage.actors.kernel.cell import Cell

    assert isinstance(who, Cell)
    return await who.actor.ask(target, Question(), timeout=1)


async def test_several_asks_at_once_each_move_their_own_edge(system: ActorSystem, desks: list[Ref]) -> None:
    first, last, other = desks[:3]

    class Both(Actor):
        @handles(str)
        async def ask_both(self, message: str) -> object:
            gates = [Gate(to=last), Gate(to=other)]
            asks = [asyncio.create_task(self.ask(first, gate, timeout=5)) for gate in gates]
            for gate in gates:
                await gate.entered.wait()
                gate.open.set()
            return await asyncio.gather(*asks)

    both = system.spawn(Both)
    assert await both.ask("go") == ["through", "through"]
    for desk in (first, last, other):
        assert await desk.ask(Ask(desks[3], Question())) == f"desk-3, to {desk.name}"


async def test_the_order_of_asks_counts_for_who_gets_it_in_the_end(system: ActorSystem, desks: list[Ref]) -> None:
    class Low(Desk):
        ask_rank = 1

    class High(Desk):
        ask_rank = 2

    low, high = system.spawn(Low), system.spawn(High)
    assert await high.ask(Ask(desks[0], Question(low))) is not None
    with pytest.raises(AskDirection):
        await low.ask(Ask(desks[0], Question(high)), timeout=1)


async def test_what_has_been_handed_on_can_not_be_handed_on_again(desks: list[Ref]) -> None:
    first, last = desks[:2]
    assert await first.ask(Question(last, first="twice")) == "desk-1, to None"
    assert await first.ask(Who()) == []  # it failed, and was restarted


async def test_nothing_can_be_handed_on_where_nothing_is_handled(desks: list[Ref]) -> None:
    from telestage.actors.kernel.cell import Cell

    assert isinstance(desks[0], Cell)
    with pytest.raises(RuntimeError, match="nothing to forward"):
        desks[0].actor.forward(desks[1])


async def test_a_thousand_hops_are_as_good_as_one(system: ActorSystem, desks: list[Ref]) -> None:
    way = [desks[number % 4] for number in range(1, 1001)]
    assert await desks[0].ask(Question(*way)) == "desk-0, to None"


async def test_a_restart_of_who_has_it_now_tells_the_asker(system: ActorSystem, desks: list[Ref]) -> None:
    first, last = desks[:2]
    gate = Gate(to=last)
    ask = asyncio.create_task(first.ask(gate, timeout=5))
    await gate.entered.wait()
    first.kill()
    assert await first.ask(Who()) == []
    assert not ask.done()  # who had it is of no importance any more
    last.kill("enough")
    with pytest.raises(Exception, match="enough"):
        await ask


@pytest.mark.parametrize("other_message", [False, True])
@pytest.mark.parametrize("asked", [False, True])
async def test_context_variables_travel_on(asked: bool, other_message: bool) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    seen: asyncio.Queue[str] = asyncio.Queue()

    class First(Actor):
        def __init__(self, last: Ref) -> None:
            self.last = last

        @handles(str)
        async def hand_on(self, message: str) -> object:
            return self.forward(self.last, message="other") if other_message else self.forward(self.last)

    class Last(Actor):
        @handles(str)
        def look(self, message: str) -> str:
            seen.put_nowait(f"{message} of {tenant.get()}")
            return message

    async with ActorSystem(carry=[tenant]) as system:
        first = system.spawn(First, system.spawn(Last))
        tenant.set("alice")
        if asked:
            await first.ask("it")
        else:
            first.tell("it")
        assert await seen.get() == ("other of alice" if other_message else "it of alice")


async def test_a_behaviour_is_observed_as_the_plain_handlers_are() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    class Door(Actor):
        locked = Behaviour()

        @handles(str)
        def lock(self, message: str) -> None:
            self.become(Door.locked)

        @locked.handles(str)
        async def whose(self, message: str) -> str:
            return tenant.get()

        @locked.handles(ValueError)
        def fail(self, message: ValueError) -> None:
            raise message

    async with ActorSystem(carry=[tenant], supervision=AT_ONCE) as system:
        door = system.spawn(Door)
        tenant.set("alice")
        assert await door.ask("it") is None
        assert await door.ask("it") == "alice"
        door.tell(ValueError())
        assert await door.ask("it") is None
        assert await door.ask("it") == "alice"
