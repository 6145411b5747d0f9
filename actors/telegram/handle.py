"""One session as its users see it: Telethon's method names, each call an operation of the session.

What is asked for waits in the session's mailbox, runs in its turn, and ends within its deadline (see `asking`).
Arguments are checked here, before anything is queued.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from telethon import TelegramClient
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from telestage.actors.kernel import Ref
from telestage.actors.telegram.asking import AnyOperation, run_operation
from telestage.actors.telegram.book import MonitorSpec, SessionBook
from telestage.actors.telegram.calls import CallOperation, RegisterMonitor, RemoveMonitor
from telestage.actors.telegram.errors import SessionDraining
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.pages import ReadsHistory
from telestage.actors.telegram.requests import History, Members, peer_of
from telestage.messages import (
    MEMBERS_PAGE,
    HistoryPage,
    Kind,
    MembersPage,
    Operation,
    Scalar,
    SendMessage,
    SessionState,
    SessionStatus,
)

__all__ = ["SessionHandle", "new_random_id"]

R = TypeVar("R")


def new_random_id() -> int:
    """A random_id for one message: signed 64 bit."""
    return secrets.randbits(64) - 2**63


class SessionHandle(ReadsHistory):
    """A session of a running fleet. Made by `fleet[name]`.

    Every method may raise `MailboxFull` (too many operations wait), `QueueWaitTimeout`, `PermitTimeout`,
    `OperationTimeout`, `FloodParked`, `PaceTimeout`, `ReplyLost`, `SessionDead`, `SessionDraining`, `TimeoutError` (a
    single call wasn't answered within `Limits.rpc_timeout`), and whatever Telegram answers
    (`telethon.errors.RPCError`). Common arguments:

        priority: Higher goes first. Default: by kind, `Limits.priorities`.
        timeout: Seconds the operation may run, per page for iterators. Default: by kind, `Limits.timeouts`.
    """

    def __init__(
        self, book: SessionBook, ref: Callable[[], Awaitable[Ref]], limits: Limits, *, for_jobs: bool = False
    ) -> None:
        self._book = book
        self._for_jobs = for_jobs  # which end by themselves as the fleet drains, and sit floods out by themselves
        self._ref = ref
        self._limits = limits

    @property
    def name(self) -> str:
        """The session's name."""
        return self._book.name

    @property
    def status(self) -> SessionStatus:
        """How the session is doing now."""
        return self._book.status()

    async def send_message(
        self,
        entity: object,
        message: str,
        *,
        priority: int | None = None,
        timeout: float | None = None,
        random_id: int | None = None,
        **options: Scalar,
    ) -> Any:
        """Sends a text, exactly once even if the session is restarted meanwhile, and returns Telethon's Message.

        It returns None where Telegram says only that it has the message already (RANDOM_ID_DUPLICATE): an earlier
        attempt has delivered it, and its answer was lost with the connection.

        Args:
            entity: Whom to: an id, a username, a phone number, or anything Telethon takes as an entity.
            message: The text.
            random_id: What Telegram knows the message by. Default: a new one.
            options: Of Telethon's `send_message`: reply_to, silent, parse_mode, link_preview, ...
        """
        request = SendMessage(
            peer=peer_of(entity),
            text=message,
            random_id=new_random_id() if random_id is None else random_id,
            options=options,
        )
        return await self._run(self._operation(request, Kind.SENDING, priority, timeout), repeatable=True)

    async def _history(self, page: HistoryPage, priority: int | None, timeout: float | None) -> History:
        operation = self._operation(page, Kind.SCRAPING, priority, timeout)
        history: History = await self._run(operation, repeatable=True, expecting=History)
        return history

    async def iter_participants(
        self,
        entity: object,
        limit: int | None = None,
        *,
        search: str = "",
        priority: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Yields the members of a group or channel as Telethon's users, each once.

        One page of 200 a turn. Telegram lists 10,000 members of a group at most, 200 of a broadcast channel
        to one who isn't its admin.
        """
        peer = peer_of(entity)
        seen: set[int] = set()
        offset = 0
        while limit is None or len(seen) < limit:
            page = MembersPage(peer=peer, offset=offset, limit=MEMBERS_PAGE, search=search)
            operation = self._operation(page, Kind.SCRAPING, priority, timeout)
            members = await self._run(operation, repeatable=True, expecting=Members)
            for user in members.users:
                if user.id not in seen and (limit is None or len(seen) < limit):
                    seen.add(user.id)
                    yield user
            offset += members.received
            if not members.received or offset >= members.total:
                return

    async def get_participants(self, entity: object, limit: int | None = None, **options: Any) -> list[Any]:
        """The members `iter_participants` yields, as a list."""
        return [user async for user in self.iter_participants(entity, limit, **options)]

    async def page(
        self, request: HistoryPage | MembersPage, *, priority: int | None = None, timeout: float | None = None
    ) -> History | Members:
        """One page of a history or of members, in one turn: as `iter_messages` and `iter_participants` read them."""
        if isinstance(request, HistoryPage):
            return await self._history(request, priority, timeout)
        operation = self._operation(request, Kind.SCRAPING, priority, timeout)
        members: Members = await self._run(operation, repeatable=True, expecting=Members)
        return members

    async def call(
        self,
        function: Callable[[TelegramClient], Awaitable[R]],
        *,
        kind: Kind | str = Kind.OTHER,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> R:
        """Runs `function` with the session's own Telethon client, as one operation, and returns its result.

        The whole function is one turn: nothing else of the session runs meanwhile. It isn't repeated if the
        session is restarted meanwhile: that raises `ReplyLost`. It may be begun again, when a flood wait is over or
        there is room in a pace, as long as it has only read from Telegram; hazard: what else it does is done again.

        Raises:
            ValueError: `kind` isn't one, or `timeout` no positive number of seconds.
            TypeError: `function` can't be called, or `priority` is no whole number.
        """
        kind = Kind(kind)
        timeout = self.timeout(kind) if timeout is None else timeout
        operation = CallOperation.of(function, kind, self._limits, priority=priority, timeout=timeout)
        result: R = await self._run(operation, repeatable=False)
        return result

    async def get_me(self, **options: Any) -> Any:
        """The signed-in user. Unlike Telethon's, it raises `SessionDead` if the session isn't signed in."""

        async def get_me(client: Any) -> Any:
            (me,) = await client(GetUsersRequest([InputUserSelf()]))
            return me

        return await self.call(get_me, **options)

    def timeout(self, kind: Kind | str) -> float:
        """Seconds an operation of this kind may run now, if `timeout` isn't given (`Limits.adaptive_timeouts`)."""
        return self._book.timeouts.of(Kind(kind))

    async def settled(self) -> None:
        """Returns when the session is ready, at once or after its restart; the deadline is the caller's.

        Raises:
            SessionDead: It has ended.
        """
        await self._ref()
        await self._book.until_settled()
        self._check_alive()

    async def kill(self, reason: str = "killed") -> None:
        """Fails the session on purpose: its operation is interrupted, it is restarted, its queue is kept.

        It has begun when this returns; `settled` waits for the end.

        Raises:
            SessionDead: It has ended.
        """
        ref = await self._ref()
        self._check_alive()
        self._book.enter(SessionState.RESTARTING, reason)
        ref.kill(reason)

    async def register_monitor(self, spec: MonitorSpec) -> None:
        """Starts a monitor, in place of the one of that name if there is one. `Fleet.on` is the usual way.

        Events that still wait for the one it replaces are dropped.

        Raises:
            ValueError: Telegram doesn't know a chat that the filter names; nothing was changed.
        """
        limits = self._limits
        operation = RegisterMonitor(
            spec=spec,
            priority=limits.priority(Kind.MONITORING),
            timeout=limits.timeout(Kind.MONITORING),
            queue_timeout=limits.queue_timeout,
            correlation_id=uuid.uuid4().hex,
        )
        await self._run(operation, repeatable=True)

    async def remove_monitor(self, name: str) -> bool:
        """Stops a monitor within 5 s, whatever its handler and its session do; false if there is none of that name.

        It returns when the session has taken it off its books, which it does in a turn.
        """
        limits = self._limits
        monitor = self._book.monitors.get(name)
        if monitor is not None and monitor.ref is not None:
            monitor.ref.stop(grace=0.0)
        operation = RemoveMonitor(
            name=name,
            priority=limits.priority(Kind.MONITORING),
            queue_timeout=limits.queue_timeout,
            correlation_id=uuid.uuid4().hex,
        )
        return bool(await self._run(operation, repeatable=True))

    def _check_alive(self) -> None:
        book = self._book
        if book.state in (SessionState.DEAD, SessionState.STOPPED):
            raise book.ended()

    def _operation(
        self, request: SendMessage | HistoryPage | MembersPage, kind: Kind, priority: int | None, timeout: float | None
    ) -> Operation:
        limits = self._limits
        return Operation.of(
            request,
            kind=kind,
            priority=limits.priority(kind) if priority is None else priority,
            timeout=self._book.timeouts.of(kind) if timeout is None else timeout,
            queue_timeout=limits.queue_timeout,
        )

    def _run(
        self, operation: AnyOperation, *, repeatable: bool, expecting: type[R] | None = None
    ) -> Coroutine[Any, Any, Any]:
        if self._book.draining and not self._for_jobs:
            raise SessionDraining(self._book.name)
        return run_operation(
            self._book,
            self._ref,
            operation,
            self._limits,
            repeatable=repeatable,
            expecting=expecting,
            sits_out=not self._for_jobs,
        )
