"""The health of a monitor and its heartbeat, in virtual time (R-E6)."""

import asyncio
import contextlib
import logging

import pytest

from telestage.actors import Event, EventMonitor, EventMonitorConfig, HandlerPolicy, HealthState, Overflow
from telestage.actors.monitoring.breaker import BreakerState
from telestage.actors.monitoring.health import health_of

EVENT = Event("a", "test")
pytestmark = pytest.mark.virtual_time


class Hold:
    """A handler that waits until it is let go, whoever cancels it."""

    def __init__(self):
        self.begun = 0
        self.room = asyncio.Semaphore(0)

    async def __call__(self, event):
        self.begun += 1
        with contextlib.suppress(asyncio.CancelledError):
            await self.room.acquire()
            return
        await self.room.acquire()


def bad(event):
    raise LookupError


async def held(monitor, count=1):
    """Gives it events of which the first is begun with, and no more."""
    hold = Hold()
    monitor.register_handler("a", hold)
    for _ in range(count):
        await monitor.queue_event(EVENT)
    await asyncio.sleep(0.001)
    assert hold.begun == 1
    return hold


def logged(caplog):
    return [(record.levelno, record.getMessage()) for record in caplog.records if " is " in record.getMessage()]


async def test_a_breaker_is_a_reason_until_it_has_closed():
    """R-E5, R-E6: half-open, too."""
    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad, policy=HandlerPolicy(breaker_failures=1, breaker_seconds=5.0))
        await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        assert monitor.health().reasons == ("the breaker of handler bad of a is open",)
        await asyncio.sleep(5.1)
        assert monitor.get_stats().handlers[0].breaker is BreakerState.HALF_OPEN
        assert monitor.health().state is HealthState.DEGRADED
        assert monitor.health().reasons == (f"the breaker of handler bad of a is {BreakerState.HALF_OPEN.value}",)


async def test_ten_seconds_without_the_end_of_a_call_are_too_many():
    """R-E6: a full queue comes first, and both are told."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=2, warn_at=0.5))
    async with monitor:
        hold = await held(monitor)
        assert health_of(monitor._book, 9.99).state is HealthState.HEALTHY
        degraded = health_of(monitor._book, 10.0)
        assert degraded.state is HealthState.DEGRADED
        assert degraded.reasons == ("handler Hold of a has been running for 10 s",)
        for _ in range(2):
            await monitor.queue_event(EVENT)
        overloaded = health_of(monitor._book, 12.0)
        assert overloaded.state is HealthState.OVERLOADED
        assert overloaded.reasons == ("the queue holds 2 of 2 events", "handler Hold of a has been running for 12 s")
        for _ in range(3):
            hold.room.release()


async def test_no_heartbeat_is_no_heartbeat():
    """R-E6: where none is wanted."""
    async with EventMonitor("m", EventMonitorConfig(heartbeat_interval=None)) as monitor:
        hold = await held(monitor)
        await asyncio.sleep(100.0)
        assert monitor.get_stats().heartbeats == 0
        assert monitor.health().state is HealthState.HEALTHY
        hold.room.release()


async def test_what_the_heartbeat_sees_is_logged_as_it_changes(caplog):
    """R-E6: once, the bad as a WARNING, the good as INFO."""
    caplog.set_level(logging.INFO, logger="telestage.monitor")
    async with EventMonitor("m", EventMonitorConfig(heartbeat_interval=1.0)) as monitor:
        hold = await held(monitor)
        await asyncio.sleep(20.0)
        assert monitor.get_stats().heartbeats == 20
        assert logged(caplog) == [
            (logging.WARNING, "monitor m is degraded, was healthy (handler Hold of a has been running for 10 s)")
        ]
        hold.room.release()
        await asyncio.sleep(20.0)
        assert logged(caplog)[1:] == [(logging.INFO, "monitor m is healthy, was degraded")]


async def test_each_call_has_its_own_ten_seconds():
    """R-E6: whatever was before, between two beats as well."""
    async with EventMonitor("m", EventMonitorConfig(heartbeat_interval=5.0)) as monitor:
        hold = await held(monitor, 2)
        await asyncio.sleep(14.0)
        assert monitor.health().state is HealthState.HEALTHY
        await asyncio.sleep(1.5)
        assert monitor.health().state is HealthState.DEGRADED
        hold.room.release()
        await asyncio.sleep(0.1)
        assert hold.begun == 2
        assert monitor.health().state is HealthState.HEALTHY
        await asyncio.sleep(25.0)
        assert monitor.health().state is HealthState.DEGRADED
        hold.room.release()
        assert await monitor.idle(5.0)
        await asyncio.sleep(30.0)  # idle
        await monitor.queue_event(EVENT)
        await asyncio.sleep(1.0)
        assert (hold.begun, monitor.health().state) == (3, HealthState.HEALTHY)
        hold.room.release()


async def test_a_monitor_that_is_started_again_begins_anew():
    """R-E6, R-E7: what it has left behind is none of its calls."""
    monitor = EventMonitor("m", EventMonitorConfig(heartbeat_interval=5.0))
    await monitor.start_monitoring()
    hold = await held(monitor)
    await asyncio.sleep(20.0)
    assert monitor.health().state is HealthState.DEGRADED
    try:
        assert await monitor.stop_monitoring(drain=False, timeout=1.0) == 1
        await monitor.start_monitoring()
        await asyncio.sleep(1.0)
        assert monitor.health().state is HealthState.HEALTHY
        await asyncio.sleep(10.0)
        await monitor.queue_event(EVENT)
        await asyncio.sleep(1.0)
        assert (hold.begun, monitor.health().state) == (2, HealthState.HEALTHY)
        await asyncio.sleep(20.0)
        assert monitor.health().state is HealthState.DEGRADED
    finally:  # else it would keep the loop, too
        for _ in range(2):
            hold.room.release()
    await monitor.stop_monitoring()


@pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
async def test_what_is_lost_between_two_beats_is_told_once(overflow, caplog):
    """R-E3, R-E6: dropped or displaced."""
    config = EventMonitorConfig(max_queue_size=1, overflow=overflow, heartbeat_interval=1.0)
    async with EventMonitor("m", config) as monitor:
        hold = await held(monitor)
        for count in (4, 2):
            for _ in range(count):
                await monitor.queue_event(EVENT)
            await asyncio.sleep(3.0)
        lost = [record.getMessage() for record in caplog.records if "events lost" in record.getMessage()]
        assert lost == [
            "monitor m: 3 events lost for want of room, 3 in all",
            "monitor m: 2 events lost for want of room, 5 in all",
        ]
        for _ in range(2):
            hold.room.release()
