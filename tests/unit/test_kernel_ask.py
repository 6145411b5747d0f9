"""What an ask promises: one answer or one error, in time, and never an execution nobody waits for."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    ActorRestarted,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskDirection,
    AskTimeout,
    Backoff,
    Directive,
    Ref,
    Reply,
    Supervision,
    Unhandled,
    WrongReply,
    handles,
)
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.waits import waited_for

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Get:
    pass


class Boom:
    pass


class Later:
    pass


class Relay:
    """Has an actor ask the next one on the way, and the last one answer."""

    def __init__(self, *way: Ref) -> None:
        self.way = way


class Wait:
    """Suspends the handler until the test opens the gate; remembers what happened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.ended: str | None = None


class Server(Actor):
    def __init__(self) -> None:
        self.replies: list[Reply] = []

    @handles(Get)
    def get(self, message: Get) -> str:
        return "got"

    @handles(Wait)
    async def wait(self, message: Wait) -> str:
        message.entered.set()
        try:
            await message.open.wait()
        except asyncio.CancelledError:
            message.ended = "cancelled"
            raise
        message.ended = "well"
        return "waited"

    @handles(Boom)
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handles(Later)
    def later(self, message: Later) -> object:
        self.replies.append(self.reply_later())
        return NO_REPLY

    @handles(Reply)
    def give(self, message: Reply) -> list[Reply]:
        return self.replies

    @handles(Relay)
    async def relay(self, message: Relay) -> object:
        if not message.way:
            return "end"
        return await self.ask(message.way[0], Relay(*message.way[1:]))


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


async def replies_of(system: ActorSystem, server: Ref) -> list[Reply]:
    return await server.ask(_reply_key(), expecting=list)


def _reply_key() -> Reply:
    return Reply(None)


async def test_a_timeout_fails_the_ask_and_its_late_answer_is_a_dead_letter(system: ActorSystem) -> None:
    """R-Q5, R-D3, R-S5."""
    server = system.spawn(Server)
    wait = Wait()
    with pytest.raises(AskTimeout) as error:
        await server.ask(wait, timeout=0.01)
    assert error.value.message is wait
    wait.open.set()
    assert await server.ask(Get()) == "got"
    assert wait.ended == "well"
    assert [letter.message for letter in system.dead_letters.recent] == ["waited"]


async def test_a_timeout_with_cancel_ends_the_running_handler(system: ActorSystem) -> None:
    """R-Q5, R-Q8: the operation is cancelled, and the next message is taken."""
    server = system.spawn(Server)
    wait = Wait()
    with pytest.raises(AskTimeout):
        await server.ask(wait, timeout=0.01, cancel=True)
    assert await server.ask(Get()) == "got"
    assert wait.ended == "cancelled"
    assert system.statistics()[0].restarts == 0


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_cancelled_asker_takes_a_queued_message_with_it(system: ActorSystem, cancel: bool) -> None:
    """R-Q8, queued."""
    server = system.spawn(Server)
    wait, never = Wait(), Wait()
    server.tell(wait)
    await wait.entered.wait()
    ask = asyncio.create_task(server.ask(never, cancel=cancel))
    await asyncio.sleep(0)
    ask.cancel()
    wait.open.set()
    assert await server.ask(Get()) == "got"
    assert ask.cancelled()
    assert not never.entered.is_set()


@pytest.mark.parametrize(("cancel", "ended"), [(True, "cancelled"), (False, "well")])
async def test_a_cancelled_asker_cancels_a_running_handler_if_asked_to(
    system: ActorSystem, cancel: bool, ended: str
) -> None:
    """R-Q8, running."""
    server = system.spawn(Server)
    wait = Wait()
    ask = asyncio.create_task(server.ask(wait, cancel=cancel))
    await wait.entered.wait()
    ask.cancel()
    await asyncio.wait({ask})
    wait.open.set()
    assert await server.ask(Get()) == "got"
    assert ask.cancelled()
    assert wait.ended == ended


async def test_an_answer_to_an_asker_cancelled_at_that_moment_is_a_dead_letter(system: ActorSystem) -> None:
    """R-S5: cancelled with the answer at the door."""
    server = system.spawn(Server)
    wait = Wait()
    ask = asyncio.create_task(server.ask(wait))
    await wait.entered.wait()
    wait.open.set()
    while wait.ended is None:
        await asyncio.sleep(0)
    ask.cancel()
    await asyncio.wait({ask})
    assert ask.cancelled()
    assert [letter.message for letter in system.dead_letters.recent] == ["waited"]


async def test_an_error_goes_to_the_asker_at_once(system: ActorSystem) -> None:
    """R-S3: not after the backoff."""
    server = system.spawn(Server, supervision=Supervision(backoff=Backoff(first=30, maximum=30)))
    with pytest.raises(ValueError, match="boom"):
        await server.ask(Boom(), timeout=1)


