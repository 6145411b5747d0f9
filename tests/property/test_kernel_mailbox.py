"""The mailbox of a real actor against a plain list: order, bounds, priorities, cancels, pauses, restarts."""

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from telestage.actors.kernel import Actor, ActorStopped, ActorSystem, Backoff, MailboxFull, Ref, Supervision, handles
from telestage.actors.kernel.lanes import AGEING

PRIORITIES = st.sampled_from([0, 0, 0, 1, 5, 10, -3])


@dataclass
class Item:
    """A message as the model sees it: also the message itself."""

    number: int
    priority: int
    fails: bool = False
    signal: bool = False
    wanted: bool = True  # false: its asker gave up


class Stepwise(Actor):
    """Halts after each message, so that the test decides when the next one is taken."""

    def __init__(self, log: list[Item]) -> None:
        self.log = log

    @handles(Item)
    async def take(self, item: Item) -> int:
        self.ref.pause()
        if item.number % 3 == 0:
            await asyncio.sleep(0)
        self.log.append(item)
        if item.fails:
            raise ValueError(item.number)
        return item.number


class Model:
    """The promises of `mailbox` and `lanes`, as plainly as they can be put."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: list[Item] = []  # in order of arrival
        self.taken: int | None = None  # how many were taken since priorities came into use

    @property
    def waiting(self) -> int:
        return sum(item.wanted for item in self.items)

    def admit(self, item: Item) -> bool:
        if len(self.items) >= self.capacity:
            self.items = [item for item in self.items if item.wanted]
        if len(self.items) >= self.capacity:
            return False
        self.items.append(item)
        if item.priority and self.taken is None:
            self.taken = 1
        return True

    def take(self) -> Item | None:
        while self.items:
            if self.taken is None:
                item = self.items[0]
            else:
                self.taken += 1
                highest = max(item.priority for item in self.items)
                oldest = self.taken % AGEING == 0
                item = self.items[0] if oldest else next(i for i in self.items if i.priority == highest)
            self.items.remove(item)
            if item.wanted:
                return item
        return None


class MailboxMachine(RuleBasedStateMachine):
    asks: Bundle[tuple[Item, "asyncio.Task[object]"]] = Bundle("asks")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log: list[Item] = []
        self.expected: list[Item] = []
        self.signals: list[Item] = []
        self.tasks: dict[int, tuple[Item, asyncio.Task[object]]] = {}
        self.numbers = 0
        self.births = 0

    def turn(self, times: int = 8) -> None:
        async def turn() -> None:
            for _ in range(times):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def item(self, priority: int, fails: bool = False, signal: bool = False) -> Item:
        self.numbers += 1
        return Item(self.numbers, priority, fails, signal)

    @initialize(capacity=st.sampled_from([1, 2, 5, 20, None]), throughput=st.sampled_from([1, 3, 64]))
    def start(self, capacity: int | None, throughput: int) -> None:
        rules = Supervision(backoff=Backoff(first=0), intensity=10**6)
        self.system = ActorSystem("machine", throughput=throughput, supervision=rules)
        self.loop.run_until_complete(self.system.start())
        self.ref: Ref = self.system.spawn(Stepwise, self.log, capacity=capacity)
        self.ref.pause()
        self.model = Model(10**9 if capacity is None else capacity)

    @rule(priority=PRIORITIES, fails=st.booleans(), many=st.sampled_from([1, 1, 4]))
    def tell(self, priority: int, fails: bool, many: int) -> None:
        for _ in range(many):
            item = self.item(priority, fails)
            dead = len(self.system.dead_letters)
            self.ref.tell(item, priority=priority)
            assert (len(self.system.dead_letters) == dead) == self.model.admit(item)

    @rule(target=asks, priority=PRIORITIES, fails=st.booleans())
    def ask(self, priority: int, fails: bool) -> tuple[Item, "asyncio.Task[object]"]:
        item = self.item(priority, fails)
        task: asyncio.Task[object] = self.loop.create_task(self.ref.ask(item, priority=priority, timeout=1000))
        self.turn(2)
        admitted = self.model.admit(item)
        assert task.done() != admitted
        if admitted:
            self.tasks[item.number] = item, task
        else:
            error = task.exception()
            assert isinstance(error, MailboxFull)
            assert error.message is item
        return item, task

    @rule(ask=consumes(asks))
    def cancel(self, ask: tuple[Item, "asyncio.Task[object]"]) -> None:
        item, task = ask
        if not task.done():
            item.wanted = False
            task.cancel()
            self.turn(2)
            assert task.cancelled()
            del self.tasks[item.number]

    @rule()
    def signal(self) -> None:
        item = self.item(0, signal=True)
        self.ref.signal(item)
        self.signals.append(item)
        self.turn()
        assert self.log[len(self.expected) :] == [item]  # though the mailbox is halted or full
        self.expected.append(item)

    @rule(times=st.sampled_from([1, 1, 3, 12]))
    def take(self, times: int) -> None:
        for _ in range(times):
            expected = self.model.take()
            if expected is not None:
                self.expected.append(expected)
            self.ref.resume()
            self.turn()
            self.ref.pause()
            assert self.log == self.expected
            if not self.model.items:
                self.model.taken = None  # priorities are out of use again
            if expected is not None and expected.number in self.tasks:
                _, task = self.tasks.pop(expected.number)
                assert task.done()
                if expected.fails:
                    assert isinstance(task.exception(), ValueError)
                else:
                    assert task.result() == expected.number

    @rule()
    def kill(self) -> None:
        self.ref.kill("by the machine")
        self.turn()

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "model"):
            assert self.ref.waiting == self.model.waiting
            assert self.ref.waiting <= self.model.capacity

    def teardown(self) -> None:
        if hasattr(self, "system"):
            self.loop.run_until_complete(self.system.shutdown(timeout=5))
            for _, task in self.tasks.values():
                assert isinstance(task.exception(), ActorStopped)
            assert self.log == self.expected
            assert asyncio.all_tasks(self.loop) == set()
        self.loop.close()


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
