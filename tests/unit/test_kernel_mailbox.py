"""What the mailbox of an actor promises: order, bounds, priorities, the system lane."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    MailboxFull,
    QueueWaitTimeout,
    Ref,
    handles,
)
from telestage.actors.kernel.cell import Cell


class Gate:
    """Holds an actor's handler until the test lets it go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


class Flush:
    """The last message: comes after all others."""

    def __init__(self) -> None:
        self.done = asyncio.Event()


class Recorder(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.inside = 0

    @handles(Gate)
    async def hold(self, gate: Gate) -> None:
        self.inside += 1
        assert self.inside == 1
        gate.entered.set()
        await gate.open.wait()
        self.inside -= 1

    @handles(Flush)
    def flush(self, message: Flush) -> None:
        self.log.append("flush")
        message.done.set()

    @handles(object)
    async def record(self, message: object) -> object:
        assert self.inside == 0
        self.log.append(message)
        return message


class Nap(Recorder):
    @handles(int)
    async def nap(self, message: int) -> int:
        assert self.inside == 0
        self.inside += 1
        if message % 3 == 0:
            await asyncio.sleep(0)
        if message % 7 == 0:
            await asyncio.sleep(0.0005)
        self.inside -= 1
        self.log.append(message)
        return message


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        yield system


async def held(system: ActorSystem, log: list[object], capacity: int | None = None) -> tuple[Ref, Gate]:
    """An actor whose handler waits at a gate, so that what is told now waits."""
    ref = system.spawn(Recorder, log, capacity=capacity)
    gate = Gate()
    ref.tell(gate)
    await gate.entered.wait()
    return ref, gate


async def flushed(ref: Ref) -> None:
    message = Flush()
    await ref.send(message, priority=-(10**9))
    await message.done.wait()


async def test_messages_of_one_sender_and_priority_keep_their_order(system: ActorSystem) -> None:
    """R-Q1, R-Q3."""
    logs: list[list[object]] = [[] for _ in range(20)]
    refs = [system.spawn(Nap, log) for log in logs]
    for number in range(200):
        for ref in refs:
            ref.tell(number)
    await asyncio.gather(*(flushed(ref) for ref in refs))
    for log in logs:
        assert log == [*range(200), "flush"]


async def test_asks_run_at_once_keep_the_order_of_what_was_told_before(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Nap, log)
    for number in range(1, 300, 3):
        ref.tell(number)
        assert await ref.ask(number + 1) == number + 1
        assert await ref.ask(number + 2) == number + 2
    assert log == list(range(1, 301))


async def test_one_more_than_the_capacity_is_refused_with_the_message(system: ActorSystem) -> None:
    """R-Q2: at most `capacity` wait, exactly; one more fails at once with the refused message."""
    log: list[object] = []
    ref, gate = await held(system, log, capacity=100)
    asks = [asyncio.create_task(ref.ask(number)) for number in range(100)]
    await asyncio.sleep(0)
    assert ref.waiting == 100
    with pytest.raises(MailboxFull) as refused:
        await ref.ask("one more")
    assert refused.value.message == "one more"
    assert refused.value.capacity == 100
    ref.tell("told")
    assert system.dead_letters.recent[-1].message == "told"
    gate.open.set()
    assert await asyncio.gather(*asks) == list(range(100))
    assert log == list(range(100))


@pytest.mark.parametrize("capacity", [1, 2, 3, 64, 65, 100])
@pytest.mark.parametrize("priorities", [(0,), (0, 5)])
async def test_the_bound_is_exact_while_a_batch_is_worked_on(
    system: ActorSystem, capacity: int, priorities: tuple[int, ...]
) -> None:
    """R-Q2: what is being handled doesn't count, what waits behind it in the same batch does."""
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=capacity)
    gates = [Gate() for _ in range(capacity)]
    for gate in gates:
        ref.tell(gate)
    filled = 0
    for gate in gates:
        await gate.entered.wait()
        dead = len(system.dead_letters)
        room = capacity - ref.waiting
        for number in range(room):
            ref.tell(filled, priority=priorities[number % len(priorities)] if gate is gates[-1] else 0)
            filled += 1
        assert len(system.dead_letters) == dead
        assert ref.waiting == capacity
        ref.tell("too much")
        assert len(system.dead_letters) == dead + 1
        gate.open.set()
    await flushed(ref)
    assert sorted(number for number in log if isinstance(number, int)) == list(range(filled))
    assert "too much" not in log


