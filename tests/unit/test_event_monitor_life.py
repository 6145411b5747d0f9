"""Start, stop and restart of a monitor, and its health."""
# ruff: noqa: ASYNC110 - a log sets no event

import asyncio
import logging
import time

import pytest

from telestage.actors import (
    Actor,
    ActorSystem,
    Backoff,
    Event,
    EventMonitor,
    EventMonitorConfig,
    EventPriority,
    HandlerPolicy,
    HealthState,
    MonitorStopped,
    NameTaken,
    RetryableError,
    handles,
)

EVENT = Event("a", "test")


class Hang:
    """A handler that waits until it is let go, or is cancelled."""

    def __init__(self, resists=False):
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.resists = resists
        self.cancelled = 0

    async def __call__(self, event):
        self.begun.set()
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.resists:
                    raise


async def test_start_and_stop_are_idempotent():
    """R-E7: and a monitor can be started again."""
    got = []
    monitor = EventMonitor("m")
    monitor.register_handler("a", got.append)
    assert await monitor.stop_monitoring() == 0
    for _ in range(2):
        await monitor.start_monitoring()
        await monitor.start_monitoring()
        assert monitor.running
        await monitor.queue_event(EVENT)
        assert await monitor.stop_monitoring() == 0
        assert await monitor.stop_monitoring() == 0
        assert not monitor.running
    assert len(got) == 2
    assert monitor.get_stats().processed == 2


def test_a_monitor_says_how_it_behaves():
    """R-E6: as it was told to, or as the defaults are."""
    config = EventMonitorConfig(max_queue_size=7)
    assert EventMonitor("m", config).config is config
    assert EventMonitor("m").config == EventMonitorConfig()


async def test_starts_and_stops_at_once_end_in_one_stop():
    """R-E7."""
    monitor = EventMonitor("m")
    monitor.register_handler("a", hang := Hang())
    await asyncio.gather(monitor.start_monitoring(), monitor.start_monitoring())
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    stops = [asyncio.ensure_future(monitor.stop_monitoring(drain=False)) for _ in range(3)]
    assert sorted(await asyncio.gather(*stops)) == [0, 0, 1]
    again = asyncio.ensure_future(monitor.start_monitoring())
    await again
    assert monitor.running
    await monitor.stop_monitoring()


async def test_events_queued_before_the_start_wait_for_it():
    """R-E7."""
    got = []
    monitor = EventMonitor("m")
    monitor.register_handler("a", got.append)
    assert await monitor.queue_event(EVENT)
    assert monitor.health().state is HealthState.STOPPED
    async with monitor:
        assert await monitor.idle(5.0)
    assert got == [EVENT]


async def test_a_stopped_monitor_takes_no_events():
    """R-E7: it hands the event back."""
    monitor = EventMonitor("m")
    async with monitor:
        pass
    with pytest.raises(MonitorStopped, match="start it again") as refused:
        await monitor.queue_event(EVENT)
    assert refused.value.event is EVENT
    assert monitor.health().state is HealthState.STOPPED


async def test_a_stop_drains_what_waits():
    """R-E7: retries and handlers that wait included."""
    got = []

    async def slow(event):
        await asyncio.sleep(0)
        got.append(event)

    monitor = EventMonitor("m")
    monitor.register_handler("a", slow)
    await monitor.start_monitoring()
    for _ in range(500):
        await monitor.queue_event(EVENT)
    assert await monitor.stop_monitoring() == 0
    assert len(got) == 500
    stats = monitor.get_stats()
    assert (stats.processed, stats.discarded, stats.queue_depth) == (500, 0, 0)


@pytest.mark.parametrize("count", [1, 100])
async def test_a_monitor_that_drains_takes_no_further_event(count):
    """R-E7: so that the end comes, however many events follow from events."""
    refused = []

    async def follow_up(event):
        try:
            await monitor.queue_event(EVENT)
        except MonitorStopped as error:
            refused.append(error.event)

    monitor = EventMonitor("m")
    monitor.register_handler("a", follow_up)
    for _ in range(count):
        await monitor.queue_event(EVENT)
    await monitor.start_monitoring()
    assert await monitor.stop_monitoring() == 0
    assert len(refused) == monitor.get_stats().processed == count


