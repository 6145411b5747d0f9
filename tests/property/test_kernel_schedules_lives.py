"""What must hold of lives under every schedule: restarts as OTP counts them, ends told once, the system lane, timers.

Each test draws its own scenario from the schedule it runs under. Time is virtual, so what is due is due exactly.
"""

import asyncio
from collections import Counter

import pytest

from telestage.actors import (
    Actor,
    ActorSystem,
    Backoff,
    Directive,
    Overflow,
    Ref,
    Strategy,
    Supervision,
    Terminated,
    handles,
)
from telestage.actors.testkit import Schedule


class Otp:
    """supervisor.erl, add_restart: a restart is allowed if, with it, no more than `intensity` were within `period`."""

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity, self.period = intensity, period
        self.restarts: list[float] = []

    def allows(self, now: float) -> bool:
        restarts = [at for at in [now, *self.restarts] if at >= now - self.period]
        if len(restarts) > self.intensity:
            return False
        self.restarts = restarts
        return True


@pytest.mark.schedules(80)
async def test_restarts_are_counted_delayed_and_given_up_as_the_rules_say() -> None:
    """R-S2: however the failures fall, in handlers and in `started`, and whatever waits meanwhile."""
    schedule = Schedule.current()
    loop = asyncio.get_running_loop()
    intensity, period = schedule.pick([1, 2, 3, 0]), schedule.pick([5.0, 2.0])
    first, factor = schedule.pick([0.0, 0.5]), schedule.pick([1.0, 2.0])
    rules = Supervision(
        intensity=intensity,
        period=period,
        backoff=Backoff(first=first, factor=factor, maximum=3.0, jitter=0),
        exceeded=schedule.pick([Directive.STOP, Directive.ESCALATE]),
    )
    model = Otp(intensity, period)
    born: list[float] = []
    due: list[float] = [0.0]
    over: list[float] = []
    frail: list[Ref] = []
    wrong: list[str] = []

    def failing() -> None:
        """The failure that is about to be, by the model."""
        now = loop.time()
        if over:
            wrong.append("it goes on though there were too many restarts")
        before = len([at for at in model.restarts if at >= now - period])
        if model.allows(now):
            due.append(now + (min(3.0, first * factor**before) if first else 0.0))
        else:
            over.append(now)

    class Frail(Actor):
        async def started(self) -> None:
            born.append(loop.time())
            if schedule.choose(5) == 1:
                failing()
                raise LookupError

        @handles(str)
        async def work(self, what: str) -> None:
            await asyncio.sleep(schedule.pick([0, 0, 0.25]))
            if what == "fail":
                failing()
                raise ValueError

    class Boss(Actor):
        supervision = rules

        def __init__(self) -> None:
            frail.append(self.spawn(Frail))

    async with ActorSystem("otp", supervision=Supervision({Exception: Directive.STOP})) as system:
        system.spawn(Boss)
        [ref] = frail
        for _ in range(12):
            ref.tell(schedule.pick(["work", "fail"]))
            await asyncio.sleep(schedule.pick([0, 0.5, 1.0, 2.0, 2.5]))
        await asyncio.sleep(60)
        assert not wrong, wrong
        assert born == due, f"born at {born}, due at {due}"
        assert ref.alive is not bool(over)


@pytest.mark.schedules(80)
async def test_each_watch_is_told_of_the_end_exactly_once() -> None:
    """R-S4: whether it began before the end, in the middle of it, or after; nobody is told who has let go in time."""
    schedule = Schedule.current()
    told: Counter[tuple[str, str]] = Counter()
    due: Counter[tuple[str, str]] = Counter()
    open_watches: set[tuple[str, str]] = set()
    early: list[str] = []

    class Target(Actor):
        async def stopped(self) -> None:
            await asyncio.sleep(schedule.pick([0, 1.0]))

        @handles(str)
        async def end(self, how: str) -> None:
            await asyncio.sleep(schedule.pick([0, 0, 0.5]))
            if how == "itself":
                self.stop()
            elif how == "fails":
                raise ValueError

    class Watcher(Actor):
        @handles(tuple)
        def look_after(self, order: tuple[str, Ref]) -> None:
            what, ref = order
            pair = (self.ref.name, ref.name)
            if what == "watch":
                self.watch(ref)
                if pair not in open_watches:
                    open_watches.add(pair)
                    due[pair] += 1
            elif pair in open_watches:  # what is on its way comes before this message
                self.unwatch(ref)
                open_watches.discard(pair)
                due[pair] -= 1

        @handles(Terminated)
        async def over(self, message: Terminated) -> None:
            pair = (self.ref.name, message.ref.name)
            told[pair] += 1
            open_watches.discard(pair)
            if message.ref.alive:
                early.append(message.ref.name)

    async with ActorSystem("watch", supervision=Supervision({ValueError: Directive.STOP})) as system:
        targets = [system.spawn(Target, name=f"t{number}") for number in range(3)]
        watchers = [system.spawn(Watcher, name=f"w{number}") for number in range(3)]

        async def end(ref: Ref) -> None:
            await asyncio.sleep(schedule.pick([0, 0.5, 1.0]))
            match schedule.choose(4):
                case 0:
                    ref.stop(drain=bool(schedule.choose(2)))
                case 1:
                    ref.tell("itself")
                case 2:
                    ref.tell("fails")
                case _:
                    ref.stop(grace=0.0)
                    ref.kill()

        async def watch(watcher: Ref) -> None:
            for _ in range(8):
                ref = schedule.pick(targets)
                watcher.tell((schedule.pick(["watch", "watch", "unwatch"]), ref))
                await asyncio.sleep(schedule.pick([0, 0, 0.5]))

        await asyncio.gather(*(end(ref) for ref in targets), *(watch(ref) for ref in watchers))
        await asyncio.sleep(60)
        await system.idle()
        assert not any(ref.alive for ref in targets)
    assert not early, "told before the end"
    assert {pair: times for pair, times in due.items() if times} == dict(told)