async def test_the_system_lane_is_first_and_not_counted(system: ActorSystem) -> None:
    """R-Q2: control messages are never counted, never dropped."""
    log: list[object] = []
    ref, gate = await held(system, log, capacity=2)
    ref.tell("a")
    ref.tell("b")
    for number in range(1000):
        ref.signal(number)
    assert ref.waiting == 2
    gate.open.set()
    await flushed(ref)
    assert log == [*range(1000), "a", "b", "flush"]


async def test_abandoned_asks_free_their_place(system: ActorSystem) -> None:
    """R-Q2, R-Q8: an ask whose asker gave up doesn't count against the bound, and isn't executed."""
    log: list[object] = []
    ref, gate = await held(system, log, capacity=3)
    asks = [asyncio.create_task(ref.ask(f"ask {number}")) for number in range(3)]
    await asyncio.sleep(0)
    for ask in asks[:2]:
        ask.cancel()
    await asyncio.wait(asks[:2])
    assert ref.waiting == 1
    ref.tell("x")
    ref.tell("y")
    ref.tell("too much")
    assert [letter.message for letter in system.dead_letters.recent] == ["too much"]
    gate.open.set()
    assert await asks[2] == "ask 2"
    await flushed(ref)
    assert log == ["ask 2", "x", "y", "flush"]
    assert ref.waiting == 0


async def test_abandoned_asks_free_their_place_for_a_waiting_sender_at_once(system: ActorSystem) -> None:
    log: list[object] = []
    ref, gate = await held(system, log, capacity=1)
    ask = asyncio.create_task(ref.ask("ask"))
    await asyncio.sleep(0)
    send = asyncio.create_task(ref.send("sent"))
    await asyncio.sleep(0)
    ask.cancel()
    await send  # though the handler still runs
    gate.open.set()
    await flushed(ref)
    assert log == ["sent", "flush"]


async def test_higher_priorities_go_first_and_equals_in_order(system: ActorSystem) -> None:
    """R-Q3."""
    log: list[object] = []
    ref, gate = await held(system, log)
    ref.tell("other 1")
    ref.tell("send", priority=1)
    ref.tell("monitor", priority=10)
    ref.tell("scrape 1", priority=5)
    ref.tell("scrape 2", priority=5)
    ref.tell("other 2")
    gate.open.set()
    await flushed(ref)
    assert log == ["monitor", "scrape 1", "scrape 2", "send", "other 1", "other 2", "flush"]


async def test_the_first_priority_in_the_middle_of_a_batch_loses_nothing(system: ActorSystem) -> None:
    """R-Q3: messages already taken out as a batch are sorted in with the rest."""
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    gate = Gate()
    for message in [gate, *range(100)]:
        ref.tell(message)
    await gate.entered.wait()
    ref.tell("urgent", priority=1)
    gate.open.set()
    await flushed(ref)
    assert log == ["urgent", *range(100), "flush"]
    assert system.statistics()[0].processed == 103


