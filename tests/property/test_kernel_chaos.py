"""Callers, kills, cancels, pauses and restarts at random: what must hold whatever happens, holds."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorError,
    ActorSystem,
    Backoff,
    MailboxFull,
    Ref,
    Supervision,
    handles,
    runqueue,
    working,
)
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.flags import FINAL, PARKED
from telestage.actors.kernel.waits import waited_for

ACTORS, CALLERS, TURNS = 6, 12, 25
RULES = Supervision(backoff=Backoff(first=0.001, maximum=0.002), intensity=10**6)


class Job:
    def __init__(self, caller: int | None, number: int, rng: random.Random) -> None:
        self.caller, self.number = caller, number
        self.naps = [rng.choice([0, 0, 0.0005]) for _ in range(rng.choice([0, 0, 1, 3]))]
        self.fails = rng.random() < 0.1
        self.later = rng.random() < 0.1
        self.onwards: Ref | None = None


class Hop:
    """Goes from actor to actor, alone in most of their mailboxes."""

    def __init__(self, left: int, refs: list[Ref]) -> None:
        self.left, self.refs = left, refs

    def on(self) -> None:
        if self.left:
            self.refs[self.left * 5 % len(self.refs)].tell(type(self)(self.left - 1, self.refs))


class QuickHop(Hop):
    """One whose handler is a plain method."""


class Busy(Actor):
    supervision = RULES

    def __init__(self, seen: dict[int, int], inside: list[int], wrongs: list[str]) -> None:
        self.seen, self.inside, self.wrongs = seen, inside, wrongs

    async def started(self) -> None:
        await asyncio.sleep(0)

    @handles(Job)
    async def work(self, job: Job) -> object:
        if job.caller is not None:
            if self.seen.get(job.caller, -1) >= job.number:
                self.wrongs.append("out of order, or twice")
            self.seen[job.caller] = job.number
        self.inside.append(1)
        if len(self.inside) != 1:
            self.wrongs.append("two at the same time")
        try:
            for nap in job.naps:
                await asyncio.sleep(nap)
            if job.onwards is not None:
                with contextlib.suppress(ActorError, ValueError):
                    await self.ask(job.onwards, Job(None, job.number, random.Random(0)), timeout=0.05)
            if job.fails:
                raise ValueError(job.number)
            if job.later:
                reply = self.reply_later()
                asyncio.get_running_loop().call_later(0.001, reply.send, job.number)
                return NO_REPLY
            return job.number
        finally:
            self.inside.pop()

    @handles(Hop)
    async def hop(self, hop: Hop) -> None:
        if self.inside:
            self.wrongs.append("a hop beside another message")
        hop.on()

    @handles(QuickHop)
    def hop_quickly(self, hop: QuickHop) -> None:
        if self.inside:
            self.wrongs.append("a hop beside another message")
        hop.on()


async def call(system: ActorSystem, refs: list[Ref], caller: int, rng: random.Random) -> None:
    for number in range(TURNS):
        ref = refs[rng.randrange(len(refs))]
        job = Job(caller, number, rng)
        match rng.randrange(11):
            case 0:
                ref.tell(job)
            case 1:
                with contextlib.suppress(MailboxFull):
                    await ref.send(job, timeout=0.01)
            case 2:
                ref.kill("by chance")
            case 3:
                ref.pause()
                asyncio.get_running_loop().call_later(0.001, ref.resume)
            case 4:
                task = asyncio.create_task(ref.ask(job, cancel=rng.random() < 0.5))
                await asyncio.sleep(rng.choice([0, 0.001]))
                task.cancel()
                await asyncio.wait({task})
            case 5:
                job.onwards = refs[rng.randrange(len(refs))]
                with contextlib.suppress(ActorError, ValueError):
                    await ref.ask(job, timeout=1)
            case 6:
                refs[rng.randrange(len(refs))].tell(rng.choice([Hop, QuickHop])(rng.choice([1, 30, 600]), refs))
            case _:
                with contextlib.suppress(ActorError, ValueError):
                    waits = rng.choice([None, 0.0, 0.002])
                    answer = await ref.ask(job, timeout=rng.choice([0.001, 5]), queue_timeout=waits, cancel=True)
                    assert answer == number


async def watch(system: ActorSystem, refs: list[Ref]) -> None:
    """In each turn of the event loop: ready is who has something to do and isn't at it, and he is so once."""
    ready = system._root.dispatcher.ready  # type: ignore[union-attr]  # looked at from inside on purpose
    while True:
        await asyncio.sleep(0)
        waiting = [cell for cell in ready[len(ready) - ready.waiting :] if cell in refs]
        cells = [ref for ref in refs if isinstance(ref, Cell) and ref.worker is None]
        due = [cell for cell in cells if cell.inbox is not None and not cell.flags & (PARKED | FINAL)]
        assert Counter(waiting) == Counter(due)


async def chaos(seed: int, capacity: int | None, throughput: int) -> None:
    rng = random.Random(seed)
    tasks = asyncio.all_tasks()
    wrongs: list[str] = []
    async with ActorSystem("chaos", supervision=RULES, seed=seed, throughput=throughput) as system:
        refs = [system.spawn(Busy, {}, [], wrongs, capacity=capacity) for _ in range(ACTORS)]
        callers = [call(system, refs, caller, random.Random(rng.random())) for caller in range(CALLERS)]
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            watcher = group.create_task(watch(system, refs))
            await asyncio.gather(*callers)
            watcher.cancel()
        for ref in refs:  # each is alive and well: nobody stayed halted, parked or out of the run queue
            while True:
                try:
                    await ref.ask(Job(None, 0, random.Random(0)), timeout=5)
                except MailboxFull:
                    await asyncio.sleep(0.001)
                except (ActorError, ValueError):
                    pass
                else:
                    break
            assert isinstance(ref, Cell)  # looked at from inside on purpose
            assert not waited_for(ref)
        assert await system.shutdown(timeout=5) == []
    assert asyncio.all_tasks() == tasks
    assert wrongs == []


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 50, None]), st.sampled_from([1, 64]), st.sampled_from([1, 5, 512]))
def test_what_must_hold_holds_whatever_happens(seed: int, capacity: int | None, throughput: int, turn: int) -> None:
    """R-Q1, R-Q2, R-D2, R-D3, R-S3, R-T4 under random callers; with turns of the event loop that end early, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working, "TURN", turn)
        patch.setattr(runqueue, "_QUICKLY_MOVED", turn // 512 * 4096)
        asyncio.run(chaos(seed, capacity, throughput))
