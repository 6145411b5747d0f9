"""What `EventMonitor.queue_event` returns where there is nothing to wait for: see `kernel.done`."""

from __future__ import annotations

import asyncio

from telestage.actors.kernel.done import done

__all__ = ["Answers", "answered"]


class Answers:
    """Both answers of one event loop."""

    __slots__ = ("loop", "no", "yes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.yes = done(True, loop)
        self.no = done(False, loop)


async def answered(value: bool) -> bool:
    """The same where no event loop runs yet."""
    return value
