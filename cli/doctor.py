"""What is right on this machine and in a fleet file, what is wrong, and how to mend it.

Invariant: it only looks. Nothing is connected to, written, made or migrated, and no secret is shown; a lock that
it takes to find out whether another program holds it is given back at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from telestage.cli.building import BuiltFleet
from telestage.cli.errors import FleetFileError
from telestage.cli.finding import Finding, permissions
from telestage.cli.fleetfile import SessionTable
from telestage.cli.loading import LoadedFile, load
from telestage.cli.storedoctor import Expected, look_into

__all__ = ["examine"]

_OLDEST = (3, 11)
_REQUIREMENT = re.compile(r"([\w.-]+?)(?:>=([\d.]+)|==([\d.]+)\.\*)?(?:;|$)")
_BUILT = 1_735_689_600.0  # 2025: no machine that has this release is older


def examine(file: Path | None, environ: Mapping[str, str], *, store: Path | None = None) -> Iterator[Finding]:
    """Looks at the machine, and at the fleet file if there is one, with its sessions, handlers and store.

    Args:
        store: That of a fleet that has no file.
    """
    yield _python()
    yield from _dependencies()
    yield from _faster()
    yield _clock()
    if store is not None:
        yield from look_into(store, Expected(), environ)
    if file is None:
        if store is None:
            yield _credentials(environ)
        return
    try:
        loaded = load(file, environ)
    except FleetFileError as error:
        yield Finding(state="wrong", what="fleet file", found=str(error), mend="see docs/configuration.md")
        return
    found = f"{file}: {len(loaded.fleet.sessions)} sessions, {len(loaded.fleet.monitors)} monitors"
    yield Finding(state="right", what="fleet file", found=found)
    right = True
    for index, table in enumerate(loaded.fleet.sessions):
        for finding in _session(table, f"sessions[{index}]", loaded):
            right = right and finding.state != "wrong"
            yield finding
    if right:  # else it would say the same again
        yield _whole(loaded)
    if loaded.fleet.store is not None:
        yield from look_into(loaded.folder / loaded.fleet.store, _expected(loaded), environ)


def _expected(loaded: LoadedFile) -> Expected:
    return Expected(
        stored={each.stored: f"sessions[{n}].stored" for n, each in enumerate(loaded.fleet.sessions) if each.stored},
        standby=loaded.fleet.ownership.standby,
    )


def _python() -> Finding:
    found = f"Python {sys.version.split()[0]} ({sys.implementation.name})"
    if sys.version_info < _OLDEST:
        return Finding(state="wrong", what="python", found=found, mend="use Python 3.11 or newer")
    return Finding(state="right", what="python", found=found)


def _dependencies() -> Iterator[Finding]:
    missing, present = [], []
    for text in requires("telestage") or ():
        match = _REQUIREMENT.match(text)
        if match is None or ";" in text:
            continue  # an extra, which nobody has to have
        name, least, release = match.groups()
        try:
            there = version(name)
        except PackageNotFoundError:
            missing.append(f"{name} is not installed")
            continue
        present.append(f"{name} {there}")
        numbers = _numbers(there)
        if numbers[: len(_numbers(release))] != _numbers(release) if release else numbers < _numbers(least or "0"):
            missing.append(f"{name} is {there}, and has to be {release or least}{'' if release else ' or newer'}")
    if missing:
        mend = "install telestage anew: pip install --upgrade --force-reinstall telestage"
        yield Finding(state="wrong", what="dependencies", found="; ".join(missing), mend=mend)
    else:
        yield Finding(state="right", what="dependencies", found=", ".join(present))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text)[:3])


def _faster() -> Iterator[Finding]:
    try:
        import cryptg  # noqa: F401 - whether it loads is the question; Telethon does without it, slowly
    except ImportError as error:
        yield Finding(
            state="warning",
            what="cryptg",
            found=f"can't be loaded ({error}): encryption takes about eight times as long",
            mend="pip install cryptg",
        )
    else:
        yield Finding(state="right", what="cryptg", found="encryption runs in native code")
    try:
        distribution("uvloop")
    except PackageNotFoundError:
        found = "not installed: about 20 % slower under load" if sys.platform != "win32" else "not there for Windows"
        mend = "pip install 'telestage[uvloop]', and start your service with it" if sys.platform != "win32" else None
        yield Finding(state="right" if mend is None else "warning", what="uvloop", found=found, mend=mend)
    else:
        yield Finding(state="right", what="uvloop", found="installed; a service has to start with it")


def _clock() -> Finding:
    now = time.time()
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _BUILT:
        mend = "set the clock: Telegram refuses what comes from another time"
        return Finding(state="wrong", what="clock", found=f"{found}, which can't be", mend=mend)
    return Finding(state="right", what="clock", found=f"{found}; compare: it may be wrong by 30 s at most")


def _credentials(environ: Mapping[str, str]) -> Finding:
    names = ("TELESTAGE_API_ID", "TELESTAGE_API_HASH")
    missing = [name for name in names if not environ.get(name)]
    if missing:
        return Finding(
            state="warning",
            what="credentials",
            found=f"{' and '.join(missing)} not set",
            mend="get both from my.telegram.org, or name a fleet file that has them",
        )
    if not environ["TELESTAGE_API_ID"].isdigit():
        mend = "it is the number from my.telegram.org"
        return Finding(state="wrong", what="credentials", found="TELESTAGE_API_ID is no number", mend=mend)
    return Finding(state="right", what="credentials", found="TELESTAGE_API_ID and TELESTAGE_API_HASH are set")


def _session(table: SessionTable, where: str, loaded: LoadedFile) -> Iterator[Finding]:
    what = f"session {table.name}"
    if table.session_file is not None:
        path = loaded.folder / table.session_file
        if not path.is_file() or not os.access(path, os.R_OK):
            mend = "make it with `telestage login --output`, as the user who runs the fleet"
            yield Finding(state="wrong", what=what, found=f"{where}.session_file can't be read", mend=mend)
        else:
            yield permissions(what, path)
    elif table.session is not None and table.session.reveal().endswith(".session"):
        path = loaded.folder / table.session.reveal()
        if not path.is_file():
            mend = "make it with `telestage login --output`"
            yield Finding(state="wrong", what=what, found=f"{where}.session: there is no such file", mend=mend)
        else:
            yield permissions(what, path)
            yield from _lock(what, path)


def _lock(what: str, path: Path) -> Iterator[Finding]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", timeout=0, uri=True)) as session:
            session.isolation_level = None
            session.execute("BEGIN IMMEDIATE")
            session.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            mend = "end the other program: Telegram ends a session that is used twice at once"
            yield Finding(state="wrong", what=what, found=f"{path} is in use by another program", mend=mend)
        else:
            mend = "it has to be readable and writable for the user who runs the fleet"
            yield Finding(state="wrong", what=what, found=f"{path}: {error}", mend=mend)
    except sqlite3.DatabaseError as error:
        mend = "restore it, or make a new one with `telestage login --output`"
        yield Finding(state="wrong", what=what, found=f"{path}: {error}", mend=mend)


def _whole(loaded: LoadedFile) -> Finding:
    try:
        with BuiltFleet(loaded):
            pass
    except FleetFileError as error:
        return Finding(state="wrong", what="sessions and handlers", found=str(error), mend="see docs/configuration.md")
    return Finding(
        state="right", what="sessions and handlers", found="each session is signed in, each handler is found"
    )
