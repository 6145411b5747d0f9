"""What stands between a plain Telethon client and a session of a fleet, one part more with each rung.

Each rung is a contestant that sends as the others do, with the parts that its name says and those of the rungs below
it. The lowest is Telethon itself and the highest a fleet, so that the differences add up to what a fleet costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from telethon.sessions import StringSession

from benchmarks.telegram.contestants import CONTESTANTS, Contestant, Handler
from telestage.actors import Actor, ActorSystem, Limits, Ref, handles
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.checkpoint import Checkpoint
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.connection import Connection
from telestage.actors.telegram.handle import new_random_id
from telestage.actors.telegram.permission import permit
from telestage.actors.telegram.requests import perform
from telestage.actors.telegram.scope import Turn
from telestage.messages import Kind, SendMessage

__all__ = ["PARTS", "RUNGS"]

_API = (1, "hash")
_CONNECTING = 10
_SECONDS = 60.0


def _connection(number: int, session: StringSession) -> Connection:
    client = SessionClient(
        session,
        *_API,
        label=f"s{number}",
        rpc_timeout=_SECONDS,
        checkpoint=Checkpoint(),
        on_updates=lambda updates, position: None,
        on_flood=lambda seconds, what: None,
        on_reconnect=lambda: None,
        route=_refuse,
        flood_sleep_threshold=0,
        request_retries=2,
        connection_retries=3,
        retry_delay=1,
        raise_last_call_error=True,
        catch_up=True,
    )
    return Connection(client, lambda connection, error: None)


async def _refuse(*_: object) -> object:
    raise AssertionError("all calls are made in turns")


class _Client:
    """The client that a fleet's sessions have, by itself: no deadline but that of each call."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None:
        self._connections = [_connection(number, session) for number, session in enumerate(sessions)]

    async def start(self, handler: Handler | None = None) -> None:
        connecting = asyncio.Semaphore(_CONNECTING)

        async def connect(connection: Connection) -> None:
            async with connecting:
                await connection.open()

        await asyncio.gather(*(connect(connection) for connection in self._connections))

    async def send(self, number: int, peer: str, text: str) -> None:
        client: Any = self._connections[number].client
        with Turn(new_random_id()):
            await client.send_message(peer, text)

    async def urgent(self, number: int, peer: str, text: str) -> None:
        await self.send(number, peer, text)

    async def stop(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))


class _Deadline(_Client):
    """And a deadline for all of it, which also ends with the connection."""

    async def send(self, number: int, peer: str, text: str) -> None:
        connection = self._connections[number]
        client: Any = connection.client
        with Turn(new_random_id()), connection.within(_SECONDS):
            await client.send_message(peer, text)


class _Sender(Actor):
    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection

    @handles(SendMessage)
    async def send(self, request: SendMessage) -> object:
        connection = self._connection
        with Turn(request.random_id), connection.within(_SECONDS):
            return await perform(request, connection.client)


class _Permitted(_Sender):
    def __init__(self, name: str, connection: Connection, board: PermitBoard) -> None:
        super().__init__(name, connection)
        self._board = board

    @handles(SendMessage)
    async def send(self, request: SendMessage) -> object:
        operation = str(request.random_id)
        # as many permits as sessions: one is always free, and the manager needn't be asked
        async with permit(self, self.ref, self._board, self._name, operation, Kind.SENDING.value, 1):
            return await super().send(request)


class _Mailbox(_Client):
    """And an actor with a mailbox, which is asked, with deadlines for the wait and for the answer."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None:
        super().__init__(sessions)
        self._system = ActorSystem("rung")
        self._limits = Limits(operations=len(sessions))
        self._senders: list[Ref] = []

    async def start(self, handler: Handler | None = None) -> None:
        await super().start()
        await self._system.start()
        for number, connection in enumerate(self._connections):
            self._senders.append(self._sender(f"s{number}", connection))

    def _sender(self, name: str, connection: Connection) -> Ref:
        return self._system.spawn(_Sender, name, connection, name=name, capacity=100)

    async def send(self, number: int, peer: str, text: str) -> None:
        request = SendMessage(peer=peer, text=text, random_id=new_random_id(), options={})
        await self._senders[number].ask(
            request, priority=1, queue_timeout=_SECONDS, timeout=2 * _SECONDS + 40.0, cancel=True
        )

    async def stop(self) -> None:
        await self._system.shutdown(10.0)
        await super().stop()


class _Permit(_Mailbox):
    """And a permit of its kind, of a fleet's."""

    def __init__(self, sessions: Sequence[StringSession], permits: int | None = None) -> None:
        super().__init__(sessions)
        self._board = PermitBoard(self._limits)

    def _sender(self, name: str, connection: Connection) -> Ref:
        return self._system.spawn(_Permitted, name, connection, self._board, name=name, capacity=100)


RUNGS: dict[str, type[Contestant]] = {
    "Telethon": CONTESTANTS["Telethon"],
    "client": _Client,
    "deadline": _Deadline,
    "mailbox": _Mailbox,
    "permit": _Permit,
    "telestage": CONTESTANTS["telestage"],
}
"""The lowest first."""

PARTS = {
    "Telethon": "a plain client",
    "client": "a session's own client instead, which has a deadline for each call",
    "deadline": "and a deadline for all of it, by which a lost connection ends it, too",
    "mailbox": "and an actor's mailbox, with deadlines for the wait and the answer",
    "permit": "and a permit",
    "telestage": "and the rest: an operation as a value, its status, names, floods, errors and metrics",
}
"""What each adds."""