async def test_a_stop_without_draining_gives_up_what_waits_and_cancels_what_runs(caplog):
    """R-E7: and says how much that was."""
    monitor = EventMonitor("m")
    monitor.register_handler("a", hang := Hang())
    await monitor.start_monitoring()
    for _ in range(5):
        await monitor.queue_event(EVENT)
    await hang.begun.wait()
    assert await monitor.stop_monitoring(drain=False) == 5
    assert hang.cancelled == 1
    stats = monitor.get_stats()
    assert (stats.handlers[0].calls, stats.handlers[0].successes, stats.handlers[0].failures) == (1, 0, 1)
    assert (stats.accepted, stats.processed, stats.discarded, stats.running, stats.queue_depth) == (5, 0, 5, 0, 0)
    assert [record.getMessage() for record in caplog.records] == ["monitor m stopped; 5 events were given up"]
    await monitor.start_monitoring()
    assert await monitor.stop_monitoring() == 0
    assert len(caplog.records) == 1
    await monitor.start_monitoring()
    hang.begun.clear()
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    assert await monitor.stop_monitoring(drain=False, timeout=0.01) == 1  # no time, and yet it doesn't resist
    assert caplog.records[-1].getMessage() == "monitor m stopped; 1 events were given up"
    assert len(caplog.records) == 2


