"""What must hold of names, and of routers whose routees fail, end, and come and go, under every schedule.

Each test draws its own scenario from the schedule it runs under. Time is virtual. What a router chooses is looked at
as it chooses, beside a plain model of its rule.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict

import pytest

from telestage.actors import (
    Actor,
    ActorError,
    ActorStopped,
    ActorSystem,
    Backoff,
    ConsistentHash,
    DeadLetter,
    LeastLoaded,
    NameTaken,
    Ref,
    RoundRobin,
    Router,
    Supervision,
    handles,
)
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.routing import Routing, _hash
from telestage.actors.testkit import Schedule

FOREVER = Supervision(intensity=10**6, backoff=Backoff(first=0.5, factor=1.0, jitter=0))


def gone(ref: Ref) -> bool:
    assert isinstance(ref, Cell)  # looked at from inside on purpose
    return ref.final


class Parent(Actor):
    """Makes children by name, and fails or ends as it is told."""

    def __init__(self, born: defaultdict[str, list[Ref]]) -> None:
        self.born = born

    async def stopped(self) -> None:
        await asyncio.sleep(Schedule.current().pick([0, 0, 0.5]))

    @handles(str)
    def make(self, name: str) -> Ref:
        ref = self.spawn(Parent, self.born, name=name)
        self.born[ref.path].append(ref)  # at once: the answer may never arrive
        return ref

    @handles(float)
    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @handles(type)
    def fail(self, error: type[Exception]) -> None:
        raise error


@pytest.mark.schedules(60)
async def test_a_path_is_the_living_actor_of_that_name_or_nobody() -> None:
    """`find`, and who may have a name: whoever ends or fails meanwhile, and its children with it."""
    schedule = Schedule.current()
    born: defaultdict[str, list[Ref]] = defaultdict(list)
    paths = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/b/x/x"]

    async with ActorSystem("names", supervision=FOREVER) as system:

        def look() -> None:
            for path in paths:
                living = [ref for ref in born[path] if not gone(ref)]
                assert len(living) < 2, f"two of them are {path}"
                found = system.find(path)
                assert found is (living[0] if living else None), f"{path} is {found}, and there lives {living}"

        async def make(path: str) -> None:
            above, _, name = path.rpartition("/")
            parent = system.find(above) if above else None
            if above and parent is None:
                return
            taken = system.find(path)
            try:
                if parent is None:
                    ref = system.spawn(Parent, born, name=name)
                    born[path].append(ref)
                    assert taken is None, f"{path} was taken, and given again"
                else:
                    ref = await parent.ask(name, expecting=Ref, timeout=100)
            except NameTaken:
                assert above or taken is not None, f"{path} was free, and refused"
            except ActorError:
                pass  # the parent ends, or began anew
            else:
                assert ref.path == path
                look()

        async def meddle() -> None:
            for _ in range(12):
                path = schedule.pick(paths)
                ref = system.find(path)
                match schedule.choose(6):
                    case 0 if ref is not None:
                        ref.stop(drain=bool(schedule.choose(2)))
                    case 1 if ref is not None:
                        ref.kill()
                    case 2 if ref is not None:
                        ref.tell(ValueError)
                    case 3 if ref is not None:
                        ref.tell(0.25)
                    case _:
                        await make(path)
                look()
                await asyncio.sleep(schedule.pick([0, 0, 0.25]))
                look()

        await asyncio.gather(meddle(), meddle(), meddle())
        await asyncio.sleep(60)
        look()
        for ref in [ref for refs in born.values() for ref in refs if not gone(ref)]:
            assert await ref.ask("z", expecting=Ref, timeout=10) is system.find(f"{ref.path}/z")
    assert system.find("/a") is None


class Job:
    """A message, its key, and what its handler is to do."""

    def __init__(self, sender: str, number: int, key: int, end: str) -> None:
        self.sender, self.number, self.key, self.end = sender, number, key, end

    def __repr__(self) -> str:
        return f"<{self.sender}.{self.number} {self.end}>"


class Book:
    def __init__(self) -> None:
        self.begun: list[tuple[Job, Ref]] = []
        self.dead: list[Job] = []
        self.at_work: Counter[Ref] = Counter()
        self.wrong: list[str] = []

    def letter(self, letter: DeadLetter) -> None:
        if isinstance(letter.message, Job):
            self.dead.append(letter.message)


class Routee(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book

    @handles(Job)
    async def work(self, job: Job) -> tuple[Job, Ref]:
        schedule, book = Schedule.current(), self.book
        book.begun.append((job, self.ref))
        book.at_work[self.ref] += 1
        try:
            for _ in range(schedule.choose(3)):
                await asyncio.sleep(schedule.pick([0, 0, 1.0]))
        finally:
            book.at_work[self.ref] -= 1
        if job.end == "fail":
            raise ValueError(job)
        if job.end == "stop":
            self.stop()
        return job, self.ref


class Rule:
    """What a rule may choose, put plainly: told of each choice as it is made."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.group: object = None
        self.lately: list[Cell] = []

    def check(self, message: object, chosen: Cell | None, routees: list[Cell]) -> None:
        living = [cell for cell in routees if not cell.closed]
        if chosen is None:
            assert not living, f"nobody was chosen, and there live {living}"
            return
        assert chosen in living, f"{chosen} was chosen, and there live {living}"
        assert isinstance(message, Job)
        self.may(message, chosen, living, routees)

    def may(self, job: Job, chosen: Cell, living: list[Cell], routees: list[Cell]) -> None:
        raise NotImplementedError


