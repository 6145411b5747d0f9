"""`telestage sessions`: the sessions in a fleet's store, whether it runs or has stopped.

Nothing here talks to Telegram. A session that a fleet has now isn't removed or replaced under its hands.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from telethon.crypto.authkey import AuthKey
from telethon.sessions.string import StringSession

from telestage.actors import SessionInUse, SessionNotStored, SessionStore, StoreError, StoreKeyError, Vault
from telestage.actors.store import Store
from telestage.actors.store.vault import NEW_STORE_KEY, STORE_KEY
from telestage.actors.telegram.importing import NoSession, open_session_file, open_session_string
from telestage.actors.telegram.resealing import reseal
from telestage.actors.telegram.sessionstore import list_sessions
from telestage.cli.errors import CommandError, UsageError

__all__ = ["export", "import_files", "list_all", "opened_store", "print_new_key", "remove", "reseal_all"]

T = TypeVar("T")


def list_all(path: Path, *, json: bool) -> None:
    """Prints the sessions by name, with who has each. Takes no key.

    Raises:
        UsageError: There is no such store.
        CommandError: It can't be read.
    """
    listed = _in_store(path, list_sessions)
    if json:
        for each in listed:
            print(msgspec.json.encode(each).decode())
        return
    if not listed:
        print("no sessions")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "user", "dc", "in use by", "taken", "last used"):
        table.add_column(column)
    for each in listed:
        table.add_row(
            each.name if each.stored else f"{each.name} (not stored)",
            _shown(each.user_id),
            _shown(each.dc),
            each.owner or "",
            str(each.epoch),
            "" if each.used is None else datetime.fromtimestamp(each.used).isoformat(" ", "seconds"),
        )
    Console().print(table, soft_wrap=True)


def import_files(path: Path, files: list[Path], *, name: str | None, replace: bool) -> None:
    """Puts session files of Telethon's, or files with a session string, into the store; `-` is the standard input.

    Raises:
        UsageError: A file is no session, or there is one of its name. The files before it are in the store.
        CommandError: The store can't be written, or its key isn't there.
    """
    if name is not None and len(files) > 1:
        raise UsageError("--name is for a single file; several have their files' names")
    if name is None and any(str(file) == "-" for file in files):
        raise UsageError("a session string from the standard input needs a --name")

    async def put(store: Store) -> None:
        sessions = await _unlocked(store)
        for file in files:
            called = name or file.stem
            try:
                found = open_session_string(sys.stdin.read()) if str(file) == "-" else open_session_file(file)
                if replace:
                    await _not_in_use(store, called)
                await sessions.put(called, found.session, replace=replace, entities=found.entities)
            except (NoSession, ValueError) as error:
                raise UsageError(f"{file}: {error}") from None
            except OSError as error:
                raise UsageError(f"{file} can't be read: {error.strerror}") from None
            print(f"{called}: in {path}; don't use {file} any more", file=sys.stderr)

    _in_store(path, put, make=True)


def export(path: Path, name: str) -> None:
    """Prints a session as a string, which is the account: keep it secret. It mustn't be used beside the store.

    Raises:
        UsageError: There is no such session, or it is in use.
        CommandError: The store can't be read, or its key isn't there.
    """

    async def get(store: Store) -> str:
        await _not_in_use(store, name)
        record = await (await _unlocked(store)).get(name)
        session: Any = StringSession()
        session.set_dc(record.dc, record.server, record.port)
        session.auth_key = AuthKey(data=record.key)  # type: ignore[no-untyped-call]  # Telethon's
        return str(session.save())

    print(_in_store(path, get))


def remove(path: Path, name: str) -> None:
    """Takes a session out of the store. Telegram still knows it: *Devices* in any app ends it there.

    Raises:
        UsageError: There is no such session, or it is in use.
        CommandError: The store can't be written, or its key isn't there.
    """

    async def take_out(store: Store) -> None:
        await _not_in_use(store, name)
        await (await _unlocked(store)).remove(name)

    _in_store(path, take_out)


def reseal_all(path: Path, *, json: bool) -> None:
    """Seals all sessions with the key in TELESTAGE_NEW_STORE_KEY in place of that in TELESTAGE_STORE_KEY.

    Raises:
        UsageError: There is no such store, or a session of it is in use.
        CommandError: The store can't be written, or a key isn't there or isn't the store's.
    """

    async def seal(store: Store) -> int:
        return await reseal(store, Vault.of(), Vault.of(variable=NEW_STORE_KEY))

    sessions = _in_store(path, seal)
    if json:
        print(msgspec.json.encode({"store": str(path), "sessions": sessions}).decode())
    else:
        counted = "1 session is" if sessions == 1 else f"{sessions} sessions are"
        print(f"{path}: {counted} sealed with the new key; set {STORE_KEY} to it, and forget the old one")


def print_new_key() -> None:
    """Prints a new key for a store."""
    print(Vault.new_key())


async def opened_store(store: Store) -> SessionStore:
    """The sessions of an open store.

    Raises:
        CommandError: Its key isn't there, or is another's.
    """
    try:
        return await _unlocked(store)
    except (StoreError, StoreKeyError) as error:
        raise CommandError(str(error)) from error


async def _unlocked(store: Store) -> SessionStore:
    sessions = SessionStore(store, Vault.of())
    await sessions.open()
    return sessions


async def _not_in_use(store: Store, name: str) -> None:
    for each in await list_sessions(store):
        if each.name == name and each.stored and each.owner is not None:
            raise UsageError(f"session {name!r} is in use by {each.owner}; stop that first")


def _in_store(path: Path, work: Callable[[Store], Awaitable[T]], *, make: bool = False) -> T:
    if not make and not path.is_file():
        raise UsageError(f"there is no store {path}")

    async def run() -> T:
        async with Store(path) as store:
            return await work(store)

    try:
        return asyncio.run(run())
    except SessionInUse as error:
        raise UsageError(f"session {error.session!r} is {error.reason}; stop that first") from error
    except SessionNotStored as error:
        raise UsageError(str(error)) from error
    except (StoreError, StoreKeyError) as error:
        raise CommandError(str(error)) from error


def _shown(value: int | None) -> str:
    return "" if value is None else str(value)