@pytest.mark.virtual_time
async def test_a_block_that_raises_waits_for_no_handler():
    """R-E7: what waits is given up; without an error it is drained."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    hang = Hang()

    async def fail_in_the_block():
        async with EventMonitor("m") as monitor:
            monitor.register_handler("a", hang)
            await monitor.queue_event(EVENT)
            await hang.begun.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_block()
    assert hang.cancelled == 1
    assert loop.time() - began < 0.1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("resists", [False, True])
async def test_a_stop_ends_within_its_deadline_whatever_the_handlers_do(resists, several, caplog):
    """R-E7, R-M4: one that swallows its cancellation is named and left behind."""
    monitor = EventMonitor("m")
    hangs = [Hang(resists) for _ in range(1 + several)]
    for hang in hangs:
        monitor.register_handler("a", hang)
    await monitor.start_monitoring()
    await monitor.queue_event(EVENT)
    await monitor.queue_event(EVENT)
    for hang in hangs:
        await hang.begun.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await monitor.stop_monitoring(timeout=1.0) == 2
    assert loop.time() - began < 1.5
    assert all(hang.cancelled for hang in hangs)
    assert resists == ("Hang of a resists" in caplog.text or ("Hang" in caplog.text and "resists" in caplog.text))
    assert monitor.get_stats().discarded == 2
    for hang in hangs:
        hang.go_on.set()
    await asyncio.sleep(0)
    assert monitor.get_stats().accepted == 2


@pytest.mark.virtual_time
@pytest.mark.parametrize("timeout", [None, 1.0, 8.0])
async def test_a_stop_has_the_seconds_it_is_given_or_those_of_the_config(timeout):
    """R-E7: what resists has all of them, and what drains most: all but the last two, half of them at least."""
    loop = asyncio.get_running_loop()
    seconds = 3.0 if timeout is None else timeout
    for resists, last in ((True, 0.31), (False, 0.0)):
        monitor = EventMonitor("m", EventMonitorConfig(stop_timeout=3.0))
        monitor.register_handler("a", hang := Hang(resists))
        await monitor.start_monitoring()
        await monitor.queue_event(EVENT)
        await hang.begun.wait()
        began = loop.time()
        stopping = asyncio.ensure_future(monitor.stop_monitoring(timeout=timeout))
        while not hang.cancelled:
            await asyncio.sleep(0.01)
        drained = max(seconds / 2, seconds - 2.0)
        assert drained <= loop.time() - began <= drained + 0.02
        assert await stopping == 1
        assert (seconds if resists else drained) - last - 0.01 <= loop.time() - began <= seconds + 0.01
        hang.go_on.set()


@pytest.mark.virtual_time
async def test_who_stops_a_monitor_that_is_being_stopped_waits_for_that_end_or_as_long_as_it_wants():
    """R-E7: and has given nothing up itself."""
    loop = asyncio.get_running_loop()
    monitor = EventMonitor("m")
    monitor.register_handler("a", hang := Hang())
    await monitor.start_monitoring()
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    assert repr(monitor) == "<EventMonitor m: running, 0 wait>"
    began = loop.time()
    assert not await monitor.idle(0.25)
    assert 0.25 <= loop.time() - began < 0.3
    began = loop.time()
    first = asyncio.ensure_future(monitor.stop_monitoring(timeout=20.0))
    await asyncio.sleep(0)
    assert not monitor.running
    assert repr(monitor) == "<EventMonitor m: stopped, 0 wait>"
    second = asyncio.ensure_future(monitor.stop_monitoring(timeout=20.0))
    assert await monitor.stop_monitoring(timeout=0.5) == 0
    assert 0.5 <= loop.time() - began < 0.6
    assert not first.done()
    assert not second.done()
    hang.go_on.set()
    assert (await second, first.done()) == (0, True)
    assert (await first, loop.time() - began < 0.7) == (0, True)


@pytest.mark.virtual_time
async def test_who_waits_until_all_is_handled_hears_at_once_that_it_will_not_be():
    """R-E7: with a stop that gives up what waits."""
    loop = asyncio.get_running_loop()
    monitor = EventMonitor("m")
    monitor.register_handler("a", hang := Hang())
    await monitor.start_monitoring()
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    began = loop.time()
    idle = asyncio.ensure_future(monitor.idle(20.0))
    await asyncio.sleep(0)
    assert await monitor.stop_monitoring(drain=False) == 1
    assert not await idle
    assert loop.time() - began < 1.0


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_handler_that_was_left_behind_takes_no_further_event(trusted):
    """R-E7: also one known to be quick; nor does it count, when it ends in a monitor that was started again."""
    got = []
    monitor = EventMonitor("m")
    hang = Hang(resists=True)

    async def handler(event):
        got.append(event.data["n"])
        if event.data["n"] == 0:
            await hang(event)

    monitor.register_handler("a", handler)
    await monitor.start_monitoring()
    for _ in range(20 * trusted):
        await monitor.queue_event(Event("a", "test", {"n": -1}))
    await monitor.idle(5.0)
    got.clear()
    before = monitor.get_stats().processed
    await monitor.queue_event(Event("a", "test", {"n": 0}))
    await hang.begun.wait()
    assert await monitor.stop_monitoring(drain=False, timeout=0.5) == 1
    await monitor.start_monitoring()
    monitor.unregister_handler("a", handler)
    await monitor.queue_event(Event("a", "test", {"n": 1}))
    hang.go_on.set()
    assert await monitor.idle(5.0)
    await monitor.stop_monitoring()
    assert got == [0]
    stats = monitor.get_stats()
    assert (stats.processed - before, stats.failed, stats.unhandled, stats.discarded) == (0, 0, 1, 1)


@pytest.mark.virtual_time
@pytest.mark.parametrize("ends", ["stopped", "killed"])
async def test_what_was_handled_counts_though_the_next_call_is_left_behind(ends):
    """R-E6: at any instant each event is in one place; calls that are timed together are no less exact."""
    hang = Hang(resists=True)

    async def handler(event):
        if event.data:
            await hang(event)

    def counts():
        stats = monitor.get_stats()
        places = stats.processed + stats.failed + stats.discarded + stats.queue_depth + stats.running
        assert stats.accepted == places
        handled = stats.handlers[0]
        return stats.accepted, stats.processed, handled.calls, handled.successes, handled.failures

    async with ActorSystem() as system:
        monitor = EventMonitor("m", system=system)
        monitor.register_handler("a", handler)
        await monitor.start_monitoring()
        for _ in range(20):
            await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        for n in (*[0] * 5, 1, *[0] * 3):
            await monitor.queue_event(Event("a", "test", {"hangs": n} if n else {}))
        await hang.begun.wait()
        during = counts()
        if ends == "stopped":
            given_up = await monitor.stop_monitoring(drain=False, timeout=0.5)
        else:
            given_up = 0
            system.find("/m").kill("for the test")
            await monitor.idle(60.0)
        after = counts()
        hang.go_on.set()
        assert during == (29, 25, 25, 25, 0)
        assert (given_up, *after) == ((4, *during) if ends == "stopped" else (0, 29, 28, 28, 28, 0))
        assert (monitor.get_stats().failed, monitor.get_stats().running) == (ends == "killed", 0)
        before = counts()
        await asyncio.sleep(1.0)
        assert counts() == before
        await monitor.start_monitoring()  # again, or nothing
        await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        assert counts() == (before[0] + 1, *(count + 1 for count in before[1:4]), 0)
        await monitor.stop_monitoring()


async def test_a_handler_can_not_wait_for_its_own_monitor_to_stop():
    """R-D3: it is told so at once."""
    monitor = EventMonitor("m")

    async def suicide(event):
        await monitor.stop_monitoring()

    monitor.register_handler("a", suicide)
    monitor.register_handler("b", suicide)
    monitor.register_handler("b", print)
    async with monitor:
        await monitor.queue_event(EVENT)
        await monitor.queue_event(Event("b", "test"))
        assert await monitor.idle(5.0)
        assert all("its own monitor" in (handler.last_failure or "") for handler in monitor.get_stats().handlers[:2])
        assert monitor.running


async def test_an_actor_of_the_same_system_may_stop_a_monitor():
    """R-E7: its handlers run where those of the monitor have run; that is no handler's wait for its own monitor."""

    class Owner(Actor):
        @handles(str)
        async def stop_it(self, message):
            return await monitor.stop_monitoring()

    async with ActorSystem() as system:
        monitor = EventMonitor("m", system=system)
        monitor.register_handler("a", lambda event: None)
        owner = system.spawn(Owner)
        await monitor.start_monitoring()
        await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        assert await owner.ask("stop", timeout=5.0) == 0
        assert not monitor.running


