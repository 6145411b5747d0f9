"""Which Task an event loop takes for the one that runs now."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from collections.abc import Callable

__all__ = ["current_task"]

current_task: Callable[[asyncio.AbstractEventLoop], asyncio.Task[object] | None]
if sys.version_info >= (3, 12):
    current_task = asyncio.current_task
else:  # Python code around a look into a dict, and four times as slow as that; C from 3.12 on
    current_task = vars(asyncio.tasks)["_current_tasks"].get