@pytest.mark.schedules(80)
async def test_the_system_lane_loses_nothing_and_comes_before_all_mail() -> None:
    """R-Q4: with a mailbox that is full, paused, draining, and an actor that fails and restarts."""
    schedule = Schedule.current()
    signalled: list[int] = []
    taken: list[int] = []
    wrong: list[str] = []

    class Lane(Actor):
        @handles(str)
        async def mail(self, what: str) -> None:
            if len(signalled) > len(taken):
                wrong.append(f"mail while {len(signalled) - len(taken)} signals wait")
            await asyncio.sleep(schedule.pick([0, 0.25]))
            if what == "fail":
                raise ValueError

        @handles(int)
        async def signalled(self, number: int) -> None:
            taken.append(number)
            if not schedule.choose(4):
                await asyncio.sleep(0)
            if not schedule.choose(12):
                raise ValueError

    rules = Supervision(intensity=10**6, backoff=Backoff(first=schedule.pick([0.0, 0.5]), jitter=0))
    async with ActorSystem("lane", supervision=rules, throughput=schedule.pick([64, 1])) as system:
        dead: list[object] = []
        system.dead_letters.subscribe(
            lambda letter: dead.append(letter.message) if type(letter.message) is int else None
        )
        ref = system.spawn(Lane, capacity=schedule.pick([1, 2]), overflow=schedule.pick(list(Overflow)))

        async def mail() -> None:
            for _ in range(10):
                ref.tell(schedule.pick(["work", "work", "fail"]), priority=schedule.pick([0, 9]))
                if not schedule.choose(4):
                    ref.pause()
                    asyncio.get_running_loop().call_later(0.5, ref.resume)
                await asyncio.sleep(schedule.pick([0, 0.25]))

        async def signal() -> None:
            for number in range(15):
                signalled.append(number)
                ref.signal(number)
                await asyncio.sleep(schedule.pick([0, 0, 0.25]))

        await asyncio.gather(mail(), signal(), mail())
        if schedule.choose(2):
            ref.stop(drain=True, grace=60)
        await asyncio.sleep(100)
        assert [*taken, *dead] == signalled  # a failure ends a drain, and what is left then goes to the dead letters
        assert not wrong, wrong


@pytest.mark.schedules(60)
async def test_children_end_before_their_parent_and_a_drain_does_all_that_was_accepted() -> None:
    """R-S5, R-L: whatever they are at when the stop comes; each `stopped` runs once, and no message after it."""
    schedule = Schedule.current()
    ended: list[str] = []
    wrong: list[str] = []
    told: Counter[str] = Counter()
    done: Counter[str] = Counter()

    class Node(Actor):
        def __init__(self, depth: int) -> None:
            for _ in range(depth):
                self.spawn(Node, depth - 1)

        @handles(float)
        async def work(self, seconds: float) -> None:
            if self.ref.path in ended:
                wrong.append(f"{self.ref.path} works after its end")
            await asyncio.sleep(seconds)
            done[self.ref.path] += 1

        async def stopped(self) -> None:
            if self.children:
                wrong.append(f"{self.ref.path} ends before its children")
            ended.append(self.ref.path)
            await asyncio.sleep(schedule.pick([0, 0.25]))

    async with ActorSystem("tree") as system:
        top = system.spawn(Node, 2, name="top")
        refs = [ref for actor in system.statistics() if (ref := system.find(actor.path)) is not None]

        async def tell() -> None:
            for _ in range(8):
                ref = schedule.pick(refs)
                if ref.alive and ref is top:
                    told[ref.path] += 1
                ref.tell(schedule.pick([0.0, 0.25]))
                await asyncio.sleep(schedule.pick([0, 0.25]))

        telling = asyncio.create_task(tell())
        await asyncio.sleep(schedule.pick([0, 0.25, 0.5]))
        top.stop(drain=True, grace=100)
        assert await top.stopped(100)
        await telling
        assert len(ended) == len(set(ended)) == len(refs)
        for path in ended:
            below = [other for other in ended if other.startswith(f"{path}/")]
            assert all(ended.index(other) < ended.index(path) for other in below)
        assert done[top.path] == told[top.path]
        assert not wrong, wrong


