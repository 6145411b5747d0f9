"""What a full mailbox does is chosen at the spawn; nothing of the system's is lost, and nobody left unanswered."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStatistics,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    MailboxFull,
    Overflow,
    QueueWaitTimeout,
    Ref,
    Terminated,
    handles,
)
from telestage.actors.kernel.cell import Cell


class Keeper(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.aside = False

    @handles(str)
    async def note(self, message: str) -> str:
        self.log.append(message)
        return message.upper()

    @handles(Terminated)
    def ended(self, message: Terminated) -> object:
        if self.aside:
            return self.stash()
        self.log.append("ended")
        return None

    @handles(Ref)
    def watch_it(self, message: Ref) -> None:
        self.watch(message)

    @handles(asyncio.Event)
    async def wait(self, message: asyncio.Event) -> None:
        await message.wait()


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        yield system


@pytest.fixture
def log() -> list[object]:
    return []


def full(system: ActorSystem, log: list[object], overflow: Overflow, *, priority: int = 0) -> Ref:
    """A paused actor with three messages and no room."""
    ref = system.spawn(Keeper, log, capacity=3, overflow=overflow, name="full")
    ref.pause()
    for word in ("a", "b", "c"):
        ref.tell(word, priority=priority)
    return ref


async def emptied(ref: Ref) -> None:
    ref.resume()
    while ref.waiting:
        await asyncio.sleep(0)


def letters(system: ActorSystem) -> list[object]:
    return [letter.message for letter in system.dead_letters.recent]


def figures(system: ActorSystem) -> ActorStatistics:
    return next(row for row in system.statistics() if row.path == "/full")


@pytest.mark.parametrize("overflow", [Overflow.FAIL, Overflow.DROP_NEWEST, Overflow.BLOCK])
async def test_what_is_told_to_a_full_mailbox_is_a_dead_letter(
    system: ActorSystem, log: list[object], overflow: Overflow
) -> None:
    ref = full(system, log, overflow)
    ref.tell("d")
    ref.tell("e", priority=9)
    assert letters(system) == ["d", "e"]
    assert (figures(system).refused, figures(system).dropped) == (2, 0)
    await emptied(ref)
    assert log == ["a", "b", "c"]


@pytest.mark.parametrize("overflow", [Overflow.FAIL, Overflow.DROP_NEWEST])
async def test_an_ask_of_a_full_mailbox_fails_at_once(
    system: ActorSystem, log: list[object], overflow: Overflow
) -> None:
    ref = full(system, log, overflow)
    with pytest.raises(MailboxFull) as error:
        await ref.ask("d")
    assert error.value.message == "d"
    assert figures(system).refused == 1


async def test_with_drop_newest_send_does_not_wait(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.DROP_NEWEST)
    async with asyncio.timeout(5):
        with pytest.raises(MailboxFull):
            await ref.send("d", timeout=60)
    assert figures(system).refused == 1


@pytest.mark.parametrize("overflow", [Overflow.FAIL, Overflow.BLOCK])
async def test_otherwise_send_waits_and_is_counted_only_if_it_fails(
    system: ActorSystem, log: list[object], overflow: Overflow
) -> None:
    ref = full(system, log, overflow)
    with pytest.raises(MailboxFull):
        await ref.send("never", timeout=0.01)
    assert figures(system).refused == 1
    send = asyncio.create_task(ref.send("d"))
    await asyncio.sleep(0)
    assert figures(system).refused == 1
    await emptied(ref)
    await send
    await emptied(ref)
    assert log == ["a", "b", "c", "d"]
    assert figures(system).refused == 1


@pytest.mark.parametrize("priority", [0, 4])
async def test_drop_oldest_makes_room_for_the_newest(system: ActorSystem, log: list[object], priority: int) -> None:
    ref = full(system, log, Overflow.DROP_OLDEST, priority=priority)
    ref.tell("d", priority=priority)
    ask = asyncio.create_task(ref.ask("e", priority=priority))
    await asyncio.sleep(0)
    await ref.send("f", priority=priority)
    assert ref.waiting == 3
    assert letters(system) == ["a", "b", "c"]
    assert (figures(system).refused, figures(system).dropped) == (0, 3)
    await emptied(ref)
    assert await ask == "E"
    assert log == ["d", "e", "f"]
    assert figures(system).processed == 3


async def test_a_dropped_ask_fails_at_once(system: ActorSystem, log: list[object]) -> None:
    ref = system.spawn(Keeper, log, capacity=1, overflow=Overflow.DROP_OLDEST, name="full")
    ref.pause()
    ask = asyncio.create_task(ref.ask("a", timeout=60))
    await asyncio.sleep(0)
    ref.tell("b")
    async with asyncio.timeout(5):
        with pytest.raises(MailboxFull) as error:
            await ask
    assert error.value.message == "a"
    assert letters(system) == []
    await emptied(ref)
    assert log == ["b"]


async def test_the_least_urgent_goes_and_never_one_more_urgent_than_the_new(
    system: ActorSystem, log: list[object]
) -> None:
    ref = system.spawn(Keeper, log, capacity=3, overflow=Overflow.DROP_OLDEST, name="full")
    ref.pause()
    ref.tell("high", priority=5)
    ref.tell("low", priority=-1)
    ref.tell("plain")
    ref.tell("plain 2")
    ref.tell("lower", priority=-2)
    with pytest.raises(MailboxFull):
        await ref.ask("lower", priority=-2)
    assert letters(system) == ["low", "lower"]
    ref.tell("plain 3")
    assert letters(system) == ["low", "lower", "plain"]
    assert (figures(system).refused, figures(system).dropped) == (2, 2)
    await emptied(ref)
    assert log == ["high", "plain 2", "plain 3"]


async def test_a_low_message_does_not_displace_plain_ones(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.DROP_OLDEST)
    ref.tell("low", priority=-1)
    assert letters(system) == ["low"]
    await emptied(ref)
    assert log == ["a", "b", "c"]


async def test_what_is_dropped_from_a_batch_at_work_is_not_counted_as_processed(
    system: ActorSystem, log: list[object]
) -> None:
    ref = system.spawn(Keeper, log, capacity=4, overflow=Overflow.DROP_OLDEST, name="full")
    event = asyncio.Event()
    for message in (event, "a", "b", "c"):
        ref.tell(message)
    await asyncio.sleep(0.01)
    for word in ("d", "e", "f"):
        ref.tell(word)
    assert letters(system) == ["a", "b"]
    event.set()
    await emptied(ref)
    while len(log) < 4:
        await asyncio.sleep(0)
    await system.idle()
    assert log == ["c", "d", "e", "f"]
    assert (figures(system).processed, figures(system).dropped) == (5, 2)


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_notices_of_the_system_are_never_dropped(
    system: ActorSystem, log: list[object], overflow: Overflow
) -> None:
    """Known failure of other frameworks: drop-oldest evicts Terminated."""
    other = system.spawn(Keeper, [])
    ref = system.spawn(Keeper, log, capacity=3, overflow=overflow, name="full")
    await ref.ask(other)
    ref.pause()
    for word in ("a", "b", "c", "d"):
        ref.tell(word)
    other.stop()
    assert await other.stopped(5)
    ref.tell("e")
    ref.tell("f")
    await emptied(ref)
    assert log[0] == "ended"
    assert len(log) == 4


@pytest.mark.parametrize("priority", [0, 1])
async def test_nor_are_notices_that_were_put_aside(system: ActorSystem, log: list[object], priority: int) -> None:
    other = system.spawn(Keeper, [])
    ref = system.spawn(Keeper, log, capacity=1, overflow=Overflow.DROP_OLDEST, name="full")
    assert isinstance(ref, Cell)
    ref.actor.aside = True
    await ref.ask(other)
    other.stop()
    assert await other.stopped(5)
    await system.idle()
    assert ref.actor.stashed == 1
    ref.pause()
    ref.actor.aside = False
    assert ref.actor.unstash_all() == 1
    for word in ("a", "b", "c"):
        ref.tell(word, priority=priority)
    await emptied(ref)
    assert "ended" in log


async def test_with_block_an_ask_waits_for_room(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.BLOCK)
    asks = [asyncio.create_task(ref.ask(word)) for word in ("d", "e")]
    await asyncio.sleep(0)
    send = asyncio.create_task(ref.send("f"))
    await asyncio.sleep(0)
    assert ref.waiting == 3
    assert figures(system).refused == 0
    await emptied(ref)
    assert await asyncio.gather(*asks) == ["D", "E"]
    await send
    await emptied(ref)
    assert log == ["a", "b", "c", "d", "e", "f"]


async def test_an_ask_that_waits_for_room_holds_its_deadlines(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.BLOCK)
    with pytest.raises(AskTimeout):
        await ref.ask("d", timeout=0.01)
    with pytest.raises(QueueWaitTimeout):
        await ref.ask("e", timeout=5, queue_timeout=0.01)
    ask = asyncio.create_task(ref.ask("f"))
    await asyncio.sleep(0)
    ask.cancel()
    await asyncio.wait({ask})
    assert ref.waiting == 3
    last = asyncio.create_task(ref.ask("g"))
    await asyncio.sleep(0)
    await emptied(ref)
    assert await last == "G"
    assert log == ["a", "b", "c", "g"]


async def test_a_stop_fails_an_ask_that_waits_for_room(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.BLOCK)
    ask = asyncio.create_task(ref.ask("d", timeout=60))
    await asyncio.sleep(0)
    ref.stop()
    async with asyncio.timeout(5):
        with pytest.raises(ActorStopped):
            await ask
    with pytest.raises(ActorStopped):
        await ref.ask("e")


async def test_an_ask_handed_on_to_a_full_mailbox_waits_there(system: ActorSystem, log: list[object]) -> None:
    ref = full(system, log, Overflow.BLOCK)

    class First(Actor):
        @handles(str)
        def hand_on(self, message: str) -> object:
            return self.forward(ref)

    first = system.spawn(First)
    ask = asyncio.create_task(first.ask("d", timeout=30))
    await asyncio.sleep(0)
    assert not ask.done()
    await emptied(ref)
    assert await ask == "D"
