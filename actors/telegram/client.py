"""The Telethon client of a session, with six promises that the plain one doesn't make.

- Every call has a deadline: Telethon's own waits for ever when Telegram doesn't answer.
- A call from outside a turn becomes an operation of the session (see `scope`).
- A message that is sent again is sent with the same random_id, so Telegram takes it for the first.
- A broken link leaves nothing behind that the next one would send a second time (see `transport`).
- An update is handed on in the same step in which it is counted as received, in order; after a
  reconnect what was missed is fetched. (Telethon makes a task per update, and doesn't catch up.)
- A client that never connected leaves alone what its session knows of updates. (Telethon overwrites it.)

It overrides four methods of Telethon's that aren't documented: `_call`, by which every request goes,
those of downloads too; `_preprocess_updates`, `_handle_auto_reconnect` and `_save_states_and_entities`.
telethon is pinned to 1.45 for that, and tests/integration/test_client.py fails when one of them changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from telethon import TelegramClient
from telethon.network.connection.connection import Connection
from telethon.network.connection.tcpfull import ConnectionTcpFull
from telethon.sessions.abstract import Session
from telethon.tl.tlobject import TLObject, TLRequest

from telestage.actors.telegram.alarms import Alarms, Limit
from telestage.actors.telegram.scope import HOUSEKEEPING, Turn, current_scope
from telestage.actors.telegram.transport import starting_empty

__all__ = ["SessionClient"]


class SessionClient(TelegramClient):
    """A Telethon client that belongs to a session actor.

    Args:
        session: Where its key and its update state live.
        api_id: Of the application, as are `api_hash` and `options` for Telethon's own constructor.
        rpc_timeout: Seconds a single call may take.
        label: What logs call it.
        on_update: Gets each update, in order, as it is received.
        on_reconnect: Is told after each reconnect that Telethon made by itself.
        connection: Of Telethon's, by which it talks.
        route: Makes requests, as one operation of the session, by the function it is given, and returns the answer.
    """

    def __init__(
        self,
        session: Session,
        api_id: int,
        api_hash: str,
        *,
        label: str,
        rpc_timeout: float,
        on_update: Callable[[TLObject], None],
        on_reconnect: Callable[[], None],
        route: Callable[[Sequence[TLRequest], Callable[[TelegramClient], Awaitable[object]]], Awaitable[object]],
        connection: type[Connection] = ConnectionTcpFull,
        **options: Any,
    ) -> None:
        super().__init__(session, api_id, api_hash, connection=starting_empty(connection), **options)
        self.label = label
        self.alarms = Alarms()
        self._rpc_timeout = rpc_timeout
        self._on_update = on_update
        self._on_reconnect = on_reconnect
        self._route = route

    @property
    def updates_error(self) -> BaseException | None:
        """Why the client stopped taking updates and disconnected, if it did."""
        return self._updates_error

    def disconnect(self) -> Any:
        """Disconnects, and leaves no timer behind; to be awaited."""
        return self._disconnect_all()

    async def _disconnect_all(self) -> None:
        try:
            await cast("Awaitable[None]", super().disconnect())  # which it is while the loop runs
        finally:
            self.alarms.rest()

    async def _call(
        self, sender: Any, request: Any, ordered: bool = False, flood_sleep_threshold: int | None = None
    ) -> Any:
        """Makes a call, or a list of calls, and returns the answer.

        Raises:
            TimeoutError: Telegram didn't answer within `rpc_timeout` seconds.
        """
        requests = list(request) if isinstance(request, list | tuple) else [request]
        scope = current_scope()
        if isinstance(scope, Turn) and scope.active:
            for each in requests:
                if isinstance(getattr(each, "random_id", None), int):
                    random_id = scope.next_random_id()
                    if random_id is not None:
                        each.random_id = random_id
        elif scope is not HOUSEKEEPING:

            async def call(client: Any) -> object:
                # the session may have another client by then; a sender of another data centre is this one's
                through = client._sender if sender is self._sender else sender
                return await client._call(through, request, ordered=ordered)

            return await self._route(requests, call)
        with Limit(self.alarms, self._rpc_timeout):
            return await super()._call(sender, request, ordered=ordered)

    async def _preprocess_updates(
        self, updates: Sequence[TLObject], users: Sequence[TLObject], chats: Sequence[TLObject]
    ) -> Sequence[TLObject]:
        known: Sequence[TLObject] = await super()._preprocess_updates(updates, users, chats)  # type: ignore[no-untyped-call]  # Telethon's
        for update in known:
            self._on_update(update)
        # what somebody registered with the raw client, or waits for in a conversation, goes its usual way
        return known if self._event_builders or self._conversations else ()

    async def _handle_auto_reconnect(self) -> None:
        # any authorised call tells Telegram to go on sending updates; the difference fetches what was missed
        await self.catch_up()
        self._on_reconnect()

    async def _save_states_and_entities(self) -> None:
        if not self._message_box.is_empty():
            await super()._save_states_and_entities()
