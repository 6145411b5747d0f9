"""The Telethon client of a session, with promises that the plain one doesn't make.

- Every call has a deadline: Telethon's own waits for ever when Telegram doesn't answer.
- A call from outside a turn becomes an operation of the session (see `scope`).
- A message that is sent again is sent with the same random_id, so Telegram takes it for the first.
- A broken link leaves nothing behind that the next one would send a second time (see `transport`).
- An update is handed on in the same step in which it is counted as received, in order; after a
  reconnect all that was missed is fetched (see `updatebox`). (Telethon makes a task per update, and doesn't catch up.)
- A difference that can't be had now, as of a flood wait, is asked for again. (Telethon waits for the next gap.)
- Stored is how far all handlers are done with the updates (see `checkpoint`). (Telethon stores what was received.)
- A client that never connected leaves alone what its session knows of updates. (Telethon overwrites it.)

It also does with less what a plain client does, three tenths less for a send (benchmarks/telegram): packets without
queues in between (see `transport`), updates without Telethon's loop of them (see `updatequeue`), and no search for
Markdown where there is none.

It overrides eight methods of Telethon's that aren't documented: `_call`, by which every request goes, those of
downloads too; `_create_exported_sender` (see `centres`), `_get_cdn_client`, `_get_dc`, `_preprocess_updates`,
`_parse_message_text`, `_handle_auto_reconnect` and `_save_states_and_entities`.
It has a queue of its own in place of the one of updates and of that of its sender. telethon is pinned to 1.45 for that,
and tests/integration/test_client.py, or test_other_centres.py, fails when one of them changes.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import itertools
import logging
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, cast

from telethon import TelegramClient, errors, types, utils
from telethon._updates.messagebox import ENTRY_ACCOUNT, GapError
from telethon.errors.common import MultiError
from telethon.extensions import markdown
from telethon.network.connection.connection import Connection
from telethon.network.connection.tcpfull import ConnectionTcpFull
from telethon.sessions.abstract import Session
from telethon.sessions.memory import MemorySession
from telethon.sessions.sqlite import SQLiteSession
from telethon.tl.functions import PingRequest
from telethon.tl.functions.updates import GetChannelDifferenceRequest, GetDifferenceRequest
from telethon.tl.tlobject import TLObject, TLRequest

from telestage.actors.store import Lease
from telestage.actors.telegram.alarms import Alarms, Limit
from telestage.actors.telegram.centres import new_sender
from telestage.actors.telegram.checkpoint import ACCOUNT, Account, Checkpoint, Position
from telestage.actors.telegram.errors import FloodParked
from telestage.actors.telegram.failures import flood_seconds
from telestage.actors.telegram.gate import ConnectGate
from telestage.actors.telegram.histories import instead
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.opening import Opener
from telestage.actors.telegram.packing import AcknowledgingPacker
from telestage.actors.telegram.scope import HOUSEKEEPING, Turn, current_scope
from telestage.actors.telegram.shapes import shape_of
from telestage.actors.telegram.stored import StoredSession
from telestage.actors.telegram.transport import direct, leased, replace_link
from telestage.actors.telegram.turnstile import Turnstile
from telestage.actors.telegram.updatebox import Behind, UpdateBox
from telestage.actors.telegram.updatequeue import UpdateQueue

__all__ = ["SessionClient"]

_log = logging.getLogger("telestage.session")

_JITTER = 0.25  # of the delay between two attempts to connect
_AGAIN_SECONDS = 5.0  # before a difference is asked for again that Telegram could not give
_PUSHED = (
    types.Updates,
    types.UpdatesCombined,
    types.UpdateShort,
    types.UpdateShortMessage,
    types.UpdateShortChatMessage,
    types.UpdateShortSentMessage,
)
_AT_ONCE = (  # those of others may be coroutines
    MemorySession.process_entities,
    SQLiteSession.process_entities,
    StoredSession.process_entities,
)
_FORMATTED = re.compile(r"\*\*|__|~~|`|\[|[\ud800-\udfff]")  # what Telethon's Markdown looks for; halves of characters
_NOT_NOW = (errors.ServerError, errors.TimedOutError, errors.PersistentTimestampOutdatedError)

_utils: Any = utils  # its functions carry no annotations
_types: Any = types  # what it takes is more than it says


class SessionClient(TelegramClient):
    """A Telethon client that belongs to a session actor.

    Args:
        session: Where its key and its update state live.
        api_id: Of the application, as are `api_hash` and `options` for Telethon's own constructor.
        rpc_timeout: Seconds a single call may take.
        label: What logs call it.
        checkpoint: Where the session's updates stand.
        on_updates: Gets updates, in order, as they are received, and where things stand after them.
        on_flood: Is told for how many seconds the updates that were missed can't be fetched, and the method.
        on_reconnect: Is told after each reconnect that Telethon made by itself.
        connection: Of Telethon's, by which it talks.
        turnstile: Of the session; each request passes it. None: one of its own, that paces nothing.
        lease: Under which the session is used; without it nothing is sent or stored. None: nobody else has the session.
        gate: Where the session waits for its turn to connect, and how urgent that is. None: it doesn't.
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
        checkpoint: Checkpoint,
        on_updates: Callable[[Sequence[TLObject], Position], None],
        on_flood: Callable[[float, str], object],
        on_reconnect: Callable[[], None],
        route: Callable[[Sequence[TLRequest], Callable[[TelegramClient], Awaitable[object]]], Awaitable[object]],
        connection: type[Connection] = ConnectionTcpFull,
        lease: Lease | None = None,
        gate: tuple[ConnectGate, Callable[[], int]] | None = None,
        turnstile: Turnstile | None = None,
        **options: Any,
    ) -> None:
        connection = direct(connection)
        if lease is not None:
            connection = leased(connection, lease)
        super().__init__(session, api_id, api_hash, connection=connection, **options)
        self._lease = lease
        self._gate = gate
        self._turnstile = Turnstile(label, Limits.unpaced()) if turnstile is None else turnstile
        self.label = label
        self.alarms = Alarms()
        self._rpc_timeout = rpc_timeout
        self._checkpoint = checkpoint
        self._on_updates = on_updates
        self._on_flood = on_flood
        self._on_reconnect = on_reconnect
        self._route = route
        self._left = False
        self._again: set[asyncio.TimerHandle] = set()
        self._updates_queue: Any = UpdateQueue(self._take)
        self._message_box: UpdateBox = UpdateBox(self._log["messagebox"], checkpoint, self._updates_queue.put_nowait)
        sender: Any = self._sender
        sender._updates_queue = self._updates_queue
        sender._send_queue = AcknowledgingPacker(sender, self._log)
        sender._try_connect = self._try_connect
        self._opener = Opener(sender)

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

    async def connect(self) -> None:
        """Connects, and goes on with updates where they stand: where another client was left, else as stored."""
        box, session = self._message_box, cast(Any, self.session)
        for entry, state in await _value(session.get_update_states()):
            if entry != ACCOUNT and state.qts:
                box.last_ids.setdefault(entry, state.qts)  # see `_save_states_and_entities`
        for left in (self._checkpoint.stored, self._checkpoint.received):
            if left is not None:
                self._mb_entity_cache.hash_map.update(left.hashes)
        self._checkpoint.hash_of = self._hash_of
        await super().connect()

    def ping(self) -> None:
        """Has Telegram say something, if there is a connection to say it by."""
        sender: Any = self._sender
        if sender._transport_connected():
            pong: asyncio.Future[object] = sender.send(PingRequest(secrets.randbits(63)))
            pong.add_done_callback(_looked_at)

    def leave(self) -> None:
        """Takes no further updates: the next client goes on from here."""
        self._left = True
        for timer in self._again:
            timer.cancel()
        received = self._message_box.received(self._mb_entity_cache.hash_map)
        if received is not None:
            self._checkpoint.received = received
            self._checkpoint.hash_of = received.hashes.get

    def _hash_of(self, channel: int) -> tuple[int, int] | None:
        return cast("tuple[int, int] | None", cast(Any, self._mb_entity_cache).hash_map.get(channel))

    def get_input_entity(self, peer: Any) -> Any:
        """Telethon's own, to be awaited; a session of the store has its peers there."""
        session: object = self.session
        if isinstance(session, StoredSession):
            return self._recall(session, peer)
        return cast(Any, super()).get_input_entity(peer)  # what Telethon says of its type isn't so

    async def _recall(self, session: StoredSession, peer: Any) -> Any:
        await session.recall(peer)
        return await cast(Any, super()).get_input_entity(peer)

    async def met(self, id: int) -> Any:
        """The input peer of an id, if this session has met it; None if not. Telethon itself would ask Telegram."""
        session: Any = self.session
        if isinstance(session, StoredSession):
            await session.recall(id)
        try:
            return await _value(session.get_input_entity(id))
        except ValueError:
            return None

    async def learn_channels(self, most: int) -> None:
        """Knows where the channels stand that are among the `most` chats of the account that were active last."""
        async for _ in self.iter_dialogs(most):
            pass

    def __call__(self, request: Any, ordered: bool = False, flood_sleep_threshold: int | None = None) -> Any:
        """Telethon's own, to be awaited, without a coroutine around that of the call."""
        return self._call(self._sender, request, ordered=ordered)

    async def _call(
        self, sender: Any, request: Any, ordered: bool = False, flood_sleep_threshold: int | None = None
    ) -> Any:
        """Makes a call, or a list of calls, and returns the answer.

        Raises:
            TimeoutError: Telegram didn't answer within `rpc_timeout` seconds.
        """
        requests = list(request) if isinstance(request, list | tuple) else [request]
        scope = current_scope()
        if isinstance(scope, Turn):
            for each in requests:
                if isinstance(getattr(each, "random_id", None), int):
                    random_id = scope.next_random_id()
                    if random_id is not None:
                        each.random_id = random_id
            turn = scope
        elif scope is HOUSEKEEPING:
            turn = None
            if isinstance(request, GetDifferenceRequest | GetChannelDifferenceRequest):
                return await self._difference(request)
        else:
            return await self._from_outside(sender, requests, request, ordered)
        turnstile = self._turnstile
        if turnstile.armed:
            await turnstile.admit(requests, turn)
        try:
            if turn is not None and turn.deadline is not None and turn.deadline.covers(self._rpc_timeout):
                result = await super()._call(sender, request, ordered=ordered)
            else:
                with Limit(self.alarms, self._rpc_timeout):
                    result = await super()._call(sender, request, ordered=ordered)
        except (errors.RPCError, MultiError) as error:
            if turn is not None and isinstance(error, MultiError) and _changed(error):
                turn.wrote = True
            if turnstile.met(error, request, turn) is not None and turnstile.ledger.stored is not None:
                await turnstile.ledger.stored()
            raise
        except BaseException as error:
            if turn is not None:
                turn.wrote = True  # it may have been done
            if isinstance(error, TimeoutError) and sender is not self._sender:
                replace_link(sender)  # of another data centre: nobody else looks whether it is dead
            raise
        if turn is not None and not turn.again and not all(shape_of(each).reads for each in requests):
            turn.wrote = True
        return result

    async def _get_dc(self, dc_id: Any, cdn: Any = False) -> Any:
        # Telethon keeps where data centres are for all clients of the process, of whatever server, and for ever
        cast(Any, type(self))._config = None
        return await cast(Any, super())._get_dc(dc_id, cdn)

    async def _create_exported_sender(self, dc_id: Any) -> Any:
        return await new_sender(self, dc_id, self.alarms, self._rpc_timeout)

    async def _get_cdn_client(self, cdn_redirect: Any) -> NoReturn:
        raise NotImplementedError(  # Telethon makes another client, never ends it, and hands the file out encrypted
            f"{self.label}: Telegram keeps this file on a CDN (data centre {cdn_redirect.dc_id}), in a form that "
            "Telethon doesn't decrypt; nothing was downloaded"
        )

    async def _from_outside(self, sender: Any, requests: Sequence[TLRequest], request: Any, ordered: bool) -> Any:
        async def call(client: Any) -> object:
            # the session may have another client by then; a sender of another data centre is this one's
            through = client._sender if sender is self._sender else sender
            return await client._call(through, request, ordered=ordered)

        return await self._route(requests, call)

    async def _difference(self, request: Any) -> Any:
        """Fetches what was missed; where Telegram can't give it now, that is tried again, and the rest goes on."""

        async def call(each: Any) -> Any:
            if each is not request and self._turnstile.armed:
                await self._turnstile.admit([each], None)  # a page of a history, in place of what is too long
            with Limit(self.alarms, self._rpc_timeout):
                return await super(SessionClient, self)._call(self._sender, each)

        try:
            return await instead(self.label, call, self._message_box, request, await call(request))
        except errors.RPCError as error:
            seconds = flood_seconds(error)
            if seconds is not None:
                self._on_flood(seconds, type(error.request or request).__name__)
            elif isinstance(error, _NOT_NOW):
                seconds = _AGAIN_SECONDS
            if seconds is not None and not self._left:
                channel: Any = request.channel if isinstance(request, GetChannelDifferenceRequest) else None
                self._later(seconds, Behind(ENTRY_ACCOUNT if channel is None else channel.channel_id))
            raise
        except FloodParked as parked:
            seconds = max(parked.until - time.time(), 0.0)
            channel = request.channel if isinstance(request, GetChannelDifferenceRequest) else None
            if not self._left:
                self._later(seconds, Behind(ENTRY_ACCOUNT if channel is None else channel.channel_id))
            refused: Any = errors.FloodWaitError  # it carries no annotations
            raise refused(request, capture=max(1, round(seconds))) from parked  # as Telethon knows it

    def _later(self, seconds: float, behind: Behind) -> None:
        def due() -> None:
            self._again.discard(timer)
            self._updates_queue.put_nowait(behind)

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._again.add(timer)

    async def _preprocess_updates(
        self, updates: Sequence[TLObject], users: Sequence[Any], chats: Sequence[Any]
    ) -> Sequence[TLObject]:
        if self._left:
            return ()
        known = self._hand_on(updates, users, chats)  # before anything is awaited
        session: Any = self.session
        await _value(session.process_entities(_types.contacts.ResolvedPeer(None, users, chats)))
        # what somebody registered with the raw client, or waits for in a conversation, goes its usual way
        return known if self._event_builders or self._conversations else ()

    def _hand_on(self, updates: Sequence[TLObject], users: Sequence[Any], chats: Sequence[Any]) -> list[Any]:
        """What is counted as received has its monitors."""
        entities: dict[int, Any] = {}
        if users or chats:
            cast(Any, self._mb_entity_cache).extend(users, chats)
            entities = {_utils.get_peer_id(each): each for each in itertools.chain(users, chats)}
        known: list[Any] = list(updates)
        for update in known:
            update._entities = entities
        self._on_updates(known, self._message_box.position())
        return known

    def _take(self, updates: Any) -> bool:
        """Takes what is received while Telethon's loop of updates waits for it: in the same step, without that loop.

        The loop does the same, but for a task and a timer for each. False leaves it to the loop, which is also to
        look when it would have something else to do before it waits again.
        """
        box, cache = self._message_box, cast(Any, self._mb_entity_cache)
        entities: Any = getattr(updates, "users", None) or getattr(updates, "chats", None)
        session: Any = self.session
        if (
            self._left
            or self._event_builders
            or self._conversations
            or not isinstance(updates, _PUSHED)
            or (entities and type(session).process_entities not in _AT_ONCE)
            or len(cache) >= self._entity_cache_limit
        ):
            return False
        processed: list[Any] = []
        try:
            users, chats = box.process_updates(updates, cache, processed)
        except GapError:
            self._updates_queue.wake()
            return True
        self._hand_on(processed, users, chats)
        if users or chats:
            session.process_entities(_types.contacts.ResolvedPeer(None, users, chats))
        if box.getting_diff_for or box.possible_gaps or len(cache) >= self._entity_cache_limit:
            self._updates_queue.wake()
        return True

    async def _parse_message_text(self, message: Any, parse_mode: Any) -> Any:
        """Telethon's own. It takes 2 us a character to find that there is nothing of Markdown in a text."""
        mode = self._parse_mode if parse_mode == () else parse_mode
        if mode in (markdown, "md", "markdown") and isinstance(message, str) and not _FORMATTED.search(message):
            plain = message.strip()
            if plain or not message:  # else it is an error, and Telethon's to raise
                return plain, []
        return await super()._parse_message_text(message, parse_mode)

    async def _try_connect(self, attempt: int) -> bool:
        """One attempt to connect, of the first connect or of a reconnect; in place of the sender's own method."""
        sender: Any = self._sender
        sender._connection.take = self._opener
        try:
            if self._gate is None:
                await sender._connection.connect(timeout=sender._connect_timeout)
            else:
                await self._connect_in_turn(sender._connection, sender._connect_timeout, *self._gate)
        except (OSError, TimeoutError) as error:
            _log.info("%s: attempt %d to connect failed: %s: %s", self.label, attempt, type(error).__name__, error)
            # not all sessions at the same moment again
            await asyncio.sleep(sender._delay * random.uniform(1 - _JITTER, 1 + _JITTER))
            return False
        return True

    async def _connect_in_turn(self, wire: Any, timeout: float, gate: ConnectGate, urgency: Callable[[], int]) -> None:
        place = await gate.enter(urgency)
        try:
            await wire.connect(timeout=timeout)
        except BaseException:
            place.leave()
            raise
        wire.on_first = place.leave
        place.linked()

    async def _handle_auto_reconnect(self) -> None:
        self.ping()  # others wait until Telegram has said something
        # any authorised call tells Telegram to go on sending updates; the difference fetches what was missed
        await self.catch_up()
        self._on_reconnect()

    async def _save_states_and_entities(self) -> None:
        if self._message_box.is_empty() or (self._lease is not None and not self._lease.valid):
            return  # whose lease has ended leaves the session to whoever has it now
        me = self._mb_entity_cache.self_id
        session: Any = self.session
        if me:  # as Telethon stores it
            mine = _types.contacts.ResolvedPeer(None, [types.InputPeerUser(0, me)], [])
            await _value(session.process_entities(mine))
        now = datetime.datetime.now(datetime.UTC)
        for entry, state in self._checkpoint.changes():
            if isinstance(state, Account):
                stored = _types.updates.State(state.pts, state.qts, state.date, state.seq, unread_count=0)
            else:  # a channel's row has no use for qts, but this: the last message known
                stored = _types.updates.State(state.pts, state.last_id, now, 0, unread_count=0)
            await _value(session.set_update_state(entry, stored))


def _changed(error: MultiError) -> bool:
    """Whether some of a list of requests that was refused in part was done, or may have been, and isn't only read."""
    several: Any = error  # its attributes carry no annotations
    return any(
        not isinstance(refusal, errors.RPCError) and not shape_of(request).reads
        for refusal, request in zip(several.exceptions, several.requests, strict=True)
    )


def _looked_at(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


async def _value(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
