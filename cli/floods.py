"""`telestage floods`: what Telegram makes the sessions of a fleet's store wait for; a pause of sending is ended here.

Nothing here talks to Telegram or to the fleet's process: a fleet that runs looks into its store while it is paused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from telestage.actors import StoreError
from telestage.actors.store import Store
from telestage.actors.telegram.floodstore import end_pauses, floods_in, open_floods
from telestage.cli.errors import CommandError, UsageError

__all__ = ["list_floods", "resume"]

T = TypeVar("T")

_WIDTH = 160  # columns; a narrower terminal wraps its lines rather than lose what they say


def list_floods(store: Path, *, json: bool) -> None:
    """Prints what has not ended, in the order in which it was seen.

    Raises:
        UsageError: There is no such store.
        CommandError: It can't be read.
    """
    floods = _with_store(store, floods_in)
    if json:
        for flood in floods:
            print(msgspec.json.encode(msgspec.structs.asdict(flood)).decode())
        return
    if not floods:
        print("no floods")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("session", "parked", "to", "until", "left", "asked", "method", "seen", "reason"):
        table.add_column(column, justify="right" if column in ("left", "asked", "to") else "left", no_wrap=True)
    for flood in floods:
        table.add_row(
            flood.session,
            flood.kind,
            "all" if flood.peer is None else str(flood.peer),
            "resumed by a person" if flood.until is None else _when(flood.until),
            "" if flood.until is None else _span(flood.until - time.time()),
            "" if flood.seconds is None else _span(flood.seconds),
            flood.method,
            _when(flood.seen_at),
            flood.reason,
        )
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(table, soft_wrap=True)


def resume(store: Path, session: str, *, json: bool) -> None:
    """Ends the pause of a session's sending that PEER_FLOOD began; a fleet that runs notices within seconds.

    Raises:
        UsageError: There is no such store, or the session's sending isn't paused.
        CommandError: It can't be written.
    """
    if not _with_store(store, lambda opened: end_pauses(opened, session)):
        raise UsageError(
            f"the sending of {session!r} is not paused by PEER_FLOOD; `telestage floods` tells what is. "
            "A flood wait ends at its time, and not before"
        )
    if json:
        print(msgspec.json.encode({"session": session, "resumed": True}).decode())
    else:
        print(f"{session}: sending resumed")


def _with_store(path: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    if not path.is_file():
        raise UsageError(f"there is no store {path}: name the file of Fleet(store=) or of `store` in FLEET.toml")

    async def run() -> T:
        async with Store(path) as store:
            await open_floods(store)
            return await work(store)

    try:
        return asyncio.run(run())
    except StoreError as error:
        raise CommandError(str(error)) from error


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
