"""A loopback server run from outside, by frames: each `ControlCall` is one method, answered before the next.

What may be called is what `METHODS` lists. Users and channels travel as what they are made of, and come back as
references; everything else as it is. A call that is unknown, misses its arguments or fails gets a
`ControlFailure` with the error's name and text, and changes nothing that the method itself would not have.
"""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass

import msgspec
from telethon.sessions.string import StringSession

from telestage.messages import ControlCall, ControlFailure, ControlReply, WireError
from telestage.messages.wire import FrameReader, encode
from telestage.testing.loopback.errors import BadArgument, UnknownPeer
from telestage.testing.loopback.server import LoopbackTelegram
from telestage.testing.loopback.state import LoopbackChannel, LoopbackUser

MAX_FRAME = 16 * 1024 * 1024
"""Bytes in one frame at most; both ends are ours."""

_log = logging.getLogger("telestage.testing.loopback")

_SERVER_METHODS = (
    "add_channel", "add_members", "connections", "delete", "edit", "fill_history", "login_code",
    "peak_in_flight", "post", "status",
)  # fmt: skip
_FAULTS = (
    "accept_connections", "ban", "clear", "disconnect", "duplicate_key", "error", "flood_wait", "forget_key",
    "latency", "lose_updates", "refuse_connections", "revoke", "slow_mode", "unanswered",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and the key that clients must trust."""

    port: int
    public_key: str


class Control(asyncio.Protocol):
    """The end of the control pipe that belongs to the server.

    Args:
        telegram: The running server.
        output: Where answers are written.
        ended: Set when the other end closes the pipe, or sends what is no call.
    """

    def __init__(self, telegram: LoopbackTelegram, output: asyncio.WriteTransport, ended: asyncio.Event) -> None:
        self._telegram = telegram
        self._output = output
        self._ended = ended
        self._frames = FrameReader(max_frame=MAX_FRAME)
        self._users: dict[int, LoopbackUser] = {}
        self._channels: dict[int, LoopbackChannel] = {}
        self._methods: dict[str, Callable[..., object]] = {
            "address": self._address,
            "add_users": self._add_users,
            "add_session": self._add_session,
            "calls": self._calls,
            "deliveries": self._deliveries,
            "delivered_count": self._delivered_count,
            **{name: getattr(telegram, name) for name in _SERVER_METHODS},
            **{f"faults.{name}": getattr(telegram.faults, name) for name in _FAULTS},
        }

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            for message in self._frames.feed(data):
                if not isinstance(message, ControlCall):
                    raise WireError(f"{type(message).__name__} where a ControlCall was due")
                self._output.write(encode(self._answer(message), max_frame=MAX_FRAME))
        except WireError as error:
            _log.error("the control pipe carries no calls: %s", error)
            self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._ended.set()

    def _answer(self, call: ControlCall) -> ControlReply | ControlFailure:
        try:
            method = self._methods.get(call.method)
            if method is None:
                raise BadArgument(f"there is no method {call.method!r}; there are {', '.join(sorted(self._methods))}")
            arguments = {name: self._decoded(value) for name, value in call.arguments.items()}
            try:
                inspect.signature(method).bind(**arguments)
            except TypeError as error:
                raise BadArgument(f"{call.method}: {error}") from error
            return ControlReply(id=call.id, result=self._encoded(method(**arguments)))
        except Exception as error:  # whatever it is, it is for the caller to know, and the server goes on
            return ControlFailure(id=call.id, error=type(error).__name__, message=str(error))

    def _decoded(self, value: object) -> object:
        if isinstance(value, Mapping):
            found: LoopbackUser | LoopbackChannel | None = None
            hash: object = None
            match dict(value):
                case {"user": int(id), "access_hash": hash}:
                    found = self._users.get(id)
                case {"channel": int(id), "access_hash": hash}:
                    found = self._channels.get(id)
            if found is None or found.access_hash != hash:
                raise UnknownPeer(f"{value!r} is no user or channel made over this pipe")
            return found
        if isinstance(value, list | tuple):
            return [self._decoded(item) for item in value]
        return value

    def _encoded(self, value: object) -> object:
        if isinstance(value, LoopbackUser):
            self._users[value.id] = value
        elif isinstance(value, LoopbackChannel):
            self._channels[value.id] = value
        if isinstance(value, StringSession):
            return value.save()
        if is_dataclass(value):
            return msgspec.to_builtins(value)
        if isinstance(value, list | tuple):
            return [self._encoded(item) for item in value]
        return value

    def _address(self) -> Address:
        return Address(self._telegram.port, self._telegram.public_key)

    def _add_users(self, users: list[list[str | None]]) -> list[LoopbackUser]:
        return [self._telegram.add_user(*fields) for fields in users]

    def _add_session(self, user: LoopbackUser, count: int = 1) -> list[StringSession]:
        return [self._telegram.add_session(user) for _ in range(count)]

    def _deliveries(
        self, to: LoopbackUser | LoopbackChannel | None, sender: LoopbackUser | None, start: int, limit: int
    ) -> list[object]:
        return [*self._telegram.delivered(to, sender)[start : start + limit]]

    def _delivered_count(
        self, to: LoopbackUser | LoopbackChannel | None = None, sender: LoopbackUser | None = None
    ) -> int:
        return len(self._telegram.delivered(to, sender))

    def _calls(self, user: LoopbackUser | None = None) -> dict[str, dict[str, int]]:
        counts: dict[str, Counter[str]] = {}
        for call in self._telegram.calls:
            if user is None or call.user_id == user.id:
                counts.setdefault(call.method, Counter())[call.outcome] += 1
        return {method: dict(outcomes) for method, outcomes in counts.items()}
