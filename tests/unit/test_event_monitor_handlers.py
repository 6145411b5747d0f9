"""What becomes of an event: handlers, retries, failures, the breaker."""

import asyncio
import enum
import functools
import itertools
import logging

import pytest

from telestage.actors import (
    Backoff,
    BreakerState,
    Event,
    EventMonitor,
    EventMonitorConfig,
    EventPriority,
    FatalError,
    HandlerPolicy,
    RetryableError,
    UnknownEventType,
)
from telestage.actors.monitoring.handler import Handler

SOON = Backoff(first=0.01, jitter=0.0)


class Alert(enum.Enum):
    LOW_FUEL = "low_fuel"
    ARRIVED = "arrived"


def handler_of(monitor, place=0):
    return monitor.get_stats().handlers[place]


async def give(monitor, *events):
    """Queues the events and waits until all have been handled."""
    for event in events:
        assert await monitor.queue_event(Event(event, "test") if isinstance(event, str) else event)
    assert await monitor.idle(10.0)


async def test_an_event_reaches_every_handler_of_its_type_plain_and_async():
    """R-E2: many a type, mixed."""
    got = []

    def note(name, event):
        got.append((name, event.data["n"]))

    async def slow(event):
        await asyncio.sleep(0)
        note("slow", event)

    class Callable:
        async def __call__(self, event):
            got.append(("object", event.data["n"]))

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", lambda event: got.append(("plain", event.data["n"])))
        monitor.register_handler("a", slow)
        monitor.register_handler("a", Callable())
        monitor.register_handler(
            "a", functools.partial(lambda name, event: got.append((name, event.data["n"])), "part")
        )
        monitor.register_handler("b", lambda event: got.append("of another type"))
        await give(monitor, Event("a", "test", {"n": 1}), Event("a", "test", {"n": 2}))
    for n in (1, 2):
        assert {name for name, number in got if number == n} == {"plain", "slow", "object", "part"}
    assert [number for _, number in got] == [1] * 4 + [2] * 4
    assert monitor.get_stats().processed == 2


async def test_the_handlers_of_one_event_run_concurrently():
    """R-E2: each waits for all the others to have begun."""
    barrier = asyncio.Barrier(10)

    async def meet(number, event):
        await barrier.wait()

    async with EventMonitor("m") as monitor:
        for number in range(10):
            monitor.register_handler("a", functools.partial(meet, number))
        await give(monitor, "a", "a")
        assert monitor.get_stats().processed == 2
        assert [handler.successes for handler in monitor.get_stats().handlers] == [2] * 10


async def test_a_plain_handler_that_returns_an_awaitable_has_it_awaited():
    """R-E2: at the first call, and when its calls are made in one loop."""
    got = []

    async def work(event):
        got.append(event.data["n"])

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", lambda event: work(event))
        await give(monitor, *(Event("a", "test", {"n": n}) for n in range(100)))
        monitor.register_handler("b", lambda event: asyncio.ensure_future(work(event)))
        await give(monitor, *(Event("b", "test", {"n": n}) for n in range(100, 110)))
    assert got == list(range(110))


@pytest.mark.parametrize(
    "handler", [None, "print", 5, Alert, lambda: None, lambda a, b: None, lambda *, event: None, map], ids=repr
)
async def test_what_can_not_be_called_with_an_event_is_refused_when_registered(handler):
    """R-E2: with an error that says why."""
    with pytest.raises(TypeError, match="handler"):
        EventMonitor("m").register_handler("a", handler)


async def test_a_generator_is_no_handler():
    """R-E2."""

    async def generator(event):
        yield event

    with pytest.raises(TypeError, match="yields"):
        EventMonitor("m").register_handler("a", generator)


@pytest.mark.parametrize("event_type", [None, "", " ", 5, Alert])
async def test_an_event_type_is_a_name_or_a_member_of_an_enum(event_type):
    """R-E1."""
    with pytest.raises(TypeError, match="event type"):
        EventMonitor("m").register_handler(event_type, print)


