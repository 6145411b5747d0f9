"""What is put aside comes back first, in order, and is never lost without an answer or a dead letter."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
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
    Behaviour,
    QueueWaitTimeout,
    Ref,
    StashFull,
    Supervision,
    Terminated,
    handles,
)
from telestage.actors.kernel.cell import Cell

AT_ONCE = Supervision(backoff=Backoff(first=0), intensity=1000)


class Connected:
    pass


class Some:
    """Has the actor take back so many."""

    def __init__(self, count: int) -> None:
        self.count = count


class Done:
    pass


class Watch:
    def __init__(self, ref: Ref) -> None:
        self.ref = ref


class Line(Actor):
    """Puts everything aside until it is connected."""

    stash_capacity = 5
    waiting = Behaviour()

    def __init__(self, log: list[object], *, forgetful: bool = False) -> None:
        self.log = log
        self.forgetful = forgetful
        self.become(Line.waiting)

    @waiting.handles(object)
    async def put_aside(self, message: object) -> object:
        put_aside = self.stash()
        return None if self.forgetful else put_aside

    @waiting.handles(Connected)
    def connect(self, message: Connected) -> int:
        self.become(Line.waiting) if self.forgetful else self.unbecome()
        return self.unstash_all()

    @waiting.handles(Some)
    def take_back(self, message: Some) -> int:
        self.unbecome()
        return self.unstash(message.count)

    @waiting.handles(Watch)
    def watch_it(self, message: Watch) -> None:
        self.watch(message.ref)

    @handles(str)
    async def note(self, message: str) -> str:
        self.log.append(message)
        return message.upper()

    @handles(Terminated)
    def ended(self, message: Terminated) -> None:
        self.log.append(f"{message.ref.name} ended")

    @waiting.handles(ValueError)
    @handles(ValueError)
    def fail(self, message: ValueError) -> None:
        self.unbecome()
        raise message

    @waiting.handles(Done)
    @handles(Done)
    def count(self, message: Done) -> int:
        return self.stashed


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=AT_ONCE) as system:
        yield system


async def drained(ref: Ref) -> None:
    while ref.waiting:
        await asyncio.sleep(0)


@pytest.fixture
def log() -> list[object]:
    return []


async def test_messages_come_back_first_and_in_order(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    for message in ("a", "b", "c", Connected(), "d", "e"):
        line.tell(message)
    assert await line.ask(Done()) == 0
    assert log == ["a", "b", "c", "d", "e"]


async def test_some_come_back_and_the_others_stay_aside(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    for message in ("a", "b", "c", Some(2), "d"):
        line.tell(message)
    assert await line.ask(Done()) == 1
    assert log == ["a", "b", "d"]


async def test_what_comes_back_is_ahead_of_its_own_priority_only(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    line.pause()
    line.tell("low", priority=-1)
    line.tell("plain")
    line.tell("as plain")
    line.tell("high", priority=7)
    line.resume()
    assert await line.ask(Done(), priority=-2) == 4
    line.pause()
    line.tell(Connected(), priority=9)
    line.tell("low 2", priority=-1)
    line.tell("plain 2")
    line.tell("high 2", priority=7)
    line.resume()
    assert await line.ask(Done(), priority=-2) == 0
    assert log == ["high", "high 2", "plain", "as plain", "plain 2", "low", "low 2"]


async def test_what_came_by_the_system_lane_comes_back_before_all_priorities(
    system: ActorSystem, log: list[object]
) -> None:
    line = system.spawn(Line, log)
    line.pause()
    line.tell("low", priority=-1)
    line.tell("high", priority=7)
    line.signal("urgent")
    line.resume()
    while await line.ask(Done(), priority=-2) < 3:
        await asyncio.sleep(0)
    line.pause()
    line.tell(Connected(), priority=9)
    line.tell("higher", priority=8)
    line.resume()
    assert await line.ask(Done(), priority=-2) == 0
    assert log == ["urgent", "higher", "high", "low"]


class Valve(Actor):
    """Holds words back until it is open; has one behaviour only."""

    def __init__(self) -> None:
        self.open = False
        self.log: list[str] = []

    @handles(str)
    def let_through(self, message: str) -> object:
        if not self.open:
            return self.stash()
        self.log.append(message)
        return None

    @handles(Connected)
    def let_all_through(self, message: Connected) -> None:
        self.open = True
        while self.stashed:
            self.unstash()

    @handles(asyncio.Event)
    async def wait(self, message: asyncio.Event) -> object:
        await message.wait()
        return self.stash()

    @handles(Done)
    def give_log(self, message: Done) -> list[str]:
        return self.log


async def test_an_ask_run_at_once_can_take_messages_back(system: ActorSystem) -> None:
    valve = system.spawn(Valve)
    valve.tell("a")
    await drained(valve)
    await valve.ask(Connected())
    await drained(valve)
    assert await valve.ask(Done()) == ["a"]


async def test_taken_back_one_by_one_each_goes_before_the_last(system: ActorSystem) -> None:
    valve = system.spawn(Valve)
    for message in ("a", "b", Connected(), "c"):
        valve.tell(message)
    assert await valve.ask(Done()) == ["b", "a", "c"]
    (row,) = system.statistics()
    assert row.processed == 7


async def test_an_idle_actor_can_take_messages_back(system: ActorSystem) -> None:
    valve = system.spawn(Valve)
    valve.tell("a")
    await drained(valve)
    assert isinstance(valve, Cell)
    valve.actor.open = True
    assert valve.actor.unstash_all() == 1
    await drained(valve)
    assert valve.actor.log == ["a"]


@pytest.mark.parametrize("capacity", [None, 10])
async def test_taking_back_lets_nothing_new_into_an_actor_that_is_to_stop(
    system: ActorSystem, capacity: int | None
) -> None:
    """It is drained: what it had put aside is handled, what is told from then on is refused."""

    class Closes(Valve):
        @handles(Connected)
        def let_all_through(self, message: Connected) -> None:
            self.ref.stop(drain=True)
            super().let_all_through(message)
            self.ref.tell("late")
            log.append(self.ref.waiting)

        async def stopped(self) -> None:
            log.extend(self.log)

    log: list[object] = []
    ref = system.spawn(Closes, capacity=capacity)
    for message in ("put aside", Connected()):
        ref.tell(message)
    assert await ref.stopped(5)
    assert log == [1, "put aside"]
    assert [letter.message for letter in system.dead_letters.recent] == ["late"]


async def test_an_ask_that_nobody_waits_for_is_not_put_aside(system: ActorSystem) -> None:
    valve = system.spawn(Valve)
    event = asyncio.Event()
    ask = asyncio.create_task(valve.ask(event))
    await asyncio.sleep(0)
    ask.cancel()
    await asyncio.wait({ask})
    event.set()
    assert await valve.ask(Done()) == []
    assert isinstance(valve, Cell)
    assert valve.actor.stashed == 0


async def test_an_ask_put_aside_is_answered_after_it_comes_back(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    asks = [asyncio.create_task(line.ask(word)) for word in ("a", "b")]
    while await line.ask(Done()) < 2:
        await asyncio.sleep(0)
    assert await line.ask(Connected()) == 2
    assert await asyncio.gather(*asks) == ["A", "B"]
    assert log == ["a", "b"]


async def test_an_ask_is_put_aside_even_if_the_return_is_forgotten(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log, forgetful=True)
    with pytest.raises(AskTimeout):
        await line.ask("a", timeout=0.02)
    line.tell("b")  # so that the next goes by the mailbox
    with pytest.raises(AskTimeout):
        await line.ask("c", timeout=0.02)
    assert system.dead_letters.recent == ()


async def test_an_ask_can_be_put_aside_again_and_again(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log, forgetful=True)
    ask = asyncio.create_task(line.ask("a", timeout=5))
    for _ in range(3):
        await asyncio.sleep(0)
        assert await line.ask(Connected()) == 1
        assert await line.ask(Done()) == 1
    assert isinstance(line, Cell)
    line.tell(Some(1))
    assert await ask == "A"


@pytest.mark.parametrize("busy", [False, True])
async def test_an_ask_put_aside_runs_out_of_time_and_is_gone(
    system: ActorSystem, log: list[object], busy: bool
) -> None:
    line = system.spawn(Line, log)
    if busy:
        line.tell("before")
    with pytest.raises(AskTimeout):
        await line.ask("a", timeout=0.01)
    with pytest.raises(QueueWaitTimeout):
        await line.ask("b", timeout=5, queue_timeout=0.01)
    ask = asyncio.create_task(line.ask("c", cancel=True))
    await asyncio.sleep(0)
    assert await line.ask(Done()) == 1 + busy
    ask.cancel()
    await asyncio.wait({ask})
    assert await line.ask(Done()) == 0 + busy
    assert line.waiting == 0
    assert await line.ask(Connected()) == 0 + busy
    assert await line.ask("d") == "D"
    assert log == ["before", "d"][1 - busy :]


async def test_an_ask_that_came_back_and_is_given_up_frees_its_place(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log, capacity=2)
    ask = asyncio.create_task(line.ask("a"))
    await asyncio.sleep(0)
    assert isinstance(line, Cell)
    line.pause()
    line.actor.unstash_all()
    line.tell("b")
    assert line.waiting == 2
    ask.cancel()
    await asyncio.wait({ask})
    assert line.waiting == 1
    line.tell(Connected())
    assert system.dead_letters.recent == ()
    line.resume()
    await drained(line)
    assert await line.ask(Done()) == 0
    assert log == ["b"]


async def test_who_asks_waits_for_who_put_it_aside(system: ActorSystem, log: list[object]) -> None:
    """R-D2."""

    class Asker(Actor):
        @handles(Ref)
        async def ask_it(self, message: Ref) -> object:
            return await self.ask(message, "a", timeout=5)

    asker, line = system.spawn(Asker), system.spawn(Line, log)
    ask = asyncio.create_task(asker.ask(line))
    await asyncio.sleep(0)
    assert isinstance(line, Cell)
    with pytest.raises(AskCycle):
        await line.actor.ask(asker, line, timeout=1)
    await line.ask(Connected())
    assert await ask == "A"
    assert isinstance(asker, Cell)
    assert asker.kin.waits_on is None


async def test_beyond_the_bound_the_handler_fails_with_the_message(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    for number in range(5):
        line.tell(str(number))
    with pytest.raises(StashFull) as error:
        await line.ask("too many")
    assert (error.value.capacity, error.value.message) == (5, "too many")
    assert await line.ask(Done()) == 5  # put back by the restart, and aside again
    await line.ask(Connected())
    assert await line.ask(Done()) == 0
    assert log == ["0", "1", "2", "3", "4"]


async def test_a_restart_puts_all_back_in_order_ahead_of_the_mail(system: ActorSystem, log: list[object]) -> None:
    class Reborn(Line):
        born = 0

        def __init__(self, log: list[object]) -> None:
            super().__init__(log)
            Reborn.born += 1
            if Reborn.born > 1:
                self.unbecome()

    line = system.spawn(Reborn, log)
    asked = asyncio.create_task(line.ask("a"))
    await asyncio.sleep(0)
    for message in ("b", "c", ValueError("down"), "d", "e"):
        line.tell(message)
    assert await asked == "A"
    assert await line.ask(Done()) == 0
    assert log == ["a", "b", "c", "d", "e"]


async def test_a_resumed_actor_keeps_its_stash(system: ActorSystem, log: list[object]) -> None:
    from telestage.actors.kernel import Directive

    line = system.spawn(Line, log, supervision=Supervision({ValueError: Directive.RESUME}))
    for message in ("a", ValueError(), "b"):
        line.tell(message)
    assert await line.ask(Done()) == 1
    assert log == ["b"]


async def test_siblings_restarted_together_keep_what_they_put_aside(system: ActorSystem, log: list[object]) -> None:
    from telestage.actors.kernel import Strategy

    class Parent(Actor):
        supervision = Supervision(strategy=Strategy.ONE_FOR_ALL, backoff=Backoff(first=0))

        def __init__(self) -> None:
            for name in ("one", "two"):
                self.spawn(Line, log, name=name)

    system.spawn(Parent, name="parent")
    one, two = system.find("/parent/one"), system.find("/parent/two")
    assert one is not None
    assert two is not None
    two.tell("a")
    two.tell("b")
    assert await two.ask(Done()) == 2
    one.tell(ValueError())
    while sum(row.restarts for row in system.statistics()) < 2:
        await asyncio.sleep(0)
    assert await two.ask(Done()) == 2
    await two.ask(Connected())
    await two.ask(Done())
    assert log == ["a", "b"]


async def test_a_stop_fails_the_asks_and_makes_dead_letters_of_the_rest(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    ended = system.spawn(Line, log)
    line.tell(Watch(ended))
    asked = asyncio.create_task(line.ask("a", timeout=5))
    await asyncio.sleep(0)
    line.tell("b")
    ended.stop()
    assert await ended.stopped(1)
    while await line.ask(Done()) < 3:
        await asyncio.sleep(0)
    line.stop()
    assert await line.stopped(1)
    with pytest.raises(ActorStopped):
        await asked
    assert [letter.message for letter in system.dead_letters.recent] == ["b"]


async def test_a_notice_that_is_put_aside_comes_back_in_its_place(system: ActorSystem, log: list[object]) -> None:
    """Known failure of other frameworks: a stashed Terminated is lost."""
    line = system.spawn(Line, log, capacity=3)
    other = system.spawn(Line, log, name="other")
    line.tell(Watch(other))
    line.tell("a")
    await line.ask(Done())
    other.stop()
    assert await other.stopped(1)
    line.tell("b")
    assert await line.ask(Done()) == 3
    line.pause()
    line.tell(Connected())
    for word in ("c", "d"):
        line.tell(word)
    line.resume()
    await drained(line)
    assert log == ["a", "other ended", "b", "c", "d"]
    assert system.dead_letters.recent == ()


async def test_what_comes_back_goes_beyond_the_bound_and_newcomers_feel_it(
    system: ActorSystem, log: list[object]
) -> None:
    line = system.spawn(Line, log, capacity=3)
    for word in "abc":
        line.tell(word)
        await drained(line)
    assert await line.ask(Done()) == 3
    line.pause()
    line.tell("d")
    assert isinstance(line, Cell)
    line.actor.unbecome()
    assert line.actor.unstash_all() == 3
    assert line.waiting == 4
    line.tell("refused")
    assert [letter.message for letter in system.dead_letters.recent] == ["refused"]
    line.resume()
    await drained(line)
    line.tell("e")
    assert await line.ask(Done()) == 0
    assert log == ["a", "b", "c", "d", "e"]


async def test_statistics_count_each_handling_once(system: ActorSystem, log: list[object]) -> None:
    line = system.spawn(Line, log)
    for message in ("a", "b", Some(1), "c", "d"):
        line.tell(message)
    await line.ask(Done())
    (row,) = system.statistics()
    assert row.processed == 7  # "a" twice
    assert log == ["a", "c", "d"]


async def test_what_is_put_aside_is_not_given_again_after_a_failure(system: ActorSystem, log: list[object]) -> None:
    class Hasty(Line):
        failed = False

        @Line.waiting.handles(str)
        def aside_and_down(self, message: str) -> None:
            if Hasty.failed:
                self.log.append(message)
                return
            Hasty.failed = True
            self.stash()
            raise ValueError(message)

    line = system.spawn(Hasty, log, redeliver=3)
    line.tell("a")
    assert await line.ask(Done()) == 0
    assert log == ["a"]


async def test_an_ask_that_waits_behind_what_is_put_aside_and_is_given_up_frees_its_place(
    system: ActorSystem, log: list[object]
) -> None:
    line = system.spawn(Line, log, capacity=1)
    line.tell("a")
    await drained(line)
    line.pause()
    ask = asyncio.create_task(line.ask("b"))
    await asyncio.sleep(0)
    assert line.waiting == 1
    ask.cancel()
    await asyncio.wait({ask})
    assert line.waiting == 0
    line.tell(Connected())
    line.resume()
    await drained(line)
    assert log == ["a"]
    assert system.dead_letters.recent == ()


async def test_what_the_runtime_tells_is_put_aside_beyond_the_bound(system: ActorSystem, log: list[object]) -> None:
    """It is told once only."""
    line, other = system.spawn(Line, log), system.spawn(Line, log, name="other")
    line.tell(Watch(other))
    for number in range(5):
        line.tell(str(number))
    await drained(line)
    other.stop()
    assert await other.stopped(1)
    assert await line.ask(Done()) == 6
    await line.ask(Connected())
    assert await line.ask(Done()) == 0
    assert log == ["0", "1", "2", "3", "4", "other ended"]


async def test_one_message_can_be_put_aside_once_at_a_time(system: ActorSystem, log: list[object]) -> None:
    class Twice(Line):
        @Line.waiting.handles(str)
        def aside(self, message: str) -> object:
            self.stash()
            with pytest.raises(RuntimeError, match="nothing to stash"):
                self.stash()
            return None

    line = system.spawn(Twice, log)
    line.tell("a")
    assert await line.ask(Done()) == 1
