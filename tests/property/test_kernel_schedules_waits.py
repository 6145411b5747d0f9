"""What must hold of those who wait, under every schedule: for an answer, for room, for their end.

Each test draws its own scenario from the schedule it runs under. Time is virtual, so what should be at once is at once.
"""

import asyncio

import pytest

from telestage.actors import NO_REPLY, Actor, ActorError, ActorSystem, AskCycle, Backoff, Ref, Supervision, handles
from telestage.actors.testkit import Schedule

FOREVER = Supervision(intensity=10**6, backoff=Backoff(first=0.5, factor=1.0, jitter=0))


class Job:
    def __init__(self, number: int, end: str) -> None:
        self.number, self.end = number, end


@pytest.mark.schedules(60)
async def test_who_waits_for_room_is_let_in_first_come_first_served_and_as_soon_as_there_is_some() -> None:
    """R-Q2: `send` of a bounded mailbox."""
    schedule, loop = Schedule.current(), asyncio.get_running_loop()
    called: list[int] = []
    taken: list[int] = []
    spent: list[float] = []

    class Slow(Actor):
        @handles(int)
        async def take(self, number: int) -> None:
            taken.append(number)
            seconds = schedule.pick([0.0, 1.0])
            spent.append(seconds)
            await asyncio.sleep(seconds)

    async with ActorSystem("room", throughput=schedule.pick([64, 1])) as system:
        ref = system.spawn(Slow, capacity=schedule.pick([1, 2, 3]))

        async def send(number: int) -> None:
            called.append(number)
            await ref.send(number, timeout=1000)

        await asyncio.gather(*(send(number) for number in range(12)))
        await system.idle(timeout=1000)
        assert taken == called
        assert loop.time() == sum(spent), "it stood idle while somebody waited"


@pytest.mark.schedules(60)
async def test_what_an_actor_owes_is_settled_at_the_instant_it_fails_or_stops() -> None:
    """R-D3: and not by the deadline."""
    schedule, loop = Schedule.current(), asyncio.get_running_loop()
    ends: list[float] = []

    class Debtor(Actor):
        def __init__(self) -> None:
            self.number = len(born)
            born.append(self.number)

        @handles(Job)
        async def owe(self, job: Job) -> object:
            if job.end == "fail":
                ends.append(loop.time())
                raise ValueError
            owed_by[job] = self.number
            self.reply_later()
            await asyncio.sleep(schedule.pick([0, 0.25]))
            return NO_REPLY

    born: list[int] = []
    owed_by: dict[Job, int] = {}
    settled: dict[Job, tuple[float, str]] = {}
    async with ActorSystem("debts", supervision=FOREVER) as system:
        ref = system.spawn(Debtor)

        async def ask(job: Job) -> None:
            await asyncio.sleep(schedule.pick([0, 0.5, 1.0]))
            try:
                await ref.ask(job, timeout=1000)
            except (ActorError, ValueError) as error:
                settled[job] = loop.time(), type(error).__name__

        asking = [ask(Job(number, "fail" if number % 4 == 3 else "owe")) for number in range(8)]
        tasks = [asyncio.create_task(each) for each in asking]
        await asyncio.sleep(20)
        ends.append(loop.time())
        ref.stop()
        await asyncio.gather(*tasks)
    assert owed_by.keys() <= settled.keys()
    for job, number in owed_by.items():
        expected = "ActorStopped" if number == len(ends) - 1 else "ActorRestarted"
        assert settled[job] == (ends[number], expected), (job, ends, settled[job])


@pytest.mark.schedules(80)
async def test_an_interruption_reaches_its_handler_at_once_and_a_kill_is_never_forgotten() -> None:
    """R-Q8: a kill, an asker that gives up, a stop without grace, at any moment of a handler or before it."""
    schedule, loop = Schedule.current(), asyncio.get_running_loop()
    inside: list[float] = []
    ended: list[float] = []
    born: list[float] = []

    class Sleeper(Actor):
        def __init__(self) -> None:
            born.append(loop.time())

        @handles(float)
        async def sleep(self, seconds: float) -> None:
            inside.append(seconds)
            try:
                for _ in range(schedule.choose(3)):
                    await asyncio.sleep(0)
                await asyncio.sleep(seconds)
            finally:
                inside.clear()
                ended.append(loop.time())

    async with ActorSystem("interrupted", supervision=FOREVER) as system:
        for _ in range(3):
            ref = system.spawn(Sleeper)
            asking = asyncio.create_task(ref.ask(10.0, timeout=100, cancel=True))
            for _ in range(schedule.choose(5)):
                await asyncio.sleep(0)
            births, now, was_inside = len(born), loop.time(), bool(inside)
            how = schedule.pick(["kill", "cancel", "stop"])
            if how == "kill":
                ref.kill()
            elif how == "cancel":
                asking.cancel()
            else:
                ref.stop(grace=0.0)
            await asyncio.sleep(5.0)
            if was_inside:
                assert ended[-1:] == [now], f"{how} at {now} s, and the handlers ended at {ended} s"
            if how != "kill":
                assert not inside
            assert len(born) == births + (how == "kill")
            await system.idle(timeout=100)
            await asyncio.wait({asking})
            if not asking.cancelled():
                asking.exception()


class Hop:
    def __init__(self, path: list[int]) -> None:
        self.path = path


class Node(Actor):
    def __init__(self, nodes: list[Ref]) -> None:
        self.nodes = nodes

    @handles(Hop)
    async def go(self, hop: Hop) -> int:
        if not hop.path:
            return 0
        try:
            answer = await self.ask(self.nodes[hop.path[0]], Hop(hop.path[1:]), timeout=60)
        except AskCycle:
            return -1
        return answer if isinstance(answer, int) else -2


@pytest.mark.schedules(80)
async def test_asks_in_circles_are_refused_and_no_others_so_that_nobody_waits_for_a_deadline() -> None:
    """R-D2: nobody sleeps here, so all is over at the instant at which it began."""
    schedule = Schedule.current()
    nodes: list[Ref] = []
    async with ActorSystem("circles") as system:
        nodes += [system.spawn(Node, nodes) for _ in range(4)]
        paths = [[schedule.choose(4) for _ in range(1 + schedule.choose(4))] for _ in range(6)]
        answers = await asyncio.gather(*(nodes[path[0]].ask(Hop(path[1:]), timeout=60) for path in paths))
        assert asyncio.get_running_loop().time() == 0.0
        assert not any(node.waits_for for node in system.tree().children)
        if all(len(path) == len(set(path)) for path in paths[:1]) and not any(path[1:] for path in paths[1:]):
            assert set(answers) == {0}, "refused though nobody went in a circle"
