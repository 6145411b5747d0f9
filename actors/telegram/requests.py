"""What a session does for each request: one function a request, over a connected Telethon client.

A page is one call to Telegram, so an urgent operation waits for one page at most (R-Q7).
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import singledispatch
from typing import Any

import msgspec
from telethon import types, utils
from telethon.extensions.binaryreader import BinaryReader
from telethon.tl.functions.channels import GetParticipantsRequest
from telethon.tl.tlobject import TLObject

from telestage.messages import HistoryPage, MembersPage, Peer, SendMessage

__all__ = ["History", "Members", "peer_of", "perform", "resolve"]

_utils: Any = utils  # Telethon's functions carry no annotations
_reader: Any = BinaryReader


class History(msgspec.Struct, frozen=True):
    """One page of messages, as Telethon's own, and whether it is the last."""

    messages: list[Any]
    last: bool


class Members(msgspec.Struct, frozen=True):
    """One page of members, as Telethon's users with their `participant`; how many there are in all."""

    users: list[Any]
    received: int
    total: int


def peer_of(entity: object) -> Peer:
    """What a request can carry for anything Telethon takes as an entity.

    Raises:
        TypeError: It is nothing that stands for a peer.
    """
    if isinstance(entity, bool) or not isinstance(entity, int | str | bytes | TLObject):
        raise TypeError(f"a peer is an id, a name, a phone number or a Telethon entity, not {entity!r}")
    if isinstance(entity, int | str | bytes):
        return entity
    if isinstance(entity, types.PeerUser | types.PeerChat | types.PeerChannel):
        return int(_utils.get_peer_id(entity))
    return bytes(_utils.get_input_peer(entity))


async def resolve(client: Any, peer: Peer) -> Any:
    """The input peer Telegram wants. Ids and names that the session knows cost no call."""
    if isinstance(peer, bytes):
        return _reader(peer).tgread_object()
    return await client.get_input_entity(peer)


@singledispatch
def perform(request: object, client: Any) -> Awaitable[object]:
    """Does what the request says, once awaited, and returns Telegram's answer in Telethon's terms."""
    raise TypeError(f"no session can do a {type(request).__qualname__}")


@perform.register
def _send(request: SendMessage, client: Any) -> Awaitable[object]:
    peer = request.peer  # an id or a name Telethon itself resolves as it sends
    if isinstance(peer, bytes):
        peer = _reader(peer).tgread_object()
    sending: Awaitable[object] = client.send_message(peer, request.text, **request.options)
    return sending


@perform.register
async def _history(request: HistoryPage, client: Any) -> History:
    offset_id, max_id = request.offset_id, request.max_id
    if (
        offset_id and max_id and not request.reverse
    ):  # Telethon begins at the higher of the two: at the first page again
        offset_id, max_id = min(offset_id, max_id), 0
    messages = await client.get_messages(
        await resolve(client, request.peer),
        limit=request.limit,
        offset_id=offset_id,
        min_id=request.min_id,
        max_id=max_id,
        reverse=request.reverse,
        search=request.search,
    )
    return History(list(messages), last=len(messages) < request.limit)


@perform.register
async def _members(request: MembersPage, client: Any) -> Members:
    peer = await resolve(client, request.peer)
    if not isinstance(peer, types.InputPeerChannel):  # a basic group comes whole
        users = await client.get_participants(peer) if request.offset == 0 else []
        return Members(list(users), received=len(users), total=len(users) + request.offset)
    found = await client(
        GetParticipantsRequest(
            channel=types.InputChannel(peer.channel_id, peer.access_hash),
            filter=types.ChannelParticipantsSearch(request.search),
            offset=request.offset,
            limit=request.limit,
            hash=0,
        )
    )
    by_id = {user.id: user for user in found.users}
    users = []
    for participant in found.participants:
        user = by_id.get(_user_id(participant))
        if user is not None:
            user.participant = participant
            users.append(user)
    return Members(users, received=len(found.participants), total=found.count)


def _user_id(participant: Any) -> int | None:
    peer = getattr(participant, "peer", None)  # the left and the banned are named by peer
    return getattr(participant, "user_id", None) if peer is None else getattr(peer, "user_id", None)