@pytest.mark.schedules(60)
async def test_timers_come_when_due_and_none_of_an_instance_that_is_gone() -> None:
    """R-S3: what was due before the restart was decided waits in the mailbox, and is left aside."""
    schedule = Schedule.current()
    loop = asyncio.get_running_loop()
    born: list[float] = []
    ends: dict[int, float] = {}
    heard: list[tuple[int, int]] = []
    wrong: list[str] = []

    class Clock(Actor):
        def __init__(self) -> None:
            self.number = len(born)
            born.append(loop.time())
            self.ticks = 0
            self.every(1.0, (self.number, "tick"))
            self.after(0.5, "fail" if schedule.choose(3) == 1 else "work")

        @handles(tuple)
        def tick(self, message: tuple[int, str]) -> None:
            number, _ = message
            if number != self.number:
                if loop.time() > born[self.number] or (ends[number] - born[number]) % 1.0:
                    wrong.append(f"a timer of instance {number}, gone at {ends[number]} s, at {loop.time()} s")
                return
            self.ticks += 1
            heard.append((number, self.ticks))
            if loop.time() != born[number] + self.ticks:
                wrong.append(f"tick {self.ticks} of instance {number} at {loop.time()} s")

        @handles(str)
        def work(self, what: str) -> None:
            if what == "fail":
                ends[self.number] = loop.time()
                raise ValueError

    first = schedule.pick([0.0, 0.25, 1.5, 3.0])
    rules = Supervision(intensity=10**6, backoff=Backoff(first=first, factor=1.0, jitter=0))
    async with ActorSystem("clock", supervision=rules) as system:
        ref = system.spawn(Clock)
        for _ in range(5):
            await asyncio.sleep(schedule.pick([1.0, 1.25, 2.0]))
            if not schedule.choose(3):
                ends.setdefault(len(born) - 1, loop.time())
                ref.kill()
        await asyncio.sleep(5)
    assert not wrong, wrong
    assert len(heard) == len(set(heard))


@pytest.mark.schedules(60)
async def test_siblings_restarted_together_all_leave_youngest_first_before_the_eldest_starts() -> None:
    """R-S2: whatever they are at, and whoever fails meanwhile."""
    schedule = Schedule.current()
    events: list[tuple[str, int]] = []

    class Sibling(Actor):
        def __init__(self, number: int) -> None:
            self.number = number
            events.append(("start", self.number))

        async def started(self) -> None:
            await asyncio.sleep(schedule.pick([0, 0.25]))

        async def restarting(self, error: BaseException) -> None:
            events.append(("leave", self.number))
            await asyncio.sleep(schedule.pick([0, 0.25]))

        @handles(str)
        async def work(self, what: str) -> None:
            await asyncio.sleep(schedule.pick([0, 0.25]))
            if what == "fail":
                raise ValueError

    class Parent(Actor):
        supervision = Supervision(strategy=Strategy.ONE_FOR_ALL, intensity=10**6, backoff=Backoff(first=0))

        @handles(bool)
        def bear(self, _: bool) -> list[Ref]:
            return [self.spawn(Sibling, number) for number in range(3)]

    async with ActorSystem("siblings") as system:
        refs = await system.spawn(Parent).ask(True, expecting=list)
        for _ in range(10):
            schedule.pick(refs).tell(schedule.pick(["work", "fail"]))
            await asyncio.sleep(schedule.pick([0, 0, 0.25, 3.0]))
        await asyncio.sleep(60)
        await system.idle()
    out = set(range(3))  # who has left, or was never there, and is to start
    for what, number in events:
        if what == "leave":
            assert out == set(range(number + 1, 3)), f"{number} left when {out} had: {events}"
            out.add(number)
        else:
            assert out == set(range(number, 3)), f"{number} started when {out} had left: {events}"
            out.discard(number)
    assert not out, f"{out} never came back: {events}"
