"""From updates to monitors: each update becomes an ordinary Telethon event for each monitor it concerns.

Runs in the step in which an update is received and never waits, so events reach the monitors in
order. What comes before a monitor's route is there is kept for it: a client fetches what was missed as soon as
it is connected, and a route may have to wait for the end of a flood wait. What a person wrote, a filter's `func`
and the handler, runs in the monitor's own turns; a pattern that raises here fails its own monitor only.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from telethon import errors, types, utils
from telethon.events.album import Album
from telethon.events.common import EventBuilder, EventCommon
from telethon.events.raw import Raw
from telethon.tl.functions.channels import GetFullChannelRequest
from telethon.tl.tlobject import TLObject

from telestage.actors.telegram.book import Arrived, Kept, MonitorBook, MonitorSpec
from telestage.actors.telegram.checkpoint import Checkpoint, Position
from telestage.actors.telegram.updatebox import mark_of

__all__ = ["Route", "Router", "checked_builder", "find_route"]

_log = logging.getLogger("telestage.session")

_utils: Any = utils  # its functions carry no annotations
_SURVEYED = 500  # chats, those that were active last, 100 a call


class Route(msgspec.Struct, frozen=True):
    """Which events a monitor gets: its filter, with the chats looked up, by the client that did."""

    builder: Any  # Telethon's builders carry no annotations
    client: Any


class _Line(msgspec.Struct):
    book: MonitorBook
    route: Route | None


def checked_builder(event: object) -> EventBuilder:
    """The event builder that `event` is, or is the class of.

    Raises:
        TypeError: It isn't one of `telethon.events`, or one that can't be monitored.
    """
    builder = event() if isinstance(event, type) and issubclass(event, EventBuilder) else event
    if not isinstance(builder, EventBuilder):
        raise TypeError(f"a monitor watches for one of telethon.events, such as events.NewMessage(...), not {event!r}")
    if isinstance(builder, Album):
        raise TypeError("events.Album can't be monitored: watch events.NewMessage and group by message.grouped_id")
    return builder


async def find_route(client: Any, spec: MonitorSpec, checkpoint: Checkpoint) -> Route:
    """Looks up the chats that the filter of a monitor names, and where the updates of channels stand.

    Raises:
        ValueError: Telegram doesn't know one of them.
    """
    builder: Any = copy.copy(spec.builder)
    builder.resolved = False
    builder.func = None  # the monitor's own business
    await builder.resolve(client)
    await _know_state(client, builder, checkpoint)
    return Route(builder, client)


class Router:
    """The routes of one session.

    Args:
        checkpoint: Of the session.
        alive: Whether the session isn't about to end. If it is, what a stopped monitor doesn't get is to come again.
    """

    def __init__(self, checkpoint: Checkpoint, alive: Callable[[], bool]) -> None:
        self._checkpoint = checkpoint
        self._alive = alive
        self._lines: dict[str, _Line] = {}

    def expect(self, book: MonitorBook) -> None:
        """From now on, updates are kept for this monitor until its route is there."""
        self._lines[book.spec.name] = _Line(book, None)

    def attach(self, route: Route, book: MonitorBook) -> None:
        """Adds the route of a monitor, or replaces it. It gets what was kept for it."""
        self._lines[book.spec.name] = line = _Line(book, route)
        while book.kept:
            kept = book.kept.popleft()
            self._give(line, kept)
            kept.step.release()

    def attends(self, book: MonitorBook) -> bool:
        """Whether the monitor has its route."""
        line = self._lines.get(book.spec.name)
        return line is not None and line.book is book and line.route is not None

    def detach(self, name: str) -> None:
        """Takes a route away, if it is there."""
        self._lines.pop(name, None)

    def route(self, updates: Sequence[TLObject], position: Position) -> None:
        """Tells each monitor of the updates that concern it. They came together, and `position` is reached by them."""
        step = self._checkpoint.begin(position)
        for update in updates:
            mark = mark_of(update)
            kept = Kept(update, mark, step, mark is not None and mark[0] in self._checkpoint.rewound)
            for line in list(self._lines.values()):
                self._give(line, kept)
        self._checkpoint.reached(position)
        step.release()

    def _give(self, line: _Line, kept: Kept) -> None:
        book, mark = line.book, kept.mark
        if line.route is None:
            book.keep(kept)
            return
        error: Exception | None = None
        event: Any = None
        try:
            event = _event(line.route, kept.update)
        except Exception as raised:
            error = raised
        if (event is None and error is None) or (kept.again and mark is not None and book.has_done(mark)):
            return
        if book.running:
            book.offer(Arrived(event, mark, kept.step, error))
        elif self._alive():  # its supervision has stopped it
            book.lost += 1 + book.give_up()
        else:
            kept.step.hold()  # for good


def _event(route: Route, update: Any) -> Any:
    client, builder = route.client, route.builder
    update._account = client._self_id  # for its key
    event: Any = builder.build(update, None, client._self_id)
    if not event:
        return None
    common: bool = isinstance(event, EventCommon)
    if common:
        event.original_update = update
        event._entities = update._entities
        event._set_client(client)
    elif not isinstance(builder, Raw):
        event._client = client
    return event if builder.filter(event) else None


async def _know_state(client: Any, builder: Any, checkpoint: Checkpoint) -> None:
    """Has the client know where the updates of the watched channels stand.

    Telethon learns that from the first update of a channel; what is missed before it could never be fetched.
    """
    if not builder.chats or builder.blacklist_chats:
        if not checkpoint.surveyed:
            await _survey(client)
            checkpoint.surveyed = True
        return
    for chat in builder.chats:
        bare, kind = _utils.resolve_id(chat)
        if kind is not types.PeerChannel or bare in client._message_box.map:
            continue
        channel = _utils.get_input_channel(await client.get_input_entity(chat))
        full = await client(GetFullChannelRequest(channel))
        client._mb_entity_cache.extend(full.users, full.chats)
        client._message_box.try_set_channel_state(bare, full.full_chat.pts)


async def _survey(client: Any) -> None:
    """Learns where the account's channels stand. A bot has no list of them."""
    if client._mb_entity_cache.self_bot:
        return
    try:
        await client.learn_channels(_SURVEYED)
    except (errors.BadRequestError, errors.ForbiddenError):
        _log.warning("%s: its chats can't be listed; channels are caught up from their first update on", client.label)