async def test_monitors_share_a_system_and_stop_alone():
    """R-M1, R-M2: a stop of one is no stop of another."""
    got = []
    async with ActorSystem() as system:
        one, other = EventMonitor("one", system=system), EventMonitor("other", system=system)
        for monitor in (one, other):
            monitor.register_handler("a", got.append)
            await monitor.start_monitoring()
        assert system.find("/one") is not None
        with pytest.raises(NameTaken):
            await EventMonitor("one", system=system).start_monitoring()
        await one.stop_monitoring()
        await other.queue_event(EVENT)
        assert await other.idle(5.0)
        assert system.find("/one") is None
        await other.stop_monitoring()
    assert got == [EVENT]


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_monitor_that_is_killed_is_restarted_and_goes_on(trusted):
    """R-M3, R-S3: its queue and its counts are kept; the event in hand has failed."""
    got = []
    async with ActorSystem() as system:
        monitor = EventMonitor("m", system=system)
        hang = Hang()
        hang.go_on.set()
        monitor.register_handler("a", hang)
        monitor.register_handler("b", got.append)
        await monitor.start_monitoring()
        for _ in range(20 * trusted):
            await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        hang.go_on.clear()
        hang.begun.clear()
        await monitor.queue_event(EVENT)
        await hang.begun.wait()
        await monitor.queue_event(Event("b", "test"))
        system.find("/m").kill("for the test")
        assert await monitor.idle(5.0)
        assert len(got) == 1
        stats = monitor.get_stats()
        assert (stats.failed, stats.processed) == (1, 1 + 20 * trusted)
        assert (stats.handlers[0].successes, stats.handlers[0].failures) == (20 * trusted, 1)
        await monitor.stop_monitoring()


async def test_a_system_that_ends_first_takes_the_monitor_with_it():
    """R-T4."""
    monitor = EventMonitor("m", system=(system := ActorSystem()))
    await system.start()
    monitor.register_handler("a", lambda event: None)
    await monitor.start_monitoring()
    await monitor.queue_event(EVENT)
    assert await monitor.idle(5.0)
    await system.shutdown()
    assert not monitor.running
    with pytest.raises(MonitorStopped):
        await monitor.queue_event(EVENT)
    assert monitor.health().state is HealthState.STOPPED
    assert await monitor.stop_monitoring() == 0


@pytest.mark.virtual_time
async def test_a_monitor_whose_system_has_ended_has_nothing_to_wait_for_as_it_stops():
    """R-E7: though a handler has resisted and events have waited to the last."""
    loop = asyncio.get_running_loop()
    monitor = EventMonitor("m", system=(system := ActorSystem()))
    await system.start()
    monitor.register_handler("a", hang := Hang(resists=True))
    await monitor.start_monitoring()
    for _ in range(3):
        await monitor.queue_event(EVENT)
    await hang.begun.wait()
    await system.shutdown(timeout=0.5)
    assert not monitor.running
    began = loop.time()
    assert await monitor.stop_monitoring(timeout=10.0) == 3
    assert loop.time() - began < 0.5
    hang.go_on.set()