@pytest.mark.parametrize("types", [Alert, ("low_fuel", "arrived")])
async def test_a_monitor_that_knows_its_types_takes_no_other(types):
    """R-E1: neither a handler nor an event."""
    got = []
    async with EventMonitor("m", EventMonitorConfig(event_types=types)) as monitor:
        monitor.register_handler(Alert.LOW_FUEL, got.append)
        await give(monitor, Event(Alert.LOW_FUEL, "test"), "low_fuel", "low_fuel", "arrived")
        assert await monitor.queue_event(Event("arrived", "test"))  # the monitor is at it now
        with pytest.raises(UnknownEventType, match="landed"):
            await monitor.queue_event(Event("landed", "test"))
        with pytest.raises(UnknownEventType, match="'arrived', 'low_fuel'"):
            monitor.register_handler("landed", got.append)
        assert await monitor.idle(5.0)
        assert len(got) == 3
        assert monitor.get_stats().unhandled == 2
        assert monitor.get_stats().accepted == 5


async def test_what_is_no_event_is_refused():
    """R-E1."""
    async with EventMonitor("m") as monitor:
        with pytest.raises(TypeError, match="Event"):
            await monitor.queue_event("low_fuel")
        assert monitor.get_stats().accepted == 0


async def test_a_handler_registered_again_is_replaced_not_doubled():
    """R-M1, R-E4: it begins anew, enabled."""
    calls = []

    def bad(event):
        calls.append(event)
        raise FatalError("broken")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad)
        await give(monitor, "a", "a")
        assert handler_of(monitor).disabled == "FatalError: broken"
        monitor.register_handler("a", bad)
        assert len(monitor.get_stats().handlers) == 1
        assert handler_of(monitor).disabled is None
        assert handler_of(monitor).calls == 0
        await give(monitor, "a")
    assert len(calls) == 2


async def test_a_handler_taken_away_is_called_no_more_and_the_others_are():
    """R-M2: in the middle of a long run of events, too."""
    got = []

    def first(event):
        got.append("first")
        if len(got) == 150:
            assert monitor.unregister_handler("a", first)
            assert not monitor.unregister_handler("a", first)
            monitor.register_handler("a", second)

    def second(event):
        got.append("second")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", first)
        await give(monitor, *["a"] * 300)
    assert got == ["first"] * 150 + ["second"] * 150


async def test_an_error_is_logged_with_its_traceback_and_ends_nothing(caplog):
    """R-M3, R-E7: the next event is handled."""
    got = []

    def bad(event):
        got.append(event.data["n"])
        if event.data["n"] == 50:
            raise LookupError("in the handler")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad)
        await give(monitor, *(Event("a", "test", {"n": n}) for n in range(100)))
        stats = monitor.get_stats()
    assert got == list(range(100))
    assert (stats.processed, stats.failed) == (99, 1)
    (record,) = caplog.records
    assert record.exc_info[0] is LookupError
    assert "bad" in record.getMessage()


async def test_a_handler_that_cancels_itself_has_failed_and_ends_nothing():
    """R-E7: a CancelledError nobody asked for."""

    async def bad(event):
        raise asyncio.CancelledError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad)
        await give(monitor, "a")
        monitor.register_handler("a", lambda event: None)
        await give(monitor, "a")
        assert monitor.get_stats().failed == 2
        assert monitor.get_stats().processed == 0
        assert [handler.successes for handler in monitor.get_stats().handlers] == [0, 1]
        assert "CancelledError" in handler_of(monitor).last_failure


async def test_one_handler_of_an_event_that_fails_leaves_the_others_alone():
    """R-M2, R-E4."""
    got = []

    async def bad(event):
        raise LookupError

    async def good(event):
        await asyncio.sleep(0)
        got.append(event)

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad)
        monitor.register_handler("a", good)
        await give(monitor, *["a"] * 10)
        bad_one, good_one = monitor.get_stats().handlers
        assert (bad_one.failures, bad_one.skipped, good_one.successes) == (3, 7, 10)
        assert monitor.get_stats().failed == 10
    assert len(got) == 10


