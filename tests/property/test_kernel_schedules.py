"""What must hold of mailboxes and asks under every schedule: order, bounds, and that nothing is lost or done twice.

Each test draws its own scenario from the schedule it runs under, so that a failure is minimised with it. Time is
virtual. `make soak` runs all that is marked `schedules` here and in its neighbours, very much more often.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from typing import NamedTuple

import pytest

from telestage.actors import (
    NO_REPLY,
    Actor,
    ActorError,
    ActorSystem,
    AskTimeout,
    Backoff,
    DeadLetter,
    MailboxFull,
    Overflow,
    QueueWaitTimeout,
    Ref,
    Supervision,
    handles,
)
from telestage.actors.testkit import Schedule

POLICIES = list(Overflow)

FOREVER = Supervision(intensity=10**6, backoff=Backoff(first=0.5, factor=1.0, jitter=0))


class Job:
    """A message, and what its handler is to do."""

    def __init__(self, sender: object, number: int, *, naps: int = 0, end: str = "answer", priority: int = 0) -> None:
        self.sender, self.number, self.naps, self.end, self.priority = sender, number, naps, end, priority

    @classmethod
    def drawn(cls, schedule: Schedule, sender: object, number: int, *more: str) -> "Job":
        naps = schedule.pick([0, 0, 1, 2])
        end = schedule.pick(["answer"] * 6 + ["fail", "later", *more])
        return cls(sender, number, naps=naps, end=end, priority=schedule.pick([0, 0, 0, 5, -2]))

    def __repr__(self) -> str:
        return f"<{self.sender}.{self.number} {self.end}>"


class Answer:
    def __init__(self, job: Job) -> None:
        self.job = job


class Unstash(NamedTuple):
    pass


class Book:
    """What happened."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.by_actor: defaultdict[str, list[Job]] = defaultdict(list)
        self.answers: list[Answer] = []
        self.dead: list[object] = []
        self.inside: Counter[str] = Counter()
        self.refs: list[Ref] = []
        self.wrong: list[str] = []
        """What an actor found; an assertion of its own would only have it restarted."""

    def letter(self, letter: DeadLetter) -> None:
        self.dead.append(letter.message)