class EachInTurn(Rule):
    def may(self, job: Job, chosen: Cell, living: list[Cell], routees: list[Cell]) -> None:
        if self.group != (living, routees):
            self.group, self.lately = (living, routees), []
        self.lately = [*self.lately, chosen][-len(living) :]
        assert len(set(self.lately)) == len(self.lately), f"{chosen} again, before each had its turn: {self.lately}"


class WhoHasLeast(Rule):
    def may(self, job: Job, chosen: Cell, living: list[Cell], routees: list[Cell]) -> None:
        loads = {cell: cell.waiting + self.book.at_work[cell] for cell in living}
        assert loads[chosen] == min(loads.values()), f"{chosen} was chosen, of {loads}"


class NextOnTheRing(Rule):
    def may(self, job: Job, chosen: Cell, living: list[Cell], routees: list[Cell]) -> None:
        place = _hash(job.key)
        ahead = {
            cell: min((_hash(f"{cell.name}/{point}") - place - 1) % 2**64 for point in range(4)) for cell in living
        }
        assert chosen is min(living, key=ahead.__getitem__), f"{chosen} isn't next after {job.key}: {ahead}"


def key_of(message: object) -> int:
    assert isinstance(message, Job)
    return message.key


def watched(rule: Routing, model: Rule, wrong: list[str]) -> Routing:
    """The rule, each choice of which is looked at by its model."""
    choose = rule.choose

    class Watched(type(rule)):  # type: ignore[misc]  # of whichever kind it is
        def choose(self, message: object) -> Cell | None:
            chosen = choose(message)
            try:
                model.check(message, chosen, list(rule.routees))
            except AssertionError as error:  # in an actor it would only have it restarted
                wrong.append(str(error))
            return chosen

        def changed(self, routees: object) -> None:
            rule.changed(routees)  # type: ignore[arg-type]  # as given
            self.routees = rule.routees

    return Watched(key_of, points=4) if isinstance(rule, ConsistentHash) else Watched()


