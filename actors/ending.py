"""The graceful end of a fleet: what runs may finish, what is new is refused, and then it stops, in a stated time.

Invariant: `end` takes `timeout` seconds, and 3 s to disconnect, at most, whatever resists.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telestage.actors.fleet import Fleet

__all__ = ["end"]


async def end(fleet: Fleet, timeout: float, hurry: asyncio.Event) -> None:
    """Drains the fleet and stops it.

    Half of `timeout` is for what runs and waits; a quarter for handlers, and for what is left; then that is cancelled.

    Args:
        hurry: When it is set, what still runs is cancelled at once.
    """
    draining = asyncio.ensure_future(fleet.drain(timeout / 2))
    hurrying = asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        await asyncio.wait({draining})
        if not draining.cancelled():
            draining.result()
        system = fleet.system
        refs = [ref for each in system.statistics() if (ref := system.find(each.path)) is not None]
        stopping = asyncio.ensure_future(fleet.stop(timeout / 2))
        try:
            await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            if hurry.is_set():
                for ref in refs:
                    ref.stop(grace=0.0)
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            stopping.cancel()
            raise
    finally:
        for task in (draining, hurrying):
            task.cancel()
        await asyncio.wait({draining, hurrying})
