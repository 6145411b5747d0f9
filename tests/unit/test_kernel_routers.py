"""A router is a ref like any other, for several actors: nothing is lost as they come, go and fail."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Backoff,
    ConsistentHash,
    LeastLoaded,
    MailboxFull,
    Ref,
    RoundRobin,
    Router,
    Supervision,
    Terminated,
    handles,
)

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Who:
    """Is answered with the name of who got it."""

    def __init__(self, key: str = "", gate: asyncio.Event | None = None) -> None:
        self.key = key
        self.gate = gate


class Boom:
    pass


class Leave:
    pass


class Worker(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    @handles(Who)
    async def who(self, message: Who) -> str:
        if message.gate is not None:
            await message.gate.wait()
        self.log.append(self.ref.name)
        return self.ref.name

    @handles(Boom)
    def fail(self, message: Boom) -> None:
        raise ValueError("boom")

    @handles(Leave)
    def leave(self, message: Leave) -> None:
        self.stop()


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


@pytest.fixture
def log() -> list[str]:
    return []


async def settled(system: ActorSystem) -> None:
    async with asyncio.timeout(10):
        await system.idle()


async def test_round_robin_gives_each_its_turn(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3, routing=RoundRobin())
    for _ in range(6):
        router.tell(Who())
    await settled(system)
    assert sorted(log) == ["1", "1", "2", "2", "3", "3"]
    assert [await router.ask(Who()) for _ in range(4)] == ["1", "2", "3", "1"]


async def test_the_least_loaded_is_who_has_least_waiting_and_at_work(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3, routing=LeastLoaded())
    gate = asyncio.Event()
    busy = asyncio.create_task(router.ask(Who(gate=gate)))
    await asyncio.sleep(0)
    (name,) = {"1", "2", "3"} - {await router.ask(Who()) for _ in range(6)}
    loaded = next(routee for routee in router.routees if routee.name == name)
    others = [routee for routee in router.routees if routee is not loaded]
    for routee in others:
        routee.pause()
        routee.tell(Who())
        routee.tell(Who())
    router.tell(Who())
    assert loaded.waiting == 1
    gate.set()
    assert await busy == name


async def test_the_same_key_goes_to_the_same_one(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=4, routing=by_key())
    keys = [f"key-{number}" for number in range(400)]
    first = {key: await router.ask(Who(key)) for key in keys}
    assert {key: await router.ask(Who(key)) for key in keys} == first
    assert set(Counter(first.values())) == {"1", "2", "3", "4"}
    assert max(Counter(first.values()).values()) < 2 * 100


@pytest.mark.parametrize("to", [3, 5])
async def test_a_change_of_size_moves_few_keys(system: ActorSystem, log: list[str], to: int) -> None:
    router = Router.spawn(system, Worker, log, size=4, routing=by_key())
    keys = [f"key-{number}" for number in range(400)]
    before = {key: await router.ask(Who(key)) for key in keys}
    await router.resize(to)
    after = {key: await router.ask(Who(key)) for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert 0 < len(moved) < 400 * 2 / 4
    if to > 4:
        assert {after[key] for key in moved} == {"5"}
    else:
        assert {before[key] for key in moved} == {"4"}


async def test_a_key_has_the_same_place_in_every_process(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=4, routing=by_key())
    here = [await router.ask(Who(key)) for key in ("a", "b", "c", "d", "e", "f")]
    code = """
import asyncio
from telestage.actors.kernel import Actor, ActorSystem, ConsistentHash, Router, handles

class Worker(Actor):
    @handles(str)
    def who(self, message): return self.ref.name

async def main():
    async with ActorSystem() as system:
        router = Router.spawn(system, Worker, size=4, routing=ConsistentHash(lambda key: key))
        print([await router.ask(key) for key in "abcdef"])

