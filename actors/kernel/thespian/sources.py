"""Actor sources loaded at run time, as Thespian has them: zips of modules, known by their hash.

A source can be used once the source authority, an actor, has validated it. Without one, none can be.
"""
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import functools
import hashlib
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from thespian.actors import ActorAddress, LoadedSource, UnloadedSource, ValidatedSource, ValidateSource
from thespian.system.sourceLoader import SourceHashFinder, loadModuleFromHashSource

if TYPE_CHECKING:
    from telestage.actors.kernel.thespian.post import PostOffice

__all__ = ["Sources"]

_log = logging.getLogger("Thespian")


class Sources:
    """The loaded sources of one system. To be touched on its loop only."""

    def __init__(self, office: PostOffice) -> None:
        self.authority: ActorAddress | None = None
        self._office = office
        self._zips: dict[str, bytes] = {}
        self._notified: list[ActorAddress] = []

    def loader(self, source_hash: str | None) -> Callable[[str, str], object] | None:
        """What finds a class by module and name in a source; None for the ordinary import."""
        if source_hash is None:
            return None
        return functools.partial(loadModuleFromHashSource, source_hash, self._zips)

    def notify(self, address: ActorAddress, enable: bool) -> None:
        """Has an actor told of each source from now on, and of those that are loaded already."""
        self.forget(address)
        if enable:
            self._notified.append(address)
            for source_hash in self._zips:
                self._office.send(address, LoadedSource(source_hash, ""))

    def forget(self, address: ActorAddress) -> None:
        """Tells an actor no more."""
        self._notified = [known for known in self._notified if known != address]

    def load(self, source: object) -> str:
        """Reads a file, or the file of that name, and has it validated. Returns its hash."""
        if hasattr(source, "read"):
            with cast(BinaryIO, source) as file:
                data = file.read()
        else:
            with open(str(source), "rb") as file:
                data = file.read()
        source_hash = hashlib.md5(data).hexdigest()  # Thespian's choice: a name, not a proof
        if self.authority is not None:
            self._office.send(self.authority, ValidateSource(source_hash, data))
        return source_hash

    def validated(self, message: ValidatedSource) -> None:
        """Takes a source in that the authority let pass."""
        source_hash, data = message.sourceHash, message.sourceZip
        try:
            SourceHashFinder(source_hash, lambda value: value, data).getZipNames()
        except Exception as error:
            _log.error("validated source (hash %s) is corrupted: %s", source_hash, error)
            return
        self._zips[source_hash] = data
        for address in self._notified:
            self._office.send(address, LoadedSource(source_hash, ""))

    def unload(self, source_hash: str) -> None:
        """Forgets a source and the modules imported from it."""
        if self._zips.pop(source_hash, None) is not None:
            for address in self._notified:
                self._office.send(address, UnloadedSource(source_hash, ""))
        for finder in [finder for finder in sys.meta_path if getattr(finder, "srcHash", None) == source_hash]:
            if isinstance(finder, SourceHashFinder):
                root = finder.hashRoot()
                for name in [name for name in sys.modules if name.startswith(root)]:
                    del sys.modules[name]
            sys.meta_path.remove(finder)

    def unload_all(self) -> None:
        """Forgets every source."""
        for source_hash in list(self._zips):
            self.unload(source_hash)