class Worker(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book

    async def started(self) -> None:
        if self.book.inside[self.ref.path]:
            self.book.wrong.append(f"{self.ref.path} started while a handler runs")

    @handles(Job)
    async def work(self, job: Job) -> object:
        book, path = self.book, self.ref.path
        if job.end == "forward":
            job.end = "answer"
            return self.forward(Schedule.current().pick(book.refs))
        if job.end == "stash":
            job.end = "answer"
            self.after(0.5, Unstash())
            return self.stash()
        book.begun.append(job)
        book.by_actor[path].append(job)
        book.inside[path] += 1
        if book.inside[path] != 1:
            book.wrong.append(f"two handlers at a time in {path}")
        try:
            for _ in range(job.naps):
                await asyncio.sleep(Schedule.current().pick([0, 0, 1.0]))
        finally:
            book.inside[path] -= 1
        if job.end == "fail":
            raise ValueError(job)
        if job.end == "stop":
            self.stop()
        answer = Answer(job)
        book.answers.append(answer)
        if job.end == "later":
            reply = self.reply_later()
            asyncio.get_running_loop().call_later(1.0, reply.send, answer)
            return NO_REPLY
        return answer

    @handles(Unstash)
    def take_back(self, _: Unstash) -> None:
        self.unstash_all()


def meddle(schedule: Schedule, ref: Ref) -> None:
    """What others may do to an actor at any time."""
    match schedule.choose(6):
        case 0:
            ref.kill("by chance")
        case 1:
            ref.pause()
            asyncio.get_running_loop().call_later(1.0, ref.resume)
        case 2:
            ref.stop(drain=True)
        case 3:
            ref.stop(grace=schedule.pick([0.0, 1.0]))
        case _:
            pass


@pytest.mark.schedules(60)
async def test_messages_of_one_sender_and_priority_are_taken_in_order() -> None:
    """R-Q1: by whichever way they come, over suspensions, failures, restarts and redelivery."""
    schedule, book = Schedule.current(), Book()
    async with ActorSystem("order", supervision=FOREVER, throughput=schedule.pick([64, 1])) as system:
        ref = system.spawn(Worker, book, capacity=schedule.pick([None, 2]), redeliver=schedule.choose(2))
        halting = schedule.choose(2)

        async def send(sender: str) -> None:
            for number in range(8):
                job = Job.drawn(schedule, sender, number)
                match schedule.choose(4):
                    case 0:
                        with contextlib.suppress(ActorError, ValueError):
                            await ref.ask(job, priority=job.priority, timeout=schedule.pick([100, 0.5]))
                    case 1:
                        with contextlib.suppress(MailboxFull):
                            await ref.send(job, priority=job.priority, timeout=5)
                    case _:
                        ref.tell(job, priority=job.priority)
                if halting and not schedule.choose(4):
                    ref.pause()
                    asyncio.get_running_loop().call_later(1.0, ref.resume)

        await asyncio.gather(*(send(sender) for sender in "abc"))
        await asyncio.sleep(100)
        await system.idle()
        assert ref.waiting == 0, "mail waits, and nobody takes it"
        assert isinstance(await ref.ask(Job("d", 0), timeout=5), Answer)
    assert not book.wrong, book.wrong
    last: dict[object, int] = {}
    for job in book.begun:
        key = (job.sender, job.priority)
        assert last.get(key, -1) <= job.number, f"{job} came too late: {book.begun}"
        last[key] = job.number
    again = Counter(book.begun)
    assert all(times == 1 for job, times in again.items() if job.end != "fail"), "done twice"


@pytest.mark.schedules(40)
async def test_the_highest_level_goes_first_but_for_one_of_eight_that_is_the_oldest() -> None:
    """R-Q3."""
    schedule, taken = Schedule.current(), []

    class Taking(Actor):
        @handles(int)
        async def take(self, number: int) -> None:
            taken.append(number)
            if not schedule.choose(4):
                await asyncio.sleep(0)

    async with ActorSystem("levels", throughput=schedule.pick([64, 3])) as system:
        ref = system.spawn(Taking)
        ref.pause()
        levels = [schedule.choose(4) for _ in range(30)]
        for number, level in enumerate(levels):
            ref.tell(number, priority=level)
        ref.resume()
        await system.idle()
    assert sorted(taken) == list(range(30))
    waiting = list(range(30))
    since_aged = 7
    for number in taken:
        best = max(waiting, key=lambda each: (levels[each], -each))
        if number == best:
            since_aged += 1
        else:
            assert number == waiting[0], f"{number} was neither the best nor the oldest"
            assert since_aged >= 6, "aged too often"
            since_aged = 0
        waiting.remove(number)
    if len(set(levels)) > 1:
        oldest_low = next(number for number, level in enumerate(levels) if level == min(levels))
        assert taken.index(oldest_low) <= 8 * (oldest_low + 1)


@pytest.mark.schedules(60)
async def test_no_mailbox_ever_holds_more_than_its_bound() -> None:
    """R-Q2."""
    schedule, book = Schedule.current(), Book()
    capacity = schedule.pick([1, 2, 5])
    async with ActorSystem("bounds", supervision=FOREVER, throughput=schedule.pick([64, 1, 2])) as system:
        refs = [system.spawn(Worker, book, capacity=capacity, overflow=schedule.pick(POLICIES)) for _ in range(2)]

        def look() -> None:
            for ref in refs:
                assert 0 <= ref.waiting <= capacity, f"{ref.waiting} of {capacity} wait"

        async def send(sender: str) -> None:
            for number in range(8):
                ref, job = schedule.pick(refs), Job.drawn(schedule, sender, number, "stop")
                room = ref.waiting < capacity and ref.alive
                match schedule.choose(5):
                    case 0:
                        with contextlib.suppress(ActorError, ValueError):
                            await ref.ask(job, priority=job.priority, timeout=schedule.pick([0.5, 50]))
                    case 1:
                        with contextlib.suppress(ActorError):
                            await ref.send(job, priority=job.priority, timeout=schedule.pick([0.5, 50]))
                    case 2:
                        meddle(schedule, ref)
                    case _:
                        letters = len(system.dead_letters)
                        ref.tell(job, priority=job.priority)
                        assert not room or len(system.dead_letters) == letters, "refused though there was room"
                look()

        await asyncio.gather(*(send(sender) for sender in "abcd"))
        look()
    assert not book.wrong, book.wrong


@pytest.mark.schedules(120)
async def test_whatever_was_sent_is_handled_once_or_somebody_is_told() -> None:
    """R-Q1, R-Q6: sends race stops, drains, kills and restarts; accepted = handled + dead letters + failed."""
    schedule, book = Schedule.current(), Book()
    told: list[Job] = []
    failed: Counter[Job] = Counter()
    asked: list[Job] = []
    async with ActorSystem("accounts", supervision=FOREVER, throughput=schedule.pick([64, 1, 2])) as system:
        system.dead_letters.subscribe(book.letter)
        capacity = schedule.pick([None, 1, 3])
        policy = schedule.pick(POLICIES)
        refs = book.refs = [system.spawn(Worker, book, capacity=capacity, overflow=policy) for _ in range(3)]

        async def send(sender: str) -> None:
            for number in range(6):
                ref, job = schedule.pick(refs), Job.drawn(schedule, sender, number, "stop", "forward", "stash")
                match schedule.choose(6):
                    case 0:
                        asked.append(job)
                        try:
                            answer = await ref.ask(job, priority=job.priority, timeout=schedule.pick([0.5, 50]))
                        except (ActorError, ValueError):
                            failed[job] += 1
                        else:
                            assert isinstance(answer, Answer)
                            assert answer.job is job
                    case 1:
                        told.append(job)
                        try:
                            await ref.send(job, priority=job.priority, timeout=schedule.pick([0.5, 50]))
                        except ActorError:
                            failed[job] += 1
                    case 2:
                        meddle(schedule, ref)
                    case 3:
                        await asyncio.sleep(schedule.pick([0, 1.0]))
                    case _:
                        told.append(job)
                        ref.tell(job, priority=job.priority)

        senders = asyncio.gather(*(send(sender) for sender in "abc"))
        if schedule.choose(2):
            await senders
        await system.shutdown(drain=bool(schedule.choose(2)))
        await senders
    assert not book.wrong, book.wrong
    begun, dead = Counter(book.begun), Counter(book.dead)
    for job in told:
        assert begun[job] + dead[job] + failed[job] == 1, (job, begun[job], dead[job], failed[job])
    for job in asked:
        assert begun[job] <= 1
        assert begun[job] or failed[job] == 1, f"{job} was neither begun nor failed"
        assert not dead[job], f"{job} is a dead letter though its asker was told"


@pytest.mark.schedules(120)
async def test_an_ask_is_settled_once_by_its_deadline_and_its_answer_goes_to_one_place() -> None:
    """R-D3, R-Q8: answers, errors, timeouts, cancels, kills, restarts and stops, in any order."""
    schedule, book = Schedule.current(), Book()
    loop = asyncio.get_running_loop()
    got: list[object] = []
    never: list[Job] = []
    async with ActorSystem("asks", supervision=FOREVER) as system:
        system.dead_letters.subscribe(book.letter)
        capacity, policy = schedule.pick([None, 2]), schedule.pick(POLICIES)
        refs = book.refs = [system.spawn(Worker, book, capacity=capacity, overflow=policy) for _ in range(2)]

        async def timed(ref: Ref, job: Job, timeout: float, ended: list[float]) -> object:
            queue_timeout, cancel = schedule.pick([None, None, 0.5, 0.0]), bool(schedule.choose(2))
            try:
                return await ref.ask(
                    job, timeout=timeout, priority=job.priority, queue_timeout=queue_timeout, cancel=cancel
                )
            finally:
                ended.append(loop.time())

        async def ask(sender: str) -> None:
            for number in range(5):
                ref, job = schedule.pick(refs), Job.drawn(schedule, sender, number, "stop", "forward", "stash")
                timeout = schedule.pick([50.0, 1.0, 0.5, 0.0])
                began, ended = loop.time(), [loop.time()]  # it may be cancelled before it begins
                asking = asyncio.create_task(timed(ref, job, timeout, ended))
                if not schedule.choose(4):
                    await asyncio.sleep(schedule.pick([0, 0.5, 1.0]))
                    asking.cancel()
                try:
                    got.append(await asking)
                except (MailboxFull, QueueWaitTimeout):
                    never.append(job)
                except AskTimeout:
                    assert ended[-1] == began + timeout
                except (ActorError, ValueError, asyncio.CancelledError):
                    pass
                assert ended[-1] <= began + timeout, f"{job} outlived its deadline"
                if not schedule.choose(3):
                    meddle(schedule, ref)

        await asyncio.gather(*(ask(sender) for sender in "abc"))
        await asyncio.sleep(100)
        await system.idle(timeout=100)
        assert not book.wrong, book.wrong
        begun = Counter(book.begun)
        assert all(times == 1 for times in begun.values()), "an ask was handled twice"
        assert not [job for job in never if begun[job]], "handled though it was refused, or too late to begin"
        places = Counter([*got, *(letter for letter in book.dead if isinstance(letter, Answer))])
        assert all(times == 1 for times in places.values()), "an answer went to two places"
        lost = [
            answer.job for answer in book.answers if answer not in places and answer.job.end not in ("later", "stop")
        ]
        assert not lost, f"answers that nobody got and that are no dead letters: {lost}"
