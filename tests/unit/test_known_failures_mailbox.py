"""Mailboxes: what other actor frameworks are known to have lost or mixed up, and must not happen here."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    Backoff,
    ChildFailed,
    MailboxFull,
    Overflow,
    Ref,
    Supervision,
    Terminated,
    handles,
)

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Fail:
    pass


class Watch:
    def __init__(self, ref: Ref) -> None:
        self.ref = ref


class Gate:
    """Keeps its handler waiting until the test opens it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


class Recorder(Actor):
    supervision = AT_ONCE

    def __init__(self, log: list[object]) -> None:
        self.log = log

    @handles(Gate)
    async def wait(self, gate: Gate) -> None:
        gate.entered.set()
        await gate.open.wait()

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError("fail")

    @handles(Watch)
    def begin_to_watch(self, message: Watch) -> None:
        self.watch(message.ref)

    @handles(type)
    def make(self, cls: type[Actor]) -> Ref:
        return self.spawn(cls, self.log)

    @handles(Terminated)
    def ended(self, message: Terminated) -> None:
        self.log.append(("terminated", message.ref))

    @handles(ChildFailed)
    def noted(self, message: ChildFailed) -> None:
        self.log.append(("failed", message.ref))

    @handles(object)
    def record(self, message: object) -> object:
        self.log.append(message)
        return message


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE, seed=1) as system:
        yield system


async def occupied(ref: Ref) -> Gate:
    """Has the actor wait in a handler, so that everything else waits in its mailbox."""
    gate = Gate()
    ref.tell(gate)
    await gate.entered.wait()
    return gate


@pytest.mark.parametrize("priority", [0, 9])
async def test_a_full_mailbox_loses_neither_terminated_nor_child_failed(system: ActorSystem, priority: int) -> None:
    """Death watch through the bounded user queue: evicted there as the oldest, and the watcher is blind for ever.

    Known of frameworks with one bounded queue for both kinds (actor-ts #729, with its policy "drop head").
    """
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=4)
    child = await ref.ask(Recorder, expecting=Ref)
    other = system.spawn(Recorder, log)
    await ref.ask(Watch(other))
    gate = await occupied(ref)
    for number in range(4):
        ref.tell(number, priority=priority)
    child.tell(Fail())
    other.stop()
    assert await other.stopped(5)
    for number in range(100):
        ref.tell(f"flood {number}", priority=priority)
    assert len(system.dead_letters) == 100
    gate.open.set()
    async with asyncio.timeout(5):
        while len(log) < 6:
            await asyncio.sleep(0)
    assert sorted(log[:2], key=str) == [("failed", child), ("terminated", other)]
    assert log[2:] == [0, 1, 2, 3]


class PutsAside(Recorder):
    """Handles nothing of what it is told until it is told to begin."""

    stash_capacity = 2
    begun = False

    @handles(str, Terminated)
    def wait_for_it(self, message: object) -> object:
        if not self.begun:
            return self.stash()
        return self.log.append("ended" if isinstance(message, Terminated) else message)

    @handles(int)
    def begin(self, message: int) -> None:
        self.begun = True
        self.unstash_all()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_terminated_put_aside_is_not_lost(system: ActorSystem, restarted: bool) -> None:
    """A stash that forgets what it holds, or that a notice came by another way, and nobody learns of the death.

    Known of stashes that keep the envelope but not the watch (akka #3733, #29101), or end too early (pekko #669).
    """
    log: list[object] = []
    ref = system.spawn(PutsAside, log, capacity=2)
    others = [system.spawn(Recorder, []) for _ in range(3)]
    for other in others:
        await ref.ask(Watch(other))
    for word in "ab":  # the stash is full of these
        ref.tell(word)
    while ref.waiting:
        await asyncio.sleep(0)
    for other in others:
        other.stop()
        assert await other.stopped(5)
    if restarted:
        ref.tell(Fail())
        with pytest.raises(ValueError, match="fail"):
            await ref.ask(Fail())
    assert not log
    ref.tell(1)
    ref.tell("c")  # full, with what is aside or without
    async with asyncio.timeout(5):
        while len(log) < 6:
            await asyncio.sleep(0)
    assert log == ["a", "b", "ended", "ended", "ended", "c"]
    assert not system.dead_letters


class TakesBack(PutsAside):
    @handles(int)
    def begin(self, message: int) -> None:
        super().begin(message)
        self.ref.pause()