async def test_stop_iteration_of_a_plain_handler_is_an_error_like_any_other(system: ActorSystem) -> None:
    class Careless(Actor):
        @handles(int)
        def first(self, message: int) -> object:
            return next(iter(()))

        @handles(str)
        async def slow(self, message: str) -> object:
            await asyncio.sleep(0)
            return self.first(0)

    careless = system.spawn(Careless)
    for message in (1, "a", 2):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await careless.ask(message, timeout=1)
    careless.tell(3)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await careless.ask(4, timeout=1)
    assert system.statistics()[0].restarts == 5


async def test_an_unhandled_message_comes_back(system: ActorSystem) -> None:
    server = system.spawn(Server)
    with pytest.raises(Unhandled) as error:
        await server.ask(3.5)
    assert error.value.message == 3.5
    server.tell("nobody")
    assert await server.ask(Get()) == "got"
    assert [letter.message for letter in system.dead_letters.recent] == [3.5, "nobody"]


async def test_a_wrong_type_of_answer_is_an_error(system: ActorSystem) -> None:
    server = system.spawn(Server)
    assert await server.ask(Get(), expecting=str) == "got"
    with pytest.raises(WrongReply) as error:
        await server.ask(Get(), expecting=int)
    assert error.value.reply == "got"


async def test_an_ask_needs_a_deadline(system: ActorSystem) -> None:
    """R-D3."""
    server = system.spawn(Server)
    for timeout in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="deadline"):
            await server.ask(Get(), timeout=timeout)


# -- answers given later --------------------------------------------------------------------------


async def test_an_answer_given_later_settles_the_ask_once(system: ActorSystem) -> None:
    """R-S5: a second answer is a dead letter."""
    server = system.spawn(Server)
    ask = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    (reply,) = await replies_of(system, server)
    assert reply.waited_for
    assert reply.send("first")
    assert not reply.waited_for
    assert not reply.send("second")
    assert not reply.fail(KeyError("third"))
    assert await ask == "first"
    assert [str(letter.message) for letter in system.dead_letters.recent] == ["second", "'third'"]


async def test_an_error_given_later_is_raised_where_the_ask_was_made(system: ActorSystem) -> None:
    server = system.spawn(Server)
    ask = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    (reply,) = await replies_of(system, server)
    assert reply.fail(KeyError("later"))
    with pytest.raises(KeyError):
        await ask


async def test_an_answer_owed_fails_as_soon_as_the_restart_is_decided(system: ActorSystem) -> None:
    """R-D3, R-S3."""
    server = system.spawn(Server, supervision=Supervision(backoff=Backoff(first=30, maximum=30)))
    ask = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    server.tell(Boom())
    with pytest.raises(ActorRestarted) as error:
        await asyncio.wait_for(ask, 1)
    assert isinstance(error.value.__cause__, ValueError)


async def test_an_answer_owed_fails_when_the_actor_stops(system: ActorSystem) -> None:
    server = system.spawn(Server)
    ask = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    server.stop()
    with pytest.raises(ActorStopped):
        await ask


async def test_answers_owed_to_nobody_are_forgotten(system: ActorSystem) -> None:
    """An actor that never answers keeps nothing for askers that ran into their deadlines."""
    server = system.spawn(Server)
    for _ in range(20):
        with pytest.raises(AskTimeout):
            await server.ask(Later(), timeout=0)
    assert not server.kin.owed  # type: ignore[attr-defined]  # looked at from inside on purpose


async def test_a_reply_to_a_told_message_goes_nowhere(system: ActorSystem) -> None:
    server = system.spawn(Server)
    server.tell(Later())
    (reply,) = await replies_of(system, server)
    assert not reply.waited_for
    assert not reply.send("nobody")


async def test_a_resumed_actor_still_owes_its_answers(system: ActorSystem) -> None:
    server = system.spawn(Server, supervision=Supervision({ValueError: Directive.RESUME}))
    ask = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    server.tell(Boom())
    (reply,) = await replies_of(system, server)
    reply.send("kept")
    assert await ask == "kept"


# -- who waits for whom -----------------------------------------------------------------------------


async def test_an_actor_cannot_ask_itself(system: ActorSystem) -> None:
    """R-D2."""
    server = system.spawn(Server, name="self")
    with pytest.raises(AskCycle) as error:
        await server.ask(Relay(server), timeout=1)
    assert error.value.path == ("/self", "/self")


