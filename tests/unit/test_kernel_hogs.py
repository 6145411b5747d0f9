"""A handler that keeps the event loop to itself is named, with its actor; one that waits isn't."""

import asyncio
import time
from types import SimpleNamespace

import msgspec
import pytest

from telestage.actors.kernel import Actor, ActorSystem, Backoff, Supervision, handles, hogs
from telestage.actors.kernel.flags import WATCHED

LIMIT = 0.01
AT_ONCE = Supervision(backoff=Backoff(first=0))


class Quick(msgspec.Struct, frozen=True):
    pass


class Slow(msgspec.Struct, frozen=True):
    pass


class SlowLater(msgspec.Struct, frozen=True):
    pass


class SlowAtFirst(msgspec.Struct, frozen=True):
    pass


class Waits(msgspec.Struct, frozen=True):
    pass


def hog() -> None:
    end = time.perf_counter() + 2 * LIMIT
    while time.perf_counter() < end:
        pass


class Worker(Actor):
    @handles(Quick)
    async def quick(self, message: Quick) -> None:
        pass

    @handles(Slow)
    def slow(self, message: Slow) -> None:
        hog()

    @handles(SlowLater)
    async def slow_later(self, message: SlowLater) -> None:
        await asyncio.sleep(0)
        hog()

    @handles(SlowAtFirst)
    async def slow_at_first(self, message: SlowAtFirst) -> None:
        hog()
        await asyncio.sleep(0)

    @handles(Waits)
    async def waits(self, message: Waits) -> None:
        await asyncio.sleep(3 * LIMIT)


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "kept the event loop" in record.getMessage()]


@pytest.mark.parametrize(
    ("message", "handler", "how"),
    [
        (Slow(), "Worker.slow", "asked"),
        (Slow(), "Worker.slow", "told"),
        (Slow(), "Worker.slow", "asked while paused"),
        (SlowLater(), "Worker.slow_later", "asked"),
        (SlowLater(), "Worker.slow_later", "told"),
        (SlowLater(), "Worker.slow_later", "asked while paused"),
        (SlowAtFirst(), "Worker.slow_at_first", "asked"),
        (SlowAtFirst(), "Worker.slow_at_first", "told"),
    ],
)
async def test_a_handler_that_keeps_the_loop_is_named_with_its_actor(
    message: object, handler: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker, name="worker")
        if how == "told":
            ref.tell(message)
            await system.idle()
        else:
            if how == "asked while paused":
                ref.pause()
                asyncio.get_running_loop().call_soon(ref.resume)
            await ref.ask(message)
        busy = system.statistics()[0].busy
        assert not getattr(ref, "flags") & WATCHED, "there is nothing to find out"  # noqa: B009 - looked at from inside
    [line] = named(caplog)
    assert line.startswith("/worker kept the event loop for 0.")
    assert line.endswith(f"handling a {type(message).__name__} in {handler}")
    assert busy >= 2 * LIMIT


async def test_what_waits_is_no_hog_and_not_busy(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem(hog_limit=60.0) as system:
        ref = system.spawn(Worker)
        for _ in range(1000):
            ref.tell(Quick())
        await ref.ask(Waits())
        busy = system.statistics()[0].busy
        assert system.statistics()[0].processed == 1001
    assert not named(caplog)
    assert busy > 0


async def test_in_a_batch_the_culprit_is_found_out_the_next_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a batch doesn't tell which of its messages took it, so the next ones are timed one by one."""
    monkeypatch.setattr(hogs, "_LOG_INTERVAL", 0.0)  # else the second line would wait for a second
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker, name="worker")
        for message in (Quick(), Slow(), Quick()):
            ref.tell(message)
        await ref.ask(Quick())
        [line] = named(caplog)
        assert line.endswith("one of them a Quick; the next time it is told which")
        caplog.clear()
        for message in (Quick(), Slow(), Quick()):
            ref.tell(message)
        await ref.ask(Quick())
        [line] = named(caplog)
        assert line.endswith("handling a Slow in Worker.slow")


