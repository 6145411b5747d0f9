"""The bounded queue of a monitor, and what it does when it is full."""
# ruff: noqa: ASYNC110 - a log sets no event

import asyncio
import logging

import pytest

from telestage.actors import (
    Event,
    EventMonitor,
    EventMonitorConfig,
    EventPriority,
    HandlerPolicy,
    HealthState,
    MailboxFull,
    MonitorStopped,
    Overflow,
)
from telestage.actors.monitoring.queue import EventQueue

LOW, NORMAL, HIGH, URGENT = EventPriority


def numbered(number, priority=NORMAL):
    return Event("a", "test", {"n": number}, priority)


def full_monitor(overflow, capacity=3, **options):
    """A monitor that hasn't begun, as full as it may be, and what its handler gets once it does."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=capacity, overflow=overflow, **options))
    got = []
    monitor.register_handler("a", lambda event: got.append(event.data["n"]))
    return monitor, got


async def fill(monitor, *numbers):
    for number in numbers:
        assert await monitor.queue_event(numbered(number)) is True


async def test_a_thousand_events_may_wait_by_default():
    """R-E3: one more is dropped, the newest, and counted."""
    monitor = EventMonitor("m")
    for number in range(1000):
        assert await monitor.queue_event(numbered(number)) is True
    assert await monitor.queue_event(numbered(1000)) is False
    stats = monitor.get_stats()
    assert (stats.accepted, stats.queue_depth, stats.refused, stats.dropped) == (1000, 1000, 1, 1)


async def test_the_bound_holds_while_the_monitor_runs():
    """R-E3: on the quick path, too, and with other priorities waiting."""
    monitor, got = full_monitor(Overflow.DROP_NEWEST, capacity=10)
    async with monitor:
        accepted = []
        for number in range(100):
            priority = HIGH if number % 3 == 0 else NORMAL
            if await monitor.queue_event(numbered(number, priority)):
                accepted.append(number)
            assert monitor.get_stats().queue_depth <= 10
            if number % 25 == 24:
                assert await monitor.idle(5.0)
    assert len(accepted) == 40
    assert sorted(got) == accepted


async def test_drop_newest_keeps_what_waits():
    """R-E3."""
    monitor, got = full_monitor(Overflow.DROP_NEWEST)
    await fill(monitor, 0, 1, 2)
    assert await monitor.queue_event(numbered(3, URGENT)) is False
    async with monitor:
        pass
    assert got == [0, 1, 2]


async def test_drop_oldest_makes_room_for_the_new_event():
    """R-E3: the oldest of the least urgent goes, never a more urgent one."""
    monitor, got = full_monitor(Overflow.DROP_OLDEST)
    await monitor.queue_event(numbered(0, HIGH))
    await monitor.queue_event(numbered(1, LOW))
    await monitor.queue_event(numbered(2, NORMAL))
    assert await monitor.queue_event(numbered(3)) is True  # 1 goes, the least urgent
    assert await monitor.queue_event(numbered(4)) is True  # 2 goes, the oldest of its equals
    assert await monitor.queue_event(numbered(5, LOW)) is False  # all that waits is more urgent
    stats = monitor.get_stats()
    assert (stats.evicted, stats.refused, stats.dropped, stats.accepted) == (2, 1, 3, 5)
    async with monitor:
        pass
    assert got == [0, 3, 4]


async def test_fail_hands_the_event_back():
    """R-E3: to who brought it, as an error."""
    monitor, got = full_monitor(Overflow.FAIL)
    await fill(monitor, 0, 1, 2)
    with pytest.raises(MailboxFull, match="monitor m is full: 3") as refused:
        await monitor.queue_event(numbered(3))
    assert refused.value.message.data == {"n": 3}
    assert monitor.get_stats().refused == 1
    async with monitor:
        pass
    assert got == [0, 1, 2]


async def test_block_waits_for_room_first_come_first_served():
    """R-E3: nobody overtakes who waits, and nothing is lost."""
    monitor, got = full_monitor(Overflow.BLOCK)
    depths = []
    monitor.register_handler("a", lambda event: depths.append(monitor.get_stats().queue_depth))
    await fill(monitor, 0, 1, 2)
    waiting = [asyncio.ensure_future(monitor.queue_event(numbered(number))) for number in range(3, 20)]
    await asyncio.sleep(0)
    assert monitor.get_stats().queue_depth == 3
    async with monitor:
        assert await asyncio.gather(*waiting) == [True] * 17
        assert await monitor.idle(5.0)
    assert got == list(range(20))
    assert max(depths) <= 3
    assert monitor.get_stats().dropped == 0


@pytest.mark.parametrize("trusted", [False, True])
async def test_block_makes_room_while_a_handler_waits(trusted):
    """R-E3: a place is free as soon as its event is being handled, also of a handler known to be quick."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=20, overflow=Overflow.BLOCK))
    holds = {100: Hold(), 200: Hold()}

    async def slow(event):
        if event.data["n"] in holds:
            await holds[event.data["n"]](event)

    monitor.register_handler("a", slow)
    async with monitor:
        if trusted:
            await fill(monitor, *range(20))
            assert await monitor.idle(5.0)
        await fill(monitor, 100)
        await holds[100].begun.wait()
        await fill(monitor, 0, 200, *range(2, 20))
        waiting = [asyncio.ensure_future(monitor.queue_event(numbered(number))) for number in (20, 21, 22)]
        await asyncio.sleep(0)
        assert not any(waiter.done() for waiter in waiting)
        holds[100].go_on.set()
        await holds[200].begun.wait()
        assert await asyncio.gather(*waiting[:2]) == [True, True]
        assert not waiting[2].done()
        assert monitor.get_stats().queue_depth == 20
        holds[200].go_on.set()
        assert await waiting[2]


