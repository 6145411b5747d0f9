"""What the integration tests share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec
import pytest
import pytest_asyncio

from telestage.actors import Fleet, Limits
from telestage.testing import LoopbackUser


class Eventually(Protocol):
    def __call__(self, condition: Callable[[], object], within: float = 10.0) -> Awaitable[None]: ...


class NewFleet(Protocol):
    def __call__(
        self,
        *users: LoopbackUser,
        limits: Limits | None = None,
        paced: bool = False,
        store: Any = None,
        **options: object,
    ) -> Fleet: ...


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds; fails when it doesn't within the time (seconds)."""

    async def wait(condition: Callable[[], object], within: float = 10.0) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not condition():
            assert loop.time() < deadline, f"did not come true within {within:g} s"
            await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def new_fleet() -> NewFleet:
    """Makes a fleet with a session for each of these users, by their names; not started. Unpaced unless told."""

    def make(
        *users: LoopbackUser,
        limits: Limits | None = None,
        paced: bool = False,
        store: Any = None,
        **options: object,
    ) -> Fleet:
        limits = msgspec.structs.replace(Limits() if limits is None else limits, paced=paced)
        fleet = Fleet(1, "hash", limits=limits, options=options, store=store)
        for user in users:
            assert user.username
            fleet.add(user.username, session=user.session)
        return fleet

    return make


class Stubborn:
    """Something to call or to handle events with that swallows its cancellation, until the test is over."""

    def __init__(self) -> None:
        self.__name__ = self.__qualname__ = "stubborn"
        self.calls: list[object] = []
        self.end = asyncio.Event()

    async def __call__(self, argument: object) -> None:
        self.calls.append(argument)
        while not self.end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.end.wait()


@pytest_asyncio.fixture
async def stubborn() -> AsyncIterator[Stubborn]:
    """A function that resists its cancellation as long as the test runs, however the test ends."""
    function = Stubborn()
    yield function
    function.end.set()
