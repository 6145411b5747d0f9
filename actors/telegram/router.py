"""From updates to monitors: each update becomes an ordinary Telethon event for each monitor it concerns.

Runs in the step in which an update is received and never waits, so events reach the monitors in
order. What comes before the routes are there is kept for them: a client fetches what was missed as soon as
it is connected. What a person wrote, a filter's `func` and the handler, runs in the monitor's own turns; a
pattern that raises here fails its own monitor only.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from telethon import types, utils
from telethon.events.album import Album
from telethon.events.common import EventBuilder, EventCommon
from telethon.events.raw import Raw
from telethon.tl.functions.channels import GetFullChannelRequest
from telethon.tl.tlobject import TLObject

from telestage.actors.telegram.book import MonitorBook, MonitorSpec
from telestage.actors.telegram.monitor import Arrived

__all__ = ["Route", "Router", "checked_builder", "find_route"]

_utils: Any = utils  # its functions carry no annotations


class Route(msgspec.Struct, frozen=True):
    """Which events a monitor gets: its filter, with the chats looked up, by the client that did."""

    builder: Any  # Telethon's builders carry no annotations
    client: Any


class _Line(msgspec.Struct, frozen=True):
    route: Route
    book: MonitorBook


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


async def find_route(client: Any, spec: MonitorSpec) -> Route:
    """Looks up the chats that the filter of a monitor names.

    Raises:
        ValueError: Telegram doesn't know one of them.
    """
    builder: Any = copy.copy(spec.builder)
    builder.resolved = False
    builder.func = None  # the monitor's own business
    await builder.resolve(client)
    await _know_state(client, builder)
    return Route(builder, client)


class Router:
    """The routes of one client. Closed at first: it keeps what comes until `open`."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._kept: list[TLObject] | None = []

    def attach(self, route: Route, book: MonitorBook) -> None:
        """Adds the route of a monitor, or replaces it."""
        self._lines[book.spec.name] = _Line(route, book)

    def detach(self, name: str) -> None:
        """Takes a route away, if it is there."""
        self._lines.pop(name, None)

    def open(self) -> None:
        """Routes what was kept, and from now on what comes."""
        kept, self._kept = self._kept, None
        for update in kept or ():
            self.route(update)

    def route(self, update: TLObject) -> None:
        """Tells each monitor that the update concerns."""
        if self._kept is not None:
            self._kept.append(update)
            return
        for line in list(self._lines.values()):
            try:
                event = _event(line.route, update)
            except Exception as error:
                message = Arrived(None, error)
            else:
                if event is None:
                    continue
                message = Arrived(event)
            if line.book.running:
                line.book.events.offer(message)  # what there is no room for is dropped, and counted
            else:
                line.book.lost += 1  # its supervision has stopped it


def _event(route: Route, update: Any) -> Any:
    client, builder = route.client, route.builder
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


async def _know_state(client: Any, builder: Any) -> None:
    """Has the client know where the updates of the watched channels stand.

    Telethon learns that from the first update of a channel; what is missed before it could never be fetched.
    """
    for chat in builder.chats or ():
        bare, kind = _utils.resolve_id(chat)
        if kind is not types.PeerChannel or bare in client._message_box.map:
            continue
        channel = _utils.get_input_channel(await client.get_input_entity(chat))
        full = await client(GetFullChannelRequest(channel))
        client._message_box.try_set_channel_state(bare, full.full_chat.pts)
        client._mb_entity_cache.extend(full.users, full.chats)
