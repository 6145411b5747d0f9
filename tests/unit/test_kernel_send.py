"""What `Ref.send` returns: there at once where there is room, and it goes wherever a coroutine may."""

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType

import pytest
import pytest_asyncio

from telestage.actors.kernel import Actor, ActorStopped, ActorSystem, MailboxFull, Overflow, Ref, Router, handles


class Recorder(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log

    @handles(asyncio.Event)
    async def wait(self, gate: asyncio.Event) -> None:
        self.log.append(gate)
        await gate.wait()

    @handles(object)
    async def record(self, message: object) -> None:
        self.log.append(message)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        yield system


def halted(system: ActorSystem, log: list[object], capacity: int, overflow: Overflow = Overflow.FAIL) -> Ref:
    """An actor that takes nothing of its mailbox before it is resumed."""
    ref = system.spawn(Recorder, log, capacity=capacity, overflow=overflow)
    ref.pause()
    return ref


async def emptied(ref: Ref) -> None:
    async with asyncio.timeout(5):
        while ref.waiting:  # noqa: ASYNC110 - turns of the kernel set no event
            await asyncio.sleep(0)


async def test_a_message_is_in_the_mailbox_when_the_call_returns(system: ActorSystem) -> None:
    """R-E3: awaited or not, whatever its priority; nothing warns of a coroutine that was never awaited."""
    log: list[object] = []
    ref = halted(system, log, 3)
    for number in range(3):
        ref.send(number, priority=number & 1)
        assert ref.waiting == number + 1
    gc.collect()
    ref.resume()
    await emptied(ref)
    assert log == [1, 0, 2]


async def test_the_awaiting_gives_way_to_nobody_where_there_is_room(system: ActorSystem) -> None:
    """R-E3: not even for a turn of the loop, idle or busy, bounded or not."""
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    for ref in (system.spawn(Recorder, []), system.spawn(Recorder, [], capacity=5)):
        for number in range(5):
            await ref.send(number)
    assert turns == []


async def test_what_is_returned_goes_wherever_coroutines_may(system: ActorSystem) -> None:
    """R-E3: though it is one and the same object where there is room."""
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    router = Router.spawn(system, Recorder, log, size=2)
    sent = ref.send(0)
    assert isinstance(sent, Coroutine)
    assert inspect.isawaitable(sent)
    assert asyncio.iscoroutine(sent)
    await asyncio.gather(sent, ref.send(1), router.send(2))
    tasks = [asyncio.create_task(ref.send(3)), asyncio.ensure_future(ref.send(4))]
    async with asyncio.TaskGroup() as group:
        group.create_task(ref.send(5))
    await asyncio.wait_for(ref.send(6), 1.0)
    await asyncio.gather(*tasks)
    await emptied(ref)
    assert sorted(log) == [*range(7)]


async def test_nobody_can_spoil_it_for_the_others(system: ActorSystem) -> None:
    """R-E3: it is shared, so neither cancelling nor closing nor throwing into it leaves a trace."""
    log: list[object] = []
    ref = system.spawn(Recorder, log)
    task = asyncio.create_task(ref.send(0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sent = ref.send(1)
    assert not asyncio.ensure_future(sent).cancel()
    sent.close()
    with pytest.raises(LookupError):
        sent.throw(LookupError())
    await sent
    await ref.send(2)
    await emptied(ref)
    assert log == [0, 1, 2]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("thrown", ["an error", "its class", "its class with a text", "its class with an error"])
async def test_what_is_thrown_into_it_comes_out_again(system: ActorSystem, thrown: str, traced: bool) -> None:
    """R-E3: as of a coroutine that hasn't begun, in each of the ways in which one may throw."""
    given = KeyError("text")
    try:
        raise LookupError
    except LookupError as error:
        traceback = error.__traceback__ if traced else None
    ways = {
        "an error": (given, None),
        "its class": (KeyError, None),
        "its class with a text": (KeyError, "text"),
        "its class with an error": (KeyError, given),
    }
    throw: Callable[..., object] = system.spawn(Recorder, []).send(1).throw
    with pytest.raises(KeyError) as info:
        throw(*ways[thrown], traceback)
    assert (info.value is given) is (thrown in ("an error", "its class with an error"))
    assert info.value.args == (() if thrown == "its class" else ("text",))
    assert (traceback in tracebacks(info.value)) is traced


def tracebacks(error: BaseException) -> list[TracebackType | None]:
    found: list[TracebackType | None] = [error.__traceback__]
    while (last := found[-1]) is not None:
        found.append(last.tb_next)
    return found[:-1]


@pytest.mark.parametrize(
    ("overflow", "error"), [(Overflow.DROP_NEWEST, MailboxFull), (Overflow.DROP_OLDEST, type(None))]
)
async def test_an_error_comes_to_who_awaits(system: ActorSystem, overflow: Overflow, error: type) -> None:
    """R-E3: so that `gather` may collect it."""
    ref = halted(system, [], 1, overflow)
    results = await asyncio.gather(ref.send(1), ref.send(2), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), error]
    stopped = system.spawn(Recorder, [])
    stopped.stop()
    refused = stopped.send(3)
    with pytest.raises(ActorStopped):
        await refused


async def test_an_error_that_nobody_awaits_is_not_silent(system: ActorSystem) -> None:
    """R-E3: Python says so, as of any coroutine."""
    ref = system.spawn(Recorder, [])
    ref.stop()

    def forget() -> None:
        ref.send("late")
        gc.collect()

    with pytest.warns(RuntimeWarning, match="never awaited"):
        forget()


async def test_room_that_came_before_the_waiting_began_is_taken(system: ActorSystem) -> None:
    """R-E3: between the call and the awaiting a place may have become free."""
    log: list[object] = []
    ref = halted(system, log, 1)
    await ref.send("first")
    late = ref.send("late")
    assert ref.waiting == 1
    ref.resume()
    await emptied(ref)
    async with asyncio.timeout(1.0):
        await late
    await emptied(ref)
    assert log == ["first", "late"]


async def test_who_sends_later_does_not_overtake_who_waits(system: ActorSystem) -> None:
    """R-E3: also while a place is free that those who wait will have at the end of the turn."""
    log: list[object] = []
    ref = halted(system, log, 2)
    gate = asyncio.Event()
    await ref.send(gate)
    await ref.send(1)
    waiting = asyncio.create_task(ref.send(2))
    await asyncio.sleep(0)
    ref.resume()
    async with asyncio.timeout(5):
        while not log:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert ref.waiting == 1
        later = asyncio.create_task(ref.send(3))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(waiting, later)
    await emptied(ref)
    assert log == [gate, 1, 2, 3]


async def test_as_many_of_those_who_wait_are_let_in_as_there_is_room(system: ActorSystem) -> None:
    """R-Q2: each time."""
    log: list[object] = []
    held: list[int] = []

    class Looks(Recorder):
        @handles(int)
        async def look(self, number: int) -> None:
            self.log.append(number)
            held.append(ref.waiting)
            await asyncio.sleep(0)

    ref = system.spawn(Looks, log, capacity=3)
    ref.pause()
    sends = [asyncio.create_task(ref.send(number)) for number in range(20)]
    await asyncio.sleep(0)
    ref.resume()
    async with asyncio.timeout(5):
        await asyncio.gather(*sends)
    await emptied(ref)
    assert log == [*range(20)]
    assert max(held) <= 3


async def test_who_was_cancelled_in_the_turn_that_makes_room_is_not_let_in(system: ActorSystem) -> None:
    """R-Q8: its cancellation is on its way, and it finds its message not sent."""
    log: list[object] = []
    ref = halted(system, log, 1)
    await ref.send(0)
    sends = [asyncio.create_task(ref.send(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    ref.resume()  # the turn that makes room comes next, and after it the step of the one cancelled here
    sends[0].cancel()
    assert [type(result) for result in await asyncio.gather(*sends, return_exceptions=True)] == [
        asyncio.CancelledError,
        type(None),
    ]
    await emptied(ref)
    assert log == [0, 2]
    assert system.statistics()[0].restarts == 0


@pytest.mark.virtual_time
async def test_who_was_let_in_is_not_refused_when_its_time_is_over(system: ActorSystem) -> None:
    """R-D3: nor counted as such."""
    log: list[object] = []
    ref = halted(system, log, 1)
    await ref.send(0)
    sends = [asyncio.create_task(ref.send(number, timeout=5)) for number in (1, 2, 3)]
    await asyncio.sleep(1)
    ref.resume()
    await asyncio.gather(*sends)
    await asyncio.sleep(10)
    assert log == [0, 1, 2, 3]
    assert system.statistics()[0].refused == 0


async def test_an_error_that_a_send_raised_is_gone_with_who_caught_it(system: ActorSystem) -> None:
    """R-E3: it and its traceback don't keep each other, nor the frames of who awaited it, until the next collection."""
    ref = system.spawn(Recorder, [])
    ref.stop()
    assert await ref.stopped(1)
    gc.collect()
    gc.disable()
    try:
        try:
            await ref.send("late")
        except ActorStopped as error:
            raised = weakref.ref(error)
        assert raised() is None
    finally:
        gc.enable()


async def test_a_stop_passes_over_who_has_just_been_cancelled(system: ActorSystem) -> None:
    """R-Q8: the others are told."""
    ref = halted(system, [], 1)
    await ref.send(0)
    sends = [asyncio.create_task(ref.send(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    sends[0].cancel()
    ref.stop(grace=0)
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, ActorStopped]
