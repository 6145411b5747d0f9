"""Runs a fleet until a signal, a time, or the end of its last session.

Invariant: however it ends, the fleet is stopped within its stop timeout, and what ran is gone.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack

from telestage.actors import Fleet
from telestage.actors.ending import end
from telestage.actors.stopsignals import StopSignals
from telestage.cli.errors import CommandError
from telestage.cli.reporting import Reporter
from telestage.cli.watching import ended

__all__ = ["run_fleet", "run_to_the_end"]

_log = logging.getLogger("telestage.cli")

_RESISTS = 0.5  # seconds for what was left behind to end after all
_INTERVAL = 0.25  # seconds between two pictures of the fleet


def run_to_the_end(main: Coroutine[object, object, None]) -> None:
    """Runs `main` in a loop of its own. As `asyncio.run`, but what resists its cancellation keeps nobody waiting.

    The loop is closed, whatever is left in it: that never runs again.
    """
    runner = asyncio.Runner()
    try:
        runner.run(main)
    finally:
        loop = runner.get_loop()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_RESISTS))
        resisting = [task for task in left if not task.done()]
        if resisting:
            names = ", ".join(task.get_name() for task in resisting)
            _log.warning("left behind, for it resists its cancellation: %s", names)
            _abandon(loop, resisting)
        else:
            runner.close()


def _abandon(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[object]]) -> None:
    """What `asyncio.Runner.close` does, but for waiting until the tasks have ended."""
    for task in tasks:
        # as asyncio does with those that it gives up itself; they were named already
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    try:
        ending = loop.create_task(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.wait({ending}, timeout=_RESISTS))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def run_fleet(
    fleet: Fleet,
    reporter: Reporter,
    *,
    start_timeout: float,
    stop_timeout: float,
    seconds: float | None = None,
) -> None:
    """Runs `fleet` until SIGINT or SIGTERM, for at most `seconds`.

    The first signal begins the end: nothing new is taken, what runs and waits has half of `stop_timeout`, handlers a
    quarter more; the second signal cancels them at once. SIGUSR1 has a dump of all actors written to the standard
    error, where there is that signal.

    Raises:
        CommandError: Every session has ended by itself; the text says why.
    """
    with ExitStack() as ends, StopSignals() as signals:
        if sys.platform != "win32":
            ends.callback(fleet.system.dump_on(signal.SIGUSR1))
        with reporter.shown():
            running = asyncio.ensure_future(fleet.start(start_timeout))
            try:
                why = await _until_end(fleet, running, signals, reporter, seconds)
                reporter.say(f"stopping: {why}")
            finally:
                await _stop(fleet, running, signals, stop_timeout)
                reporter.update(fleet.status())
        reporter.end(fleet.status())


async def _until_end(
    fleet: Fleet, starting: asyncio.Future[Fleet], signals: StopSignals, reporter: Reporter, seconds: float | None
) -> str:
    """Shows the fleet until it is to stop, and returns why."""
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds
    while True:
        if starting.done():
            starting.result()
        status = fleet.status()
        reporter.update(status)
        gone = ended(status)
        if gone and len(gone) == len(status.sessions):
            reasons = "; ".join(f"{each.name} is {each.state.value}: {each.reason or 'stopped'}" for each in gone[:3])
            more = f"; and {len(gone) - 3} more" if len(gone) > 3 else ""
            raise CommandError(f"every session has ended: {reasons}{more}")
        wait = _INTERVAL if deadline is None else min(_INTERVAL, deadline - loop.time())
        if wait <= 0:
            return f"{seconds:g} s have passed"
        try:
            await asyncio.wait_for(signals.stop.wait(), wait)
        except TimeoutError:
            continue
        return signals.name


async def _stop(fleet: Fleet, running: asyncio.Future[Fleet], signals: StopSignals, timeout: float) -> None:
    """Ends the fleet, or what has started of it, within `timeout` seconds; on the second signal at once."""
    # in this order: a start that is cancelled stops the fleet itself, and takes its own time for it
    await end(fleet, timeout, signals.hurry)
    running.cancel()
    await asyncio.wait({running})
