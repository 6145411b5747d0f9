"""What each feature costs a message, in ns: the same tells handled with it and without it, in turns, in one process.

`python -m benchmarks.kernel.prices SIZE ROUNDS` prints, as JSON, each feature's differences, one a round. What is timed
is telling `size` messages and handling them all. Every pair differs in one thing. Which of the two goes first changes
from round to round, and the first round is thrown away. The clock is that of the process's own work: nothing here
waits, and what other programs take of the machine is no price.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from time import process_time_ns

import msgspec

from benchmarks.kernel.messages import Count
from telestage.actors import Actor, ActorSystem, Backoff, Directive, Handling, Instrument, Ref, Supervision, handles

__all__ = ["PRICES", "differences", "main"]

Measured = Callable[[int], Awaitable[float]]
"""ns a message, for so many messages."""


class Other(msgspec.Struct, frozen=True):
    """Handled as `Count` is, by another handler."""


class Failing(msgspec.Struct, frozen=True):
    """Its handler raises."""


class Counter(Actor):
    def __init__(self) -> None:
        self.count = 0

    @handles(Count)
    async def on_count(self, message: Count) -> None:
        self.count += 1

    @handles(Other)
    async def on_other(self, message: Other) -> None:
        self.count += 1

    @handles(Failing)
    async def on_failing(self, message: Failing) -> None:
        self.count += 1
        raise ValueError


class Plain(Counter):
    """With a handler that isn't `async`."""

    @handles(Count)
    def on_plain(self, message: Count) -> None:
        self.count += 1


class PutsAside(Counter):
    """Puts each message aside, until it is told to take all of them back."""

    stash_capacity = 1 << 30
    begun = False

    @handles(Count)
    def put_aside(self, message: Count) -> object:
        if self.begun:
            self.count += 1
            return None
        return self.stash()

    @handles(Other)
    def take_back(self, message: Other) -> None:
        self.begun = not self.begun
        self.unstash_all()


class Teller(Actor):
    """Tells each message to another actor."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    @handles(Count)
    def hand_on(self, message: Count) -> object:
        self.to.tell(message)
        return None


class Forwarder(Teller):
    @handles(Count)
    def hand_on(self, message: Count) -> object:
        return self.forward(self.to)


class Watcher(Actor):
    @handles(Ref)
    def on_ref(self, ref: Ref) -> None:
        self.watch(ref)


async def _told_on(system: ActorSystem, cls: type[Actor], size: int) -> float:
    """As `_told`, of messages that an actor gives to another one."""
    to = system.spawn(Counter)
    ref = system.spawn(cls, to)
    message = Count()
    spent = 0
    for start in range(0, size, 10_000):
        began = process_time_ns()
        for _ in range(min(10_000, size - start)):
            ref.tell(message)
        while ref.waiting or to.waiting:
            await asyncio.sleep(0)
        spent += process_time_ns() - began
    return spent / size


async def _put_aside(size: int) -> float:
    """As `_told`, of messages that are put aside and taken back, wave by wave."""
    async with ActorSystem() as system:
        ref = system.spawn(PutsAside)
        message, begin = Count(), Other()
        spent = 0
        for start in range(0, size, 10_000):
            began = process_time_ns()
            for _ in range(min(10_000, size - start)):
                ref.tell(message)
            ref.tell(begin)
            while ref.waiting:
                await asyncio.sleep(0)
            ref.tell(begin)
            spent += process_time_ns() - began
        return spent / size


async def _told(system: ActorSystem, ref: Ref, size: int, tell: Callable[[Ref, int], None]) -> float:
    """ns a message to tell and handle `size` messages, in waves of 10,000 so that memory isn't what is measured."""
    spent = 0
    for start in range(0, size, 10_000):
        wave = min(10_000, size - start)
        began = process_time_ns()
        tell(ref, wave)
        while ref.waiting:
            await asyncio.sleep(0)
        spent += process_time_ns() - began
    return spent / size


class Lifecycle(Instrument):
    """Wants to know of the lives of actors, not of messages."""

    def spawned(self, ref: Ref, cls: type[Actor]) -> None:
        pass


class PerMessage(Instrument):
    """Wants to know of each message, and does nothing with it."""

    def begins(self, handling: Handling, note: object) -> object:
        return None

    def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
        pass


CARRIED: ContextVar[str] = ContextVar("carried")


def _tell_plainly(ref: Ref, size: int) -> None:
    message = Count()
    for _ in range(size):
        ref.tell(message)


def _tell_priorities(ref: Ref, size: int) -> None:
    message = Count()
    for number in range(size):
        ref.tell(message, priority=number & 3)


def _tell_same_arithmetic(ref: Ref, size: int) -> None:
    """As `_tell_priorities`, but all of priority 0."""
    message = Count()
    for number in range(size):
        ref.tell(message, priority=number & 0)


def _tell_one_priority(ref: Ref, size: int) -> None:
    """All of one level, but not of the default one, so that the lanes are in use."""
    message = Count()
    for _ in range(size):
        ref.tell(message, priority=1)


def _tell_priority_0(ref: Ref, size: int) -> None:
    message = Count()
    for _ in range(size):
        ref.tell(message, priority=0)


def _tell_as(ref: Ref, size: int) -> None:
    message = Count()
    for _ in range(size):
        ref.tell(message, sender=ref)


