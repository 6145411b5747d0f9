"""What the commands `run` and `login` do once their options are known: logging, loops, and what is printed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from telestage.actors import StoreError
from telestage.cli.building import BuiltFleet
from telestage.cli.doctor import examine
from telestage.cli.errors import CommandError
from telestage.cli.live import LiveReporter
from telestage.cli.loading import load
from telestage.cli.login import Login, login
from telestage.cli.logs import logging_to
from telestage.cli.reporting import JsonReporter, LogHandler, PlainReporter, Reporter
from telestage.cli.running import run_fleet, run_to_the_end

__all__ = ["check_file", "doctor_and_print", "login_and_print", "run_file"]


def check_file(path: Path, level: int, *, json: bool) -> None:
    """Reads the file, opens its sessions and imports its handlers, and says how much there is of each.

    Raises:
        FleetFileError: Something is wrong with it.
    """
    loaded = load(path, os.environ)
    with logging_to(None, level, loaded.secrets), BuiltFleet(loaded) as built:
        asyncio.run(built.check_stored())
        sessions, monitors = len(loaded.fleet.sessions), len(loaded.fleet.monitors)
    if json:
        print(msgspec.json.encode({"ok": True, "sessions": sessions, "monitors": monitors}).decode())
    else:
        print(f"{path}: right; {sessions} sessions, {monitors} monitors")


def run_file(path: Path, level: int, *, json: bool, seconds: float | None) -> None:
    """Runs the fleet of a file until a signal, or for so many seconds.

    Raises:
        FleetFileError: Something is wrong with the file; nothing was begun.
        CommandError: Every session has ended, or the store can't be used.
    """
    loaded = load(path, os.environ)
    console = Console()
    reporter: Reporter
    if json:
        reporter = JsonReporter()
    elif console.is_terminal:
        reporter = LiveReporter(console)
    else:
        reporter = PlainReporter()
    with logging_to(LogHandler(reporter), level, loaded.secrets), BuiltFleet(loaded) as built:
        table = loaded.fleet
        asyncio.run(built.check_stored())
        running = run_fleet(
            built.fleet,
            reporter,
            start_timeout=table.start_timeout,
            stop_timeout=table.stop_timeout,
            seconds=seconds,
        )
        try:
            run_to_the_end(running)
        except StoreError as error:
            raise CommandError(str(error)) from error


def doctor_and_print(file: Path | None, store: Path | None, *, json: bool) -> int:
    """Prints what is right and what is wrong; returns the exit code."""
    wrong = 0
    # what would be logged is among the findings
    with logging_to(logging.NullHandler(), logging.CRITICAL):
        for finding in examine(file, os.environ, store=store):
            wrong += finding.state == "wrong"
            if json:
                print(msgspec.json.encode(finding).decode(), flush=True)
            else:
                mend = "" if finding.mend is None else f"\n         -> {finding.mend}"
                print(f"{finding.state:<8} {finding.what}: {finding.found}{mend}", flush=True)
    return 1 if wrong else 0


def login_and_print(request: Login, *, debug: bool) -> None:
    """Signs in; prints the session string, or where the session is."""
    # without --debug even Telethon's warnings are left out: what matters of them is in the error
    with logging_to(None if debug else logging.NullHandler(), logging.DEBUG if debug else logging.CRITICAL):
        session = asyncio.run(login(request))
    if request.store is not None:
        print(f"signed in; the session is in {request.store}, as {request.name}", file=sys.stderr)
    elif request.output is None:
        print(session, flush=True)
    else:
        print(f"signed in; the session is in {request.output}", file=sys.stderr)