async def test_who_waits_for_room_is_a_warning_whatever_the_mark(caplog):
    """R-E3: a queue that may be full without a word says so when somebody has to wait."""
    monitor, _ = full_monitor(Overflow.BLOCK, warn_at=1.0)
    await fill(monitor, 0, 1, 2)
    await asyncio.sleep(0)
    assert caplog.records == []
    waiting = asyncio.ensure_future(monitor.queue_event(numbered(3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == [
        "monitor m: its queue is over 100 % full: 3 of 3 events wait"
    ]
    async with monitor:
        assert await waiting


async def test_block_ends_at_its_deadline_and_hands_the_event_back():
    """R-E3, R-D3."""
    monitor, got = full_monitor(Overflow.BLOCK, block_timeout=0.02)
    await fill(monitor, 0, 1, 2)
    with pytest.raises(MailboxFull):
        await monitor.queue_event(numbered(3))
    assert monitor.get_stats().refused == 1
    async with monitor:
        await fill(monitor, *range(4, 7))
        await monitor.idle(5.0)
    assert got == [0, 1, 2, 4, 5, 6]


async def test_who_is_cancelled_while_it_waits_for_room_leaves_nothing():
    """R-E3: the others go on."""
    monitor, got = full_monitor(Overflow.BLOCK, capacity=1)
    await fill(monitor, 0)
    first = asyncio.ensure_future(monitor.queue_event(numbered(1)))
    second = asyncio.ensure_future(monitor.queue_event(numbered(2)))
    await asyncio.sleep(0)
    first.cancel()
    async with monitor:
        assert await second
        await monitor.idle(5.0)
    assert got == [0, 2]
    assert monitor.get_stats().refused == 0


async def test_who_is_cancelled_as_room_comes_does_not_get_it():
    """R-E3: its event isn't taken in, the next one's is."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=1, overflow=Overflow.BLOCK))
    got = []

    def handler(event):
        got.append(event.data["n"])
        if event.data["n"] == 0:
            waiting[1].cancel()  # the first one has its place by now

    monitor.register_handler("a", handler)
    await fill(monitor, 0)
    waiting = [asyncio.ensure_future(monitor.queue_event(numbered(number))) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    async with monitor:
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert await monitor.idle(5.0)
    assert results[0] is results[2] is True
    assert got == [0, 1, 3]


async def test_those_who_gave_up_waiting_leave_nothing():
    """R-E3: however many, while a handler holds everything up."""
    monitor, _ = full_monitor(Overflow.BLOCK, block_timeout=0.001)
    await fill(monitor, 0, 1, 2)
    for _ in range(20):
        with pytest.raises(MailboxFull):
            await monitor.queue_event(numbered(3))
    assert monitor._queue.waiters == []  # looked at from inside on purpose


async def test_a_stop_refuses_who_waits_for_room():
    """R-E7."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=1, overflow=Overflow.BLOCK))
    begun = asyncio.Event()

    async def hang(event):
        begun.set()
        await asyncio.Event().wait()

    monitor.register_handler("a", hang)
    await monitor.start_monitoring()
    await fill(monitor, 0)
    await begun.wait()
    await fill(monitor, 1)
    waiting = asyncio.ensure_future(monitor.queue_event(numbered(2)))
    await asyncio.sleep(0)
    assert await monitor.stop_monitoring(drain=False) == 2
    with pytest.raises(MonitorStopped) as refused:
        await waiting
    assert refused.value.event.data == {"n": 2}


async def test_a_queue_over_80_percent_full_is_a_warning_and_a_health_state(caplog):
    """R-E3: once a time, and again after there was room."""
    monitor, _ = full_monitor(Overflow.DROP_NEWEST, capacity=100)

    def warnings():
        return sum("over 80 % full" in record.getMessage() for record in caplog.records)

    async with monitor:
        await fill(monitor, *range(80))
        assert monitor.health().state is HealthState.HEALTHY
        assert warnings() == 0
        await fill(monitor, *range(20))
        assert monitor.health().state is HealthState.OVERLOADED
        assert monitor.health().reasons == ("the queue holds 100 of 100 events",)
        assert await monitor.idle(5.0)
        assert warnings() == 1
        assert monitor.health().state is HealthState.HEALTHY
        await fill(monitor, *range(81))
        await asyncio.sleep(0)
        assert warnings() == 2
    assert all(record.levelno == logging.WARNING for record in caplog.records)


async def test_a_queue_that_is_about_80_percent_full_is_one_warning(caplog):
    """R-E3: the next one comes after it was less than 60 % full in between, not at each event around the mark."""
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=100))
    gate = asyncio.Semaphore(0)

    async def handler(event):
        await gate.acquire()

    async def handle(count, left):
        for _ in range(count):
            gate.release()
        while monitor.get_stats().queue_depth > left or not monitor.get_stats().running:
            await asyncio.sleep(0)

    def warnings():
        return sum("over 80 % full" in record.getMessage() for record in caplog.records)

    monitor.register_handler("a", handler, policy=HandlerPolicy(timeout=60.0))
    async with monitor:
        await fill(monitor, 0)
        await handle(0, 0)
        for _ in range(3):
            await fill(monitor, *range(81 - monitor.get_stats().queue_depth))
            await handle(20, 61)
            assert warnings() == 1
        await handle(2, 59)
        await fill(monitor, *range(22))
        await asyncio.sleep(0)
        assert warnings() == 2
        await monitor.stop_monitoring(drain=False)


@pytest.mark.virtual_time
async def test_room_that_comes_with_the_deadline_is_taken():
    """R-E3: the event has its place by then, and is neither refused nor queued twice."""
    queue = EventQueue("m", 1, Overflow.BLOCK, 0.8)
    assert queue.offer(numbered(0))
    assert queue.offer(numbered(1)) is None
    got = []

    def make_room():
        got.append(queue.pop().data)
        queue.admit()

    asyncio.get_running_loop().call_later(30.0, make_room)  # in one turn of the loop with the deadline, and first
    await queue.wait_for_room(numbered(1), 30.0)
    assert got == [{"n": 0}]
    assert queue.refused == 0
    assert queue.pop().data == {"n": 1}
    assert queue.pop() is None


async def test_who_fills_the_queue_does_not_wait_for_the_log(caplog):
    """R-E3: what is to be said is said in the loop's next turn, before the events are handled, as it was then."""
    monitor, _ = full_monitor(Overflow.DROP_NEWEST, capacity=10)
    monitor.register_handler("a", lambda event: logging.getLogger("test").warning("handled"))
    for number in range(11):
        assert await monitor.queue_event(numbered(number)) is (number < 10)
        assert caplog.records == []
    async with monitor:
        assert await monitor.idle(5.0)
    assert [record.getMessage() for record in caplog.records[:3]] == [
        "monitor m: its queue is over 80 % full: 9 of 10 events wait",
        "monitor m: its queue is full; drop newest from now on",
        "handled",
    ]


async def test_what_is_lost_is_logged_at_once_and_then_by_the_heartbeat(caplog):
    """R-E3: not once an event."""
    monitor, _ = full_monitor(Overflow.DROP_NEWEST, capacity=1, heartbeat_interval=0.01)
    monitor.register_handler("a", hold := Hold())
    async with monitor:
        await fill(monitor, 0)
        await hold.begun.wait()
        await fill(monitor, 1)
        for number in range(50):
            assert not await monitor.queue_event(numbered(number))
        await asyncio.sleep(0)
        assert sum("full; drop newest" in record.getMessage() for record in caplog.records) == 1
        while not any("50 events lost for want of room, 50 in all" in r.getMessage() for r in caplog.records):
            await asyncio.sleep(0.005)
        hold.go_on.set()
    assert len(caplog.records) < 10


class Hold:
    def __init__(self):
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, event):
        self.begun.set()
        await self.go_on.wait()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_queue_size": 0}, "max_queue_size must be 1 or more, not 0"),
        ({"max_queue_size": True}, "max_queue_size must be 1 or more"),
        ({"overflow": "fail"}, "overflow must be one of Overflow"),
        ({"block_timeout": 0}, "block_timeout must be a finite number of seconds above 0"),
        ({"warn_at": 0}, "warn_at must be a part of the queue"),
        ({"warn_at": 1.5}, "warn_at must be a part of the queue"),
        ({"heartbeat_interval": -1}, "heartbeat_interval must be a finite number of seconds above 0 or None"),
        ({"stop_timeout": float("inf")}, "stop_timeout"),
        ({"event_types": ()}, "event_types must be names"),
        ({"event_types": "low_fuel"}, "event_types must be names"),
        ({"event_types": EventPriority}, "event_types must be names"),
        ({"max_handler_failures": 0}, "max_handler_failures must be 1 or more or None, not 0"),
        ({"failure_reset_interval": None}, "failure_reset_interval"),
        ({"breaker_failures": -1}, "breaker_failures"),
        ({"breaker_seconds": "60"}, "breaker_seconds"),
        ({"max_retries": -1}, "max_retries must be 0 or more, not -1"),
        ({"retry_backoff": 0.1}, "retry_backoff must be a Backoff"),
        ({"timeout": 0}, "timeout must be a finite number of seconds above 0 or None, not 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_can_not_be_says_what_would_be_right(options, words):
    """Bad input, R-E3."""
    with pytest.raises(ValueError, match=words):
        EventMonitorConfig(**options)
