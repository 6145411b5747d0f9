"""What `queue_event` returns: it is there at once, and goes wherever a coroutine may."""

import asyncio
import gc
import inspect
import traceback
import weakref
from collections.abc import Coroutine

import pytest

from telestage.actors import Event, EventMonitor, EventMonitorConfig, MailboxFull, MonitorStopped, Overflow

EVENT = Event("a", "test")


@pytest.fixture(params=["waiting", "running"])
async def monitor(request):
    """Not started yet, each event looked at; and running, where most go the quick way. Room for four."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=4, warn_at=1.0))
    monitor.register_handler("a", lambda event: None)
    if request.param == "running":
        await monitor.start_monitoring()
    yield monitor
    await monitor.stop_monitoring()


async def test_an_event_is_in_the_queue_when_the_call_returns(monitor):
    """R-E3: awaited or not; nothing warns of a coroutine that was never awaited."""
    for number in range(1, 5):
        monitor.queue_event(EVENT)
        assert monitor.get_stats().queue_depth == number
    monitor.queue_event(EVENT)
    gc.collect()
    assert monitor.get_stats().refused == 1


async def test_the_awaiting_never_gives_way(monitor):
    """R-E3: who brings events waits for nobody, nor for the loop's next turn."""
    turns = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    assert [await monitor.queue_event(EVENT) for _ in range(6)] == [True] * 4 + [False] * 2
    assert turns == []


async def test_the_answers_go_wherever_coroutines_may(monitor):
    """R-E3: each its own, though they are the same two objects."""
    tasks = [asyncio.create_task(monitor.queue_event(EVENT)), asyncio.ensure_future(monitor.queue_event(EVENT))]
    async with asyncio.TaskGroup() as group:
        tasks.append(group.create_task(monitor.queue_event(EVENT)))
    assert await asyncio.wait_for(monitor.queue_event(EVENT), 1.0) is True
    assert await asyncio.gather(*tasks) == [True] * 3
    *_, other, refused = [monitor.queue_event(EVENT) for _ in range(9)]
    assert await asyncio.gather(other, refused) == [False] * 2
    assert await asyncio.create_task(refused) is False
    assert await asyncio.shield(refused) is False
    answer = monitor.queue_event(EVENT)
    assert isinstance(answer, Coroutine)
    assert inspect.isawaitable(answer)
    assert asyncio.iscoroutine(answer)


async def test_nobody_can_spoil_an_answer_for_the_others(monitor):
    """R-E3: it is shared, so neither cancelling nor closing nor throwing into it leaves a trace."""
    task = asyncio.create_task(monitor.queue_event(EVENT))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer = monitor.queue_event(EVENT)
    assert not asyncio.ensure_future(answer).cancel()
    answer.close()
    with pytest.raises(LookupError):
        answer.throw(LookupError())
    with pytest.raises(LookupError, match="why"):
        answer.throw(LookupError, "why")
    with pytest.raises(LookupError) as bare:
        answer.throw(LookupError)
    assert bare.value.args == ()
    error = LookupError("the very one")
    with pytest.raises(LookupError) as same:
        answer.throw(LookupError, error, None)
    assert same.value is error
    with pytest.raises(LookupError) as traced:
        answer.throw(LookupError, error, bare.tb)
    thrower = [frame for frame, _ in traceback.walk_tb(bare.tb)][-1]
    assert thrower in [frame for frame, _ in traceback.walk_tb(traced.tb)]
    assert await answer is True
    assert await monitor.queue_event(EVENT) is True


async def test_an_error_comes_to_who_awaits():
    """R-E3, R-E7: so that `gather` may collect it."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=1, overflow=Overflow.FAIL))
    asked = [monitor.queue_event(event) for event in (EVENT, EVENT, "no event")]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [bool, MailboxFull, TypeError]
    async with monitor:
        pass
    refused = monitor.queue_event(EVENT)
    with pytest.raises(MonitorStopped):
        await refused


async def test_an_error_is_gone_when_it_has_been_handled():
    """R-E3: without the garbage collector, as many may be refused."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=1, overflow=Overflow.FAIL))
    await monitor.queue_event(EVENT)
    try:
        await monitor.queue_event(EVENT)
    except MailboxFull as refused:
        error = weakref.ref(refused)
    assert error() is None


async def test_an_error_that_nobody_awaits_is_not_silent():
    """R-E3: Python says so, as of any coroutine."""
    monitor = EventMonitor("m")

    def forget():
        monitor.queue_event("no event")
        gc.collect()

    with pytest.warns(RuntimeWarning, match="never awaited"):
        forget()


async def test_room_that_came_before_the_waiting_began_is_taken():
    """R-E3: with `Overflow.BLOCK`; between the call and the awaiting a place may have become free."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=1, overflow=Overflow.BLOCK, block_timeout=5.0))
    got = []
    monitor.register_handler("a", got.append)
    assert await monitor.queue_event(EVENT)
    late = monitor.queue_event(EVENT)
    async with monitor:
        assert await monitor.idle(5.0)
        async with asyncio.timeout(1.0):
            assert await late is True
    assert got == [EVENT, EVENT]


def test_a_monitor_serves_one_loop_after_another():
    """R-E3: and before any runs, `asyncio.run` takes what `queue_event` returns."""
    monitor = EventMonitor("m")
    got = []
    monitor.register_handler("a", got.append)

    async def bring():
        assert await asyncio.gather(monitor.queue_event(EVENT), monitor.queue_event(EVENT)) == [True, True]

    async def run():
        async with monitor:
            await bring()

    assert asyncio.run(monitor.queue_event(EVENT)) is True
    asyncio.run(bring())
    asyncio.run(bring())
    asyncio.run(run())
    asyncio.run(run())
    assert got == [EVENT] * 9
    full = EventMonitor("m", EventMonitorConfig(max_queue_size=1))
    assert [asyncio.run(full.queue_event(EVENT)) for _ in range(2)] == [True, False]
