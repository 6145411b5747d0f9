"""Runs a coroutine in virtual time, by a schedule or without, as `asyncio.run` would in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from telestage.actors.testkit.schedule import Schedule
from telestage.actors.testkit.virtual import VirtualTimeLoop

__all__ = ["run"]

R = TypeVar("R")


def run(
    main: Coroutine[object, object, R],
    *,
    virtual_time: bool = True,
    schedule: Schedule | None = None,
    debug: bool | None = None,
) -> R:
    """Runs `main` in an event loop of its own and returns what it returns.

    Args:
        virtual_time: Whether time jumps when nothing is ready. Without it, this is `asyncio.run`.
        schedule: Decides what asyncio and the actors leave open. Default: nothing is changed.
        debug: asyncio's debug mode. Default: as asyncio decides.

    Raises:
        Deadlock: Nothing is ready, no timer is set, and `main` isn't done.
        ValueError: A schedule without virtual time, where it could promise nothing.
        Exception: Whatever `main` raised.
    """
    if not virtual_time and schedule is not None:
        main.close()
        raise ValueError("a schedule needs virtual time: without it, a run depends on the clock as well")
    factory = (lambda: VirtualTimeLoop(schedule)) if virtual_time else None
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)
