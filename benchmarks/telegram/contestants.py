"""The same work done by a fleet and by plain Telethon clients with the settings that a fleet gives its own.

Both connect ten at once and ask Telegram for their own user, hold what they send by, and are given the same handlers.
The fleet may do as much at once as there are sessions: plain clients have no limits either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from telethon import TelegramClient, events
from telethon.sessions import StringSession

from telestage.actors import Fleet, Limits

__all__ = ["CONTESTANTS", "Bare", "Contestant", "Ours"]

Handler = Callable[[Any], Awaitable[None]]

_API = (1, "hash")
_CONNECTING = 10
_URGENT = 1000


class Contestant(Protocol):
    """Sessions, each known by its number."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None: ...

    async def start(self, handler: Handler | None = None) -> None:
        """Connects all, `handler` registered for new messages in each."""
        ...

    async def send(self, number: int, peer: str, text: str) -> None:
        """Returns when Telegram has the message."""
        ...

    async def urgent(self, number: int, peer: str, text: str) -> None:
        """The same, before everything else that the session has to do, where there is such a thing."""
        ...

    async def stop(self) -> None: ...


class Bare:
    """Plain Telethon clients."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None:
        self._clients: list[Any] = [
            TelegramClient(
                session,
                *_API,
                flood_sleep_threshold=0,
                request_retries=2,
                connection_retries=3,
                retry_delay=1,
                raise_last_call_error=True,
                catch_up=True,
            )
            for session in sessions
        ]

    async def start(self, handler: Handler | None = None) -> None:
        connecting = asyncio.Semaphore(_CONNECTING)

        async def connect(client: Any) -> None:
            async with connecting:
                if handler is not None:
                    client.add_event_handler(handler, events.NewMessage())
                await client.connect()
                assert await client.get_me() is not None

        await asyncio.gather(*(connect(client) for client in self._clients))

    async def send(self, number: int, peer: str, text: str) -> None:
        await self._clients[number].send_message(peer, text)

    urgent = send

    async def stop(self) -> None:
        await asyncio.gather(*(client.disconnect() for client in self._clients))


class Ours:
    """A fleet."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None:
        operations = len(sessions) if permits is None else permits
        self._fleet = Fleet(*_API, limits=Limits.unpaced(operations=operations, connecting=_CONNECTING))
        self._handles = [self._fleet.add(f"s{number}", session=session) for number, session in enumerate(sessions)]

    async def start(self, handler: Handler | None = None) -> None:
        if handler is not None:
            self._fleet.on(events.NewMessage())(handler)
        await self._fleet.start(600.0)
        assert all(handle.status.state == "ready" for handle in self._handles)

    async def send(self, number: int, peer: str, text: str) -> None:
        await self._handles[number].send_message(peer, text)

    async def urgent(self, number: int, peer: str, text: str) -> None:
        await self._handles[number].send_message(peer, text, priority=_URGENT)

    async def stop(self) -> None:
        await self._fleet.stop(60.0)


CONTESTANTS: dict[str, type[Contestant]] = {"telestage": Ours, "Telethon": Bare}
