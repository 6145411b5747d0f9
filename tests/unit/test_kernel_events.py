"""Events go to who subscribed to their type, and the system's own cost nothing while nobody has."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import (
    Actor,
    ActorSystem,
    Backoff,
    DeadLetter,
    Directive,
    Failed,
    Instrument,
    LifecycleEvent,
    Ref,
    Restarted,
    Router,
    Spawned,
    Stopped,
    Supervision,
    handles,
)
from telestage.actors.kernel.cell import Cell

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class News:
    pass


class Sport(News):
    pass


class Listener(Actor):
    def __init__(self, heard: list[object]) -> None:
        self.heard = heard

    @handles(ValueError)
    def fail(self, message: ValueError) -> None:
        raise message

    @handles(object)
    def hear(self, message: object) -> None:
        self.heard.append(message)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


async def idle(system: ActorSystem) -> None:
    async with asyncio.timeout(10):
        await system.idle()


def listener(system: ActorSystem, *types: type, **options: int) -> tuple[Ref, list[object]]:
    heard: list[object] = []
    ref = system.spawn(Listener, heard, **options)
    if types:
        system.events.subscribe(ref, *types)
    return ref, heard


async def test_an_event_goes_to_who_subscribed_to_its_class_or_a_base(system: ActorSystem) -> None:
    (_, news), (_, sport), (_, words) = (listener(system, cls) for cls in (News, Sport, str))
    first, second = News(), Sport()
    assert system.events.publish(first) == 1
    assert system.events.publish(second) == 2
    assert system.events.publish(3) == 0
    await idle(system)
    assert news == [first, second]
    assert sport == [second]
    assert words == []


async def test_who_subscribed_twice_is_told_once(system: ActorSystem) -> None:
    ref, heard = listener(system, News, Sport)
    system.events.subscribe(ref, Sport)
    assert system.events.publish(Sport()) == 1
    await idle(system)
    assert len(heard) == 1


async def test_a_subscription_can_be_ended_for_a_type_and_for_all(system: ActorSystem) -> None:
    ref, heard = listener(system, News, str)
    system.events.publish("a")
    system.events.unsubscribe(ref, str)
    system.events.unsubscribe(ref, int)
    assert system.events.publish("b") == 0
    assert system.events.publish(News()) == 1
    system.events.unsubscribe(ref)
    assert system.events.publish(News()) == 0
    system.events.unsubscribe(ref)
    await idle(system)
    assert len(heard) == 2


async def test_a_later_subscriber_is_told_of_types_published_before(system: ActorSystem) -> None:
    listener(system, Sport)
    system.events.publish(Sport())
    _, heard = listener(system, News)
    assert system.events.publish(Sport()) == 2
    await idle(system)
    assert len(heard) == 1


async def test_who_stops_is_subscribed_no_more(system: ActorSystem) -> None:
    (one, _), (two, heard) = listener(system, News), listener(system, News)
    one.stop()
    system.events.publish(News())
    assert await one.stopped(5)
    assert system.events.publish(News()) == 1
    system.events.subscribe(one, News)
    assert system.events.publish(News()) == 1
    await idle(system)
    assert len(heard) == 3
    assert system.dead_letters.recent == ()
    two.stop()
    assert await two.stopped(5)
    assert system.events.publish(News()) == 0


async def test_who_is_restarted_stays_subscribed(system: ActorSystem) -> None:
    ref, heard = listener(system, News)
    ref.tell(ValueError())
    await idle(system)
    system.events.publish(event := News())
    await idle(system)
    assert heard == [event]


async def test_a_full_subscriber_makes_a_dead_letter_and_not_one_of_each_letter(system: ActorSystem) -> None:
    ref, heard = listener(system, News, DeadLetter, capacity=1)
    ref.pause()
    system.events.publish(first := News())
    system.events.publish(second := News())
    assert [type(letter.message) for letter in system.dead_letters.recent] == [News, DeadLetter]
    ref.resume()
    await idle(system)
    assert heard == [first]
    assert system.dead_letters.recent[0].message is second


async def test_the_system_publishes_dead_letters_and_lives(system: ActorSystem) -> None:
    _, heard = listener(system, DeadLetter, LifecycleEvent)
    other = system.spawn(Listener, [])
    error = ValueError("down")
    other.tell(error)
    await idle(system)
    other.stop()
    assert await other.stopped(5)
    other.tell("late")
    await idle(system)
    letter = heard.pop()
    assert isinstance(letter, DeadLetter)
    assert letter.message == "late"
    assert heard == [
        Spawned(other),
        Failed(other, error, Directive.RESTART),
        Restarted(other, error),
        Stopped(other, None),
    ]


async def test_a_stop_with_an_error_says_so(system: ActorSystem) -> None:
    _, heard = listener(system, Stopped)
    other = system.spawn(Listener, [], supervision=Supervision({ValueError: Directive.STOP}))
    other.tell(error := ValueError("for good"))
    await idle(system)
    (event,) = heard
    assert isinstance(event, Stopped)
    assert event.ref is other
    assert event.error is not None
    assert event.error.__cause__ is error


async def test_nothing_is_told_of_lives_while_nobody_subscribes(system: ActorSystem) -> None:
    root = system.find("/")
    assert isinstance(root, Cell)
    assert root.dispatcher.life is None
    ref, _ = listener(system, News)
    assert root.dispatcher.life is not None
    system.events.unsubscribe(ref)
    assert root.dispatcher.life is None


async def test_instruments_hear_on_when_subscribers_come_and_go() -> None:
    class Count(Instrument):
        def __init__(self) -> None:
            self.letters = 0
            self.born = 0

        def dead_letter(self, letter: DeadLetter) -> None:
            self.letters += 1

        def spawned(self, ref: Ref, cls: type[Actor]) -> None:
            self.born += 1

    count = Count()
    async with ActorSystem(instruments=[count]) as system:
        ref, heard = listener(system, DeadLetter, Spawned)
        other, _ = listener(system)
        await idle(system)
        system.events.unsubscribe(ref)
        other.stop()
        other.tell("late")
        listener(system)
        await idle(system)
    assert (count.letters, count.born) == (1, 3)
    assert heard == [Spawned(other)]


async def test_a_router_can_subscribe(system: ActorSystem) -> None:
    heard: list[object] = []
    router = Router.spawn(system, Listener, heard, size=2)
    system.events.subscribe(router, News)
    assert system.events.publish(News()) == 1
    await idle(system)
    assert len(heard) == 1
    router.stop()
    assert await router.stopped(5)
    assert system.events.publish(News()) == 0


async def test_another_systems_actor_and_no_class_are_refused(system: ActorSystem) -> None:
    ref, _ = listener(system)
    with pytest.raises(TypeError, match="classes"):
        system.events.subscribe(ref)
    async with ActorSystem("other") as other:
        with pytest.raises(ValueError, match="another system"):
            other.events.subscribe(ref, News)