def _tell_as_nobody(ref: Ref, size: int) -> None:
    message = Count()
    for _ in range(size):
        ref.tell(message, sender=None)


def _tell_two_types(ref: Ref, size: int) -> None:
    one, other = Count(), Other()
    for _ in range(size // 2):
        ref.tell(one)
        ref.tell(other)


def _tell_two_objects(ref: Ref, size: int) -> None:
    one, other = Count(), Count()
    for _ in range(size // 2):
        ref.tell(one)
        ref.tell(other)


def _tell_failing(ref: Ref, size: int) -> None:
    message = Failing()
    for _ in range(size):
        ref.tell(message)


def _variant(
    tell: Callable[[Ref, int], None] = _tell_plainly,
    *,
    cls: type[Actor] = Counter,
    throughput: int = 64,
    watched: bool = False,
    carry: Sequence[ContextVar[str]] = (),
    instruments: Sequence[Instrument] = (),
    to_another: bool = False,
    **options: object,
) -> Measured:
    async def measured(size: int) -> float:
        resumes = Supervision({ValueError: Directive.RESUME}, backoff=Backoff(first=0))
        CARRIED.set("a value")
        async with ActorSystem(
            throughput=throughput, supervision=resumes, carry=carry, instruments=instruments
        ) as system:
            if to_another:
                return await _told_on(system, cls, size)
            ref = system.spawn(cls, **options)  # type: ignore[arg-type]  # spawn's own options
            if watched:
                await system.spawn(Watcher).ask(ref)
            return await _told(system, ref, size, tell)

    return measured


async def _bare_loop(size: int) -> float:
    """No actor at all: messages put into a list, and a coroutine that awaits the handler of each."""
    counter = Counter()
    message = Count()
    spent = 0
    for start in range(0, size, 10_000):
        began = process_time_ns()
        inbox: list[Count] = []
        put = inbox.append
        for _ in range(min(10_000, size - start)):
            put(message)
        handle = counter.on_count
        for item in inbox:
            await handle(item)
        spent += process_time_ns() - began
    return spent / size


async def _isolating_loop(size: int) -> float:
    """As `_bare_loop`, but that an error of one message doesn't end the loop."""
    counter = Counter()
    message = Count()
    failed: list[Exception] = []
    spent = 0
    for start in range(0, size, 10_000):
        began = process_time_ns()
        inbox: list[Count] = []
        put = inbox.append
        for _ in range(min(10_000, size - start)):
            put(message)
        handle = counter.on_count
        for item in inbox:
            try:
                await handle(item)
            except Exception as error:
                failed.append(error)
        spent += process_time_ns() - began
    return spent / size


PRICES: dict[str, tuple[str, Measured, Measured]] = {
    "kernel": ("all of the kernel, beside a list and a bare `await handler(message)`", _bare_loop, _variant()),
    "isolation": ("error isolation: `try` around the await, in that bare loop", _bare_loop, _isolating_loop),
    "async": ("a handler that is `async`, beside a plain one", _variant(cls=Plain), _variant()),
    "bound": ("a bound (`capacity`), never reached", _variant(), _variant(capacity=20_000)),
    "lanes": ("priorities, all messages of one level", _variant(_tell_priority_0), _variant(_tell_one_priority)),
    "levels": ("priorities, four levels in turn", _variant(_tell_same_arithmetic), _variant(_tell_priorities)),
    "sender": ("a sender", _variant(_tell_as_nobody), _variant(_tell_as)),
    "dispatch": ("two types of message in turn, two handlers", _variant(_tell_two_objects), _variant(_tell_two_types)),
    "watch": ("being watched", _variant(), _variant(watched=True)),
    "redeliver": ("`redeliver=1`, nothing fails", _variant(), _variant(redeliver=1)),
    "carry": ("a context variable that travels (`carry`)", _variant(), _variant(carry=[CARRIED])),
    "lives": ("an instrument that is told of lives only", _variant(), _variant(instruments=[Lifecycle()])),
    "hooks": (
        "an instrument that is told of each message, and does nothing",
        _variant(),
        _variant(instruments=[PerMessage()]),
    ),
    "stash": ("put aside and taken back: handled twice", _variant(cls=Plain), _put_aside),
    "forward": (
        "handed on by `forward`, beside by `tell`",
        _variant(cls=Teller, to_another=True),
        _variant(cls=Forwarder, to_another=True),
    ),
    "batch": (
        "a batch of its own for each message (clock, counters, run queue): a 64th of it is what the batch of 64 costs",
        _variant(),
        _variant(throughput=1),
    ),
    "failing": ("a failing message, answered by `RESUME`, logging off", _variant(), _variant(_tell_failing)),
}
"""Feature: what is compared, the form without it, the form with it."""


async def differences(name: str, size: int, rounds: int) -> dict[str, list[float]]:
    """ns a message without the feature and with it, round by round."""
    _, without, with_it = PRICES[name]
    if name == "failing":
        size = max(1000, size // 20)
    result: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(rounds + 1):
        order = [("without", without), ("with", with_it)]
        for key, form in order if number % 2 else reversed(order):
            value = await form(size)
            if number:
                result[key].append(value)
    return result


def main(names: str, size: str, rounds: str) -> None:
    """Prints the measurements of these prices, separated by commas."""
    logging.disable(logging.CRITICAL)  # what it costs to write a log is not ours
    print(json.dumps({name: asyncio.run(differences(name, int(size), int(rounds))) for name in names.split(",")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
