"""Reads that may be moved: each page is read by whichever of several sessions isn't made to wait.

Only what every account sees alike may be: the messages of channels and supergroups, which have one row of ids for all.
A page is chosen a session anew; what one account knows a peer by is never used by another.

Invariants:
- Nothing that sends, or changes anything, is done here.
- Only a page that was not read moves: one that a flood wait keeps from being read, or whose session was restarted or
  has ended. What Telegram answers, a refusal too, is the caller's, and nobody else is asked.
- The flood wait stays with the account that met it, until its end; so does its pace (`turnstile`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from telethon import TelegramClient
from telethon.tl.types import InputPeerChannel

from telestage.actors.kernel import MailboxFull, Ref
from telestage.actors.telegram.asking import run_operation
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.calls import CallOperation
from telestage.actors.telegram.errors import FloodParked, ReplyLost, SessionDead, SessionDraining, SessionUnknown
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.pages import ReadsHistory
from telestage.actors.telegram.requests import History, peer_of, perform
from telestage.actors.telegram.shapes import RESOLVING
from telestage.messages import HistoryPage, Kind, Peer, SessionState

__all__ = ["AnySession", "shared_peer"]

_log = logging.getLogger("telestage.fleet")

_ALLOWED = "iter_messages, get_messages, page and get_entity"
_ENDED = (SessionState.DEAD, SessionState.STOPPED)
_LOOK_SECONDS = 1.0  # between looks whether a session is ready again while the others are parked; they cost no call
_CHANNELS = -(10**12)  # marked ids of channels are below


class _NotMet(Exception):
    """A session doesn't know whom an id stands for."""


