"""Who and what exists: users, channels, devices and login codes. Nothing here speaks to a client.

`LoopbackUser` and `LoopbackChannel` are what a test holds: frozen values. `UserState` and `ChannelState` are what
changes behind them, and only the server's own code touches those.
"""

import base64
import ipaddress
import os
import re
import secrets
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from telethon.sessions.string import StringSession

from telestage.testing.loopback.crypto import key_id
from telestage.testing.loopback.errors import BadArgument, RpcRefusal, UnknownPeer
from telestage.testing.loopback.history import EventLog, History, Message
from telestage.testing.loopback.tl import now

if TYPE_CHECKING:
    from telestage.testing.loopback.session import Session

CHANNEL_MARK = -1_000_000_000_000
DC = 2
"""The number this data centre goes by."""
_USERNAME = re.compile(r"[A-Za-z](?:(?!__)\w){1,30}[A-Za-z\d]", re.ASCII)  # what Telethon will resolve


@dataclass(frozen=True, slots=True)
class LoopbackUser:
    """An account of the loopback server."""

    id: int
    username: str | None
    phone: str
    first_name: str
    access_hash: int = field(repr=False)
    _session: str = field(repr=False, compare=False)

    @property
    def session(self) -> StringSession:
        """A session of this user's first device: it holds an authorization key, so a client need not log in.

        Each access gives a fresh object for the same key; `LoopbackTelegram.add_session` gives further devices.
        """
        return StringSession(self._session)


@dataclass(frozen=True, slots=True)
class LoopbackChannel:
    """A broadcast channel or, with `megagroup`, a group."""

    id: int
    username: str
    title: str
    megagroup: bool
    access_hash: int = field(repr=False)

    @property
    def marked_id(self) -> int:
        """The id as clients write it in one number space: -100…"""
        return CHANNEL_MARK - self.id


class Device:
    """An authorization key and who is logged in with it."""

    __slots__ = ("id", "key", "key_id", "lasting_refusal", "salt", "sessions", "user")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.key_id = key_id(key)
        self.id = int.from_bytes(self.key_id, "little")
        self.salt = int.from_bytes(os.urandom(8), "little", signed=True) or 1
        self.user: UserState | None = None
        self.lasting_refusal: RpcRefusal | None = None
        """What every further call is answered with, once this key is revoked or duplicated."""
        self.sessions: dict[int, Session] = {}

    @property
    def refusal(self) -> RpcRefusal | None:
        """What a call with this key is answered with, if it is to be run no more."""
        if self.user is not None and self.user.banned:
            return RpcRefusal(401, "USER_DEACTIVATED_BAN")
        return self.lasting_refusal


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client's random_id became."""

    chat: int
    """Marked id."""
    message_id: int
    pts: int


class UserState:
    """What the server keeps for one user."""

    __slots__ = (
        "banned", "box", "channels", "devices", "histories", "listeners", "log", "next_id", "read", "sent", "user",
    )  # fmt: skip

    def __init__(self, user: LoopbackUser) -> None:
        self.user = user
        self.banned = False
        self.devices: dict[int, Device] = {}
        self.listeners: dict[Session, None] = {}
        """Sessions that get this user's updates, in the order they began to listen."""
        self.channels: dict[int, ChannelState] = {}
        self.log = EventLog()
        self.next_id = 1
        self.box: dict[int, Message] = {}
        """All private messages: they share one row of ids."""
        self.histories: dict[int, History] = {}
        """The same by peer."""
        self.read: dict[int, int] = {}
        """Newest message read, by marked id of the chat."""
        self.sent: dict[int, Sent] = {}
        """What each random_id became. Never forgotten."""

    @property
    def id(self) -> int:
        """The user's id."""
        return self.user.id

    def history(self, peer: int) -> History:
        """The private history with user `peer`."""
        return self.histories.setdefault(peer, History())


