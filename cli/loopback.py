"""`telestage loopback`: a Telegram server on loopback in the foreground, for trying things out and for tests.

What it prints first is all that a client needs. It ends, with every connection, on SIGINT or SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from telestage.actors.stopsignals import StopSignals
from telestage.cli.errors import CommandError, UsageError
from telestage.cli.logs import logging_to
from telestage.testing import BadArgument, LoopbackTelegram, LoopbackUser, UnknownPeer

__all__ = ["Loopback", "serve", "serve_until_signal"]

_LOOK_FOR_CODES = 0.1  # seconds


class Loopback(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    host: str
    port: int
    users: int
    names: Sequence[str]
    channels: Sequence[str]
    groups: Sequence[str]
    phones: Sequence[str]
    latency: float
    public_key: Path | None
    json: bool


class _User(msgspec.Struct, frozen=True):
    name: str
    id: int
    phone: str
    session: str


class _Channel(msgspec.Struct, frozen=True):
    name: str
    id: int
    group: bool
    members: int
    history: int


class _Listening(msgspec.Struct, frozen=True, tag="listening", tag_field="event"):
    host: str
    port: int
    public_key: str
    users: list[_User]
    channels: list[_Channel]


class _LoginCode(msgspec.Struct, frozen=True, tag="login_code", tag_field="event"):
    phone: str
    code: str


def serve_until_signal(request: Loopback, level: int) -> None:
    """`serve` on a loop of its own, with what is logged from `level` on going to stderr."""
    with logging_to(None, level):
        asyncio.run(serve(request))


async def serve(request: Loopback) -> None:
    """Runs the server until a signal.

    Raises:
        UsageError: The server can't have such users or channels.
        CommandError: Its port is taken.
    """
    with StopSignals() as signals:
        try:
            telegram = LoopbackTelegram(request.port, request.host, request.latency)
            await telegram.start()
        except BadArgument as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise CommandError(f"can't listen on {request.host}:{request.port}: {error.strerror}") from error
        try:
            try:
                users = _users(telegram, request)
                channels = [_channel(telegram, spec, users, group=False) for spec in request.channels]
                channels += [_channel(telegram, spec, users, group=True) for spec in request.groups]
            except BadArgument as error:
                raise UsageError(str(error)) from error
            if request.public_key is not None:
                _write(request.public_key, telegram.public_key)
            listening = _Listening(
                telegram.host,
                telegram.port,
                telegram.public_key,
                [_User(user.username or "", user.id, user.phone, user.session.save()) for user in users],
                channels,
            )
            _print(listening, _lines(listening, request.public_key), json=request.json)
            phones = [*(user.phone for user in users), *(phone.lstrip("+") for phone in request.phones)]
            await _show_codes(telegram, phones, signals, json=request.json)
        finally:
            await telegram.close()


def _users(telegram: LoopbackTelegram, request: Loopback) -> list[LoopbackUser]:
    users = []
    for spec in request.names:
        name, _, phone = spec.partition(":")
        users.append(telegram.add_user(name, phone or None))
    users += [telegram.add_user(f"user{number}") for number in range(1, request.users + 1)]
    return users


def _channel(telegram: LoopbackTelegram, spec: str, users: list[LoopbackUser], *, group: bool) -> _Channel:
    name, _, rest = spec.partition(":")
    who, _, past = rest.partition(":")
    if past and not past.isdecimal():
        raise UsageError(f"{spec!r}: the history is a number of messages, not {past!r}")
    members = _members(spec, who, users)
    channel = telegram.add_channel(name, members, megagroup=group)
    history = int(past or 0)
    telegram.fill_history(channel, history)
    return _Channel(name, channel.marked_id, group, len(members), history)


def _members(spec: str, who: str, users: list[LoopbackUser]) -> list[LoopbackUser]:
    if who in ("", "all"):
        return users
    if who.isdecimal():
        if int(who) > len(users):
            raise UsageError(f"{spec!r}: there are {len(users)} users, not {who}; --users makes more")
        return users[: int(who)]
    known = {user.username: user for user in users}
    for name in who.split(","):
        if name not in known:
            raise UsageError(f"{spec!r}: there is no user {name!r}; members are a number, 'all', or names and commas")
    return [known[name] for name in who.split(",")]


async def _show_codes(telegram: LoopbackTelegram, phones: list[str], signals: StopSignals, *, json: bool) -> None:
    """Prints each login code as it is sent, until the signal."""
    shown: set[tuple[str, str]] = set()
    calls = 0
    while not signals.stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signals.stop.wait(), _LOOK_FOR_CODES)
        if telegram.status().calls == calls:
            continue
        calls = telegram.status().calls
        for phone in phones:
            try:
                code = telegram.login_code(phone)
            except UnknownPeer:
                continue
            if (phone, code) not in shown:
                shown.add((phone, code))
                _print(_LoginCode(phone, code), [f"login code for {phone}: {code}"], json=json)


def _lines(listening: _Listening, public_key: Path | None) -> list[str]:
    lines = [f"listening on {listening.host}:{listening.port}"]
    if public_key is not None:
        lines.append(f"public key in {public_key}")
    lines += [f"user {user.name}, phone {user.phone}, session {user.session}" for user in listening.users]
    for channel in listening.channels:
        kind = "group" if channel.group else "channel"
        lines.append(f"{kind} {channel.name}, {channel.members} members, {channel.history} messages")
    return lines


def _print(value: msgspec.Struct, lines: list[str], *, json: bool) -> None:
    print(msgspec.json.encode(value).decode() if json else "\n".join(lines), flush=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error
