"""An actor that has become something else handles the very next message so."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import Actor, ActorSystem, Backoff, Behaviour, ChildFailed, Directive, Supervision, handles
from telestage.actors.kernel.cell import Cell

AT_ONCE = Supervision({KeyError: Directive.RESUME}, backoff=Backoff(first=0), intensity=1000)


class Push:
    pass


class HardPush(Push):
    pass


class Turn:
    """Of the key."""


class Look:
    pass


class Door(Actor):
    locked = Behaviour()
    gone = Behaviour()

    def __init__(self) -> None:
        self.notes: list[str] = []

    @handles(Push)
    def open(self, message: Push) -> None:
        self.notes.append("open")

    @locked.handles(Push)
    async def hold(self, message: Push) -> None:
        self.notes.append("held")

    @handles(Turn)
    async def lock(self, message: Turn) -> None:
        self.become(Door.locked)

    @locked.handles(Turn)
    def unlock(self, message: Turn) -> None:
        self.unbecome()

    @gone.handles(object)
    def nothing(self, message: object) -> str:
        return "nobody there"

    @handles(Look)
    def look(self, message: Look) -> list[str]:
        return self.notes

    @handles(str)
    async def slam(self, message: str) -> None:
        self.become(Door.gone)
        await asyncio.sleep(0)

    @handles(ValueError, KeyError)
    def break_down(self, message: Exception) -> None:
        self.become(Door.locked)
        raise message


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


@pytest.mark.parametrize("as_envelope", [False, True])
@pytest.mark.parametrize("priority", [0, 3])
async def test_the_very_next_message_of_a_batch_is_handled_by_the_new_behaviour(
    system: ActorSystem, priority: int, as_envelope: bool
) -> None:
    door = system.spawn(Door)
    sender = door if as_envelope else None
    for message in (Push(), Push(), Turn(), Push(), Push(), Turn(), Push()):
        door.tell(message, priority=priority, sender=sender)
    assert await door.ask(Look()) == ["open", "open", "held", "held", "open"]


async def test_the_next_ask_is_handled_by_the_new_behaviour_too(system: ActorSystem) -> None:
    door = system.spawn(Door)
    await door.ask(Push())
    await door.ask(Turn())
    await door.ask(Push())
    asks = [door.ask(Turn()), door.ask(Push()), door.ask(Turn()), door.ask(Push())]
    await asyncio.gather(*asks)
    assert await door.ask(Look()) == ["open", "held", "open", "held"]


async def test_a_handler_that_waits_after_the_change_ends_before_it_takes_effect(system: ActorSystem) -> None:
    door = system.spawn(Door)
    door.tell("slam")
    door.tell(Push())
    assert await door.ask(Look()) == "nobody there"


async def test_a_behaviour_comes_first_and_the_common_handlers_after_it(system: ActorSystem) -> None:
    door = system.spawn(Door)
    door.tell(Turn())
    door.tell(HardPush())  # to the nearest base class
    assert await door.ask(Look()) == ["held"]  # which all states have in common


async def test_a_restart_goes_back_to_the_initial_behaviour(system: ActorSystem) -> None:
    door = system.spawn(Door)
    door.tell(ValueError())
    door.tell(Push())
    assert await door.ask(Look()) == ["open"]


async def test_a_resumed_actor_keeps_its_behaviour(system: ActorSystem) -> None:
    door = system.spawn(Door)
    door.tell(KeyError())
    door.tell(Push())
    assert await door.ask(Look()) == ["held"]


async def test_init_can_choose_the_initial_behaviour(system: ActorSystem) -> None:
    class Shut(Door):
        def __init__(self) -> None:
            super().__init__()
            self.become(Door.locked)

    door = system.spawn(Shut)
    door.tell(Push())
    assert await door.ask(Look()) == ["held"]
    door.tell(Turn())
    door.tell(ValueError())
    door.tell(Push())
    assert await door.ask(Look()) == ["held"]


async def test_a_subclass_overrides_by_name_and_by_type(system: ActorSystem) -> None:
    class Loud(Door):
        async def hold(self, message: Push) -> None:
            self.notes.append("HELD")

        @Door.locked.handles(HardPush)
        def give_way(self, message: HardPush) -> None:
            self.notes.append("broken in")

    door = system.spawn(Loud)
    for message in (Turn(), Push(), HardPush()):
        door.tell(message)
    assert await door.ask(Look()) == ["HELD", "broken in"]


async def test_what_an_actor_has_become_can_be_asked(system: ActorSystem) -> None:
    door = system.spawn(Door)
    assert isinstance(door, Cell)
    assert door.actor.behaviour is None
    door.tell(Turn())
    await door.ask(Look())
    assert door.actor.behaviour is Door.locked
    assert repr(Door.locked) == "<Behaviour Door.locked>"


async def test_another_classes_behaviour_is_refused(system: ActorSystem) -> None:
    class Other(Actor):
        strange = Behaviour()

    door = system.spawn(Door)
    assert isinstance(door, Cell)
    with pytest.raises(ValueError, match="no behaviour of Door"):
        door.actor.become(Other.strange)


def test_two_handlers_for_one_type_in_one_behaviour_are_refused() -> None:
    state = Behaviour()
    with pytest.raises(TypeError, match="both first and second handle int"):

        class Twice(Actor):
            at = state

            @state.handles(int)
            def first(self, message: int) -> None: ...

            @state.handles(int)
            def second(self, message: int) -> None: ...


async def test_a_supervisor_hears_of_failures_in_every_behaviour(system: ActorSystem) -> None:
    class Parent(Actor):
        busy = Behaviour()

        def __init__(self) -> None:
            self.heard = asyncio.Event()
            self.become(Parent.busy)
            self.child = self.spawn(Door)

        @handles(ChildFailed)
        def note(self, message: ChildFailed) -> None:
            self.heard.set()

        @handles(Look)
        async def wait(self, message: Look) -> asyncio.Event:
            self.child.tell(ValueError())
            return self.heard

    parent = system.spawn(Parent)
    heard = await parent.ask(Look(), expecting=asyncio.Event)
    async with asyncio.timeout(5):
        await heard.wait()