async def test_a_circle_of_two_is_refused_and_named(system: ActorSystem) -> None:
    """R-D2."""
    a, b = system.spawn(Server, name="a"), system.spawn(Server, name="b")
    with pytest.raises(AskCycle) as error:
        await a.ask(Relay(b, a), timeout=1)
    assert error.value.path == ("/b", "/a", "/b")


async def test_a_circle_of_a_thousand_is_refused_and_named(system: ActorSystem) -> None:
    """R-D2: however long."""

    class Careful(Server):
        @handles(Relay)
        async def relay(self, message: Relay) -> object:
            try:
                return await super().relay(message)
            except AskCycle as error:
                return error  # not raised on, or each of the thousand would fail too

    ring = [system.spawn(Careful, name=str(number)) for number in range(1000)]
    error = await ring[0].ask(Relay(*ring[1:], ring[0]), expecting=AskCycle, timeout=10)
    assert error.path == ("/999", *(f"/{number}" for number in range(1000)))
    assert "(992 more)" in str(error)
    assert await ring[0].ask(Relay(*ring[1:])) == "end"


async def test_a_circle_is_refused_though_the_handler_asks_many_at_once(system: ActorSystem) -> None:
    """R-D2: concurrent asks of one actor are edges of their own."""

    class Many(Server):
        @handles(list)
        async def all_of(self, ways: list[Relay]) -> list[object]:
            asks = (self.ask(way.way[0], Relay(*way.way[1:])) for way in ways)
            return await asyncio.gather(*asks, return_exceptions=True)

    many = system.spawn(Many, name="many")
    left, right, bottom = (system.spawn(Server, name=name) for name in ("left", "right", "bottom"))
    diamond = [Relay(left, bottom), Relay(right, bottom)]
    assert await many.ask(diamond, timeout=1) == ["end", "end"]  # a diamond is no circle
    ends = await many.ask([Relay(left, bottom), Relay(right, bottom, many), Relay(many)], expecting=list, timeout=1)
    assert ends[0] == "end"
    assert [end.path for end in ends[1:]] == [("/bottom", "/many", "/right", "/bottom"), ("/many", "/many")]


async def test_each_ask_of_one_actor_is_an_edge_as_long_as_it_is_in_flight(system: ActorSystem) -> None:
    """R-D2: of three at once, one ends after the other; a circle over the second is seen as well as over the first."""

    class Many(Server):
        @handles(list)
        async def all_of(self, asks: list[tuple[Ref, object]]) -> list[object]:
            return await asyncio.gather(*(self.ask(to, message) for to, message in asks), return_exceptions=True)

    many = system.spawn(Many, name="many")
    refs = [system.spawn(Server, name=name) for name in ("first", "second", "third")]
    waits = [Wait(), Wait(), Wait()]
    asking = asyncio.ensure_future(many.ask(list(zip(refs, waits, strict=True)), timeout=10))
    for wait in waits:
        await wait.entered.wait()
    assert isinstance(many, Cell)  # looked at from inside on purpose
    assert waited_for(many) == refs
    for place in (1, 0):
        waits[place].open.set()
        await asyncio.sleep(0)
        del refs[place]
        while len(waited_for(many)) > len(refs):
            await asyncio.sleep(0)
        assert waited_for(many) == refs
    assert many.kin.waits_on is refs[0]  # one edge is no list, so that chains are followed quickly
    waits[2].open.set()
    await asking
    assert waited_for(many) == []

    held, back = Wait(), Relay(many)
    first, second = (system.spawn(Server) for _ in range(2))
    asking = asyncio.ensure_future(many.ask([(first, held), (second, back)], timeout=10, expecting=list))
    await held.entered.wait()
    held.open.set()
    ends = await asking
    assert isinstance(ends[1], AskCycle)


async def test_an_ask_by_ref_inside_a_handler_is_part_of_the_graph(system: ActorSystem) -> None:
    """R-D2: also without `self.ask`, also after the handler has suspended."""

    class ByRef(Actor):
        @handles(tuple)
        async def relay(self, way: tuple[Ref, ...]) -> object:
            await asyncio.sleep(0)
            return await way[0].ask(way[1:])

    a, b = system.spawn(ByRef), system.spawn(ByRef)
    with pytest.raises(AskCycle):
        await a.ask((b, a), timeout=1)


async def test_a_debt_counts_as_no_wait(system: ActorSystem) -> None:
    """Who owes an answer but waits for nobody can be asked by those it owes nothing."""
    server, asker = system.spawn(Server), system.spawn(Server)
    owed = asyncio.create_task(server.ask(Later()))
    await asyncio.sleep(0)
    assert await asker.ask(Relay(server)) == "end"
    owed.cancel()
    await asyncio.wait({owed})