class ChannelState:
    """What the server keeps for one channel."""

    __slots__ = (
        "channel", "created", "creator", "hidden_members", "history", "log", "members", "moved", "next_id",
        "slow_seconds", "writes_next",
    )  # fmt: skip

    def __init__(self, channel: LoopbackChannel, creator: int | None, *, hidden_members: bool) -> None:
        self.channel = channel
        self.creator = creator
        self.hidden_members = hidden_members
        self.created = now()
        self.members: dict[int, datetime] = {}
        """When each member joined, by user id, in that order."""
        self.history = History()
        self.log = EventLog()
        self.next_id = 1
        self.moved = self.created
        """When the log last grew."""
        self.slow_seconds = 0
        """Slow mode: seconds between two messages of a member; 0 is none."""
        self.writes_next: dict[int, float] = {}
        """In slow mode: when each member may write again, on the record's clock."""

    @property
    def id(self) -> int:
        """The channel's bare id."""
        return self.channel.id


@dataclass(slots=True)
class LoginCode:
    """A code that was sent to a phone."""

    code: str
    hash: str
    confirmed: bool = False
    """Given rightly for a number that has no account yet: sign-up may follow."""


class State:
    """All users, channels, devices and codes of one server."""

    def __init__(self, *, hashes_per_account: bool = False, centres: Mapping[int, int] | None = None) -> None:
        self.hashes_per_account = hashes_per_account
        self.centres = dict(centres or {})
        """Further data centres and their ports; 0 is this server's own."""
        self.exported: dict[bytes, UserState] = {}
        """Who may log in at another data centre, by what auth.exportAuthorization gave."""
        self.users: dict[int, UserState] = {}
        self.channels: dict[int, ChannelState] = {}
        self.usernames: dict[str, UserState | ChannelState] = {}
        self.phones: dict[str, UserState] = {}
        self.devices: dict[int, Device] = {}
        self.codes: dict[str, LoginCode] = {}
        self.host = "127.0.0.1"
        self.port = 0
        self._next_user = 5_000_000_001
        self._next_channel = 1_500_000_001
        self.service = UserState(LoopbackUser(777000, None, "42777", "Telegram", secrets.randbits(62) + 1, ""))
        """The account Telegram itself writes from; nobody logs in as it."""
        self.users[self.service.id] = self.service

    def add_user(self, username: str | None, phone: str | None, first_name: str | None) -> UserState:
        """A new user with one device.

        Raises:
            BadArgument: The username or the phone number is malformed or taken.
        """
        self._check_username(username)
        number = self._next_user
        digits = checked_phone(phone) if phone is not None else f"99966{number % 10**7:07}"
        if digits in self.phones:
            raise BadArgument(f"phone {phone!r} already belongs to {self.phones[digits].user.username!r}")
        self._next_user += 1
        device = self.add_device(_random_key())
        user = LoopbackUser(
            id=number,
            username=username,
            phone=digits,
            first_name=first_name or username or "User",
            access_hash=secrets.randbits(62) + 1,
            _session=session_string(self.host, self.port, device.key),
        )
        state = UserState(user)
        self.users[user.id] = state
        self.phones[digits] = state
        if username is not None:
            self.usernames[username.lower()] = state
        self.log_in(device, state)
        return state

    def add_channel(
        self, username: str, members: Iterable[UserState], creator: UserState | None, *, megagroup: bool, hidden: bool
    ) -> ChannelState:
        """A new channel; its creator is its first member.

        Raises:
            BadArgument: The username is malformed or taken.
        """
        self._check_username(username)
        channel = LoopbackChannel(
            id=self._next_channel,
            username=username,
            title=username,
            megagroup=megagroup,
            access_hash=secrets.randbits(62) + 1,
        )
        self._next_channel += 1
        state = ChannelState(channel, creator.id if creator else None, hidden_members=hidden)
        self.channels[channel.id] = state
        self.usernames[username.lower()] = state
        self.join(state, ([creator] if creator else []) + list(members))
        return state

    def join(self, channel: ChannelState, users: Iterable[UserState]) -> None:
        """Make `users` members; who is one already stays one."""
        joined = now()
        for user in users:
            channel.members.setdefault(user.id, joined)
            user.channels[channel.id] = channel

    def leave(self, channel: ChannelState, user: UserState) -> None:
        """Take `user` out of `channel`, if a member."""
        channel.members.pop(user.id, None)
        user.channels.pop(channel.id, None)

    def add_device(self, key: bytes | None = None) -> Device:
        """Know a further authorization key; nobody is logged in with it yet."""
        device = Device(key if key is not None else _random_key())
        self.devices[device.id] = device
        return device

    def log_in(self, device: Device, user: UserState) -> None:
        """`device` now acts for `user`."""
        self.log_out(device)
        device.user = user
        device.lasting_refusal = None
        user.devices[device.id] = device

    def log_out(self, device: Device) -> None:
        """Nobody is logged in with `device` any more; its sessions get no further updates."""
        if device.user is None:
            return
        device.user.devices.pop(device.id, None)
        for session in device.sessions.values():
            device.user.listeners.pop(session, None)
        device.user = None

    def forget(self, device: Device) -> None:
        """Never have known this key."""
        self.log_out(device)
        self.devices.pop(device.id, None)

    def session_of(self, device: Device | None) -> StringSession:
        """A session for `device`, or one without a key, that leads to this server."""
        return StringSession(session_string(self.host, self.port, device.key if device is not None else None))

    def access_hash(self, value: LoopbackUser | LoopbackChannel, viewer: UserState) -> int:
        """The access hash that `viewer` has for a user or a channel: the same for all, unless told otherwise."""
        if not self.hashes_per_account:
            return value.access_hash
        return (value.access_hash ^ viewer.id * 0x9E3779B97F4A7C15) % 2**62 + 1

    def user(self, user: LoopbackUser) -> UserState:
        """The state behind `user`.

        Raises:
            UnknownPeer: It is not a user of this server.
        """
        state = self.users.get(user.id) if isinstance(user, LoopbackUser) else None
        if state is None or state.user != user:
            raise UnknownPeer(f"{user!r} is no user of this server; make one with add_user")
        return state

    def channel(self, channel: LoopbackChannel) -> ChannelState:
        """The state behind `channel`.

        Raises:
            UnknownPeer: It is not a channel of this server.
        """
        state = self.channels.get(channel.id) if isinstance(channel, LoopbackChannel) else None
        if state is None or state.channel != channel:
            raise UnknownPeer(f"{channel!r} is no channel of this server; make one with add_channel")
        return state

    def _check_username(self, username: str | None) -> None:
        if username is None:
            return
        if not _USERNAME.fullmatch(username):
            raise BadArgument(
                f"{username!r} is no username: 3 to 32 letters, digits and single '_'; a letter first, no '_' last"
            )
        if username.lower() in self.usernames:
            raise BadArgument(f"the username {username!r} is taken")


def session_string(host: str, port: int, key: bytes | None) -> str:
    """A session as Telethon writes it down; 256 zero bytes are no key."""
    address = ipaddress.ip_address(host).packed
    packed = struct.pack(f">B{len(address)}sH256s", DC, address, port, key if key is not None else bytes(256))
    return "1" + base64.urlsafe_b64encode(packed).decode("ascii")


def checked_phone(phone: str) -> str:
    """The digits of a phone number.

    Raises:
        BadArgument: It is none.
    """
    digits = phone.removeprefix("+").replace(" ", "")
    if not (digits.isascii() and digits.isdigit() and 5 <= len(digits) <= 16):
        raise BadArgument(f"{phone!r} is no phone number; one is 5 to 16 digits, with or without a leading +")
    return digits


def _random_key() -> bytes:
    # No leading zero byte: Telethon would keep such a key shorter than a string session stores it.
    return bytes((1 + secrets.randbelow(255),)) + os.urandom(255)