async def test_a_retryable_error_is_retried_with_backoff_until_it_succeeds():
    """R-E4: it isn't a failure then."""
    times = []

    async def late(event):
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise RetryableError("not yet")

    async with EventMonitor("m", EventMonitorConfig(retry_backoff=SOON)) as monitor:
        monitor.register_handler("a", late)
        await give(monitor, "a")
        assert (handler_of(monitor).calls, handler_of(monitor).retries) == (4, 3)
        assert (handler_of(monitor).successes, handler_of(monitor).failures) == (1, 0)
        assert monitor.get_stats().processed == 1
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0.01, 0.02, 0.04), strict=True))


async def test_a_retryable_error_that_stays_is_one_failure_in_the_end():
    """R-E4."""
    policy = HandlerPolicy(max_retries=2, retry_backoff=SOON)

    def never(event):
        raise RetryableError("not yet")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", never, policy=policy)
        await give(monitor, "a")
        assert (handler_of(monitor).calls, handler_of(monitor).retries, handler_of(monitor).failures) == (3, 2, 1)
        assert monitor.get_stats().failed == 1
        assert handler_of(monitor).consecutive_failures == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("first_fails", [True, False])
async def test_an_event_that_several_handlers_want_again_is_counted_once_by_how_all_of_them_ended(first_fails):
    """R-E4, R-E6: failed if one of them failed, whichever came to its end first."""
    asked = []

    def sooner(event):
        asked.append("sooner")
        if first_fails or asked.count("sooner") == 1:
            raise RetryableError

    def later(event):
        asked.append("later")
        if not first_fails or asked.count("later") == 1:
            raise RetryableError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", sooner, policy=HandlerPolicy(max_retries=1, retry_backoff=SOON))
        slow = Backoff(first=5.0, jitter=0.0)
        monitor.register_handler("a", later, policy=HandlerPolicy(max_retries=1, retry_backoff=slow))
        await monitor.queue_event(Event("a", "test"))
        await asyncio.sleep(1.0)
        assert (monitor.get_stats().failed, monitor.get_stats().processed, monitor.get_stats().queue_depth) == (0, 0, 1)
        assert await monitor.idle(10.0)
        assert asked == ["sooner", "later"] * 2
        assert (monitor.get_stats().failed, monitor.get_stats().processed, monitor.get_stats().accepted) == (1, 0, 1)


async def test_a_handler_that_takes_itself_away_is_not_called_again():
    """R-E4: though it asks for it, and would be at once."""
    calls = []

    def handler(event):
        calls.append(event)
        monitor.unregister_handler("a", handler)
        raise RetryableError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=HandlerPolicy(keep_order=True, retry_backoff=SOON))
        await give(monitor, "a", "a")
    assert len(calls) == 1
    assert (monitor.get_stats().failed, monitor.get_stats().unhandled) == (1, 1)


async def test_others_do_not_wait_while_a_retry_is_due():
    """R-M2: neither the event's other handlers nor later events."""
    got = []
    go_on = asyncio.Event()

    async def late(event):
        if not go_on.is_set():
            raise RetryableError("not yet")
        got.append("late")

    async with EventMonitor("m", EventMonitorConfig(retry_backoff=SOON, max_retries=1000)) as monitor:
        monitor.register_handler("a", late)
        monitor.register_handler("a", lambda event: got.append("same event"))
        monitor.register_handler("b", lambda event: (got.append("later event"), go_on.set()))
        await give(monitor, "a", "b")
        assert got == ["same event", "later event", "late"]
        assert monitor.get_stats().processed == 2


async def test_an_event_whose_retry_is_due_waits_and_keeps_its_place():
    """R-E3, R-E6."""
    config = EventMonitorConfig(max_queue_size=1, retry_backoff=Backoff(first=5.0))
    async with EventMonitor("m", config) as monitor:
        tried = asyncio.Event()

        def late(event):
            tried.set()
            raise RetryableError("not yet")

        monitor.register_handler("a", late)
        await monitor.queue_event(Event("a", "test"))
        await tried.wait()
        assert monitor.get_stats().queue_depth == 1
        assert await monitor.queue_event(Event("a", "test")) is False
        assert await monitor.stop_monitoring(drain=False) == 1
        assert monitor.get_stats().discarded == 1


