"""The half of the pytest plugin that needs pytest-asyncio: the `telegram` fixture, and the look at a test's loop.

The plugin loads it where pytest-asyncio is active.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol, cast

import pytest
import pytest_asyncio

from telestage.testing.leaks import LoopSnapshot, report

if TYPE_CHECKING:
    from telethon import TelegramClient
    from telethon.sessions.abstract import Session

    from telestage.testing.loopback.server import LoopbackTelegram
    from telestage.testing.loopback.state import LoopbackUser


class ConnectClient(Protocol):
    """What the fixture `telegram_client` gives."""

    async def __call__(self, who: "LoopbackUser | Session", **options: object) -> "TelegramClient":
        """Connect a client."""
        ...


_Scope = Literal["function", "class", "module", "package", "session"]
_SCOPES: tuple[_Scope, ...] = ("function", "class", "module", "package", "session")
_LOOP_CHECK = "_telestage_loop_check"


@pytest_asyncio.fixture
async def telegram() -> "AsyncIterator[LoopbackTelegram]":
    """A running `LoopbackTelegram`, of this test alone."""
    from telestage.testing.loopback.server import LoopbackTelegram

    async with LoopbackTelegram() as server:
        yield server


@pytest_asyncio.fixture
async def telegram_client(telegram: "LoopbackTelegram") -> "AsyncIterator[ConnectClient]":
    """Makes connected Telethon clients of the test's `telegram`, and disconnects them when the test is over.

    `await telegram_client(alice)` connects the user's first device, `await telegram_client(session)` any session;
    keyword arguments go to `TelegramClient`. Unless told otherwise, flood waits raise, reconnecting takes 20 ms.
    """
    from telethon import TelegramClient
    from telethon.sessions.abstract import Session

    clients: list[TelegramClient] = []
    make = cast("Callable[..., TelegramClient]", TelegramClient)

    async def connect(who: "LoopbackUser | Session", **options: object) -> TelegramClient:
        session = who if isinstance(who, Session) else who.session
        # Retries are squared: a disconnect() while Telethon reconnects may wait for all of them, here 2 s.
        settings = {"flood_sleep_threshold": 0, "retry_delay": 0.02, "connection_retries": 10, **options}
        client = make(session, 1, "hash", **settings)
        clients.append(client)
        await client.connect()
        return client

    yield connect
    for client in clients:
        await cast("Awaitable[None]", client.disconnect())  # in a running loop it is always awaitable


def add_loop_check(item: pytest.Item) -> None:
    """Let an asynchronous test's loop be looked at, as the last thing before it is closed."""
    if isinstance(item, pytest.Function) and pytest_asyncio.is_async_test(item):
        marker = item.get_closest_marker("asyncio")
        scope = marker.kwargs.get("loop_scope") if marker is not None else None
        scope = scope or item.config.getini("asyncio_default_test_loop_scope")
        item.fixturenames.insert(0, f"{_LOOP_CHECK}_{scope}")


def _loop_check(scope: _Scope) -> object:
    @pytest_asyncio.fixture(name=f"{_LOOP_CHECK}_{scope}", loop_scope=scope)
    async def check() -> AsyncIterator[None]:
        before = LoopSnapshot.take()
        yield
        if leaks := await before.left_behind():
            pytest.fail(report(leaks), pytrace=False)

    return check


# A fixture runs in the loop of its own scope, and this one must run in the test's: so there is one for each.
for _scope in _SCOPES:
    globals()[f"{_LOOP_CHECK}_{_scope}"] = _loop_check(_scope)
