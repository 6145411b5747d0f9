"""`ActorSystem.idle`: when nothing is left to do, and no sooner."""

import asyncio
import contextlib

import pytest

from telestage.actors import NO_REPLY, Actor, ActorSystem, Backoff, Ref, Supervision, handles

pytestmark = pytest.mark.virtual_time


class Busy(Actor):
    def __init__(self, seen: list[object], other: Ref | None = None) -> None:
        self.seen, self.other = seen, other

    @handles(int)
    def pass_on(self, number: int) -> None:
        self.seen.append(number)
        if self.other is not None and number:
            self.other.tell(number - 1)

    @handles(float)
    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.seen.append(seconds)

    @handles(str)
    async def wait_for_idle(self, _: str) -> None:
        await self.system.idle()

    @handles(bytes)
    def owe(self, _: bytes) -> object:
        self.after(60.0, 0)
        self.reply_later()
        return NO_REPLY

    @handles(list)
    def fail(self, _: list[object]) -> None:
        raise ValueError


async def test_idle_returns_when_the_run_queue_is_empty_and_no_handler_is_suspended() -> None:
    seen: list[object] = []
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        await system.idle()
        last = system.spawn(Busy, seen)
        first = system.spawn(Busy, seen, last)
        for number in range(2000):
            first.tell(number)
        await system.idle()
        assert len(seen) == 3999
        first.tell(5.0)
        first.tell(7.0)
        last.tell(1.0)
        await system.idle(timeout=13)
        assert (seen[3999:], loop.time()) == ([1.0, 5.0, 7.0], 12.0)


async def test_idle_waits_for_hooks() -> None:
    class Slow(Busy):
        async def started(self) -> None:
            await asyncio.sleep(3)

    async with ActorSystem() as system:
        system.spawn(Slow, [])
        await system.idle()
        assert asyncio.get_running_loop().time() == 3.0


async def test_timers_paused_mail_and_owed_answers_do_not_count() -> None:
    async with ActorSystem(supervision=Supervision(backoff=Backoff(first=30, jitter=0))) as system:
        owing, paused, failed = (system.spawn(Busy, []) for _ in range(3))
        asking = asyncio.create_task(owing.ask(b"", timeout=50))
        paused.pause()
        paused.tell(1)
        failed.tell([])
        await asyncio.sleep(0)
        await system.idle()
        assert asyncio.get_running_loop().time() == 0.0
        asking.cancel()


async def test_idle_does_not_wait_for_a_handler_that_was_left_behind() -> None:
    """Not if that happens while it waits, nor if it has happened before."""
    let_go = asyncio.Event()

    class Resists(Busy):
        @handles(dict)
        async def resist(self, _: dict[str, object]) -> None:
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

    async with ActorSystem(supervision=Supervision(backoff=Backoff(first=0))) as system:
        ref = system.spawn(Resists, [])
        ref.tell({})
        await asyncio.sleep(1)
        ref.kill()
        await system.idle()
        assert asyncio.get_running_loop().time() == 5.0
        await system.idle()
        assert asyncio.get_running_loop().time() == 5.0
        assert await ref.ask(1) is None
        let_go.set()


async def test_idle_that_takes_too_long_names_who_is_at_work() -> None:
    async with ActorSystem("s") as system:
        for name in ("a", "b"):
            system.spawn(Busy, [], name=name).tell(100.0)
        with pytest.raises(TimeoutError, match=r"^actor system 's' is not idle after 4 s: /a \(float\), /b \(float\)$"):
            await system.idle(timeout=4)


async def test_a_handler_cannot_wait_for_its_own_idleness() -> None:
    async with ActorSystem() as system:
        with pytest.raises(RuntimeError, match="can't wait until its own system is idle"):
            await system.spawn(Busy, []).ask("")


async def test_idle_returns_when_the_system_shuts_down_meanwhile() -> None:
    system = await ActorSystem().start()
    system.spawn(Busy, []).tell(1000.0)
    waiting = [asyncio.create_task(system.idle(timeout=500)) for _ in range(2)]
    await asyncio.sleep(1)
    await system.shutdown()
    await asyncio.gather(*waiting)
    await system.idle()
