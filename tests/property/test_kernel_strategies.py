"""A supervisor against a model of OTP's, and restarts of siblings together under random failures."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from telestage.actors.kernel import (
    Actor,
    ActorError,
    ActorSystem,
    Backoff,
    ChildKind,
    Ref,
    Strategy,
    Supervision,
    handles,
)

TOGETHER = [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]
FAIL, LEAVE, STOP = "fail", "leave", "stop"


class Event(NamedTuple):
    child: int
    what: str


class Otp:
    """`supervisor.erl` on lists: what leaves and starts, in which order, until too many restarts end it all.

    It differs as docs/decisions/0005 says: one-for-one each child has a budget, a child that was stopped
    for good stays so, and stopping a child from outside is `terminate_child`, which is no exit.
    """

    def __init__(self, strategy: Strategy, kinds: list[ChildKind], intensity: int) -> None:
        self.strategy, self.kinds, self.intensity = strategy, kinds, intensity
        self.living = list(range(len(kinds)))
        self.used: dict[int | None, int] = {}
        self.trace: list[tuple[str, int]] = []
        self.ended = False

    def exits(self, child: int, what: str) -> None:
        if self.ended or child not in self.living:
            return
        kind = self.kinds[child]
        abnormal = what == FAIL
        if what == STOP or kind is ChildKind.TEMPORARY or (kind is ChildKind.TRANSIENT and not abnormal):
            self.trace.append(("stopped", child))
            self.living.remove(child)
            return
        budget = child if self.strategy is Strategy.ONE_FOR_ONE else None
        if self.used.get(budget, 0) >= self.intensity:
            self.ended = True
            return
        self.used[budget] = self.used.get(budget, 0) + 1
        together = {
            Strategy.ONE_FOR_ONE: [child],
            Strategy.REST_FOR_ONE: [each for each in self.living if each >= child],
            Strategy.ONE_FOR_ALL: list(self.living),
        }[self.strategy]
        for each in reversed(together):
            gone = self.kinds[each] is ChildKind.TEMPORARY
            self.trace.append(("stopped" if gone else "left", each))
            if gone:
                self.living.remove(each)
        self.trace += [("started", each) for each in together if each in self.living]


class Child(Actor):
    def __init__(self, number: int, trace: list[tuple[str, int]]) -> None:
        self.number, self.trace = number, trace

    async def started(self) -> None:
        self.trace.append(("started", self.number))

    async def restarting(self, error: BaseException) -> None:
        self.trace.append(("left", self.number))

    async def stopped(self) -> None:
        self.trace.append(("stopped", self.number))

    @handles(str)
    def take(self, what: str) -> None:
        if what == FAIL:
            raise ValueError
        self.stop()


async def play(
    strategy: Strategy, kinds: list[ChildKind], intensity: int, events: list[Event], model: Otp
) -> list[tuple[str, int]]:
    trace: list[tuple[str, int]] = []
    refs: list[Ref] = []

    class Parent(Actor):
        supervision = Supervision(strategy=strategy, intensity=intensity, backoff=Backoff(first=0), period=3600)

        def __init__(self) -> None:
            refs.extend(self.spawn(Child, number, trace, kind=kind) for number, kind in enumerate(kinds))

    async with ActorSystem("otp", supervision=Supervision(intensity=0)) as system, asyncio.timeout(30):
        parent = system.spawn(Parent)
        while len(trace) < len(kinds):
            await asyncio.sleep(0)
        assert trace == [("started", number) for number in range(len(kinds))]
        trace.clear()
        for child, what in events:
            model.exits(child, what)
            if what == STOP:
                refs[child].stop()
            elif refs[child].alive:
                refs[child].tell(what)
            if model.ended:
                assert await parent.stopped(10)
                break
            while len(trace) < len(model.trace):
                await asyncio.sleep(0)
            for _ in range(5):  # nothing more comes
                await asyncio.sleep(0)
            assert trace == model.trace
            assert [number for number, ref in enumerate(refs) if ref.alive] == model.living
        if model.ended:
            assert not any(ref.alive for ref in refs)
            return trace[: len(model.trace)]
    return trace[: len(model.trace)]


@settings(max_examples=150)
@given(
    strategy=st.sampled_from(list(Strategy)),
    kinds=st.lists(st.sampled_from(list(ChildKind)), min_size=1, max_size=5),
    intensity=st.integers(0, 4),
    data=st.data(),
)
def test_who_leaves_and_starts_in_which_order_and_how_often_is_as_in_otp(
    strategy: Strategy, kinds: list[ChildKind], intensity: int, data: st.DataObject
) -> None:
    """R-S1, R-S2."""
    events = data.draw(
        st.lists(
            st.builds(Event, st.integers(0, len(kinds) - 1), st.sampled_from([FAIL, FAIL, FAIL, LEAVE, LEAVE, STOP])),
            max_size=10,
        )
    )
    model = Otp(strategy, kinds, intensity)
    assert asyncio.run(play(strategy, kinds, intensity, events, model)) == model.trace


# -- many failures at once ----------------------------------------------------------------------------


class Stage:
    """Who is in, and what was wrong with it."""

    def __init__(self, strategy: Strategy, seed: int) -> None:
        self.strategy, self.rng = strategy, random.Random(seed)
        self.inside: set[int] = set()
        self.seen: dict[int, int] = {}
        self.wrongs: list[str] = []
        self.calm = False

    async def nap(self) -> None:
        for _ in range(self.rng.choice([0, 0, 1, 5])):
            await asyncio.sleep(0)

    def trouble(self, chance: float) -> bool:
        return not self.calm and self.rng.random() < chance


class Fragile(Actor):
    def __init__(self, number: int, stage: Stage) -> None:
        self.number, self.stage = number, stage

    async def started(self) -> None:
        stage, number = self.stage, self.number
        if number in stage.inside:
            stage.wrongs.append(f"{number} starts twice")
        if juniors := [other for other in stage.inside if other > number]:
            stage.wrongs.append(f"{number} starts while {juniors} are in")
        await stage.nap()
        if stage.trouble(0.1):
            raise OSError
        stage.inside.add(number)

    def restarting(self, error: BaseException) -> Coroutine[object, object, None]:
        stage, number = self.stage, self.number  # noted before a kill can come in between
        if juniors := [other for other in stage.inside if other > number]:
            stage.wrongs.append(f"{number} leaves before {juniors}")
        stage.inside.discard(number)
        return self.rest()

    async def rest(self) -> None:
        await self.stage.nap()
        if self.stage.trouble(0.1):
            raise OSError

    @handles(int)
    async def work(self, turn: int) -> int:
        stage = self.stage
        if self.number not in stage.inside:
            stage.wrongs.append(f"{self.number} works while it is out")
        if turn >= 0:
            if stage.seen.get(self.number, -1) >= turn:
                stage.wrongs.append(f"{self.number} has its mail out of order")
            stage.seen[self.number] = turn
        await stage.nap()
        if stage.trouble(0.2):
            raise ValueError
        return turn


async def trouble(strategy: Strategy, seed: int, backoff: float) -> None:
    stage = Stage(strategy, seed)
    refs: list[Ref] = []
    tasks = asyncio.all_tasks()

    class Parent(Actor):
        supervision = Supervision(strategy=strategy, intensity=10**6, backoff=Backoff(first=backoff, maximum=backoff))

        def __init__(self) -> None:
            refs.extend(self.spawn(Fragile, number, stage) for number in range(4))

    async with ActorSystem("trouble", seed=seed) as system:
        system.spawn(Parent)
        while len(stage.inside) < len(refs):
            await asyncio.sleep(0)
        for turn in range(30):
            ref = stage.rng.choice(refs)
            match stage.rng.randrange(6):
                case 0:
                    ref.kill("by chance")
                case 1:
                    with contextlib.suppress(ActorError, ValueError):
                        await ref.ask(turn, timeout=10)
                case _:
                    ref.tell(turn)
            await stage.nap()
        stage.calm = True
        for ref in refs:
            while True:
                try:
                    await ref.ask(-1, timeout=10)
                except (ActorError, ValueError):
                    continue
                break
        async with asyncio.timeout(10):
            while len(stage.inside) < len(refs):
                await asyncio.sleep(0)
        assert await system.shutdown() == []
    assert asyncio.all_tasks() == tasks
    assert stage.wrongs == []


@settings(max_examples=60)
@given(
    st.sampled_from([Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]), st.integers(0, 2**32), st.sampled_from([0.0, 0.001])
)
def test_siblings_keep_their_order_whatever_fails_when(strategy: Strategy, seed: int, backoff: float) -> None:
    """R-S1, R-S3: nobody is in while an elder leaves or starts, and all are in again in the end."""
    asyncio.run(trouble(strategy, seed, backoff))
