"""Who sends to a full actor that is ready has it process a batch at once, inside the `await`."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from telestage.actors.kernel import Actor, ActorSystem, Backoff, MailboxFull, Ref, Supervision, handles

Body = Callable[["Runs"], Awaitable[object]]


class Runs(Actor):
    """Runs the function it is told, and sees to it that only one runs."""

    def __init__(self, log: list[object]) -> None:
        self.busy = False
        self.log = log

    @handles(type(lambda: None))
    async def run(self, body: Body) -> None:
        assert not self.busy
        self.busy = True
        await body(self)  # after one that fails there is another instance
        self.busy = False

    @handles(object)
    async def record(self, message: object) -> None:
        assert not self.busy
        self.log.append(message)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=Supervision(backoff=Backoff(first=0))) as system:
        yield system


async def emptied(ref: Ref) -> None:
    async with asyncio.timeout(5):
        while ref.waiting:
            await asyncio.sleep(0)


async def filled(system: ActorSystem, log: list[object], *messages: object) -> Ref:
    """A ready actor with just these in its mailbox, and no room for more."""
    ref = system.spawn(Runs, log, capacity=len(messages))
    for message in messages:
        await ref.send(message)
    assert ref.waiting == len(messages)
    assert log == []
    return ref


def loop_turns() -> list[int]:
    """How often the loop has its turn from now on."""
    loop = asyncio.get_running_loop()
    turns: list[int] = []

    def note() -> None:
        turns.append(1)
        if len(turns) < 10_000:
            loop.call_soon(note)

    loop.call_soon(note)
    return turns


async def test_what_fills_the_mailbox_is_handled_without_a_turn_of_the_loop(system: ActorSystem) -> None:
    """R-E3."""
    log: list[object] = []
    turns = loop_turns()
    ref = await filled(system, log, 0, 1, 2)
    await ref.send(3)
    assert log == [0, 1, 2]
    assert turns == []
    await emptied(ref)
    assert log == [0, 1, 2, 3]


async def test_a_batch_is_handled_and_no_more(system: ActorSystem) -> None:
    """R-E3: the others have their turns as ever."""
    log: list[object] = []
    ref = await filled(system, log, *range(200))
    await ref.send(200)
    assert log == [*range(64)]
    for number in range(201, 300):
        await ref.send(number)
    await emptied(ref)
    assert log == [*range(300)]


async def test_the_call_handles_nothing(system: ActorSystem) -> None:
    """R-E3: only the awaiting does, where anything may happen anyway."""
    log: list[object] = []
    ref = await filled(system, log, 0, 1)
    sent = ref.send(2)
    assert log == []
    await sent
    assert log == [0, 1]


async def test_the_loop_has_its_turn_all_the_same(system: ActorSystem) -> None:
    """R-E3: 512 messages at once, as with asks."""
    log: list[object] = []
    ref = system.spawn(Runs, log, capacity=10)
    turns = loop_turns()
    for number in range(5000):
        await ref.send(number)
    assert 9 <= len(turns) <= 40
    await emptied(ref)
    assert log == [*range(5000)]


async def test_a_handler_that_suspends_is_waited_for(system: ActorSystem) -> None:
    """R-E3, R-Q1: in its own Task, and nothing else of its actor runs meanwhile."""
    log: list[object] = []
    gate = asyncio.Event()
    tasks: list[object] = []

    async def wait(actor: Runs) -> None:
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(5):
            await gate.wait()
        tasks.append(asyncio.current_task())
        actor.log.append("waited")

    async def open_later() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        assert log == []
        gate.set()

    opening = asyncio.create_task(open_later())
    ref = await filled(system, log, wait, 1)
    await ref.send(2)  # what is at work waits no longer
    assert ref.waiting == 2
    assert len(tasks) == 1
    async with asyncio.timeout(5):
        await asyncio.gather(ref.send(3), ref.send(4), opening)
    await emptied(ref)
    assert log == ["waited", 1, 2, 3, 4]
    assert tasks[0] is tasks[1]
    assert tasks[0] not in (None, asyncio.current_task())


async def test_the_sender_is_the_current_task_again(system: ActorSystem) -> None:
    """R-E3: whether it is a task or a handler, and whatever came of the batch."""

    async def fail(actor: Runs) -> None:
        raise LookupError("on purpose")

    async def send(actor: Runs) -> None:
        mine = asyncio.current_task()
        await full.send(2)
        assert asyncio.current_task() is mine
        actor.log.append("sent")

    log: list[object] = []
    mine = asyncio.current_task()
    full = await filled(system, log, fail, 1)
    await full.send(2)
    assert asyncio.current_task() is mine
    await emptied(full)
    full = await filled(system, [], fail, 1)
    sender = system.spawn(Runs, log)
    await sender.ask(send)
    assert asyncio.current_task() is mine
    await emptied(full)
    assert log == [1, 2, "sent"]


async def test_who_sends_without_a_task_has_none_afterwards(system: ActorSystem) -> None:
    """R-E3: as who steps the coroutine from a callback of the loop."""
    log: list[object] = []
    loop = asyncio.get_running_loop()
    current: asyncio.Future[asyncio.Task[object] | None] = loop.create_future()
    ref = system.spawn(Runs, log, capacity=1)

    def send() -> None:
        ref.tell(1)
        with pytest.raises(StopIteration):
            ref.send(2).send(None)
        assert log == [1]
        current.set_result(asyncio.current_task())

    loop.call_soon(send)
    assert await current is None
    await emptied(ref)
    assert log == [1, 2]


async def test_a_failure_is_the_actor_s_not_the_sender_s(system: ActorSystem) -> None:
    """R-E3, R-M1: it is restarted, with its mail, and the sender has its room."""
    log: list[object] = []

    async def fail(actor: Runs) -> None:
        raise LookupError("on purpose")

    ref = await filled(system, log, fail, 1)
    async with asyncio.timeout(5):
        await ref.send(2)
    await emptied(ref)
    assert log == [1, 2]
    assert next(actor.restarts for actor in system.statistics() if actor.path == ref.path) == 1


async def test_what_ends_the_program_ends_it() -> None:
    """R-E3: a KeyboardInterrupt in a handler that a sender runs comes out of its `await`."""

    async def interrupt(actor: Runs) -> None:
        raise KeyboardInterrupt

    async def send() -> None:
        async with ActorSystem("test") as system:
            ref = await filled(system, [], interrupt, 1)
            await ref.send(2)

    def run() -> None:
        with asyncio.Runner() as runner, pytest.raises(KeyboardInterrupt):
            runner.run(send())

    await asyncio.to_thread(run)


async def test_one_that_is_at_work_is_not_run_again(system: ActorSystem) -> None:
    """R-E3, R-Q1: who sends to itself runs into its deadline, as ever."""
    log: list[object] = []

    async def send(actor: Runs) -> None:
        await ref.send(1)
        with pytest.raises(MailboxFull):
            await ref.send(2, timeout=0.01)

    ref = system.spawn(Runs, log, capacity=1)
    ref.tell(send)
    async with asyncio.timeout(5):
        while not log:
            await asyncio.sleep(0)
    assert log == [1]


async def test_who_became_ready_before_others_waits_for_its_turn(system: ActorSystem) -> None:
    """R-E3: it is found by one look, or not at all; the order of turns stays."""
    log: list[object] = []
    ref = await filled(system, log, 0, 1)
    other = system.spawn(Runs, log)
    other.tell("other")
    turns = loop_turns()
    await ref.send(2)
    assert len(turns) >= 1
    await emptied(ref)
    assert log == [0, 1, "other", 2]


async def test_who_became_ready_after_others_is_the_one_that_runs(system: ActorSystem) -> None:
    """R-E3: not who would be next."""
    log: list[object] = []
    other = system.spawn(Runs, log)
    other.tell("other")
    ref = await filled(system, log, 0, 1)
    await ref.send(2)
    assert log == [0, 1]
    await emptied(ref)
    assert log == [0, 1, "other", 2]


async def test_a_worker_about_to_end_is_not_made_use_of(system: ActorSystem) -> None:
    """R-E3: as after a stray `task.cancel()`; a handler that suspended in it would be cancelled."""
    log: list[object] = []

    async def wait(actor: Runs) -> None:
        await asyncio.sleep(0)
        actor.log.append("waited")

    ref = await filled(system, log, wait, 1)
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and task.get_name() == "telestage worker":
            task.cancel()
    async with asyncio.timeout(5):
        await ref.send(2)
    await emptied(ref)
    assert log == ["waited", 1, 2]


async def test_one_that_is_paused_handles_nothing(system: ActorSystem) -> None:
    """R-E3: its senders wait."""
    log: list[object] = []
    ref = await filled(system, log, 0, 1)
    ref.pause()
    with pytest.raises(MailboxFull):
        await ref.send(2, timeout=0.01)
    assert log == []
    ref.resume()
    await ref.send(2)
    await emptied(ref)
    assert log == [0, 1, 2]


async def test_senders_that_run_each_other_s_receivers_end(system: ActorSystem) -> None:
    """R-E3: a chain longer than there are workers, each with a mailbox of one."""
    log: list[object] = []

    class Hands(Actor):
        def __init__(self, following: Ref | None) -> None:
            self.following = following

        @handles(int)
        async def hand_on(self, number: int) -> None:
            if self.following is None:
                log.append(number)
            else:
                await self.following.send(number)

    first: Ref | None = None
    for _ in range(200):
        first = system.spawn(Hands, first, capacity=1)
    assert first is not None
    async with asyncio.timeout(30):
        for number in range(50):
            await first.send(number)
        while len(log) < 50:
            await asyncio.sleep(0)
    assert log == [*range(50)]
