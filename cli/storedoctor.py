"""What is right in a fleet's store, what is wrong, and how to mend it: the file, its form, its sessions, their leases.

Invariant: it only reads. Neither the file nor what SQLite keeps beside it is made, changed or taken away, and no secret
is shown.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from telestage.actors.parts import PARTS
from telestage.actors.store import LeaseStatus, Migrations, StoreKeyError, Vault, lease_status
from telestage.actors.store.database import statements_of
from telestage.actors.store.vault import NEW_STORE_KEY, STORE_KEY
from telestage.actors.telegram.fingerprint import fingerprint_of, is_fingerprint
from telestage.actors.telegram.sessionstore import sealed_for
from telestage.cli.finding import Finding, permissions

__all__ = ["Expected", "look_into"]

_WHAT = "store"
_SESSIONS = "stored sessions"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet file says of the store."""

    stored: Mapping[str, str] = {}
    """The sessions that are to be in it, each with the place in the file."""
    standby: bool = False
    """Whether the fleet waits for sessions that are in use."""


def look_into(path: Path, expected: Expected, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Looks at a store, with the key that is in the environment."""
    if not path.exists():
        yield _not_there(path)
        for name, where in expected.stored.items():
            yield _missing(name, where, path, [])
        return
    if not os.access(path, os.R_OK | os.W_OK):
        mend = "the user who runs the fleet has to read and write it"
        yield _wrong(f"{path} can't be read and written", mend)
        return
    yield permissions(_WHAT, path)
    try:
        with contextlib.closing(_opened(path)) as store:
            damage = _damage(store)
            if damage:
                yield _wrong(f"{path} is damaged: {damage}", "stop the fleet, and restore it from a copy")
                return
            yield _mode(path)
            form = list(_form(store, path))
            yield from form
            if not any(finding.state == "wrong" for finding in form):
                yield from _sessions(store, path, expected, environ)
                yield from _leases(store, expected)
    except sqlite3.Error as error:
        yield _wrong(f"{path}: {error}", "restore it from a copy; a store on a network drive can't be used")


def _opened(path: Path) -> sqlite3.Connection:
    # where nobody has it open there is no log beside it, and even who only reads would leave one there
    log = path.with_name(f"{path.name}-wal")
    options = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{options}", timeout=1, uri=True)


def _not_there(path: Path) -> Finding:
    if path.parent.is_dir() and os.access(path.parent, os.W_OK):
        return Finding(state="right", what=_WHAT, found=f"{path} will be made by the first run")
    return _wrong(f"{path} can't be made", f"make the folder {path.parent}, writable for the user who runs the fleet")


def _damage(store: sqlite3.Connection) -> str | None:
    (found,) = store.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        return str(found)
    lost = store.execute("PRAGMA foreign_key_check").fetchone()
    return None if lost is None else f"a row of {lost[0]} belongs to none of {lost[2]}"


def _mode(path: Path) -> Finding:
    with path.open("rb") as file:
        wal = file.read(20)[18:] == b"\x02\x02"  # what SQLite says of a file that nobody has open isn't that
    if wal:
        return Finding(state="right", what=_WHAT, found=f"{path} is whole, in WAL mode")
    mend = "the first run changes it; if it doesn't, the disk can't do it (a network drive?)"
    return Finding(state="warning", what=_WHAT, found=f"{path} is not in WAL mode", mend=mend)


def _form(store: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    """Whether each part has a version that is known, and the tables of that version."""
    if not _has(store, "parts"):
        found = f"{path} has no part of a store's yet"
        mend = "right if no fleet has used it; is it the file that is meant?"
        yield Finding(state="warning", what=_WHAT, found=found, mend=mend)
        return
    versions = dict(store.execute("SELECT name, version FROM parts ORDER BY name"))
    told = []
    for name, version in versions.items():
        known = PARTS.get(name)
        if known is None:
            told.append(f"{name} {version}, which is your own")
            continue
        told.append(f"{name} {version}")
        if version > len(known):
            yield _wrong(
                f"{path}: its part {name!r} has version {version}, and this Telestage knows up to {len(known)}",
                "use the Telestage that wrote it, or a newer one",
            )
            continue
        other = _differing(store, known[:version])
        if other:
            yield _wrong(
                f"{path}: its part {name!r} says version {version}, but {other} isn't as it was made",
                "somebody has changed it by hand: restore it from a copy",
            )
        elif version < len(known):
            found = f"{path}: its part {name!r} has version {version}; this Telestage makes it {len(known)}"
            mend = "copy it before the next run: an older Telestage can't use it then"
            yield Finding(state="warning", what=_WHAT, found=found, mend=mend)
    yield Finding(state="right", what=_WHAT, found=f"{path}, versions of its parts: {', '.join(told)}")


def _differing(store: sqlite3.Connection, scripts: Migrations) -> str | None:
    """The first table or index that isn't in the store as the scripts make it."""
    asked = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    there = dict(store.execute(asked))
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        for script in scripts:
            for statement in statements_of(script):
                fresh.execute(statement)
        return next((name for name, sql in fresh.execute(asked) if there.get(name) != sql), None)


def _sessions(
    store: sqlite3.Connection, path: Path, expected: Expected, environ: Mapping[str, str]
) -> Iterator[Finding]:
    rows = _rows(store, "SELECT name, key, fingerprint FROM sessions ORDER BY name", "sessions")
    names = [name for name, *_ in rows]
    for name, where in expected.stored.items():
        if name not in names:
            yield _missing(name, where, path, names)
    if not rows:
        return
    vault = _key(store, path, environ)
    if isinstance(vault, Finding):
        yield vault
        return
    opened = 0
    owners: dict[str, str] = {}
    for name, sealed, mark in rows:
        what = f"stored session {name}"
        mend = f"`telestage sessions remove {name}`, then import it or log in anew"
        try:
            key = vault.open(sealed, sealed_for(name))
        except StoreKeyError:
            found = f"the store's key doesn't open it: it was sealed with another one, or changed, in {path}"
            yield Finding(state="wrong", what=what, found=found, mend=mend)
            continue
        if fingerprint_of(key) != mark:
            found = f"its fingerprint in {path} is another key's, and so is what it would be leased under"
            yield Finding(state="wrong", what=what, found=found, mend=mend)
            continue
        opened += 1
        first = owners.setdefault(mark, name)
        if first != name:
            found = f"has the key of {first}: one of them is refused while the other is in use"
            yield Finding(state="warning", what=what, found=found, mend=f"`telestage sessions remove {name}`")
    if opened:
        found = f"{opened} of {len(rows)} in {path} are opened by the key in {STORE_KEY}"
        yield Finding(state="right", what=_SESSIONS, found=found)


def _key(store: sqlite3.Connection, path: Path, environ: Mapping[str, str]) -> Vault | Finding:
    """The vault of the key in the environment, if that is the store's."""
    try:
        vault = Vault.of(environ=environ)
    except StoreKeyError as error:
        mend = f"set {STORE_KEY} to the key that they were sealed with"
        return Finding(state="wrong", what=_SESSIONS, found=f"{path}: {error}", mend=mend)
    if vault.fits(store):
        return vault
    mend = f"set {STORE_KEY} to the key of this store; nothing else opens what is sealed in it"
    with contextlib.suppress(StoreKeyError):
        if Vault.of(environ=environ, variable=NEW_STORE_KEY).fits(store):
            mend = f"it is sealed anew already: set {STORE_KEY} to what {NEW_STORE_KEY} has"
    return Finding(
        state="wrong", what=_SESSIONS, found=f"{path} was sealed with another key than {STORE_KEY} has", mend=mend
    )


def _leases(store: sqlite3.Connection, expected: Expected) -> Iterator[Finding]:
    leases: Mapping[str, LeaseStatus] = lease_status(store) if _has(store, "leases") else {}
    held = [lease for lease in leases.values() if lease.owner is not None]
    for lease in sorted(held, key=lambda each: each.name):
        session = is_fingerprint(lease.key)  # jobs are leased, too
        what = f"session {lease.name}" if session else lease.name
        if session and expected.standby:
            found = f"in use by {lease.owner}; this fleet stands by"
            yield Finding(state="right", what=what, found=found)
            continue
        mend = "that is right if it is your fleet; another one has to wait until it has ended"
        yield Finding(state="warning", what=what, found=f"in use by {lease.owner}", mend=mend)


def _rows(store: sqlite3.Connection, asked: str, table: str) -> list[tuple[str, bytes, str]]:
    return list(store.execute(asked)) if _has(store, table) else []


def _has(store: sqlite3.Connection, table: str) -> bool:
    asked = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return store.execute(asked, (table,)).fetchone() is not None


def _missing(name: str, where: str, path: Path, names: list[str]) -> Finding:
    there = f"it has {', '.join(names[:10])}" if names else "it has none"
    mend = f"`telestage sessions import --store {path}` or `telestage login --store {path}` puts it there"
    return Finding(state="wrong", what=f"stored session {name}", found=f"{where}: not in {path}; {there}", mend=mend)


def _wrong(found: str, mend: str) -> Finding:
    return Finding(state="wrong", what=_WHAT, found=found, mend=mend)
