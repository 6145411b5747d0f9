"""One client of a session, from its connect to its disconnect.

Invariant: nobody waits for an answer that can't come any more. Telethon leaves calls hanging that were made
while it tried, in vain, to reconnect; whoever waits here is told as soon as the client has given up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from telestage.actors.kernel import TaskDetails
from telestage.actors.store import Lease
from telestage.actors.telegram.alarms import Alarm, Limit
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.scope import housekeeping
from telestage.actors.telegram.transport import replace_link

__all__ = ["Connection", "ConnectionLost", "LeaseEnded", "Overdue", "Resisted"]

_log = logging.getLogger("telestage.session")

_CONNECT_SECONDS = 60.0
_DISCONNECT_SECONDS = 3.0
_RESISTS_SECONDS = 1.0  # how long a block whose time is over may take to end; then it is told that it doesn't


class ConnectionLost(ConnectionError):
    """The client has given up its connection; `__cause__` is what it told, if anything."""

    def __init__(self) -> None:
        super().__init__("the connection is lost and Telethon gave up reconnecting")


class LeaseEnded(ConnectionError):
    """The session may not be used any more."""

    def __init__(self) -> None:
        super().__init__("its lease has ended: it was not renewed in time, or another process has taken the session")


class Overdue(TimeoutError):
    """The seconds given to `Connection.within` have passed."""


class Resisted(Protocol):
    """Who gives a block its time."""

    def resists(self) -> None:
        """The block still runs 1 s after its end was asked for."""
        ...


class Connection:
    """The connection of one client.

    Args:
        client: Not connected yet.
        on_lost: Is told once if the client gives up by itself, or the lease ends, with the reason.
        lease: Under which the session is used.
    """

    def __init__(
        self,
        client: SessionClient,
        on_lost: Callable[[Connection, BaseException], None],
        lease: Lease | None = None,
    ) -> None:
        self.client = client
        self._lease = lease
        if lease is not None:
            lease.on_lapse = self._lapsed
        self.lost: BaseException | None = None
        self._on_lost = on_lost
        self.limits: set[Limit] = set()
        self._closing = False
        self._silent = 0
        self.since = time.time()

    @property
    def alive(self) -> bool:
        """Whether calls can be made; also while Telethon reconnects."""
        if self._lease is not None and not self._lease.valid:
            return False
        return self.lost is None and not self._closing and bool(self.client.is_connected())

    async def open(self) -> None:
        """Connects, and makes sure that Telegram knows the user.

        Raises:
            telethon.errors.RPCError: Telegram won't have the session, or not now.
            OSError: There is no connection.
        """
        client: Any = self.client
        with housekeeping():
            async with asyncio.timeout(_CONNECT_SECONDS):
                await client.connect()
            client.disconnected.add_done_callback(self._gave_up)
            with self.within(_CONNECT_SECONDS):
                # not client.get_me: it doesn't tell why there is none
                (me,) = await client(GetUsersRequest([InputUserSelf()]))
                if not client._self_id:
                    client._mb_entity_cache.set_self_user(me.id, me.bot, me.access_hash)

    def look(self) -> int:
        """Looks whether anything came since the last look; says at how many looks in a row nothing had."""
        sender: Any = self.client._sender
        if not sender._user_connected or not sender._transport_connected():
            self._silent = 0  # it connects, or has given up
        elif sender._connection.heard:
            sender._connection.heard = False
            self._silent = 0
        else:
            self._silent += 1
        return self._silent

    def drop(self) -> None:
        """Has Telethon make another connection in place of this one, from which nothing comes."""
        self._silent = 0
        replace_link(self.client._sender)

    async def close(self) -> None:
        """Disconnects, and stores the update state in the session."""
        self._closing = True
        try:
            async with asyncio.timeout(_DISCONNECT_SECONDS):
                with housekeeping():
                    await self.client.disconnect()
        except TimeoutError:
            _log.warning("%s: disconnecting took longer than %g s", self.client.label, _DISCONNECT_SECONDS)
        ended: asyncio.Future[None] = self.client.disconnected
        if ended.done() and not ended.cancelled():
            ended.exception()  # looked at: a connect that failed has told it already

    def within(self, seconds: float, owner: Resisted | None = None) -> Deadline:
        """Runs the block of a `with` for up to `seconds`, and no longer than there is a connection.

        Args:
            owner: Is told if the block resists, unless it has called `Deadline.leave`: when the block has ended or
                doesn't matter any more.

        Raises:
            Overdue: The seconds have passed.
            ConnectionLost: The client has given up.
        """
        return Deadline(self, seconds, owner)

    def tasks(self, owner: str) -> Iterator[TaskDetails]:
        """The tasks that Telethon runs for this client now (R-T1). They have their names from here."""
        client: Any = self.client
        running = [("updates", "", client._updates_handle), ("keepalive", "", client._keepalive_handle)]
        others = [(f" of data centre {dc}", sender) for dc, (_, sender) in client._borrowed_senders.items()]
        for whose, sender in [("", client._sender), *others]:
            running += [
                ("send_loop", whose, getattr(sender, "_send_loop_handle", None)),
                ("receive_loop", whose, getattr(sender, "_recv_loop_handle", None)),
                ("reconnect", whose, getattr(sender, "_reconnect_task", None)),
            ]
        for kind, whose, task in running:
            if task is not None and not task.done():
                task.set_name(f"telethon {kind}{whose} {owner}")
                yield TaskDetails(kind, owner, None, self.since, task.get_name())

    def loss(self) -> ConnectionLost:
        """What is raised where there is no connection any more."""
        lost = ConnectionLost()
        lost.__cause__ = self.lost
        return lost

    def _gave_up(self, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        self._lose(error or self.client.updates_error or ConnectionLost())

    def _lapsed(self) -> None:
        self._lose(LeaseEnded())

    def _lose(self, error: BaseException) -> None:
        if self._closing or self.lost is not None:
            return
        self.lost = error
        for limit in self.limits:
            limit.expire()
        self._on_lost(self, self.lost)


class Deadline(Limit):
    """What `Connection.within` gives."""

    __slots__ = ("_connection", "_owner", "_resisting")

    def __init__(self, connection: Connection, seconds: float, owner: Resisted | None) -> None:
        super().__init__(connection.client.alarms, seconds)
        self._connection = connection
        self._owner = owner
        self._resisting: Alarm | None = None

    def expire(self) -> None:
        """The time is over, now."""
        if not self.expired and self._owner is not None:
            left = max(0.0, self.due - asyncio.get_running_loop().time())
            self._resisting = self._alarms.after(left + _RESISTS_SECONDS, self._owner.resists)
        super().expire()

    def leave(self) -> None:
        """The block is left, or left behind: whether it ends is nobody's business any more."""
        self._owner = None
        if self._resisting is not None:
            self._resisting.cancel()
            self._resisting = None

    def __enter__(self) -> Self:
        connection = self._connection
        if not connection.alive:
            raise connection.loss() from connection.lost
        connection.limits.add(self)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection = self._connection
        connection.limits.discard(self)
        over = self.left(kind)
        if kind is None:
            return
        if over or (self.expired and issubclass(kind, TimeoutError)):
            if connection.lost is not None:
                raise connection.loss() from connection.lost
            raise Overdue from None
        # Telethon cancels what waits for an answer as it disconnects; that cancels nobody's task
        if issubclass(kind, asyncio.CancelledError) and not connection.alive and not self._task.cancelling():
            raise connection.loss() from error
