"""Runs the hooks of actors, each within a deadline and in a registered task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from telestage.actors.kernel.errors import ActorKilled, StartTimeout

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["HOOK_PATIENCE", "bounded"]

_log = logging.getLogger("telestage.supervision")

HOOK_PATIENCE = 1.0
"""Seconds a cancelled hook gets to end before it is left behind."""


async def bounded(cell: Cell, hook: str, coroutine: Coroutine[object, object, None], seconds: float) -> None:
    """Runs a hook for up to `seconds`; one that resists its end is left behind, named in a WARNING.

    Raises:
        StartTimeout: The hook did not end in time.
        ActorKilled: What the hook waited for was cancelled, so it did not come to its end.
        Exception: Whatever the hook raised.
    """
    task = cell.dispatcher.tasks.spawn(coroutine, type=hook, owner=cell.path)
    in_time = False
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        in_time = bool(done)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=HOOK_PATIENCE)
        if not task.done():
            _log.warning("%s() of %s resists cancellation; left behind", hook, cell.path)
            cell.dispatcher.tasks.forget(task)
        elif not in_time and not task.cancelled():
            task.exception()  # looked at, so that asyncio doesn't report it as never retrieved
    if not in_time:
        raise StartTimeout(cell.path, hook, seconds)
    if task.cancelled():
        raise ActorKilled(cell.path, f"what its {hook}() waited for was cancelled")
    task.result()
