"""A message takes one of several ways through the kernel: asked of an idle actor, alone, in a batch, by levels, by the
system lane. Whichever it takes, suspended or not, what comes meanwhile is handled after it, once and in order, and
nothing of it is left behind.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from telestage.actors import Actor, ActorSystem, Backoff, Overflow, Ref, Supervision, handles

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)

Coming = Callable[[Ref], list[str]]
"""Sends something to an actor that is at work; returns what it is to log afterwards, in order."""


class Work:
    """Keeps its handler at work while something comes; waiting, or not."""

    def __init__(self, coming: Coming, waits: bool) -> None:
        self.coming, self.waits = coming, waits
        self.due: list[str] = []


class Busy(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    @handles(Work)
    async def work(self, work: Work) -> str:
        if work.waits:
            await asyncio.sleep(0)
        work.due = work.coming(self.ref)
        if work.waits:
            for _ in range(5):
                await asyncio.sleep(0)
        self.log.append("worked")
        return "worked"

    @handles(str)
    def record(self, message: str) -> str:
        self.log.append(message)
        if message == "fail":
            raise ValueError(message)
        return message


def nothing(ref: Ref) -> list[str]:
    return []


def one(ref: Ref) -> list[str]:
    ref.tell("one")
    return ["one"]


def three(ref: Ref) -> list[str]:
    for word in ("1", "2", "3"):
        ref.tell(word)
    return ["1", "2", "3"]


def one_urgent(ref: Ref) -> list[str]:
    ref.tell("urgent", priority=5)
    return ["urgent"]


def one_by_levels(ref: Ref) -> list[str]:
    ref.tell("plain")
    ref.tell("low", priority=-1)
    ref.tell("urgent", priority=5)
    ref.tell("plain too")
    return ["urgent", "plain", "plain too", "low"]


def one_sent(ref: Ref) -> list[str]:
    ref.send("sent").close()
    return ["sent"]


def one_asked(ref: Ref) -> list[str]:
    asking = asyncio.get_running_loop().create_task(ref.ask("asked"))
    asking.add_done_callback(lambda done: done.result())
    return ["asked"]


def asked_and_given_up(ref: Ref) -> list[str]:
    loop = asyncio.get_running_loop()
    asking = loop.create_task(ref.ask("given up", timeout=100))
    loop.call_soon(asking.cancel)
    ref.tell("told")
    return ["told"]


def one_signalled(ref: Ref) -> list[str]:
    ref.tell("told")
    ref.signal("signalled")
    return ["signalled", "told"]


def only_signalled(ref: Ref) -> list[str]:
    ref.signal("signalled")
    return ["signalled"]


def stopped(ref: Ref) -> list[str]:
    ref.stop()
    return []


def paused(ref: Ref) -> list[str]:
    ref.pause()
    ref.tell("told")
    asyncio.get_running_loop().call_later(0.01, ref.resume)
    return ["told"]


def one_that_fails(ref: Ref) -> list[str]:
    ref.tell("fail")
    ref.tell("told")
    return ["fail", "told"]


def drained(ref: Ref) -> list[str]:
    ref.tell("told")
    ref.tell("told too")
    ref.stop(drain=True)
    return ["told", "told too"]


COMINGS = [
    nothing,
    one,
    three,
    one_urgent,
    one_by_levels,
    one_sent,
    one_asked,
    asked_and_given_up,
    one_signalled,
    only_signalled,
    paused,
    stopped,
    one_that_fails,
    drained,
]


async def asked(ref: Ref, work: Work) -> list[str]:
    assert await ref.ask(work) == "worked"
    return ["worked"]


async def alone(ref: Ref, work: Work) -> list[str]:
    ref.tell(work)
    return ["worked"]


async def from_somebody(ref: Ref, work: Work) -> list[str]:
    ref.tell(work, sender=ref)
    return ["worked"]


async def in_a_batch(ref: Ref, work: Work) -> list[str]:
    ref.tell("before")
    ref.tell(work)
    return ["before", "worked"]


async def by_levels(ref: Ref, work: Work) -> list[str]:
    ref.tell(work, priority=1)
    return ["worked"]


async def by_the_lane(ref: Ref, work: Work) -> list[str]:
    ref.signal(work)
    return ["worked"]


async def asked_in_its_turn(ref: Ref, work: Work) -> list[str]:
    ref.tell("before")
    assert await ref.ask(work) == "worked"
    return ["before", "worked"]


WAYS = [asked, alone, from_somebody, in_a_batch, by_levels, by_the_lane, asked_in_its_turn]


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("ways", supervision=AT_ONCE) as system:
        yield system


@pytest.mark.virtual_time
@pytest.mark.parametrize("coming", COMINGS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("capacity", [None, 5])
async def test_what_comes_while_a_message_is_handled_is_handled_after_it(
    system: ActorSystem,
    coming: Coming,
    way: Callable[[Ref, Work], object],
    waits: bool,
    capacity: int | None,
) -> None:
    """R-Q1, R-Q2: and counted, and the actor is at rest, and works, afterwards. Twice, by the same worker."""
    log: list[str] = []
    ref = system.spawn(Busy, log, capacity=capacity, overflow=Overflow.FAIL)
    processed = 0
    for _ in range(2):
        work = Work(coming, waits)
        first: list[str] = await way(ref, work)  # type: ignore[misc]  # each is a coroutine function
        await asyncio.sleep(1)
        await system.idle()
        processed += len([word for word in log if word != "signalled"]) - (way is by_the_lane)
        if coming is asked_and_given_up:
            if waits:
                processed += 1  # taken, and left aside
            else:
                log.remove("given up")  # it was asked when the handler had ended
        assert log == [*first, *work.due]
        assert ref.waiting == 0
        log.clear()
        if coming in (drained, stopped):
            assert not ref.alive
            return
        [figures] = [each for each in system.statistics() if each.path == ref.path]
        assert figures.running is None
        assert figures.processed == processed
        assert figures.busy > 0
    if capacity is not None:
        ref.pause()
        for number in range(capacity + 1):
            ref.tell(str(number))
        assert ref.waiting == capacity
        assert [letter.message for letter in system.dead_letters.recent][-1] == str(capacity)
        ref.resume()
        await system.idle()
    assert await ref.ask("end", timeout=5) == "end"
    assert log == [*map(str, range(capacity or 0)), "end"]
