"""Virtual time: what jumps, what doesn't, and how a deadlock is told."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from telestage.actors import Actor, ActorSystem, handles
from telestage.actors.testkit import Deadlock, Schedule, VirtualTimeLoop, run


class Slow(Actor):
    @handles(float)
    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return asyncio.get_running_loop().time()

    @handles(str)
    async def wait_for_ever(self, _: str) -> None:
        await asyncio.Event().wait()


def test_a_day_takes_no_time_and_is_exact() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        async with ActorSystem() as system:
            refs = [system.spawn(Slow) for _ in range(3)]
            ends = [
                await ref.ask(seconds, timeout=10**6) for ref, seconds in zip(refs, (0.1, 3600.0, 86400.0), strict=True)
            ]
        return [*map(float, ends), loop.time()]

    began = time.monotonic()
    assert run(main()) == [0.1, 3600.1, 90000.1, 90000.1]
    assert time.monotonic() - began < 5


def test_timeouts_and_timers_come_in_order() -> None:
    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        seen: list[object] = []
        for delay in (30, 10, 20):
            loop.call_later(delay, seen.append, delay)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(15):
                await asyncio.Event().wait()
        seen.append(loop.time())
        await asyncio.sleep(100)
        return seen

    assert run(main()) == [10, 15.0, 20, 30]


def test_without_virtual_time_it_is_asyncio_run() -> None:
    async def main() -> object:
        return asyncio.get_running_loop()

    assert not isinstance(run(main(), virtual_time=False), VirtualTimeLoop)
    with pytest.raises(ValueError, match="a schedule needs virtual time"):
        run(main(), virtual_time=False, schedule=Schedule(1))


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            slow, halted = system.spawn(Slow, name="slow"), system.spawn(Slow, name="halted")
            slow.tell("for ever")
            halted.pause()
            halted.tell(1.0)
            await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock) as failure:
        run(main())
    actor, task, mailbox = failure.value.waits
    assert actor.startswith("actor /slow, handling str, in Slow.wait_for_ever (")
    assert f"in {test_a_deadlock_is_an_error_that_names_who_waits.__name__}.<locals>.main (" in task
    assert mailbox == "actor /halted: 1 messages wait, and it doesn't take them"
    assert "==== end of the dump of 'telestage' ====" in str(failure.value)
    assert all(f"\n  - {line}" in str(failure.value) for line in failure.value.waits)


def test_time_does_not_jump_while_a_socket_is_open() -> None:
    """Both ends are here, and what one sends is there before a timer that is due much later."""

    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(30):
                writer.write(b"hello\n")
                answer = await reader.read()
            began = loop.time()
            await asyncio.sleep(0.05)
            passed = loop.time() - began
            writer.close()
            await writer.wait_closed()
        assert 0.05 <= passed < 5
        return answer, loop.time()

    began = time.monotonic()
    answer, virtual = run(main())
    assert answer == b"hello\n"
    assert virtual <= time.monotonic() - began


def test_time_does_not_jump_over_a_job_of_an_executor() -> None:
    async def main() -> str:
        async with asyncio.timeout(30):
            return await asyncio.to_thread(lambda: time.sleep(0.05) or "done")

    assert run(main()) == "done"


def test_hold_lets_a_thread_of_ones_own_answer() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        heard = asyncio.Event()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, (heard.set,))
        with loop.hold():
            thread.start()
            await heard.wait()
        thread.join()
        await asyncio.sleep(1000)
        return loop.time()

    assert 1000.04 < run(main()) < 1010


def test_hold_lets_a_process_end() -> None:
    """asyncio waits for it in a thread."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        with loop.hold():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print('here')", stdout=subprocess.PIPE
            )
            output, _ = await process.communicate()
        return output

    assert run(main()) == b"here\n"


@pytest.mark.virtual_time
class TestByPytestAsyncio:
    async def test_the_marker_makes_time_jump(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        await asyncio.sleep(3600)
        assert loop.time() == 3600.0


async def test_without_the_marker_it_does_not() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


def test_debug_mode_works() -> None:
    async def main() -> float:
        async with ActorSystem() as system:
            return float(await system.spawn(Slow).ask(5.0))

    assert run(main(), debug=True) == 5.0
    assert run(main(), debug=True, schedule=Schedule(3)) == 5.0
