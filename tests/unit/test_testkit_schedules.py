"""Schedules: what they decide, that they can be had again, and how a failure under one is told."""

import asyncio
import logging
from itertools import pairwise

import pytest

from telestage.actors import Actor, ActorSystem, handles
from telestage.actors.testkit import LeftBehind, Schedule, ScheduleFailed, explore, replay, run

Trace = list[object]


class Teller(Actor):
    """Notes what it does, and waits in between for some."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    @handles(int)
    async def take(self, number: int) -> int:
        self.trace.append((self.ref.name, number))
        if number % 3 == 0:
            await asyncio.sleep(number % 2)
            self.trace.append((self.ref.name, number, "woke"))
        return number


async def play(trace: Trace) -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        refs = [system.spawn(Teller, trace, name=f"t{number}") for number in range(4)]
        for number in range(1, 12):
            for ref in refs:
                ref.tell(number)
        loop.call_later(1, trace.append, "timer 1")
        loop.call_later(1, trace.append, "timer 2")
        await asyncio.gather(*(ref.ask(0, timeout=1000) for ref in refs))


def traced(schedule: Schedule | None) -> Trace:
    trace: Trace = []
    run(play(trace), schedule=schedule)
    return trace


def test_the_same_seed_gives_the_same_run_to_the_letter() -> None:
    for seed in range(30):
        first, second = Schedule(seed), Schedule(seed)
        assert traced(first) == traced(second)
        assert (first.digest, first.count) == (second.digest, second.count)


def test_recorded_choices_give_the_same_run_again_without_the_seed() -> None:
    for seed in range(30):
        first = Schedule(seed)
        trace = traced(first)
        again = Schedule(first.spelled_out())
        assert traced(again) == trace
        assert again.digest == first.digest
        assert again.spelled_out() == first.spelled_out()


def test_different_seeds_give_different_runs() -> None:
    assert len({str(traced(Schedule(seed))) for seed in range(100)}) > 70


def test_a_schedule_without_choices_is_the_ordinary_run() -> None:
    assert traced(Schedule("0/")) == traced(None)


def test_actors_ready_together_run_in_any_order_and_take_any_number_of_messages_a_turn() -> None:
    firsts, runs = set(), set()
    for seed in range(60):
        trace = [entry for entry in traced(Schedule(seed)) if isinstance(entry, tuple)]
        firsts.add(trace[0])
        runs.add(next((n for n, (one, two) in enumerate(pairwise(trace)) if one[0] != two[0]), 0))
    assert firsts == {(f"t{number}", 1) for number in range(4)}
    assert {0, 1, 2} <= runs


def test_timers_due_at_the_same_instant_change_places_and_others_never() -> None:
    orders = set()

    async def timers(seen: list[int]) -> None:
        loop = asyncio.get_running_loop()
        for number, delay in enumerate((2, 1, 2, 1)):
            loop.call_later(delay, seen.append, number)
        await asyncio.sleep(3)

    for seed in range(60):
        seen: list[int] = []
        run(timers(seen), schedule=Schedule(seed))
        orders.add(tuple(seen))
    assert orders == {(1, 3, 0, 2), (3, 1, 0, 2), (1, 3, 2, 0), (3, 1, 2, 0)}


def test_callbacks_keep_their_order_and_no_task_overtakes_one() -> None:
    """What asyncio documents of call_soon; tasks among each other change places."""
    orders = set()

    async def step(seen: list[object], name: str) -> None:
        seen.append(name)

    async def main(seen: list[object]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(seen.append, 1)
        tasks = [asyncio.create_task(step(seen, name)) for name in "ab"]
        loop.call_soon(seen.append, 2)
        tasks += [asyncio.create_task(step(seen, name)) for name in "cd"]
        loop.call_soon(seen.append, 3)
        await asyncio.sleep(0)
        assert 3 in seen  # who yields once has let all run that was there before
        await asyncio.gather(*tasks)

    for seed in range(300):
        seen: list[object] = []
        run(main(seen), schedule=Schedule(seed))
        assert [entry for entry in seen if isinstance(entry, int)] == [1, 2, 3]
        assert all(seen.index(1) < seen.index(name) for name in "abcd")
        assert all(seen.index(2) < seen.index(name) for name in "cd")
        orders.add("".join(entry for entry in seen if isinstance(entry, str)))
    assert len(orders) > 9
    assert {"abcd", "badc", "dcba"} <= orders


def test_an_ask_of_an_idle_actor_runs_at_once_or_by_the_mailbox() -> None:
    ways = set()

    async def main() -> None:
        async with ActorSystem() as system:
            trace: Trace = []
            ref = system.spawn(Teller, trace)
            asking = ref.ask(1)
            ref.tell(2)  # the ask begins later, so by now the actor isn't idle
            await asking
            await system.idle()
            asyncio.get_running_loop().call_soon(trace.append, "turn")
            await ref.ask(4)
            ways.add("turn" in trace)

    for seed in range(30):
        run(main(), schedule=Schedule(seed))
    assert ways == {True, False}


def test_a_system_takes_a_schedule_on_an_ordinary_loop_too() -> None:
    async def order(seed: int) -> tuple[object, ...]:
        trace: Trace = []
        async with ActorSystem(schedule=Schedule(seed)) as system:
            for number in range(5):
                system.spawn(Teller, trace, name=f"{number}").tell(1)
            await system.idle()
        return tuple(trace)

    orders = [asyncio.run(order(seed)) for seed in (*range(20), *range(20))]
    assert orders[:20] == orders[20:]
    assert len(set(orders)) > 5


def test_a_test_draws_from_the_schedule_and_the_failure_is_told_minimised() -> None:
    """Two of its six draws decide whether it fails; all else is put back to what happens without a schedule."""

    async def fails() -> None:
        schedule = Schedule.current()
        trace: Trace = []
        await play(trace)
        numbers = [schedule.choose(20) for _ in range(6)]
        await play(trace)
        assert sum(number > 4 for number in numbers) < 2, "too many"

    with pytest.raises(ScheduleFailed, match="too many") as failure:
        explore(fails, 1000)
    failed = failure.value
    assert failed.schedule.startswith(f"{failed.seed}/d")
    assert failed.schedule.count(":") == 2
    assert f"replay(test, {failed.schedule!r})" in str(failed)
    for way in (failed.schedule, failed.seed):
        with pytest.raises(AssertionError, match="too many"):
            replay(fails, way)


def test_a_race_that_the_ordinary_run_never_loses_is_found() -> None:
    class Account(Actor):
        """Reads, waits for somebody, and writes what it read."""

        def __init__(self) -> None:
            self.total = 0

        @handles(int)
        async def add(self, amount: int) -> int:
            self.total += amount
            return self.total

    async def lost_update() -> None:
        async with ActorSystem() as system:
            account = system.spawn(Account)

            async def deposit() -> None:
                total = await account.ask(0, expecting=int)
                await asyncio.sleep(0)
                amounts.append(total + 1)

            amounts: list[int] = []
            first = asyncio.create_task(deposit())
            second = asyncio.create_task(account.ask(10))
            await asyncio.gather(first, second)
            assert amounts == [1]

    run(lost_update())
    with pytest.raises(ScheduleFailed):
        explore(lost_update, 200)


async def test_in_a_running_loop_there_is_no_exploring() -> None:
    async def fine() -> None: ...

    with pytest.raises(RuntimeError, match="explore runs event loops of its own"):
        explore(fine, 1)
    with pytest.raises(RuntimeError, match="replay runs event loops of its own"):
        replay(fine, 1)


def test_explore_says_what_it_ran() -> None:
    async def fine() -> None:
        await play([])

    done = explore(fine, 25, seed=100)
    assert done.schedules == 25
    assert 15 < done.different <= 25
    assert done.choices > 1000
    assert done.seconds > 0


def test_what_a_test_leaves_behind_fails_it() -> None:
    async def leaves() -> None:
        asyncio.create_task(asyncio.sleep(100), name="stray")  # noqa: RUF006 - the mistake is the point

    with pytest.raises(ScheduleFailed, match="the test left behind: stray") as failure:
        explore(leaves, 5)
    assert isinstance(failure.value.__cause__, LeftBehind)


def test_what_fails_in_the_loop_and_nobody_is_told_of_fails_the_test() -> None:
    async def fails() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(1)

    with pytest.raises(ScheduleFailed, match="invalid literal for int"):
        explore(fails, 5)


def test_the_log_is_silent_but_for_the_failing_schedule(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("telestage.any")

    async def fine() -> None:
        log.warning("one line each")

    async def fails() -> None:
        log.warning("one line each")
        raise ValueError

    explore(fine, 10)
    assert caplog.messages == []
    with pytest.raises(ScheduleFailed):
        explore(fails, 10)
    assert caplog.messages == ["one line each"]


@pytest.mark.parametrize("text", ["", "x", "1/2", "1/1:1", "1/ax:1", "1/a1:", "1/a1:1;", "/a1:1"])
def test_a_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a schedule is a seed"):
        Schedule(text)


def test_there_is_a_current_schedule_only_where_there_is_one() -> None:
    async def current() -> Schedule:
        return Schedule.current()

    schedule = Schedule(5)
    assert run(current(), schedule=schedule) is schedule
    with pytest.raises(RuntimeError, match="has no schedule"):
        run(current())


pytest_plugins = ["pytester"]

MARKED = """
import asyncio, pytest
from telestage.actors.testkit import Schedule

