"""The deadlines of asks: each in its own time, though one timer serves many, and nothing kept of who is answered.

In virtual time, so that times are exact.
"""

import asyncio
from collections.abc import Coroutine

import pytest

from telestage.actors.kernel import NO_REPLY, Actor, ActorSystem, AskTimeout, QueueWaitTimeout, handles
from telestage.actors.kernel.cell import Cell
from telestage.actors.testkit import run


class Answers(Actor):
    @handles(int)
    def answer(self, message: int) -> int:
        return message

    @handles(str)
    async def after_a_turn(self, message: str) -> str:
        await asyncio.sleep(0)
        return message

    @handles(bytes)
    def never(self, message: bytes) -> object:
        return NO_REPLY

    @handles(float)
    async def slow(self, message: float) -> None:
        await asyncio.sleep(message)


async def failed_at(ask: Coroutine[object, object, object]) -> tuple[type[BaseException], float]:
    try:
        await ask
    except Exception as error:
        return type(error), asyncio.get_running_loop().time()
    raise AssertionError("it was answered")


def test_each_ask_ends_in_its_own_time() -> None:
    """R-D3: those with the same time in the order in which they were made, whichever is answered in between."""

    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Answers)
            began = asyncio.get_running_loop().time()
            asks = []
            for _ in range(3):
                asks += [asyncio.create_task(failed_at(ref.ask(b"", timeout=seconds))) for seconds in (5.0, 7.0, 0.5)]
                await asyncio.sleep(1.0)
                assert await ref.ask("answered", timeout=5.0) == "answered"
            ends = [end - began for error, end in await asyncio.gather(*asks) if error is AskTimeout]
            assert ends == pytest.approx([5.0, 7.0, 0.5, 6.0, 8.0, 1.5, 7.0, 9.0, 2.5])

    run(main())


def test_the_wait_to_be_begun_has_a_deadline_of_its_own() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Answers)
            began = asyncio.get_running_loop().time()
            ref.tell(10.0)
            asks = [failed_at(ref.ask(1, timeout=seconds, queue_timeout=3.0)) for seconds in (2.0, 20.0)]
            ends = [(error, end - began) for error, end in await asyncio.gather(*asks)]
            assert ends == [(AskTimeout, pytest.approx(2.0)), (QueueWaitTimeout, pytest.approx(3.0))]

    run(main())


def test_answered_asks_are_not_kept_behind_one_that_waits() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref, other = system.spawn(Answers), system.spawn(Answers)
            assert isinstance(ref, Cell)
            waits = asyncio.create_task(failed_at(ref.ask(b"", timeout=30.0)))
            await asyncio.sleep(0)
            queue = ref.dispatcher.deadlines[30.0]
            longest = 0
            for _ in range(200):
                await asyncio.gather(*(other.ask("", timeout=30.0) for _ in range(10)))
                longest = max(longest, len(queue))
            assert longest < 100
            assert (await waits)[0] is AskTimeout
            assert len(queue) == 0

    run(main())


def test_asks_one_after_another_leave_nothing_behind() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Answers)
            assert isinstance(ref, Cell)
            for _ in range(100):
                await ref.ask("", timeout=30.0)
                assert len(ref.dispatcher.deadlines[30.0]) == 0

    run(main())


def test_a_time_of_its_own_for_each_ask_leaves_no_queue_for_each() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Answers)
            assert isinstance(ref, Cell)
            for number in range(1000):
                await ref.ask("", timeout=30.0 + number)
            assert len(ref.dispatcher.deadlines) <= 32
            waits = [asyncio.create_task(failed_at(ref.ask(b"", timeout=1.0 + number))) for number in range(500)]
            began = asyncio.get_running_loop().time()
            ends = [end - began for _, end in await asyncio.gather(*waits)]
            assert ends == pytest.approx([1.0 + number for number in range(500)])

    run(main())


def test_only_a_number_of_seconds_is_a_deadline() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Answers)
            for wrong in (float("inf"), float("nan")):
                with pytest.raises(ValueError, match="needs a deadline in seconds"):
                    await ref.ask(1, timeout=wrong)
            with pytest.raises(AskTimeout):
                await ref.ask(b"", timeout=-1.0)

    run(main())