async def test_with_keep_order_later_events_wait_for_the_retry():
    """R-M5."""
    got = []
    tries = []

    async def late(event):
        tries.append(event.data["n"])
        if event.data["n"] == 0 and len(tries) < 3:
            raise RetryableError("not yet")
        got.append(event.data["n"])

    async with EventMonitor("m", EventMonitorConfig(retry_backoff=SOON, keep_order=True)) as monitor:
        monitor.register_handler("a", late)
        await give(monitor, *(Event("a", "test", {"n": n}) for n in range(5)))
    assert got == [0, 1, 2, 3, 4]
    assert tries == [0, 0, 0, 1, 2, 3, 4]


async def test_a_fatal_error_disables_that_handler_alone():
    """R-E4: at once, and it says why."""
    got = []

    def dead(event):
        raise FatalError("no such table")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", dead)
        monitor.register_handler("a", got.append)
        await give(monitor, "a", "a", "a")
        dead_one, good_one = monitor.get_stats().handlers
        assert (dead_one.calls, dead_one.disabled) == (1, "FatalError: no such table")
        assert (good_one.successes, good_one.disabled) == (3, None)
        assert (monitor.get_stats().failed, monitor.get_stats().processed) == (1, 2)


async def test_the_fifth_failure_within_the_interval_disables_the_handler():
    """R-E4: the breaker set aside; the default is five in five minutes."""
    policy = HandlerPolicy(breaker_failures=None)
    fails = [True, True, False, True, True, False, True]

    def bad(event):
        if fails.pop(0):
            raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad, policy=policy)
        await give(monitor, *["a"] * 6)
        assert handler_of(monitor).disabled is None
        assert handler_of(monitor).failures == 4
        await give(monitor, "a", "a", "a")
        assert handler_of(monitor).disabled == "5 failures within 300 s"
        assert (handler_of(monitor).calls, monitor.get_stats().unhandled) == (7, 2)


async def test_failures_older_than_the_interval_do_not_count():
    """R-E4."""
    policy = HandlerPolicy(breaker_failures=None, max_handler_failures=2, failure_reset_interval=0.02)

    def bad(event):
        raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad, policy=policy)
        for _ in range(4):
            await give(monitor, "a")
            await asyncio.sleep(0.03)  # longer than the interval
        assert handler_of(monitor).disabled is None
        await give(monitor, "a", "a")
        assert handler_of(monitor).disabled == "2 failures within 0.02 s"


@pytest.mark.parametrize(("seconds", "counts"), [(9.99, True), (10.0, True), (10.01, False)])
def test_a_failure_counts_until_its_interval_is_over(seconds, counts):
    """R-E4: one that is exactly as old counts still."""
    policy = HandlerPolicy(max_handler_failures=2, failure_reset_interval=10.0)
    handler = Handler("m", "a", print, policy)
    handler.failed(LookupError(), 100.0)
    handler.failed(LookupError(), 100.0 + seconds)
    assert (handler.disabled is not None) == counts


async def test_the_breaker_opens_after_three_failures_in_a_row_and_one_trial_closes_it():
    """R-E5: what it keeps from the handler is counted."""
    works = False
    calls = []

    def handler(event):
        calls.append(event)
        if not works:
            raise LookupError

    policy = HandlerPolicy(breaker_seconds=0.05, max_handler_failures=None)
    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=policy)
        await give(monitor, *["a"] * 5)
        stats = handler_of(monitor)
        assert (len(calls), stats.skipped, stats.breaker) == (3, 2, BreakerState.OPEN)
        await asyncio.sleep(0.06)  # longer than it stays open
        assert handler_of(monitor).breaker is BreakerState.HALF_OPEN
        await give(monitor, "a", "a")  # the trial fails: open again, at once
        assert len(calls) == 4
        assert handler_of(monitor).breaker is BreakerState.OPEN
        works = True
        await asyncio.sleep(0.06)
        await give(monitor, "a", "a")
        assert len(calls) == 6
        assert handler_of(monitor).breaker is BreakerState.CLOSED
        assert handler_of(monitor).consecutive_failures == 0