@pytest.mark.parametrize("way", ["by the lane", "put back", "put back by a restart"])
@pytest.mark.parametrize("priority", [0, 9])
async def test_drop_oldest_never_evicts_a_terminated(system: ActorSystem, priority: int, way: str) -> None:
    """The oldest that waits is the news of a death, and makes room for a newer message.

    Known of drop-oldest over one queue for both kinds (actor-ts #729). By the system lane it is out of reach; one that
    was put aside comes back by the mailbox, where it is the oldest of all.
    """
    log: list[object] = []
    ref = system.spawn(TakesBack, log, capacity=2, overflow=Overflow.DROP_OLDEST)
    other = system.spawn(Recorder, [])
    await ref.ask(Watch(other))
    if way == "by the lane":
        gate = await occupied(ref)
    other.stop()
    assert await other.stopped(5)
    if way == "by the lane":
        ref.signal(0)  # from then on nothing is put aside
    elif way == "put back":
        await ref.ask(0)
        assert ref.waiting == 1
    else:
        await system.idle()
        ref.pause()
        ref.kill()
        ref.signal(0)
        await system.idle()
        assert ref.waiting == 1
    for number in range(100):
        ref.tell(f"flood {number}", priority=priority)
    if way == "by the lane":
        gate.open.set()
        await system.idle()
    assert "ended" not in [letter.message for letter in system.dead_letters.recent]
    ref.resume()
    await system.idle()
    assert log.count("ended") == 1
    assert "flood 99" in log


async def test_a_full_mailbox_takes_a_stop_and_a_kill(system: ActorSystem) -> None:
    """A stop that travels as a message is refused, or waits for ever, where the mailbox is full.

    Known of frameworks whose stop is a message of the bounded queue: Go and Rust actors over one bounded channel.
    """
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=2)
    gate = await occupied(ref)
    ref.tell(1)
    ask = asyncio.create_task(ref.ask(2))
    await asyncio.sleep(0)
    sender = asyncio.create_task(ref.send(3))
    await asyncio.sleep(0)
    assert ref.waiting == 2
    ref.stop(grace=5)
    gate.open.set()
    assert await ref.stopped(5)
    for waiter in (ask, sender):
        with pytest.raises(ActorStopped):
            await waiter
    assert log == []
    assert [letter.message for letter in system.dead_letters.recent] == [1]

    killed = system.spawn(Recorder, log, capacity=2)
    await occupied(killed)
    killed.tell(4)
    killed.tell(5)
    killed.kill()
    async with asyncio.timeout(5):
        while log != [4, 5]:
            await asyncio.sleep(0)


async def test_a_full_mailbox_never_crashes_who_tells(system: ActorSystem) -> None:
    """An error of the bound raised in `tell` fails the sending actor, which has done nothing wrong.

    Known of frameworks whose send raises or blocks at the bound (celluloid #146 asks for it, kameo #84 deadlocked).
    """
    log: list[object] = []
    full = system.spawn(Recorder, [], capacity=1)
    gate = await occupied(full)
    full.tell("the only one")

    class Sender(Recorder):
        @handles(str)
        def send_on(self, message: str) -> str:
            for priority in (0, 7):
                self.tell(full, message, priority=priority)
                full.tell(message, priority=priority)
            return "told"

        @handles(float)
        async def ask_on(self, message: float) -> str:
            with pytest.raises(MailboxFull) as error:
                await self.ask(full, message)
            assert error.value.message == message
            return "handed back"

    sender = system.spawn(Sender, log)
    assert await sender.ask("hello") == "told"
    assert await sender.ask(1.5) == "handed back"
    [statistics] = [actor for actor in system.statistics() if actor.path == sender.path]
    assert statistics.restarts == 0
    assert len(system.dead_letters) == 4
    assert {letter.receiver for letter in system.dead_letters.recent} == {full}
    gate.open.set()


@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize("bounded", [True, False])
async def test_the_mailbox_outlives_a_restart_in_order(system: ActorSystem, levels: int, bounded: bool) -> None:
    """A restart that makes a new mailbox loses what waited, and what comes during the backoff.

    Known of what keeps the mailbox in the instance or in the task that reads it, as actors written by hand mostly do.
    """
    log: list[object] = []
    slowly = Supervision(backoff=Backoff(first=0.02, jitter=0))
    ref = system.spawn(Recorder, log, supervision=slowly, capacity=201 if bounded else None)
    gate = await occupied(ref)
    ref.tell(Fail(), priority=levels)
    for number in range(100):
        ref.tell(number, priority=number % levels)
    gate.open.set()
    while not next(actor.restarts for actor in system.statistics() if actor.path == ref.path):
        await asyncio.sleep(0)
    for number in range(100, 200):  # while it waits to be restarted
        ref.tell(number, priority=number % levels)
    assert ref.waiting == 200
    assert await ref.ask("end", priority=-1) == "end"
    assert len(log) == 201
    for level in range(levels):
        assert [number for number in log[:-1] if number % levels == level] == list(range(level, 200, levels))
    assert not system.dead_letters


async def test_equal_priorities_keep_their_order_whatever_is_between_them(system: ActorSystem) -> None:
    """A heap by priority alone hands out equals in any order.

    Known of heap mailboxes without an arrival number (Akka's UnboundedPriorityMailbox, akka #16739, Akka.NET #2652).
    """
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=3000)
    gate = await occupied(ref)
    rng = random.Random(5)
    told = [(rng.randrange(4), number) for number in range(2000)]
    for priority, number in told:
        ref.tell((priority, number), priority=priority)
    gate.open.set()
    assert await ref.ask("end", priority=-1) == "end"
    for level in range(4):
        assert [item for item in log[:-1] if item[0] == level] == [item for item in told if item[0] == level]  # type: ignore[index]  # all tuples