asyncio.run(main())
"""
    there = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "7"},
        check=True,
    )
    assert there.stdout.strip() == str(here)


def test_a_ring_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="1 place"):
        by_key(points=0)


def by_key(points: int = 160) -> ConsistentHash:
    def key(message: object) -> str:
        assert isinstance(message, Who)
        return message.key

    return ConsistentHash(key, points=points)


@pytest.mark.parametrize("rule", [RoundRobin, LeastLoaded, by_key])
async def test_who_stops_is_routed_to_no_more_from_that_moment(
    system: ActorSystem, log: list[str], rule: type[RoundRobin]
) -> None:
    router = Router.spawn(system, Worker, log, size=3, routing=rule())
    router.routees[1].stop()
    answers = {await router.ask(Who(f"key-{number}")) for number in range(50)}
    assert answers == {"1", "3"}
    await settled(system)
    assert {await router.ask(Who(f"key-{number}")) for number in range(50)} == {"1", "3"}
    assert [routee.name for routee in router.routees] == ["1", "3"]
    assert system.dead_letters.recent == ()


async def test_who_is_restarted_keeps_its_place_and_its_mail(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=2, routing=RoundRobin(), supervision=AT_ONCE)
    router.tell(Boom())
    for _ in range(4):
        router.tell(Who())
    await settled(system)
    assert sorted(log) == ["1", "1", "2", "2"]
    assert {row.path: row.restarts for row in system.statistics()}[router.routees[0].path] == 1


async def test_when_the_last_one_has_stopped_so_has_the_router(system: ActorSystem, log: list[str]) -> None:
    class Watcher(Actor):
        def __init__(self, ref: Ref, seen: list[object]) -> None:
            self.seen = seen
            self.watch(ref)

        @handles(Terminated)
        def ended(self, message: Terminated) -> None:
            self.seen.append(message.ref)

    seen: list[object] = []
    router = Router.spawn(system, Worker, log, size=2, name="pool")
    system.spawn(Watcher, router, seen)
    router.tell(Leave())
    router.tell(Leave())
    assert await router.stopped(5)
    assert not router.alive
    await settled(system)
    assert seen == [router]
    with pytest.raises(ActorStopped):
        await router.ask(Who())
    router.tell(late := Who())
    assert [letter.message for letter in system.dead_letters.recent] == [late]
    assert system.find("/pool") is None


async def test_between_the_last_stop_and_the_end_nothing_is_lost_in_silence(
    system: ActorSystem, log: list[str]
) -> None:
    router = Router.spawn(system, Worker, log, size=1)
    router.routees[0].stop()
    router.tell(late := Who())
    with pytest.raises(ActorStopped):
        await router.ask(Who(), timeout=1)
    assert [letter.message for letter in system.dead_letters.recent] == [late]


async def test_it_grows_and_shrinks_and_who_leaves_ends_its_work(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3)
    gate = asyncio.Event()
    asks = [asyncio.create_task(router.ask(Who(gate=gate))) for _ in range(6)]
    await asyncio.sleep(0)
    await router.resize(1)
    assert [routee.name for routee in router.routees] == ["1"]
    gate.set()
    assert sorted(await asyncio.gather(*asks)) == ["1", "1", "2", "2", "3", "3"]
    await router.resize(3)
    assert len(router.routees) == 3
    assert len({await router.ask(Who()) for _ in range(3)}) == 3


async def test_a_size_of_nobody_is_refused(system: ActorSystem, log: list[str]) -> None:
    with pytest.raises(ValueError, match="1 routee or more"):
        Router.spawn(system, Worker, log, size=0)
    router = Router.spawn(system, Worker, log, size=1)
    with pytest.raises(ValueError, match="1 routee or more"):
        await router.resize(0)


async def test_the_pools_own_restart_keeps_the_group(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3, name="pool")
    await router.resize(2)
    group = router.routees
    pool = system.find("/pool")
    assert pool is not None
    pool.kill()
    await settled(system)
    assert router.routees == group
    await router.resize(4)
    assert len(router.routees) == 4
    router.routees[0].stop()
    await settled(system)
    pool.kill()
    await settled(system)
    assert len(router.routees) == 3  # who has stopped isn't replaced


async def test_each_mailbox_has_its_bound(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=2, capacity=1)
    router.pause()
    router.tell(Who())
    router.tell(Who())
    assert router.waiting == 2
    with pytest.raises(MailboxFull):
        await router.ask(Who())
    with pytest.raises(MailboxFull):
        await router.send(Who(), timeout=0.01)
    router.resume()
    await settled(system)
    assert sorted(log) == ["1", "2"]


async def test_a_broadcast_is_told_to_all(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3)
    router.broadcast(Who())
    await settled(system)
    assert sorted(log) == ["1", "2", "3"]


async def test_all_can_be_asked_at_once(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=3)
    assert await router.ask_all(Who()) == ["1", "2", "3"]
    router.routees[2].pause()
    with pytest.raises(AskTimeout):
        await router.ask_all(Who(), timeout=0.02)
    router.stop()
    assert await router.stopped(5)
    with pytest.raises(ActorStopped):
        await router.ask_all(Who())


async def test_the_first_error_ends_an_ask_of_all(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=2, supervision=AT_ONCE)
    router.routees[1].pause()
    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="boom"):
            await router.ask_all(Boom(), timeout=60)
    await settled_but(system)
    assert router.waiting == 0


async def settled_but(system: ActorSystem) -> None:
    """Enough turns for what isn't paused."""
    while any(row.running for row in system.statistics()):
        await asyncio.sleep(0)


class Front(Actor):
    """Asks, or hands on to, a router."""

    def __init__(self, router: Ref) -> None:
        self.router = router

    @handles(Who)
    def hand_on(self, message: Who) -> object:
        return self.forward(self.router)

    @handles(str)
    async def ask_it(self, message: str) -> object:
        return await self.ask(self.router, Who(), timeout=5)


class Back(Actor):
    def __init__(self, to: list[Ref]) -> None:
        self.to = to

    @handles(Who)
    async def ask_back(self, message: Who) -> object:
        return await self.ask(self.to[0], "again", timeout=5)


async def test_an_ask_can_be_handed_on_to_a_router(system: ActorSystem, log: list[str]) -> None:
    router = Router.spawn(system, Worker, log, size=2)
    front = system.spawn(Front, router)
    assert [await front.ask(Who()) for _ in range(3)] == ["1", "2", "1"]
    assert [await front.ask("go") for _ in range(2)] == ["2", "1"]


async def test_a_circle_through_a_router_is_refused(system: ActorSystem) -> None:
    """R-D2."""
    to: list[Ref] = []
    router = Router.spawn(system, Back, to, size=1, supervision=AT_ONCE)
    front = system.spawn(Front, router)
    to.append(front)
    with pytest.raises(AskCycle):
        await front.ask("go")


async def test_an_actor_can_own_a_router_which_ends_with_it(system: ActorSystem, log: list[str]) -> None:
    class Owner(Actor):
        def __init__(self) -> None:
            self.router = Router.spawn(self, Worker, log, size=2, name="workers")

        @handles(str)
        def give_it(self, message: str) -> Router:
            return self.router

    owner = system.spawn(Owner, name="owner")
    router = await owner.ask("please", expecting=Router)
    assert router.path == "/owner/workers"
    owner.stop()
    assert await router.stopped(5)
