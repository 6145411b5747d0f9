"""What a fleet file can say: its tables, as frozen values.

The field's type is the check, its default is the default that docs/configuration.md states, and a description is
what an error says would be right. All tables are closed: a key that isn't here is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from telestage.actors import Limits
from telestage.cli.secrecy import Secret

__all__ = ["EVENT_FILTERS", "ClientTable", "FleetFile", "MonitorTable", "ServerTable", "SessionTable"]

_YEAR = 365 * 86400

Seconds = Annotated[float, Meta(gt=0, le=_YEAR, description="a number of seconds above 0, a year at most")]
_Text = Annotated[str, Meta(min_length=1, description="a text that isn't empty")]
_Name = Annotated[
    str,
    Meta(
        pattern=r"^[^/$\s*?\[][^/\s*?\[]{0,63}$",
        description="a name of 1 to 64 characters, without spaces, '/', '*', '?' and '[', that doesn't begin with '$'",
    ),
]
_Count = Annotated[int, Meta(ge=0, description="a whole number of 0 or more")]
_Id = Annotated[int, Meta(ge=1, le=2**31 - 1, description="the number from my.telegram.org")]
_Port = Annotated[int, Meta(ge=1, le=65535, description="a port number, 1 to 65535")]
_Peers = Annotated[str | int | list[str | int], Meta(description="a username, an id, or a list of usernames and ids")]

Event = Literal[
    "NewMessage",
    "MessageEdited",
    "MessageDeleted",
    "MessageRead",
    "ChatAction",
    "UserUpdate",
    "CallbackQuery",
    "InlineQuery",
    "Raw",
]

Durable = Literal["soon", "each", "before"]

_CHATS = ("chats", "blacklist_chats")
_MESSAGE = (*_CHATS, "incoming", "outgoing", "from_users", "forwards", "pattern")
EVENT_FILTERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "NewMessage": _MESSAGE,
        "MessageEdited": _MESSAGE,
        "MessageDeleted": _CHATS,
        "MessageRead": (*_CHATS, "inbox"),
        "ChatAction": _CHATS,
        "UserUpdate": _CHATS,
        "CallbackQuery": (*_CHATS, "pattern"),
        "InlineQuery": ("pattern",),
        "Raw": (),
    }
)
"""The filters that each event of `telethon.events` has."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        # any value may have come out of the environment
        return f"{type(self).__name__}(<{len(self.__struct_fields__)} keys>)"


class ClientTable(_Table, frozen=True, kw_only=True):
    """Options of Telethon's client. What isn't given is left to Telethon, or to the session actor."""

    device_model: _Text | None = None
    system_version: _Text | None = None
    app_version: _Text | None = None
    lang_code: _Text | None = None
    system_lang_code: _Text | None = None
    timeout: Seconds | None = None
    connection_retries: _Count | None = None
    request_retries: _Count | None = None
    retry_delay: Seconds | None = None
    entity_cache_limit: Annotated[int, Meta(ge=1, description="a whole number of 1 or more")] | None = None

    def options(self) -> dict[str, object]:
        """Those that are given, by the name of the constructor's argument."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in given.items() if value is not None}


class ServerTable(_Table, frozen=True, kw_only=True):
    """A loopback server that stands for Telegram."""

    port: _Port
    host: _Text = "127.0.0.1"
    public_key: _Text | None = None
    """The path of a PEM file. Default: the key that every loopback server has."""


class SessionTable(_Table, frozen=True, kw_only=True):
    """One session."""

    name: _Name
    session: Annotated[Secret, Meta(description="a session string, or a path that ends in .session")] | None = None
    session_file: _Text | None = None
    """The path of a file with a session string, as `telestage login --output` writes it."""
    stored: _Text | None = None
    """The name that it has in the fleet's store."""
    client: ClientTable = ClientTable()


class MonitorTable(_Table, frozen=True, kw_only=True):
    """One handler, in every session whose name matches."""

    handler: Annotated[
        str,
        Meta(
            pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$",
            description="the place of a function, such as 'package.module:function'",
        ),
    ]
    event: Event = "NewMessage"
    name: _Name | None = None
    sessions: _Text = "*"
    chats: _Peers | None = None
    blacklist_chats: bool | None = None
    incoming: bool | None = None
    outgoing: bool | None = None
    from_users: _Peers | None = None
    forwards: bool | None = None
    pattern: _Text | None = None
    inbox: bool | None = None
    intensity: _Count = 5
    period: Seconds = 60.0
    once: bool = False
    durable: Durable = "soon"

    def filters(self) -> dict[str, object]:
        """The filters that are given, by the name of the event's argument."""
        given = {name: getattr(self, name) for name in EVENT_FILTERS[self.event]}
        return {name: value for name, value in given.items() if value is not None}


class OwnershipTable(_Table, frozen=True, kw_only=True):
    """How sessions are leased in the store."""

    owner: Annotated[str, Meta(min_length=1, max_length=200, description="a text of 1 to 200 characters")] | None = None
    lease: Annotated[float, Meta(ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600")] = 30.0
    standby: bool = False


class FleetFile(_Table, frozen=True, kw_only=True):
    """A whole fleet."""

    api_id: _Id
    api_hash: Annotated[Secret, Meta(description="the text from my.telegram.org")]
    sessions: Annotated[list[SessionTable], Meta(min_length=1, description="one [[sessions]] table or more")]
    monitors: list[MonitorTable] = []
    limits: Limits = Limits()
    client: ClientTable = ClientTable()
    server: ServerTable | None = None
    store: _Text | None = None
    """The path of the file that keeps what is to outlive the process."""
    ownership: OwnershipTable = OwnershipTable()
    start_timeout: Seconds = 60.0
    stop_timeout: Seconds = 10.0
