"""What the integration tests share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from telestage.actors import Fleet, Limits
from telestage.testing import LoopbackUser


class Eventually(Protocol):
    def __call__(self, condition: Callable[[], object], within: float = 10.0) -> Awaitable[None]: ...


class NewFleet(Protocol):
    def __call__(self, *users: LoopbackUser, limits: Limits | None = None, **options: object) -> Fleet: ...


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
    """Makes a fleet with a session for each of these users, by their names; not started."""

    def make(*users: LoopbackUser, limits: Limits | None = None, **options: object) -> Fleet:
        fleet = Fleet(1, "hash", limits=limits, options=options)
        for user in users:
            assert user.username
            fleet.add(user.username, session=user.session)
        return fleet

    return make
