"""What must hold of messages that are given again after a restart (`redeliver`), under every schedule.

Each test draws its own scenario from the schedule it runs under. Time is virtual.
"""

import asyncio
import contextlib
from collections import Counter

import pytest

from telestage.actors import (
    Actor,
    ActorError,
    ActorSystem,
    Backoff,
    DeadLetter,
    Ref,
    Strategy,
    Supervision,
    handles,
)
from telestage.actors.testkit import Schedule


class Job:
    """A message, how it comes, and how often its handling fails."""

    def __init__(self, sender: str, number: int, way: str, fails: int) -> None:
        self.sender, self.number, self.way, self.fails = sender, number, way, fails

    def __repr__(self) -> str:
        return f"<{self.sender}.{self.number} {self.way}, fails {self.fails} times>"


class Book:
    def __init__(self) -> None:
        self.begun: list[tuple[Job, Ref | None]] = []
        self.done: list[Job] = []
        self.cut_short: list[Job] = []
        self.dead: list[Job] = []
        self.at_work: list[Job] = []
        self.wrong: list[str] = []

    def letter(self, letter: DeadLetter) -> None:
        if isinstance(letter.message, Job):
            self.dead.append(letter.message)


class Fragile(Actor):
    def __init__(self, book: Book, again: int) -> None:
        self.book, self.again = book, again

    @handles(Job)
    async def work(self, job: Job) -> str:
        schedule, book = Schedule.current(), self.book
        if book.cut_short:
            before = book.cut_short.pop()
            if before is not job:
                book.wrong.append(f"{job} came before {before}, which was to be given again")
        if book.at_work:
            book.wrong.append(f"{job} while {book.at_work} is at work")
        book.begun.append((job, self.sender))
        times = sum(other is job for other, _ in book.begun)
        book.at_work.append(job)
        over = False
        try:
            for _ in range(schedule.choose(3)):
                await asyncio.sleep(schedule.pick([0, 0, 0.25]))
            if job.fails >= times:
                raise ValueError(job)
            over = True
        except asyncio.CancelledError:
            if schedule.choose(2):
                raise ValueError(job) from None  # fails of it
            raise
        finally:
            book.at_work.remove(job)
            if not over and job.way != "ask" and times <= self.again:
                book.cut_short.append(job)
        book.done.append(job)
        return "done"


class Sibling(Actor):
    """Takes its time to leave, while its elder is at work."""

    async def restarting(self, error: BaseException) -> None:
        await asyncio.sleep(Schedule.current().pick([0, 0.25, 0.5]))


class Teller(Actor):
    """Tells in its own name."""

    @handles(tuple)
    def tell_on(self, order: tuple[Ref, Job, int]) -> None:
        ref, job, priority = order
        self.tell(ref, job, priority=priority)


class Group(Actor):
    """Restarts both of its children with either."""

    supervision = Supervision(
        strategy=Strategy.ONE_FOR_ALL, intensity=10**6, backoff=Backoff(first=0.25, factor=1.0, jitter=0)
    )

    @handles(Book)
    def bear(self, book: Book) -> list[Ref]:
        again = Schedule.current().choose(3)
        return [
            self.spawn(Fragile, book, again, redeliver=again, capacity=Schedule.current().pick([None, 3])),
            self.spawn(Sibling),
        ]


@pytest.mark.schedules(120)
async def test_what_was_cut_short_is_given_again_first_of_all_and_no_more_often_than_allowed() -> None:
    """R-S3: its handling fails, or a kill or a sibling's failure cuts it short; with its sender, whatever waits."""
    schedule, book = Schedule.current(), Book()
    rules = Supervision(intensity=10**6, backoff=Backoff(first=schedule.pick([0.0, 0.5]), factor=1.0, jitter=0))
    told: list[Job] = []
    asked: list[Job] = []
    refused: Counter[Job] = Counter()
    async with ActorSystem("again", supervision=rules, throughput=schedule.pick([64, 1, 2])) as system:
        system.dead_letters.subscribe(book.letter)
        sibling: Ref | None = None
        if schedule.choose(3):
            again = schedule.choose(3)
            ref = system.spawn(Fragile, book, again, redeliver=again, capacity=schedule.pick([None, 3]))
        else:
            ref, sibling = await system.spawn(Group).ask(book, expecting=list)
            again = ref.cell.spec.redeliver
        teller = system.spawn(Teller)

        async def send(sender: str) -> None:
            for number in range(8):
                job = Job(sender, number, schedule.pick(["tell", "tell", "ask", "send", "signal"]), schedule.choose(4))
                priority = schedule.pick([0, 0, 5])
                match job.way:
                    case "ask":
                        asked.append(job)
                        with contextlib.suppress(ActorError, ValueError):
                            assert await ref.ask(job, priority=priority, timeout=schedule.pick([50, 0.5])) == "done"
                    case "send":
                        told.append(job)
                        try:
                            await ref.send(job, priority=priority, timeout=schedule.pick([50, 0.5]))
                        except ActorError:
                            refused[job] += 1
                    case "signal":
                        told.append(job)
                        ref.signal(job)
                    case _:
                        told.append(job)
                        teller.tell((ref, job, priority))
                await asyncio.sleep(schedule.pick([0, 0, 0.25]))

        async def meddle() -> None:
            for _ in range(6):
                await asyncio.sleep(schedule.pick([0, 0.25, 1.0]))
                match schedule.choose(4):
                    case 0:
                        ref.kill()
                    case 1 if sibling is not None:
                        sibling.kill()
                    case 2:
                        ref.pause()
                        asyncio.get_running_loop().call_later(0.5, ref.resume)
                    case _:
                        pass

        await asyncio.gather(send("a"), send("b"), meddle())
        await asyncio.sleep(300)
        await system.idle(timeout=100)
        assert ref.waiting == 0
    assert not book.wrong, book.wrong
    assert not book.cut_short, f"{book.cut_short} was to be given again, and never came"
    begun, done, dead = Counter(job for job, _ in book.begun), Counter(book.done), Counter(book.dead)
    for job in asked:
        assert begun[job] <= 1, f"{job} was asked, and given again"
    for job in told:
        assert bool(begun[job]) + dead[job] + refused[job] == 1, (job, begun[job], dead[job], refused[job])
        assert begun[job] <= again + 1, f"{job} was begun {begun[job]} times"
        assert done[job] == (begun[job] > 0 and begun[job] > job.fails) or begun[job] == again + 1, (job, begun[job])
        assert done[job] <= 1, f"{job} was done, and given again"
    for job, sender in book.begun:
        if job.way == "tell":
            assert sender == teller, f"{job} came from {sender}"
