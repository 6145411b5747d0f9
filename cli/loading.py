"""Reads a fleet file, or says what is wrong with it: the file, the place, and what would be right.

Reads nothing but the file and the environment, imports no handler and connects to nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import inspect

from telestage.cli.checking import check
from telestage.cli.errors import FleetFileError
from telestage.cli.expectation import described, fields_of, item_of
from telestage.cli.fleetfile import FleetFile
from telestage.cli.secrecy import Redactor, Secret
from telestage.cli.settling import Settled, join

__all__ = ["LoadedFile", "load"]

_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


class LoadedFile(msgspec.Struct, frozen=True):
    """A fleet file that is right in itself."""

    path: Path
    fleet: FleetFile
    redactor: Redactor
    """Knows the secrets, and whatever came out of the environment: for errors."""
    secrets: Redactor
    """Knows the secrets: for the log, where a name or a chat out of the environment is no secret."""

    def __repr__(self) -> str:
        return f"LoadedFile({str(self.path)!r}, <{len(self.fleet.sessions)} sessions>)"

    @property
    def folder(self) -> Path:
        """Where the paths in the file lead from."""
        return self.path.parent

    def wrong(self, where: str, problem: str) -> FleetFileError:
        """The error for a place of this file; what a problem quotes may hold anything."""
        return FleetFileError(str(self.path), where, self.redactor.redact(problem), self.redactor)


def load(path: Path, environ: Mapping[str, str]) -> LoadedFile:
    """Reads the fleet file at `path`, with the variables of `environ`.

    Raises:
        FleetFileError: It can't be read, or something in it can't be.
    """

    def complain(where: str, problem: str) -> FleetFileError:
        return FleetFileError(str(path), where, problem, redactor)

    redactor = Redactor()
    settled = Settled(environ, redactor, complain)
    schema = inspect.type_info(FleetFile)
    raw = settled.settle(_parsed(path), schema)
    try:
        fleet = msgspec.convert(raw, FleetFile, dec_hook=_secret)
    except msgspec.ValidationError as error:
        text = str(error)
    else:
        loaded = LoadedFile(path, fleet, redactor, _secrets(fleet))
        check(fleet, settled)
        return loaded
    # outside the handler: the library's error is not to be seen, for it may show a value
    raise _refusal(text, schema, settled)


def _secrets(fleet: FleetFile) -> Redactor:
    redactor = Redactor()
    redactor.learn(fleet.api_hash.reveal(), "<api_hash>")
    for index, session in enumerate(fleet.sessions):
        if session.session is not None and not session.session.reveal().endswith(".session"):
            redactor.learn(session.session.reveal(), f"<sessions[{index}].session>")
    return redactor


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        problem = f"not TOML: {error}"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: byte {error.start} can't be decoded"
    except OSError as error:
        problem = f"can't be read: {error.strerror or type(error).__name__}"
    raise FleetFileError(str(path), "", problem, Redactor())


def _secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        if not value.strip():
            raise ValueError("expected a text that isn't empty")
        return Secret(value.strip())
    raise NotImplementedError(kind)


def _refusal(text: str, schema: inspect.Type, settled: Settled) -> Exception:
    """The error for what msgspec says: bounds and patterns, and the limits' own checks."""
    match = _PLACE.search(text)
    where = match[1] if match else ""
    problem = text[: match.start()] if match else text
    own = re.fullmatch(r"Limits\.(\w+)((?:\[[^\]]*\])?) (must be .*?)(?:, not (.*))?", problem, re.DOTALL)
    if own:
        key = re.sub(r"\['?([^'\]]*)'?\]", r".\1", own[2])
        where = join(where, own[1] + key)
        value = "" if settled.from_environment(where) or own[4] is None else f", not {own[4]}"
        problem = f"{own[3]}{value}"
    elif (expected := _at(schema, where)) is not None:
        origin = f", not the value of {settled.origin(where)}" if where in settled.variables else ""
        problem = f"expected {described(expected)}{origin}"
    return settled.complain(where, problem)


def _at(schema: inspect.Type, where: str) -> inspect.Type | None:
    """The type at a place."""
    found: inspect.Type = schema
    for part in re.findall(r"\w+", re.sub(r"\[(\d+)\]", "", where)):
        while (fields := fields_of(found)) is None:
            item = item_of(found)
            if item is None:
                return None
            found = item
        if part not in fields:
            return None
        found = fields[part].type
    return found
