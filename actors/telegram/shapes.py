"""What a request of Telethon's is to Telegram's limits: of which kind, what it is paced as, and to whom. Pure."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from telethon import types

from telestage.actors.telegram.limits import Pace
from telestage.messages import Kind

__all__ = ["JOINING", "RESOLVING", "Shape", "kind_of_request", "method_of", "peer_of_request", "shape_of"]

RESOLVING = "resolving"
"""The kind that a flood wait parks when no username may be looked up now. No operation is of it."""

JOINING = "joining"
"""The kind that a flood wait parks when no chat may be joined now. No operation is of it."""

_SENDING = ("EditMessage", "DeleteMessages", "SaveFilePart", "SaveBigFile")
_SCRAPING = ("GetHistory", "GetParticipants", "Search", "GetMessages", "GetReplies", "GetDialogs")
_READING = ("Get", "Search", "Resolve", "Check")
_MESSAGES = ("SendMessage", "SendMedia", "SendMultiMedia", "ForwardMessages", "SendInlineBotResult", "StartBot")
_PAGES = ("GetHistory", "GetParticipants", "Search", "GetReplies")
_RESOLVING = ("ResolveUsername", "ResolvePhone")
_JOINING = ("JoinChannel", "ImportChatInvite")
_type: Any = type  # a type can be hashed, whatever the checker makes of `object`
_SELF = 0  # stands for one's own chat


class Shape(msgspec.Struct, frozen=True):
    """What a type of request is."""

    kind: str
    """What a flood wait of it parks: sending, scraping, resolving, joining; "other" parks no more than the method."""
    method: str
    """The schema's name, such as `messages.sendMessage`."""
    paces: tuple[Pace, ...]
    peer: str | None
    """Which of its attributes says whom it is sent to."""
    reads: bool
    """Whether it changes nothing."""


def shape_of(request: object) -> Shape:
    """What this request is. Cheap: it goes by the type."""
    return _shape(_type(request))


def kind_of_request(request: object) -> Kind:
    """The kind of operation that it is alone."""
    name = type(request).__name__
    if hasattr(request, "random_id") or name.startswith(_SENDING):
        return Kind.SENDING
    return Kind.SCRAPING if name.startswith(_SCRAPING) else Kind.OTHER


def method_of(request: object) -> str:
    """The schema's name of a request's method, such as `messages.sendMessage`."""
    return _shape(_type(request)).method


def peer_of_request(request: Any, shape: Shape) -> int | None:
    """The marked id of whom it is sent to; None if that isn't known, or it is sent to nobody."""
    return None if shape.peer is None else marked(getattr(request, shape.peer))


def marked(peer: object) -> int | None:
    """The marked id of an input peer, as Telethon's `get_peer_id`; 0 for oneself, None for what is none."""
    if isinstance(peer, types.InputPeerUser | types.InputPeerUserFromMessage):
        return peer.user_id
    if isinstance(peer, types.InputPeerChannel | types.InputPeerChannelFromMessage):
        return -(10**12 + peer.channel_id)
    if isinstance(peer, types.InputPeerChat):
        return -peer.chat_id
    return _SELF if isinstance(peer, types.InputPeerSelf) else None


@cache  # there are as many as the schema has
def _shape(cls: type) -> Shape:
    name = cls.__name__.removesuffix("Request")
    code = getattr(vars(cls).get("__init__"), "__code__", None)  # those without arguments have no __init__
    arguments: tuple[str, ...] = () if code is None else code.co_varnames
    kind = Kind.OTHER.value
    paces: tuple[Pace, ...] = ()
    peer: str | None = None
    if name.startswith(_RESOLVING):
        kind, paces = RESOLVING, (Pace.RESOLVING,)
    elif name.startswith(_JOINING):
        kind, paces = JOINING, (Pace.JOINING,)
    elif "random_id" in arguments or name.startswith(_SENDING) or name.startswith(_MESSAGES):
        kind = Kind.SENDING.value
        peer = next((each for each in ("to_peer", "peer") if each in arguments), None)
        if name.startswith(_MESSAGES):
            paces = (Pace.SENDING,)
    elif name.startswith(_SCRAPING):
        kind = Kind.SCRAPING.value
        if name.startswith(_PAGES):
            paces = (Pace.HISTORY,)
    module = cls.__module__.rpartition(".")[2]
    method = name[:1].lower() + name[1:]
    return Shape(
        kind, method if module == "functions" else f"{module}.{method}", paces, peer, name.startswith(_READING)
    )
