"""A handler that keeps the event loop to itself is named, with its actor; one that waits isn't."""

import asyncio
import time

import msgspec
import pytest

from telestage.actors.kernel import Actor, ActorSystem, handles, hogs

LIMIT = 0.01


class Quick(msgspec.Struct, frozen=True):
    pass


class Slow(msgspec.Struct, frozen=True):
    pass


class SlowLater(msgspec.Struct, frozen=True):
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

    @handles(Waits)
    async def waits(self, message: Waits) -> None:
        await asyncio.sleep(3 * LIMIT)


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "kept the event loop" in record.getMessage()]


@pytest.mark.parametrize(("message", "handler"), [(Slow(), "Worker.slow"), (SlowLater(), "Worker.slow_later")])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_handler_that_keeps_the_loop_is_named_with_its_actor(
    message: object, handler: str, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(hog_limit=LIMIT) as system:
        ref = system.spawn(Worker, name="worker")
        if not at_once:
            ref.pause()
            asyncio.get_running_loop().call_soon(ref.resume)
        await ref.ask(message)
        busy = system.statistics()[0].busy
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
        assert line.endswith("the last one a Quick; the next time it is told which")
        caplog.clear()
        for message in (Quick(), Slow(), Quick()):
            ref.tell(message)
        await ref.ask(Quick())
        [line] = named(caplog)
        assert line.endswith("handling a Slow in Worker.slow")


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