runs = []

@pytest.mark.schedules(40, seed=7)
async def test_it(tmp_path):
    assert tmp_path.is_dir()
    runs.append(Schedule.current().seed)
    await asyncio.sleep(100)

def test_how_often():
    assert runs == list(range(7, 47))

@pytest.mark.schedules(40)
async def test_fails():
    assert Schedule.current().choose(3) != 2

@pytest.mark.virtual_time
async def test_time():
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600
"""


def test_the_marker_runs_a_test_under_so_many_schedules_and_tells_how_to_replay(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MARKED)
    options = (
        "-p",
        "telestage.actors.testkit.plugin",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "-p",
        "no:cacheprovider",
    )
    result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(passed=3, failed=1)
    line = next(
        line for line in result.outlines if "pytest --schedule=" in line
    )  # with CI set, the summary has it, too
    text = line.partition("--schedule='")[2].partition("'")[0]
    result = pytester.runpytest_inprocess(*options, "-k", "test_fails", f"--schedule={text}")
    result.assert_outcomes(failed=1, deselected=3)
    result = pytester.runpytest_inprocess(*options, "-k", "test_fails", "--schedule=0/")
    result.assert_outcomes(passed=1, deselected=3)
    result = pytester.runpytest_inprocess(*options, "-k", "test_it or often", "--schedules=3")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