class AnySession(ReadsHistory):
    """Several sessions of a running fleet, for reading. Made by `fleet.any(...)`.

    Each page is read by one that is ready and not parked by a flood wait, of these by the one that has least to do. One
    that meets a flood wait leaves the page to another, from where it begins, so that each message comes once and in
    order. While all are parked, the first end of a flood wait is waited for, if it comes before the page's deadline;
    else `FloodParked` is raised at once. A session that has ended is left out.

    Only channels and supergroups: in other chats each account has message ids of its own. They are named by their
    username, or by their id if the sessions have met them (one that hasn't is left out).

    Errors and common arguments are those of `SessionHandle`, and `ValueError` if the chat isn't such a one, `TypeError`
    for one of Telethon's entities: it carries what one account knows the chat by.

    Hazards: each of these accounts must see the same messages; one that sees fewer (of a group that hides its past from
    new members) ends a read early. What is read belongs to the session that read it: `message.delete()` is its.
    """

    def __init__(
        self,
        names: str | list[str],
        books: Callable[[], list[SessionBook]],
        ref: Callable[[str], Awaitable[Ref]],
        limits: Limits,
        *,
        drained: bool = True,
    ) -> None:
        self._names = names if isinstance(names, str) else ", ".join(names)
        self._books = books
        self._ref = ref
        self._limits = limits
        self._drained = drained
        self._met: dict[tuple[str, Peer], float] = {}  # by session and chat: until when it can't, whatever is parked
        self._last: dict[str, int] = {}  # which was the last that each read
        self._turns = itertools.count()

    if not TYPE_CHECKING:  # for type checkers there is nothing else

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"reads of several sessions have no {name!r}, only {_ALLOWED}: what sends or changes anything, or is an"
                f" account's own, is asked of one session, such as fleet['name'].{name}"
            )

    async def page(self, request: HistoryPage, *, priority: int | None = None, timeout: float | None = None) -> History:
        """One page of a history, in one turn of one session: as `iter_messages` reads them."""
        return await self._history(request, priority, timeout)

    async def get_entity(self, entity: object, *, priority: int | None = None, timeout: float | None = None) -> Any:
        """Telethon's user, chat or channel of that name, or that id if a session has met it, as one session sees it.

        Hazard: its access hash is that session's, and of no use to another: give others the name or the id.
        """
        peer = _named(peer_of(entity))

        async def get_entity(client: Any) -> object:
            return await client.get_entity(await _input_of(client, peer))

        return await self._read(get_entity, "get_entity", peer, (Kind.OTHER, RESOLVING), priority, timeout)

    async def _history(self, page: HistoryPage, priority: int | None, timeout: float | None) -> History:
        peer = shared_peer(page.peer)

        async def read(client: Any) -> object:
            found = await _input_of(client, peer)
            if not isinstance(found, InputPeerChannel):
                raise _not_shared(peer)
            return await perform(msgspec.structs.replace(page, peer=bytes(found)), client)

        history: History = await self._read(read, "HistoryPage", peer, (Kind.SCRAPING,), priority, timeout)
        return history

    async def _read(
        self,
        function: Callable[[TelegramClient], Awaitable[object]],
        what: str,
        peer: Peer,
        kinds: tuple[Kind | str, ...],
        priority: int | None,
        timeout: float | None,
    ) -> Any:
        """Has one of them do it, and another one if it is made to wait; ends as an operation of one session does."""
        clock = asyncio.get_running_loop().time
        kind, limits = Kind(kinds[0]), self._limits
        give_up: float | None = None
        out: dict[str, Exception] = {}  # those that can't, and why
        while True:
            able = [book for book in self._able() if book.name not in out]
            if not able:
                raise self._why(out, peer)
            seconds = able[0].timeouts.of(kind) if timeout is None else timeout  # the same for all
            operation = CallOperation.of(function, kind, limits, what=what, priority=priority, timeout=seconds)
            if give_up is None:
                give_up = clock() + operation.queue_timeout + operation.timeout
            parked = [(until, book) for book in able if (until := self._parked(book, kinds, peer)) is not None]
            free = [book for book in able if all(book is not each for _, each in parked)]
            ready = [book for book in free if book.state is SessionState.READY and not book.paused]
            if not ready and parked:
                until, first = min(parked, key=lambda each: each[0])
                wait = max(0.0, until - time.time())
                if clock() + wait >= give_up:
                    raise FloodParked(first.name, kinds[-1], until)
                await first.turnstile.sit_out(min(wait, _LOOK_SECONDS))
                continue
            book = min(ready or free, key=partial(self._load, kind))
            try:
                result = await run_operation(
                    book,
                    partial(self._ref, book.name),
                    operation,
                    limits,
                    repeatable=False,
                    give_up=give_up,
                    sits_out=False,
                )
            except FloodParked as flood:
                self._note(book, peer, flood.until)
            except ReplyLost:  # it was restarted: reading once more harms nothing
                if clock() >= give_up:
                    raise
            except (_NotMet, MailboxFull, SessionDead, SessionUnknown) as error:
                out[book.name] = error
            else:
                self._last[book.name] = next(self._turns)
                return result

    def _able(self) -> list[SessionBook]:
        """Those that haven't ended."""
        books = self._books()
        if self._drained:
            for book in books:
                if book.draining:
                    raise SessionDraining(book.name)
        living = [book for book in books if book.state not in _ENDED]
        if not living and books:
            raise next((book.in_use for book in books if book.in_use is not None), books[0].ended())
        return living

    def _note(self, book: SessionBook, peer: Peer, until: float) -> None:
        _log.info("%s is parked: another session reads %s on, if one can", book.name, peer)
        now = time.time()
        self._met = {key: end for key, end in self._met.items() if end > now}
        self._met[book.name, peer] = until

    def _parked(self, book: SessionBook, kinds: tuple[Kind | str, ...], peer: Peer) -> float | None:
        """Until when flood waits keep a session from it; None if none does."""
        ends = [until for kind in kinds if (until := book.parked_until(kind)) is not None]
        met = self._met.get((book.name, peer), 0.0)
        if met > time.time():
            ends.append(met)
        return max(ends, default=None)

    def _load(self, kind: Kind, book: SessionBook) -> tuple[int, float, int]:
        """How long it would take there, as far as that is known; of equals the one that read last knows the chat."""
        waiting, seconds = book.turnstile.crowd(kind)
        queued = 0 if book.ref is None else book.ref.waiting
        return waiting + queued + (book.running is not None), seconds, -self._last.get(book.name, -1)

    def _why(self, out: dict[str, Exception], peer: Peer) -> Exception:
        """What is raised where none of them can."""
        if not out:
            return SessionUnknown(self._names)
        if all(isinstance(error, _NotMet) for error in out.values()):
            return ValueError(f"none of {', '.join(out)} has met {peer!r}: name it by its username")
        return next(error for error in out.values() if not isinstance(error, _NotMet))


def shared_peer(peer: Peer) -> Peer:
    """A peer whose messages several sessions may read, as far as one can tell without asking.

    Raises:
        TypeError: It carries an access hash.
        ValueError: It is an id of another chat than a channel or a supergroup.
    """
    _named(peer)
    if isinstance(peer, int) and peer > _CHANNELS:
        raise _not_shared(peer)
    return peer


def _named(peer: Peer) -> Peer:
    if isinstance(peer, bytes):
        raise TypeError("a Telethon entity carries what one account knows it by: name it by its username or its id")
    return peer


def _not_shared(peer: Peer) -> ValueError:
    return ValueError(
        f"{peer!r} is no channel or supergroup: in other chats each account has messages and ids of its own;"
        " read it by one session"
    )


async def _input_of(client: Any, peer: Peer) -> object:
    """What this session itself knows it by; a name it may have to look up."""
    if not isinstance(peer, int):
        return await client.get_input_entity(peer)
    found = await client.met(peer)
    if found is None:
        raise _NotMet
    return found