@pytest.mark.parametrize("messages", [(Waits(), Slow()), (Slow(), Waits()), (Waits(), Slow(), Waits())])
@pytest.mark.parametrize("priority", [0, 1])
async def test_who_waits_is_not_blamed_for_the_others_of_its_batch(
    messages: tuple[object, ...], priority: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has waited goes on in a step of its Task, which ends when the next one waits, or with the batch."""
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker)
        for message in messages:
            ref.tell(message, priority=priority)
        await system.idle()
    [line] = named(caplog)
    assert line.endswith("handling messages, one of them a Waits; the next time it is told which")


@pytest.mark.parametrize(
    ("message", "handler"), [(SlowLater(), "Worker.slow_later"), (SlowAtFirst(), "Worker.slow_at_first")]
)
@pytest.mark.parametrize("priority", [0, 1])
async def test_a_culprit_that_waits_is_found_out_though_others_wait_behind_it(
    message: object, handler: str, priority: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hogs, "_LOG_INTERVAL", 0.0)
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker)
        for each in (Quick(), message, Quick(), message, Quick()):
            ref.tell(each, priority=priority)
        await system.idle()
    first, second = named(caplog)
    assert first.endswith("the next time it is told which")
    assert second.endswith(f"handling a {type(message).__name__} in {handler}")


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ((Slow(),), "starting, stopping or handling messages"),
        ((Waits(), Slow()), "handling messages, one of them a Waits"),
    ],
)
async def test_what_is_handled_right_after_a_hook_is_not_named_before_it_is_known(
    messages: tuple[object, ...], what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook has waited, and the first messages are handled in the step that goes on after it."""

    class Starts(Worker):
        async def started(self) -> None:
            pass

    monkeypatch.setattr(hogs, "_LOG_INTERVAL", 0.0)
    async with ActorSystem(hog_limit=LIMIT, supervision=AT_ONCE) as system:
        ref = system.spawn(Starts)
        for _ in range(2):
            for message in messages:
                ref.tell(message)
            await system.idle()
        ref.kill()
        ref.tell(Slow())
        await system.idle()
    first, second, restarted = named(caplog)
    assert first.endswith(f" s, {what}; the next time it is told which")
    assert second.endswith("handling a Slow in Worker.slow")
    assert restarted.endswith(" s, starting, stopping or handling messages; the next time it is told which")


async def test_of_a_handler_that_has_put_its_message_aside_no_other_one_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class PutsAside(Worker):
        @handles(SlowLater)
        async def slow_later(self, message: SlowLater) -> None:
            self.stash()
            await super().slow_later(message)

    async with ActorSystem(hog_limit=LIMIT) as system:
        system.spawn(PutsAside).tell(SlowLater())
        await system.idle()
    [line] = named(caplog)
    assert line.endswith(" s, handling a message that it has handed on or put aside")


async def test_a_hog_is_told_of_once_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is one; the next line says how often that was."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(hogs, "monotonic", lambda: clock.now)
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker)
        for times in (3, 2, 1):
            for _ in range(times):
                await ref.ask(Slow())
            clock.now += 1.0
    first, second, third = named(caplog)
    assert " s, handling a Slow" in first
    assert " s (one of 3 times), handling a Slow" in second
    assert " s (one of 2 times), handling a Slow" in third


async def test_an_actor_is_watched_for_a_thousand_messages_only(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker)
        for message in (Quick(), Slow(), Quick()):
            ref.tell(message)
        await ref.ask(Quick())
        for _ in range(1100):
            ref.tell(Quick())
        await ref.ask(Quick())
        assert getattr(ref, "flags") == 0  # noqa: B009 - looked at from inside on purpose
        assert system.statistics()[0].processed == 1105


def test_the_limit_must_be_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="hog_limit must be more than 0 seconds, not 0"):
        ActorSystem(hog_limit=0)
