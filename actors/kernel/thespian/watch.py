"""The files that a Thespian actor watches: what its `receiveMessage` returned a `ThespianWatch` of.

Invariants:
- Watched is what the last message's handler returned, between messages only. A handler may therefore close what
  was watched; the loop would otherwise mistake the next file of that number for it.
- At most one `WatchMessage` is on its way: a file that is ready stays so until the actor has read from it.

Hazard: one file can be watched by one actor at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable

__all__ = ["WATCHING", "Watch"]

_log = logging.getLogger("Thespian")

WATCHING = os.name != "nt"
"""Whether files can be watched here: Windows' loop has no readers."""


class Watch:
    """The files one actor watches. To be used on the loop that runs it.

    Args:
        ready: Told which files are ready to be read, or at their end. Not told again before `disarm(heard=True)`.
    """

    def __init__(self, ready: Callable[[list[int]], None]) -> None:
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._filenos: list[int] = []
        self._told = False

    def arm(self, filenos: Iterable[int]) -> None:
        """Watches these. One that can't be watched is logged and left out."""
        if self._told:
            return
        for fileno in filenos:
            try:
                self._loop.add_reader(fileno, self._tell, fileno)
            except (OSError, ValueError, NotImplementedError) as error:
                _log.warning("can't watch file %s: %r", fileno, error)
            else:
                self._filenos.append(fileno)

    def disarm(self, *, heard: bool) -> None:
        """Watches nothing; `heard` says that what `ready` was told has arrived."""
        for fileno in self._filenos:
            self._loop.remove_reader(fileno)
        self._filenos.clear()
        self._told = self._told and not heard

    def _tell(self, fileno: int) -> None:
        self.disarm(heard=False)
        self._told = True
        self._ready([fileno])