async def test_processed_counts_each_message_once_whenever_priorities_begin(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    for number in range(2000):
        ref.tell(number)
    while not log:
        await asyncio.sleep(0)
    assert 0 < ref.waiting < 2000  # between two turns, a part of the batch is left
    ref.tell("urgent", priority=1)
    await flushed(ref)
    assert log.index("urgent") < 1999
    assert system.statistics()[0].processed == len(log) == 2002


async def test_processed_counts_the_batch_that_a_signal_came_ahead_of(system: ActorSystem) -> None:
    """The signal's handler has priorities begin, which moves the rest of the batch into lanes."""

    class Signals(Actor):
        @handles(int)
        def count(self, message: int) -> None:
            if message == 1:
                self.ref.signal("ahead")

        @handles(str)
        def ahead(self, message: str) -> None:
            self.ref.tell(100, priority=1)

    ref = system.spawn(Signals)
    for number in range(10):
        ref.tell(number)
    await system.idle()
    assert system.statistics()[0].processed == 11  # the system lane isn't counted
    ref.tell(0)
    await system.idle()
    assert isinstance(ref, Cell)  # looked at from inside on purpose
    assert ref.flags == 0, "after a signal, the mailbox has its short way back"


async def test_a_full_mailbox_of_a_busy_actor_takes_abandoned_places_and_keeps_order(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=10)
    gate = Gate()
    ref.pause()
    ref.tell(gate)
    asks = [asyncio.create_task(ref.ask(number)) for number in range(9)]
    await asyncio.sleep(0)
    ref.resume()
    await gate.entered.wait()  # the gate and the nine are one batch
    for number in range(0, 9, 2):
        asks[number].cancel()
    await asyncio.wait([asks[number] for number in range(0, 9, 2)])
    for number in range(9, 15):
        ref.tell(number)
    ref.tell("too much")
    gate.open.set()
    await flushed(ref)
    assert log == [1, 3, 5, 7, *range(9, 15), "flush"]
    assert system.statistics()[0].processed == 12


async def test_making_room_keeps_the_rest_of_a_batch_ahead_of_what_came_later(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=4)
    gate = Gate()
    ref.pause()
    ref.tell(gate)
    asks = [asyncio.create_task(ref.ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    ref.resume()
    await gate.entered.wait()  # the gate and the three are one batch
    ref.tell("later")
    asks[0].cancel()
    await asyncio.wait(asks[:1])
    ref.tell("last")  # takes the place that has become free
    gate.open.set()
    await flushed(ref)
    assert log == [1, 2, "later", "last", "flush"]


async def test_send_waits_for_room_in_order_of_arrival(system: ActorSystem) -> None:
    """R-E3, back-pressure: senders that wait get room first come, first served."""
    log: list[object] = []
    ref, gate = await held(system, log, capacity=2)
    sends = [asyncio.create_task(ref.send(number)) for number in range(50)]
    await asyncio.sleep(0)
    assert ref.waiting == 2
    gate.open.set()
    await asyncio.gather(*sends)
    await flushed(ref)
    assert log == [*range(50), "flush"]
    assert len(system.dead_letters) == 0


async def test_send_gives_up_at_its_deadline_with_the_message(system: ActorSystem) -> None:
    """R-D3: no wait without a deadline."""
    log: list[object] = []
    ref, gate = await held(system, log, capacity=1)
    ref.tell("a")
    with pytest.raises(MailboxFull) as refused:
        await ref.send("late", timeout=0.01)
    assert refused.value.message == "late"
    gate.open.set()
    await flushed(ref)
    assert log == ["a", "flush"]


async def test_a_cancelled_send_is_not_delivered_and_loses_no_room(system: ActorSystem) -> None:
    log: list[object] = []
    ref, gate = await held(system, log, capacity=1)
    ref.tell("a")
    first = asyncio.create_task(ref.send("cancelled"))
    second = asyncio.create_task(ref.send("sent"))
    await asyncio.sleep(0)
    first.cancel()
    gate.open.set()
    await second
    await flushed(ref)
    assert first.cancelled()
    assert log == ["a", "sent", "flush"]


async def test_senders_that_wait_learn_of_the_stop_at_once(system: ActorSystem) -> None:
    log: list[object] = []
    ref, gate = await held(system, log, capacity=1)
    ref.tell("a")
    send = asyncio.create_task(ref.send("b"))
    await asyncio.sleep(0)
    ref.stop(grace=50)
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(send, 5)  # while its handler has its grace
    gate.open.set()
    assert await ref.stopped(1)


async def test_who_sends_to_a_full_actor_that_is_to_stop_does_not_wait_for_its_end(system: ActorSystem) -> None:
    ref, gate = await held(system, [], capacity=1)
    ref.tell("a")
    ref.stop(grace=50)
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(ref.send("b", timeout=50), 5)
    gate.open.set()
    assert await ref.stopped(1)


async def test_senders_that_are_cancelled_leave_the_line(system: ActorSystem) -> None:
    """R-Q8: also of an actor that is paused, where nobody comes to look."""
    ref = system.spawn(Recorder, [], capacity=1)
    assert isinstance(ref, Cell)  # looked at from inside on purpose
    ref.pause()
    ref.tell("a")
    sends = [asyncio.create_task(ref.send(number, timeout=50)) for number in range(3)]
    await asyncio.sleep(0)
    assert ref.backlog is not None
    assert ref.backlog.room is not None
    assert len(ref.backlog.room) == 3
    for send in sends:
        send.cancel()
    await asyncio.wait(sends)
    assert ref.backlog.room is None


async def test_nothing_waits_for_who_has_stopped_though_an_asker_gave_up(system: ActorSystem) -> None:
    """R-Q2: its place isn't counted as free twice."""
    ref = system.spawn(Recorder, [])
    ref.pause()
    with pytest.raises(AskTimeout):
        await ref.ask("given up", timeout=0.01)
    ref.tell("left")
    assert ref.waiting == 1
    ref.stop(grace=0)
    assert await ref.stopped(5)
    assert ref.waiting == 0


async def test_a_message_not_begun_in_time_is_never_executed(system: ActorSystem) -> None:
    """R-Q4."""
    log: list[object] = []
    ref, gate = await held(system, log)
    with pytest.raises(QueueWaitTimeout) as refused:
        await ref.ask("too late", queue_timeout=0.01)
    assert refused.value.message == "too late"
    gate.open.set()
    await flushed(ref)
    assert log == ["flush"]


async def test_a_message_begun_in_time_may_take_longer_than_the_queue_timeout(system: ActorSystem) -> None:
    """R-Q4 is about the queue only."""
    ref = system.spawn(Recorder, [])
    first, second = Gate(), Gate()
    ref.tell(first)
    await first.entered.wait()
    ask = asyncio.create_task(ref.ask(second, queue_timeout=0.02))
    await asyncio.sleep(0)
    first.open.set()
    await second.entered.wait()
    with pytest.raises(AskTimeout):
        await ref.ask("behind it", timeout=0.05)
    second.open.set()
    assert await ask is None


async def test_a_paused_actor_keeps_its_mail_and_hears_signals(system: ActorSystem) -> None:
    """R-G5."""
    log: list[object] = []
    ref = system.spawn(Recorder, log, capacity=5)
    ref.pause()
    ref.pause()
    for number in range(5):
        ref.tell(number)
    ref.tell("too much")
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == []
    assert ref.waiting == 5
    ref.signal("status")
    while not log:
        await asyncio.sleep(0)
    assert log == ["status"]
    ref.resume()
    await flushed(ref)
    assert log == ["status", 0, 1, 2, 3, 4, "flush"]


async def test_an_idle_actor_paused_and_resumed_goes_on(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    ref.pause()
    ref.resume()
    assert await ref.ask("a") == "a"
    ref.pause()
    ask = asyncio.create_task(ref.ask("b"))
    for _ in range(10):  # turns enough for what isn't paused
        await asyncio.sleep(0)
    assert log == ["a"]
    ref.resume()
    assert await ask == "b"


async def test_a_signal_to_an_idle_actor_leaves_it_usable(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    for number in range(10):
        ref.signal(number)
        while len(log) <= number:
            await asyncio.sleep(0)
    ref.tell("told")
    assert await ref.ask("asked") == "asked"
    assert log == [*range(10), "told", "asked"]


async def test_an_idle_system_gives_the_event_loop_nothing_to_do(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    ref.tell("a")
    ref.signal("b")
    await flushed(ref)
    ready = system._root.dispatcher.ready  # type: ignore[union-attr]  # looked at from inside on purpose
    await asyncio.sleep(0)
    assert not ready
    assert not system._root.dispatcher.armed  # type: ignore[union-attr]  # as above


@pytest.mark.parametrize("alone", [False, True])
async def test_an_actor_has_64_messages_and_a_turn_of_the_loop_512(system: ActorSystem, alone: bool) -> None:
    """Whether they wait in one mailbox, or come one by one, each from a handler."""

    class Ring(Recorder):
        @handles(int)
        def go_on(self, number: int) -> None:
            self.log.append(number)
            if number < 3000 and alone:
                self.ref.tell(number + 1)

    log: list[object] = []
    seen: list[int] = []
    loop = asyncio.get_running_loop()
    busy, other = system.spawn(Ring, log), system.spawn(Recorder, log)
    for number in [0] if alone else range(3000):
        busy.tell(number)
    other.tell("other")

    def look() -> None:
        seen.append(len(log))
        if log[-1] != 2999 + alone:
            loop.call_soon(look)

    loop.call_soon(look)
    await system.idle()
    assert log.index("other") == (1 if alone else 64)
    assert 512 <= seen[0] < 512 + 64
    assert all(512 <= after - before < 512 + 64 for before, after in itertools.pairwise(seen[:5]))


async def test_no_actor_starves_another_nor_the_loop(system: ActorSystem) -> None:
    class Endless(Actor):
        @handles(int)
        async def go_on(self, message: int) -> None:
            self.ref.tell(message)

    log: list[object] = []
    endless = system.spawn(Endless)
    other = system.spawn(Recorder, log)
    endless.tell(1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert await other.ask("reached", timeout=5) == "reached"
    endless.stop(grace=0)


async def test_one_that_arrives_alone_waits_behind_the_rest_of_a_long_batch(system: ActorSystem) -> None:
    class Prompted(Recorder):
        @handles(int)
        def note(self, number: int) -> None:
            self.log.append(number)
            if number == 0:
                self.ref.tell(100)

    log: list[object] = []
    ref = system.spawn(Prompted, log)
    for number in range(100):
        ref.tell(number)
    await system.idle()
    assert log == [*range(101)]