async def test_no_event_slips_in_once_a_stop_has_begun_nor_after_the_end_of_the_system():
    """R-E7: also by the quick way, which is open while a handler waits."""
    monitor = EventMonitor("m")
    monitor.register_handler("a", hang := Hang())
    await monitor.start_monitoring()
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    assert await monitor.queue_event(EVENT)
    stopping = asyncio.ensure_future(monitor.stop_monitoring())
    await asyncio.sleep(0)
    with pytest.raises(MonitorStopped):
        await monitor.queue_event(EVENT)
    hang.go_on.set()
    assert await stopping == 0

    hang.go_on.clear()
    hang.begun.clear()
    async with ActorSystem() as system:
        monitor = EventMonitor("n", system=system)
        monitor.register_handler("a", hang)
        await monitor.start_monitoring()
        await monitor.queue_event(EVENT)
        await hang.begun.wait()
        assert await monitor.queue_event(EVENT)
    with pytest.raises(MonitorStopped):
        await monitor.queue_event(EVENT)
    await monitor.stop_monitoring()


@pytest.mark.virtual_time
async def test_a_retry_that_is_due_at_a_stop_is_given_up():
    """R-E7, R-E4: it isn't made when the monitor is started again."""
    monitor = EventMonitor("m", EventMonitorConfig(retry_backoff=Backoff(first=0.01, jitter=0.0)))
    calls = []

    def flaky(event):
        calls.append(event)
        raise RetryableError

    monitor.register_handler("b", flaky)
    monitor.register_handler("a", hang := Hang())
    await monitor.start_monitoring()
    await monitor.queue_event(Event("b", "test"))
    await monitor.queue_event(EVENT)
    await hang.begun.wait()
    await asyncio.sleep(1.0)
    assert await monitor.stop_monitoring(drain=False) == 2
    async with monitor:
        hang.go_on.set()
        await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
    assert len(calls) == 1
    stats = monitor.get_stats()
    assert (stats.accepted, stats.processed, stats.discarded, stats.queue_depth) == (3, 1, 2, 0)


async def test_the_tasks_of_concurrent_handlers_are_registered_until_they_end():
    """R-T1, R-T2: as monitoring, with their monitor and the type of their event."""
    async with ActorSystem() as system:
        monitor = EventMonitor("m", system=system)
        hangs = [Hang(), Hang()]
        for hang in hangs:
            monitor.register_handler("a", hang)
        await monitor.start_monitoring()
        await monitor.queue_event(EVENT)
        for hang in hangs:
            await hang.begun.wait()
        tasks = system.tasks.details(type="monitoring", owner="/m")
        assert [task.operation for task in tasks] == ["a", "a"]
        assert system.tasks.count(type="queue_processor", owner="/m") == 1
        for hang in hangs:
            hang.go_on.set()
        assert await monitor.idle(5.0)
        assert system.tasks.count(owner="/m") == 0
        await monitor.stop_monitoring()


async def test_the_heartbeat_beats_and_reports_what_changes(caplog):
    """R-E6."""
    caplog.set_level(logging.INFO, logger="telestage.monitor")

    def bad(event):
        raise LookupError

    policy = HandlerPolicy(breaker_failures=1, breaker_seconds=0.1)
    async with EventMonitor("m", EventMonitorConfig(heartbeat_interval=0.01)) as monitor:
        monitor.register_handler("a", bad, policy=policy)
        await monitor.queue_event(EVENT)
        while "m is degraded, was healthy (the breaker of handler" not in caplog.text:
            await asyncio.sleep(0.01)
        assert monitor.health().state is HealthState.DEGRADED
        monitor.register_handler("a", bad)
        while "m is healthy, was degraded" not in caplog.text:
            await asyncio.sleep(0.01)
        assert monitor.get_stats().heartbeats >= 2


