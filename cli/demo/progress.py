"""How far a run has come: written by the play, read by the display, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Progress"]


class Progress:
    """Counts since the start, and what was done to the fleet on purpose.

    Whoever changes a count says `touch()`.
    """

    def __init__(self) -> None:
        self.phase = "starting the server"
        self.signed_in = 0
        self.sent = 0
        self.history = 0
        self.members = 0
        self.posts = 0
        self.events = 0
        self.failures = 0
        self.trouble: list[str] = []
        self._changed = asyncio.Event()

    def touch(self) -> None:
        """Wakes who waits for a count."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until `condition` holds, for up to `seconds`; says whether it does."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            pass
        return condition()
