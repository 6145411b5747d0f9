"""From a fleet file to a fleet that can be started: sessions opened, handlers imported, nothing connected."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from telethon import events
from telethon.sessions.string import StringSession

from telestage.actors import (
    Directive,
    Fleet,
    Ownership,
    SessionNotStored,
    StoredSession,
    StoreError,
    StoreKeyError,
    Supervision,
)
from telestage.actors.telegram.sources import sqlite_session
from telestage.cli.checking import loopback_host, monitor_name
from telestage.cli.errors import CommandError
from telestage.cli.fleetfile import MonitorTable, ServerTable, SessionTable
from telestage.cli.handlers import handler_at
from telestage.cli.loading import LoadedFile
from telestage.cli.sessions import opened_store

__all__ = ["BuiltFleet", "trust_server"]

_log = logging.getLogger("telestage.cli")


class BuiltFleet:
    """A fleet as its file says, until the block ends: then its session files are closed.

    Raises:
        FleetFileError: A session isn't one or isn't signed in, or a handler can't be used.
    """

    def __init__(self, loaded: LoadedFile) -> None:
        self._loaded = loaded
        self._cleanup = ExitStack()
        table = loaded.fleet
        self.fleet = Fleet(
            table.api_id,
            table.api_hash.reveal(),
            limits=table.limits,
            options=table.client.options(),
            store=None if table.store is None else loaded.folder / table.store,
            ownership=Ownership(**msgspec.structs.asdict(table.ownership)),
        )

    def __enter__(self) -> Self:
        loaded, table = self._loaded, self._loaded.fleet
        with ExitStack() as cleanup:
            for index, monitor in enumerate(table.monitors):
                self._watch(monitor, f"monitors[{index}]")
            keys: dict[bytes, int] = {}
            for index, session in enumerate(table.sessions):
                where = f"sessions[{index}]"
                if session.stored is not None:
                    self._add_stored(session, session.stored)
                    continue
                opened = _opened(session, where, loaded)
                cleanup.callback(opened.close)
                self._add(session, opened, keys, index)
            if table.server is not None:
                _trust(table.server, loaded, cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _add(self, table: SessionTable, opened: Any, keys: dict[bytes, int], index: int) -> None:
        loaded = self._loaded
        where = f"sessions[{index}].{'session' if table.session_file is None else 'session_file'}"
        if opened.auth_key is None or not opened.auth_key.key:
            raise loaded.wrong(where, "is not signed in yet; make one with `telestage login`")
        first = keys.setdefault(opened.auth_key.key, index)
        if first != index:
            raise loaded.wrong(
                where, f"is the session of sessions[{first}] too; Telegram ends a session that is used twice at once"
            )
        server = loaded.fleet.server
        if server is not None:
            if loopback_host(opened.server_address) is None:
                raise loaded.wrong(where, "leads to Telegram, and not to a loopback server as [server] says")
            opened.set_dc(opened.dc_id, loopback_host(server.host), server.port)
        self.fleet.add(table.name, session=opened, **table.client.options())

    def _add_stored(self, table: SessionTable, name: str) -> None:
        session = StoredSession(name)
        server = self._loaded.fleet.server
        if server is not None:
            session.lead_to(server.host, server.port)
        self.fleet.add(table.name, session=session, **table.client.options())

    async def check_stored(self) -> None:
        """Makes sure that the stored sessions are in the store, and can be opened.

        Raises:
            FleetFileError: One isn't.
            CommandError: The store can't be read, or its key isn't there.
        """
        loaded = self._loaded
        stored = [(n, each.stored) for n, each in enumerate(loaded.fleet.sessions) if each.stored is not None]
        if not stored or self.fleet.store is None:
            return
        if not await asyncio.to_thread(Path(self.fleet.store.path).is_file):
            raise loaded.wrong("store", "there is no file of that name; `telestage sessions import` makes one")
        try:
            async with self.fleet.store as store:
                sessions = await opened_store(store)
                for index, name in stored:
                    try:
                        await sessions.get(name)
                    except SessionNotStored as error:
                        raise loaded.wrong(f"sessions[{index}].stored", error.reason) from None
        except (StoreError, StoreKeyError) as error:
            raise CommandError(str(error)) from error

    def _watch(self, table: MonitorTable, where: str) -> None:
        handler = handler_at(table.handler, f"{where}.handler", self._loaded)
        try:
            event = getattr(events, table.event)(**table.filters())
        except (TypeError, ValueError) as error:
            raise self._loaded.wrong(where, f"{table.event} refuses its filters: {error}") from None
        supervision = Supervision(intensity=table.intensity, period=table.period, exceeded=Directive.STOP)
        name = monitor_name(table)
        self.fleet.on(
            event,
            sessions=table.sessions,
            name=name,
            supervision=supervision,
            once=table.once,
            durable=table.durable,
        )(handler)


def trust_server(public_key: Path | None, cleanup: ExitStack | AsyncExitStack) -> None:
    """Until `cleanup` closes, clients trust a loopback server's key: that of the PEM file, or the one they all have.

    Raises:
        OSError: The file can't be read.
        ValueError: It holds no such key.
    """
    from telestage.testing import LoopbackTelegram, trust

    pem = LoopbackTelegram().public_key if public_key is None else public_key.read_text(encoding="utf-8")
    cleanup.enter_context(trust(pem))


def _trust(server: ServerTable, loaded: LoadedFile, cleanup: ExitStack) -> None:
    where = "server.public_key"
    try:
        trust_server(None if server.public_key is None else loaded.folder / server.public_key, cleanup)
    except OSError as error:
        raise loaded.wrong(where, f"can't be read: {error.strerror}") from None
    except ValueError:
        raise loaded.wrong(where, "expected the path of a PEM file with a PKCS#1 public key") from None


def _opened(table: SessionTable, where: str, loaded: LoadedFile) -> Any:  # Telethon's sessions carry no annotations
    if table.session_file is not None:
        where = f"{where}.session_file"
        return _string_session(_read(loaded.folder / table.session_file, where, loaded), where, loaded)
    where = f"{where}.session"
    assert table.session is not None, "the file was checked"
    text = table.session.reveal()
    if not text.endswith(".session"):
        return _string_session(text, where, loaded)
    path = loaded.folder / text
    if not path.is_file():
        raise loaded.wrong(where, "there is no file of that name; make it with `telestage login --output`")
    try:
        return sqlite_session(str(path))
    except (sqlite3.Error, OSError) as error:
        raise loaded.wrong(where, f"can't be opened: {error}") from None


def _read(path: Path, where: str, loaded: LoadedFile) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise loaded.wrong(where, f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise loaded.wrong(where, "holds no session string") from None
    for redactor in (loaded.redactor, loaded.secrets):
        redactor.learn(text, f"<{where}>")
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("%s: %s can be read by others; chmod 600 it", loaded.path, where)
    return text


def _string_session(text: str, where: str, loaded: LoadedFile) -> Any:
    try:
        return StringSession(text)
    except Exception:  # four kinds of error, one for each part of the string
        raise loaded.wrong(where, "neither a session string nor a path that ends in .session") from None