async def test_a_success_between_failures_keeps_the_breaker_closed():
    """R-E5: in a row, it says."""
    fails = [True, True, False] * 5

    def handler(event):
        if fails.pop(0):
            raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=HandlerPolicy(max_handler_failures=None))
        await give(monitor, *["a"] * 15)
        assert (handler_of(monitor).calls, handler_of(monitor).failures, handler_of(monitor).skipped) == (15, 10, 0)
        assert handler_of(monitor).success_rate == pytest.approx(1 / 3)


async def test_failures_in_a_row_are_counted_so_of_a_handler_known_to_be_quick():
    """R-E5: a success in between ends the row."""
    fails = ([False] * 30 + [True, True]) * 4

    def handler(event):
        if fails.pop(0):
            raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=HandlerPolicy(max_handler_failures=None))
        await give(monitor, *["a"] * len(fails))
        assert (handler_of(monitor).failures, handler_of(monitor).skipped) == (8, 0)
        assert handler_of(monitor).consecutive_failures == 2


async def test_a_trial_that_asks_to_be_made_again_opens_the_breaker_again():
    """R-E5: one trial is one call."""
    policy = HandlerPolicy(breaker_failures=1, breaker_seconds=0.05, max_handler_failures=None)
    errors = [LookupError(), RetryableError("not yet"), LookupError()]

    def handler(event):
        raise errors.pop(0)

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=policy)
        await give(monitor, "a")
        await asyncio.sleep(0.06)  # longer than it stays open
        await give(monitor, "a")
        assert (handler_of(monitor).calls, handler_of(monitor).retries) == (2, 0)
        assert handler_of(monitor).breaker is BreakerState.OPEN


async def test_a_handler_added_or_replaced_in_the_middle_of_a_run_gets_the_next_event():
    """R-E2, R-M1: though the one there is is known to be quick."""
    got = []

    def first(event):
        got.append("first")
        if len(got) == 50:
            monitor.register_handler("a", first)
        if len(got) == 100:
            monitor.register_handler("a", second)

    def second(event):
        got.append("second")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", first)
        await give(monitor, *["a"] * 110)
        first_one, second_one = monitor.get_stats().handlers
        assert (first_one.calls, second_one.calls) == (60, 10)


async def test_a_disabled_handler_stays_so_when_it_is_left_alone():
    """R-E4."""

    def dead(event):
        if dead.calls >= 20:
            raise FatalError("no such table")
        dead.calls += 1

    dead.calls = 0
    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", dead)
        await give(monitor, *["a"] * 21)
        monitor.register_handler("a", print)
        monitor.unregister_handler("a", print)
        await give(monitor, "a")
        assert (handler_of(monitor).calls, monitor.get_stats().unhandled) == (21, 1)


async def test_an_open_breaker_keeps_events_from_a_handler_once_known_to_be_quick():
    """R-E5: also when another one of its type has come and gone."""
    fails = [False] * 30 + [True] * 3 + [False] * 9

    def handler(event):
        if fails.pop(0):
            raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler)
        await give(monitor, *["a"] * 33)
        monitor.register_handler("a", print)
        monitor.unregister_handler("a", print)
        await give(monitor, *["a"] * 5)
        assert (handler_of(monitor).calls, handler_of(monitor).skipped, monitor.get_stats().failed) == (33, 5, 8)


async def test_a_handler_known_to_be_quick_has_its_timeout_all_the_same():
    """R-E4, R-D3."""

    async def handler(event):
        if event.type == "a" and handler.hangs:
            await asyncio.Event().wait()

    handler.hangs = False
    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler, policy=HandlerPolicy(timeout=0.05))
        await give(monitor, *["a"] * 50)
        handler.hangs = True
        await give(monitor, "a")
        assert "TimeoutError" in handler_of(monitor).last_failure


