"""An ask that runs its handler at once makes that handler's Task the current one, whichever way Python keeps it."""

import asyncio

import pytest

from telestage.actors.kernel import Actor, ActorSystem, cell, handles
from telestage.actors.kernel.current import ByHooks, current_task, running


class Says(Actor):
    @handles(str)
    async def current(self, message: str) -> object:
        first = asyncio.current_task()
        if message == "after a wait":
            await asyncio.sleep(0)
            assert asyncio.current_task() is first
        return first

    @handles(tuple)
    async def of_another(self, message: tuple[object, ...]) -> object:
        ref = self.spawn(Says)
        before = asyncio.current_task()
        inner = await self.ask(ref, "at once")
        assert asyncio.current_task() is before
        return before, inner


@pytest.fixture(params=["as Python keeps it", "by the documented hooks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.14 keeps no dict any more: there the hooks are used, and here they can be tried."""
    if request.param == "by the documented hooks":
        monkeypatch.setattr(cell, "running", ByHooks())
        monkeypatch.setattr(cell, "current_task", ByHooks().get)


@pytest.mark.usefixtures("way")
async def test_the_current_task_is_the_handlers_and_then_the_askers_again() -> None:
    me = asyncio.current_task()
    async with ActorSystem() as system:
        ref = system.spawn(Says)
        for message in ("at once", "after a wait"):
            assert await ref.ask(message) not in (None, me)
            assert asyncio.current_task() is me
        outer, inner = await ref.ask((), expecting=tuple)
        assert len({outer, inner, me}) == 3
        assert asyncio.current_task() is me


@pytest.mark.usefixtures("way")
def test_an_ask_stepped_outside_of_any_task_leaves_none_behind() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Says)
            done: asyncio.Future[object] = asyncio.get_running_loop().create_future()

            def step() -> None:
                try:
                    ref.ask("at once").send(None)  # type: ignore[attr-defined]  # as a callback may do by hand
                except StopIteration as answer:
                    done.set_result((answer.value, asyncio.current_task()))

            asyncio.get_running_loop().call_soon(step)
            answer, current = await done  # type: ignore[misc]
            assert answer is not None
            assert current is None

    asyncio.run(main())


async def test_what_is_looked_at_is_what_asyncio_says() -> None:
    """Guards the private dict: where asyncio stops keeping it, `ByHooks` is to take its place."""
    loop = asyncio.get_running_loop()
    assert current_task(loop) is asyncio.current_task() is running.get(loop)