async def test_no_edge_is_left_behind(system: ActorSystem) -> None:
    """R-D2: after 20,000 asks that ended well, badly, late or cancelled, the graph is empty."""
    a, b = system.spawn(Server), system.spawn(Server)

    class Busy(Server):
        @handles(int)
        async def ask_a_lot(self, count: int) -> None:
            for number in range(count):
                if number % 50 == 0:
                    with pytest.raises(ValueError, match="boom"):
                        await self.ask(b, Boom())
                elif number % 50 == 1:
                    with pytest.raises(AskTimeout):
                        await self.ask(b, Later(), timeout=0)
                elif number % 50 == 2:
                    ask = asyncio.create_task(self.ask(b, Later()))
                    await asyncio.sleep(0)
                    ask.cancel()
                    await asyncio.wait({ask})
                elif number % 50 == 3:
                    with pytest.raises(AskCycle):
                        await self.ask(self.ref, Get())
                else:
                    await asyncio.gather(self.ask(a, Get()), self.ask(b, Get()))

    busy = system.spawn(Busy)
    await busy.ask(20_000, timeout=50)
    for ref in (a, b, busy):
        assert isinstance(ref, Cell)  # looked at from inside on purpose
        assert not waited_for(ref)


async def test_a_million_asks_leave_no_edge_behind(system: ActorSystem) -> None:
    """R-D2: legal ones, of an idle actor and of one that has to wait for its own."""
    end = system.spawn(Server)

    class Middle(Server):
        @handles(str)
        async def pass_on(self, _: str) -> object:
            return await self.ask(end, Get())

    class Busy(Server):
        @handles(int)
        async def ask_a_lot(self, count: int) -> None:
            message = Get()
            for _ in range(count // 10):
                await self.ask(middle, "pass on")
                for _ in range(8):
                    await self.ask(end, message)

    middle, busy = system.spawn(Middle), system.spawn(Busy)
    await busy.ask(1_000_000, timeout=50)
    for ref in (end, middle, busy):
        assert isinstance(ref, Cell)  # looked at from inside on purpose
        assert not waited_for(ref)


async def test_asks_go_up_only_where_ranks_say_so(system: ActorSystem) -> None:
    """R-D1: one that goes down or sideways is refused with the names of both."""

    class Manager(Server):
        ask_rank = 0

    class Session(Server):
        ask_rank = 1

    class Monitor(Server):
        ask_rank = 2

    manager, session, other, monitor = (system.spawn(cls) for cls in (Manager, Session, Session, Monitor))
    anywhere = system.spawn(Server)
    assert await monitor.ask(Relay(session, manager)) == "end"
    assert await monitor.ask(Relay(manager)) == "end"
    for asker, target in [(manager, session), (manager, monitor), (session, monitor), (session, other)]:
        with pytest.raises(AskDirection) as refused:
            await asker.ask(Relay(target))
        assert (refused.value.asker, refused.value.target) == (asker.path, target.path)
        assert f"{asker.path} may ask upwards only, and {target.path} isn't above it" in str(refused.value)
    assert await manager.ask(Relay(anywhere)) == "end"
    assert await anywhere.ask(Relay(monitor)) == "end"
    with pytest.raises(AskCycle):  # the nearer reason
        await session.ask(Relay(session))


async def test_the_error_of_a_stopped_actor_does_not_grow_with_each_ask(system: ActorSystem) -> None:
    """One error is raised for every ask; a traceback that kept growing would be a leak."""

    class Doomed(Actor):
        @handles(Exception)
        def end(self, error: Exception) -> None:
            self.stop(error)

    doomed = system.spawn(Doomed)
    doomed.tell(KeyError("revoked"))
    assert await doomed.stopped(1)
    depths = set()
    for _ in range(50):
        with pytest.raises(KeyError) as error:
            await doomed.ask(Get())
        depth = 0
        traceback = error.value.__traceback__
        while traceback is not None:
            depth += 1
            traceback = traceback.tb_next
        depths.add(depth)
    assert len(depths) == 1


class Notes(Actor):
    """Asked at once, it tells itself what it was asked; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    @handles(str)
    async def on_text(self, message: str) -> None:
        self.ref.tell(int(message))

    @handles(int)
    async def on_number(self, message: int) -> None:
        self.told.append(message)

    @handles(tuple)
    async def on_tuple(self, message: tuple[()]) -> list[int]:
        return self.told


async def test_actors_asked_one_after_another_by_the_same_worker_share_no_mail(system: ActorSystem) -> None:
    """What the first is told while it is asked stays its own, whoever is asked next."""
    refs = [system.spawn(Notes) for _ in range(10)]
    for number, ref in enumerate(refs):
        await ref.ask(str(number))
    assert [await ref.ask(()) for ref in refs] == [[number] for number in range(10)]
