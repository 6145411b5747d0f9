"""From updates to monitors: each update becomes an ordinary Telethon event for each monitor it concerns.

Runs in the step in which an update is received and never waits, so events reach the monitors in
order. What a person wrote, a filter's `func` and the handler, runs in the monitor's own turns; a pattern
that raises here fails its own monitor only.
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

from telestage.actors.kernel import Ref
from telestage.actors.telegram.book import MonitorBook
from telestage.actors.telegram.monitor import Arrived, FilterFailed

__all__ = ["Router", "checked_builder"]

_utils: Any = utils  # its functions carry no annotations


class _Route(msgspec.Struct, frozen=True):
    book: MonitorBook
    ref: Ref
    builder: Any  # Telethon's builders carry no annotations


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


class Router:
    """The routes of one client."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}
        self._client: Any = None

    async def attach(self, client: Any, book: MonitorBook, ref: Ref) -> None:
        """Adds the route of a monitor, or replaces it. Looks up the chats that it names.

        Raises:
            ValueError: Telegram doesn't know a chat that the filter names.
        """
        self._client = client
        builder: Any = copy.copy(book.spec.builder)
        builder.resolved = False
        builder.func = None  # the monitor's own business
        await builder.resolve(client)
        await _know_state(client, builder)
        self._routes[book.spec.name] = _Route(book, ref, builder)

    def detach(self, name: str) -> None:
        """Takes a route away, if it is there."""
        self._routes.pop(name, None)

    def route(self, update: TLObject) -> None:
        """Tells each monitor that the update concerns."""
        for route in list(self._routes.values()):
            try:
                event = self._event(route.builder, update)
            except Exception as error:
                route.ref.tell(FilterFailed(error))
                continue
            if event is None:
                continue
            if route.ref.waiting >= route.book.spec.capacity:
                route.book.dropped += 1
            route.ref.tell(Arrived(event))

    def _event(self, builder: Any, update: Any) -> Any:
        client = self._client
        event: Any = builder.build(update, None, client._self_id)
        if not event:
            return None
        common = isinstance(event, EventCommon)
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
