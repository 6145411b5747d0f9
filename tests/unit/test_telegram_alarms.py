"""Deadlines of a session: many of them, one timer."""

import asyncio
import gc

import pytest

from telestage.actors.telegram.alarms import Alarm, Alarms, Limit


async def test_alarms_ring_in_the_order_of_their_time_whatever_the_order_they_were_set_in() -> None:
    alarms, rang, done = Alarms(), [], asyncio.Event()
    for seconds in (0.03, 0.01, 0.02):
        alarms.set(Alarm(alarms, lambda seconds=seconds: rang.append(seconds)), seconds)
    alarms.set(Alarm(alarms, done.set), 0.04)
    await done.wait()
    assert rang == [0.01, 0.02, 0.03]


async def test_a_cancelled_alarm_never_rings_also_if_another_that_is_due_cancels_it() -> None:
    alarms, rang, done = Alarms(), [], asyncio.Event()
    second = Alarm(alarms, lambda: rang.append("second"))
    alarms.set(Alarm(alarms, second.cancel), 0.01)
    alarms.set(second, 0.011)
    alarms.set(Alarm(alarms, done.set), 0.03)
    await done.wait()
    assert rang == []


async def test_a_limit_ends_what_takes_too_long_and_only_that() -> None:
    alarms = Alarms()
    with Limit(alarms, 5.0) as long:
        with pytest.raises(TimeoutError), Limit(alarms, 0.01) as short:
            await asyncio.sleep(10)
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert short.expired
    assert not long.expired
    alarms.rest()


async def test_a_cancellation_from_outside_stays_one_though_the_time_is_over_too() -> None:
    alarms = Alarms()
    entered = asyncio.Event()
    limits: list[Limit] = []

    async def work() -> None:
        with Limit(alarms, 5.0) as limit:
            limits.append(limit)
            entered.set()
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await entered.wait()
    limits[0].expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    alarms.rest()


async def test_what_the_block_raises_passes_a_limit_that_has_not_expired() -> None:
    alarms = Alarms()
    with pytest.raises(KeyError), Limit(alarms, 5.0):
        raise KeyError("x")
    alarms.rest()


async def test_nothing_is_left_of_limits_that_were_met() -> None:
    """What a thousand operations a second leave for a minute each wakes the garbage collector."""
    alarms = Alarms()
    gc.collect()
    for _ in range(100):
        with Limit(alarms, 60.0):
            pass
    assert gc.collect() == 0
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Limit)]
    alarms.rest()


async def test_at_rest_there_is_no_timer_once_the_last_deadline_is_met() -> None:
    alarms = Alarms()
    with Limit(alarms, 60.0):
        alarms.rest()
        assert alarms._timer is not None
    assert alarms._timer is None
    with Limit(alarms, 60.0):  # a call that comes after the disconnect has its deadline, too
        assert alarms._timer is not None
    assert alarms._timer is None
