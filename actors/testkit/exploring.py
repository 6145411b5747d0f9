"""Runs a test under many schedules in virtual time, and tells the first that fails so that it can be had again.

Invariants:
- Schedules are numbered by their seeds: the same call runs the same ones, each in a fresh event loop.
- A schedule fails if the test raises, leaves a task behind, or something in the loop failed that nobody was told of.
- What fails is run again before it is told, minimised: choices that the failure doesn't need are put back to
  what happens without a schedule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from telestage.actors.testkit.schedule import Choices, Schedule
from telestage.actors.testkit.virtual import VirtualTimeLoop

__all__ = ["Exploration", "LeftBehind", "ScheduleFailed", "explore", "replay"]

_GRACE = 1.0  # seconds, of virtual time, in which what is ending may end

Test = Callable[[], Coroutine[object, object, object]]


class LeftBehind(AssertionError):
    """A test ended, and tasks of it did not, or something in its loop failed and nobody was told."""


class ScheduleFailed(AssertionError):
    """A test failed under a schedule; `__cause__` is how.

    `seed` is the schedule's, `schedule` the text of the least of it that still fails, to be given to `replay`.
    """

    def __init__(self, seed: int, schedule: str, number: int, count: int, minimised: int, error: BaseException) -> None:
        super().__init__(
            f"{type(error).__name__} under schedule {seed} (number {number}): {error}\n"
            f"It made {count} choices; minimised, {minimised} of them matter. To have it again:\n"
            f"  replay(test, {schedule!r})   or, as it was found, replay(test, {seed})\n"
            f"  pytest --schedule={schedule!r}   with the test's name"
        )
        self.seed = seed
        self.schedule = schedule


class Exploration(NamedTuple):
    """What was run: so many schedules, so many of them different in what they chose, in so many seconds."""

    schedules: int
    different: int
    choices: int
    seconds: float


def explore(test: Test, schedules: int = 1000, *, seed: int = 0, attempts: int = 300) -> Exploration:
    """Runs `test` under `schedules` schedules in virtual time, and stops at the first that fails.

    The log of what lives under "telestage" is silent meanwhile. The failing schedule is run once more with it.

    Args:
        test: Makes the coroutine, anew for each schedule. It may draw choices of its own from `Schedule.current()`.
        seed: Of the first schedule; the others have the numbers that follow. The same seed runs the same schedules.
        attempts: Runs that minimising a failure may take. 0: it is told as it was found.

    Raises:
        ScheduleFailed: The test failed under one.
        RuntimeError: It is called in a running event loop, beside which no other can run.
    """
    _refuse_in_a_loop("explore")
    began = perf_counter()
    digests: set[int] = set()
    choices = 0
    with _quiet():
        for number in range(schedules):
            schedule = Schedule(seed + number)
            error = _attempt(test, schedule)
            digests.add(schedule.digest)
            choices += schedule.count
            if error is not None:
                least = _minimised(test, schedule, error, attempts)
                break
        else:
            return Exploration(schedules, len(digests), choices, perf_counter() - began)
    last = Schedule(least) if least is not None else Schedule(schedule.seed)
    error = _attempt(test, last) or error
    text = str(schedule.seed) if least is None else least
    raise ScheduleFailed(schedule.seed, text, number + 1, schedule.count, len(last.choices), error) from error


def replay(test: Test, schedule: int | str) -> None:
    """Runs `test` once, as a failed `explore` says how.

    Raises:
        Exception: What the test raised.
        LeftBehind: It left something behind.
        RuntimeError: It is called in a running event loop.
    """
    _refuse_in_a_loop("replay")
    error = _attempt(test, Schedule(schedule))
    if error is not None:
        raise error


def _refuse_in_a_loop(what: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{what} runs event loops of its own: call it in a plain function, not in a running loop")


def _attempt(test: Test, schedule: Schedule) -> Exception | None:
    loop = VirtualTimeLoop(schedule)
    unseen: list[str] = []
    loop.set_exception_handler(lambda _, context: unseen.append(_told(context)))
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_attended(test))
    except Exception as error:
        return error
    return LeftBehind("; ".join(unseen)) if unseen else None


async def _attended(test: Test) -> None:
    await test()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_GRACE)
    if left:
        raise LeftBehind(f"the test left behind: {', '.join(sorted(task.get_name() for task in left))}")


def _told(context: Mapping[str, object]) -> str:
    error = context.get("exception")
    return str(context.get("message")) + (f": {error!r}" if error is not None else "")


def _minimised(test: Test, schedule: Schedule, error: Exception, attempts: int) -> str | None:
    """The text of the least schedule found that fails in the same way; None if the choices don't bring it back."""

    def fails(choices: Choices) -> Schedule | None:
        nonlocal attempts
        if attempts <= 0:
            return None
        attempts -= 1
        candidate = Schedule.of(schedule.seed, choices)
        return candidate if type(_attempt(test, candidate)) is type(error) else None

    least = fails(schedule.choices)
    if least is None:
        return None

    def without(dropped: Iterable[tuple[str, int]]) -> bool:
        nonlocal least
        assert least is not None
        gone = set(dropped)
        smaller = fails({key: choice for key, choice in least.choices.items() if key not in gone})
        if smaller is None or len(smaller.choices) >= len(least.choices):
            return False
        least = smaller
        return True

    for kind in sorted({kind for kind, _ in least.choices}):
        without(key for key in least.choices if key[0] == kind)
    size = len(least.choices) // 2
    while size and attempts > 0:
        start, shorter = 0, False
        while start < len(keys := list(least.choices)) and attempts > 0:
            if without(keys[start : start + size]):
                shorter = True
            else:
                start += size
        if size > 1 or not shorter:
            size //= 2
    return least.spelled_out()


@contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("telestage")
    was = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(was)