async def test_a_handler_that_runs_for_long_is_a_reason_of_the_health(monkeypatch):
    """R-E6: named."""
    monkeypatch.setattr("telestage.actors.monitoring.health._LONG", 0.05)
    async with EventMonitor("m", EventMonitorConfig(heartbeat_interval=0.01)) as monitor:
        monitor.register_handler("a", hang := Hang())
        await monitor.queue_event(EVENT)
        await hang.begun.wait()
        assert monitor.health().state is HealthState.HEALTHY
        while monitor.health().state is HealthState.HEALTHY:
            await asyncio.sleep(0.01)
        assert "Hang of a has been running for" in monitor.health().reasons[0]
        hang.go_on.set()
        assert await monitor.idle(5.0)
        assert monitor.health().state is HealthState.HEALTHY


async def test_a_disabled_handler_degrades_the_health():
    """R-E4, R-E6."""

    def bad(event):
        raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad, policy=HandlerPolicy(max_handler_failures=1))
        await monitor.queue_event(EVENT)
        assert await monitor.idle(5.0)
        assert monitor.health().state is HealthState.DEGRADED
        assert "disabled: 1 failures within 300 s" in monitor.health().reasons[0]


async def test_many_events_do_not_keep_the_loop():
    """The rest of the program has its turn in between."""
    turns = 0
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=50_000))
    monitor.register_handler("a", lambda event: None)

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    for _ in range(50_000):
        await monitor.queue_event(EVENT)
    counting = asyncio.ensure_future(count())
    async with monitor:
        assert await monitor.idle(30.0)
        between = turns
    counting.cancel()
    assert between > 10


@pytest.mark.parametrize(
    ("slow", "turns"),
    [("s" * 30, 25), ("q" * 200 + "s" * 150, 70), ("q" * 200 + "sq" * 100, 60)],
    ids=["a new one", "one that has become slow", "one that is slow at times"],
)
async def test_slow_calls_do_not_keep_the_loop_one_after_the_other(slow, turns):
    """What a handler has been like decides how many calls are made in a row: of a slow one, one."""
    monitor = EventMonitor("m")
    seen = []
    counted = 0

    def handler(event):
        seen.append(counted)
        if event.data["slow"]:
            time.sleep(0.0005)

    async def count():
        nonlocal counted
        while True:
            counted += 1
            await asyncio.sleep(0)

    monitor.register_handler("a", handler)
    for each in slow:
        await monitor.queue_event(Event("a", "test", {"slow": each == "s"}))
    counting = asyncio.ensure_future(count())
    async with monitor:
        assert await monitor.idle(30.0)
    counting.cancel()
    assert len(set(seen)) >= turns


async def test_what_is_given_up_leaves_no_place_taken():
    """R-E7, R-E3: whatever its priority; the monitor can be started again, and is as good as new."""
    got = []
    monitor = EventMonitor("m", EventMonitorConfig(max_queue_size=4))
    monitor.register_handler("a", lambda event: got.append(event.data["n"]))
    await monitor.start_monitoring()
    for n, priority in enumerate(EventPriority):
        await monitor.queue_event(Event("a", "test", {"n": n}, priority))
    assert await monitor.stop_monitoring(drain=False) == 4
    assert monitor.get_stats().queue_depth == 0
    async with monitor:
        for n in (10, 11, 12, 13):
            assert await monitor.queue_event(Event("a", "test", {"n": n}))
        assert await monitor.idle(5.0)
        assert monitor.get_stats().queue_depth == 0
    assert got == [10, 11, 12, 13]


@pytest.mark.parametrize("name", ["", " ", "a/b", "$1", None, 5])
def test_a_name_that_can_not_be_is_refused(name):
    """Bad input."""
    with pytest.raises(ValueError, match="name"):
        EventMonitor(name)


def test_a_config_of_another_kind_is_refused():
    """Bad input."""
    with pytest.raises(TypeError, match="EventMonitorConfig"):
        EventMonitor("m", {"max_queue_size": 5})
    with pytest.raises(TypeError, match="HandlerPolicy"):
        EventMonitor("m").register_handler("a", print, policy={})


async def test_a_monitor_may_serve_actors():
    """A handler may tell actors of the same system."""
    got = asyncio.Event()

    class Receiver(Actor):
        def unhandled(self, message):
            got.set()

    async with ActorSystem() as system:
        receiver = system.spawn(Receiver)
        monitor = EventMonitor("m", system=system)
        monitor.register_handler("a", receiver.tell)
        async with monitor:
            await monitor.queue_event(EVENT)
            await asyncio.wait_for(got.wait(), 5.0)