async def test_a_call_past_its_timeout_is_cancelled_and_has_failed():
    """R-E4, R-D3."""
    cancelled = []

    async def hang(event):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(event)
            raise

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", hang, policy=HandlerPolicy(timeout=0.01))
        await give(monitor, "a")
        assert len(cancelled) == 1
        assert "TimeoutError" in handler_of(monitor).last_failure
        assert monitor.get_stats().failed == 1


async def test_the_statistics_of_a_handler_add_up():
    """R-E6: calls, successes, failures, the last failure, latency."""

    async def handler(event):
        await asyncio.sleep(event.data["seconds"])
        if event.data["fails"]:
            raise LookupError("why")

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler)
        assert handler_of(monitor).success_rate is None
        assert handler_of(monitor).mean_latency == 0.0
        for seconds, fails in ((0.0, False), (0.03, False), (0.0, True)):
            await give(monitor, Event("a", "test", {"seconds": seconds, "fails": fails}))
        stats = handler_of(monitor)
    assert (stats.calls, stats.successes, stats.failures, stats.consecutive_failures) == (3, 2, 1, 1)
    assert stats.success_rate == pytest.approx(2 / 3)
    assert stats.last_failure == "LookupError: why"
    assert stats.last_failure_at is not None
    assert 0.03 <= stats.max_latency < 5.0
    assert 0.01 <= stats.mean_latency < stats.max_latency


async def test_the_latency_of_quick_calls_is_their_mean_and_a_slow_one_among_them_is_seen():
    """R-E6: calls that are timed together."""
    loop_ = asyncio.get_running_loop()

    def handler(event):
        until = loop_.time() + event.data.get("seconds", 0.0)
        while loop_.time() < until:
            pass

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler)
        await give(monitor, *["a"] * 500)
        quick = handler_of(monitor)
        assert quick.calls == quick.successes == 500
        assert 0.0 < quick.mean_latency <= quick.max_latency
        await give(monitor, *["a"] * 10, Event("a", "test", {"seconds": 0.05}), *["a"] * 10)
        assert handler_of(monitor).max_latency >= 0.05
        assert handler_of(monitor).calls == 521


async def test_a_handler_may_look_at_the_statistics_in_the_middle_of_a_run():
    """R-E6: they are exact at any instant."""
    seen = []

    async def handler(event):
        if event.data["suspends"]:
            await asyncio.sleep(0)
        stats = monitor.get_stats()
        seen.append((stats.processed, stats.running, stats.queue_depth, stats.handlers[0].calls))

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", handler)
        await give(monitor, *(Event("a", "test", {"suspends": n % 17 == 0}) for n in range(200)))
    assert seen == [(n, 1, 199 - n, n) for n in range(200)]


async def test_events_of_several_types_and_priorities_reach_their_own_handlers_in_order():
    """R-E1: more urgent ones first, equals as they came."""
    got = []
    monitor = EventMonitor("m")
    for name in "abc":
        monitor.register_handler(name, lambda event, name=name: got.append((name, event.data["n"])))
    given = []
    for n in range(300):
        event = Event("aaabc"[n % 5], "test", {"n": n}, EventPriority(n * 7 % 4))
        given.append(event)
        await monitor.queue_event(event)
    async with monitor:
        assert await monitor.idle(10.0)
    given.sort(key=lambda event: -event.priority)
    assert got == [(event.type, event.data["n"]) for event in given]


async def test_the_log_names_the_consequence_of_a_failure(caplog):
    """R-E4, R-E5."""

    def bad(event):
        raise LookupError

    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad)
        await give(monitor, "a", "a", "a")
    assert "breaker is open for 60 s" in caplog.records[-1].getMessage()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    caplog.clear()
    async with EventMonitor("m") as monitor:
        monitor.register_handler("a", bad, policy=HandlerPolicy(max_handler_failures=2))
        await give(monitor, "a", "a")
    assert "failed; disabled" in caplog.records[-1].getMessage()
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
