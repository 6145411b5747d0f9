"""`telestage login`: from a phone number to a session, kept where only its owner can read it.

The session is a secret: it goes to stdout or into a file of mode 600, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from telethon import errors
from telethon.sessions.abstract import Session
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

from telestage.actors import LoginFailed, SessionStore, Store, StoreError, list_sessions, sign_in
from telestage.cli.building import trust_server
from telestage.cli.checking import loopback_host
from telestage.cli.errors import CommandError, UsageError
from telestage.cli.prompting import ask
from telestage.cli.sessions import opened_store

__all__ = ["Login", "login"]

_LOOPBACK_DC = 2  # the only one a loopback server has


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Its repr shows no secret."""

    api_id: int
    api_hash: str
    phone: str | None
    code: str | None
    code_command: str | None
    password: str | None
    first_name: str | None
    output: Path | None
    force: bool
    server: str | None
    public_key: Path | None
    timeout: float
    store: Path | None = None
    name: str | None = None

    def __repr__(self) -> str:
        return f"Login(api_id={self.api_id})"


async def login(request: Login) -> str:
    """Signs in, and returns the session string, or stores the session and returns an empty one.

    Raises:
        CommandError: Telegram doesn't let the user in, or can't be reached.
        UsageError: The request can't be; nobody was asked for anything.
    """
    if request.code is not None and request.code_command is not None:
        raise UsageError("--code and --code-command are both given; give one of them")
    output = request.output
    if (request.store is None) != (request.name is None):
        raise UsageError("--store and --name go together: where the session is kept, and under which name")
    if request.store is not None and output is not None:
        raise UsageError("--store and --output are both given; give one of them")
    if output is not None and output.exists() and not request.force:
        raise UsageError(f"{output} exists; it may be a session that is still in use. --force replaces it")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} to")
    address = None if request.server is None else _address(request.server)
    if request.public_key is not None and address is None:
        raise UsageError("--public-key is for a loopback server: give --server HOST:PORT too")
    async with contextlib.AsyncExitStack() as cleanup:
        keeping: SessionStore | None = None
        if request.store is not None and request.name is not None:
            # as with a file: before anybody is asked for a code
            keeping = await _keeping(request.store, request.name, request.force, cleanup)
        if address is not None:
            _trust(request.public_key, cleanup)
        part: Path | None = None
        session: Any = StringSession()  # Telethon's sessions carry no annotations
        if output is not None:
            # made before anybody is asked for a code, which would be lost if the folder can't be written to
            part = _private(output)
            cleanup.callback(part.unlink, missing_ok=True)
            if output.suffix == ".session":
                session = SQLiteSession(str(part))
                cleanup.callback(session.close)
        if address is not None:
            session.set_dc(_LOOPBACK_DC, *address)
        await _signed_in(request, session)
        if keeping is not None and request.name is not None:
            await keeping.put(request.name, session, replace=request.force)
            return ""
        if part is None or output is None:
            return str(session.save())
        if output.suffix == ".session":
            session.close()
        else:
            part.write_text(f"{session.save()}\n", encoding="ascii")
        part.replace(output)
        return ""


async def _keeping(path: Path, name: str, force: bool, cleanup: contextlib.AsyncExitStack) -> SessionStore:
    """The open store, in which the name is free."""
    try:
        store = await cleanup.enter_async_context(Store(path))
        listed = {each.name: each for each in await list_sessions(store) if each.stored}
    except StoreError as error:
        raise CommandError(str(error)) from error
    if name in listed and not force:
        raise UsageError(f"{path} has a session {name!r}; it may be in use. --force replaces it")
    if name in listed and (owner := listed[name].owner) is not None:
        raise UsageError(f"session {name!r} is in use by {owner}; stop that first")
    return await opened_store(store)


async def _signed_in(request: Login, session: Session) -> None:
    phone = request.phone or await ask("phone number, with the country's code", hint="give it with --phone")
    try:
        await sign_in(
            request.api_id,
            request.api_hash,
            phone,
            code=_code(request, phone),
            password=_password(request),
            first_name=request.first_name,
            session=session,
            timeout=request.timeout,
        )
    except LoginFailed as error:
        raise CommandError(str(error)) from error
    except errors.FloodError as error:
        seconds = getattr(error, "seconds", None)
        wait = "for a while" if seconds is None else f"{seconds} s"
        raise CommandError(f"Telegram says to wait {wait} before another code is asked for: a flood wait") from error
    except errors.RPCError as error:
        raise CommandError(f"Telegram refuses: {error}") from error
    except TimeoutError as error:
        raise CommandError(f"it took longer than {request.timeout:g} s; --timeout allows more") from error
    except OSError as error:
        where = request.server or "Telegram"
        raise CommandError(f"no connection to {where}: {error}") from error


def _code(request: Login, phone: str) -> Callable[[], str | Awaitable[str]]:
    if request.code is not None:
        code = request.code
        return lambda: code
    if request.code_command is not None:
        command = request.code_command
        return lambda: _output_of(command, phone)
    return lambda: ask("the code that Telegram sent", hint="give it with --code or --code-command")


def _password(request: Login) -> Callable[[], str | Awaitable[str]]:
    if request.password is not None:
        password = request.password
        return lambda: password
    return lambda: ask("second password", hidden=True, hint="give it in TELESTAGE_PASSWORD")


async def _output_of(command: str, phone: str) -> str:
    """What a shell command prints; it is killed, with what it started, if nobody waits any more."""
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TELESTAGE_PHONE": phone},
        start_new_session=True,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    code = printed.decode(errors="replace").strip()
    if process.returncode:
        raise CommandError(f"the code command ended with exit code {process.returncode}")
    if not code:
        raise CommandError("the code command printed no code")
    return code


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    address = loopback_host(host)
    if address is None or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"--server: expected HOST:PORT of a loopback server, such as 127.0.0.1:4430, not {server!r}")
    return address, int(port)


def _trust(public_key: Path | None, cleanup: contextlib.AsyncExitStack) -> None:
    try:
        trust_server(public_key, cleanup)
    except OSError as error:
        raise UsageError(f"--public-key: {public_key} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--public-key: {public_key} is no PEM file with a PKCS#1 public key") from error


def _private(beside: Path) -> Path:
    """A new empty file in the same folder, of mode 600 from its first moment."""
    path = beside.with_name(f".{os.getpid()}.{beside.name}")
    path.unlink(missing_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise UsageError(f"{beside} can't be written: {error.strerror}") from error
    return path