@pytest.mark.schedules(120)
async def test_a_router_chooses_by_its_rule_among_the_living_and_loses_nothing() -> None:
    """Routees fail, end by themselves, are stopped and killed, and the group grows and shrinks."""
    schedule, book = Schedule.current(), Book()
    rule, model = schedule.pick(
        [
            (RoundRobin(), EachInTurn(book)),
            (LeastLoaded(), WhoHasLeast(book)),
            (ConsistentHash(key_of, points=4), NextOnTheRing(book)),
        ]
    )
    told: list[Job] = []
    failed: Counter[Job] = Counter()
    asked: list[Job] = []
    to_all: dict[Job, int] = {}
    async with ActorSystem("routers", supervision=FOREVER, throughput=schedule.pick([64, 1])) as system:
        system.dead_letters.subscribe(book.letter)
        router = Router.spawn(
            system,
            Routee,
            book,
            size=schedule.pick([3, 1, 5]),
            routing=watched(rule, model, book.wrong),
            capacity=schedule.pick([None, 1, 3]),
            name="pool",
        )

        def job(sender: str, number: int) -> Job:
            end = schedule.pick(["answer"] * 6 + ["fail", "stop"])
            return Job(sender, number, schedule.choose(5), end)

        async def send(sender: str) -> None:
            for number in range(10):
                each = job(sender, number)
                match schedule.choose(7):
                    case 0:
                        asked.append(each)
                        try:
                            answer = await router.ask(each, timeout=schedule.pick([50, 0.5]))
                        except (ActorError, ValueError):
                            failed[each] += 1
                        else:
                            assert answer == (each, dict(book.begun)[each])
                    case 1:
                        told.append(each)
                        try:
                            await router.send(each, timeout=schedule.pick([50, 0.5]))
                        except ActorError:
                            failed[each] += 1
                    case 2:
                        each.end = "answer"
                        to_all[each] = len(router.routees)
                        router.broadcast(each)
                    case _:
                        told.append(each)
                        router.tell(each)
                await asyncio.sleep(schedule.pick([0, 0, 0.5]))

        async def meddle() -> None:
            for _ in range(6):
                await asyncio.sleep(schedule.pick([0, 0.5, 1.0]))
                if not (routees := router.routees):
                    return
                match schedule.choose(4):
                    case 0:
                        schedule.pick(routees).stop(drain=bool(schedule.choose(2)))
                    case 1:
                        schedule.pick(routees).kill()
                    case 2:
                        size = schedule.pick([1, 2, 4, 6])
                        with contextlib.suppress(ActorStopped):
                            await router.resize(size)
                            assert len(router.routees) <= size
                    case _:
                        pass

        await asyncio.gather(send("a"), send("b"), meddle())
        await asyncio.sleep(200)
        await system.idle(timeout=100)
        assert router.alive is bool(router.routees)
        assert not router.waiting
        if router.alive:
            await router.resize(2)
            await router.resize(4)
            assert len(router.routees) == 4
            answers = await router.ask_all(Job("all", 0, 0, "answer"), timeout=10)
            assert [ref for _, ref in answers] == list(router.routees)  # type: ignore[misc]  # what routees answer
            router.stop()
            assert await router.stopped(20)
    assert not book.wrong, book.wrong
    begun, dead = Counter(each for each, _ in book.begun), Counter(book.dead)
    for each in told:
        assert begun[each] + dead[each] + failed[each] == 1, (each, begun[each], dead[each], failed[each])
    for each in asked:
        assert begun[each] <= 1
        assert begun[each] or failed[each] == 1, f"{each} was neither begun nor failed"
    for each, living in to_all.items():
        assert begun[each] + dead[each] == living, (
            f"{each} was for {living}: {begun[each]} began, {dead[each]} are dead"
        )
        assert len({ref for other, ref in book.begun if other is each}) == begun[each], "twice to the same"
    last: dict[tuple[str, Ref], int] = {}
    for each, ref in book.begun:
        assert last.get((each.sender, ref), -1) <= each.number, f"{each} came too late to {ref}: {book.begun}"
        last[each.sender, ref] = each.number
