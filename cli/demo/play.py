"""One run: a server in a process of its own, a fleet of real sessions in another, and trouble on purpose.

Everything at once: two channels are watched and posted on, an archive and a membership are scraped, a
text goes to many; meanwhile the server answers with flood waits and cuts connections, a session is killed, and in the
middle the whole process with the fleet, by SIGKILL. The figures are then taken from the server, from the files that
were written, and from what handlers were given.
"""

from __future__ import annotations

import asyncio
import csv
import json
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from telestage.actors import Fleet, Limits, sign_in
from telestage.cli.demo.crew import API_HASH, API_ID, HISTORY, MEMBERS
from telestage.cli.demo.progress import Progress
from telestage.cli.demo.report import Plan, Report
from telestage.cli.demo.script import Line, Orders, Picture, Seen
from telestage.cli.demo.stage import CHANNELS, Part, Stage
from telestage.cli.demo.troupe import Troupe
from telestage.messages import FleetStatus, SessionState
from telestage.testing import LoopbackProcess

__all__ = ["Play"]

_FLOOD_SECONDS = 2
_LATENCY = 0.05  # seconds the server takes for each call, so that there is something to interrupt
_POST_EVERY = 0.06  # seconds between two posts on each channel
_SETTLE_SECONDS = 60.0  # what the jobs and the last events may take


class Play:
    """One run of a plan.

    Args:
        log: Where the fleet logs to.
    """

    def __init__(self, plan: Plan, log: Path | None = None) -> None:
        self.plan = plan
        self.progress = Progress()
        self._log = log
        self._status = Fleet(API_ID, API_HASH, limits=Limits.unpaced(operations=plan.operations)).status()
        self._lives: list[FleetStatus] = []  # how each crew was doing when it was last heard of
        self._seen: list[Counter[Seen]] = [Counter()]  # by each crew
        self._done = False

    def status(self) -> FleetStatus:
        """How the fleet is doing now, or was when it was last heard of."""
        return self._status

    async def run(self) -> tuple[Report, list[str]]:
        """Does everything; returns the figures, and what isn't as it should be."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="telestage-demo-") as folder:
            async with LoopbackProcess(latency=_LATENCY) as server:
                stage = Stage(server, self.plan)
                self.progress.phase = "filling the server"
                await stage.set_up()
                orders = Orders(
                    public_key=server.public_key,
                    folder=folder,
                    sessions=await self._sign_in(stage),
                    recipients=stage.recipients,
                    operations=self.plan.operations,
                    log=self._log is not None,
                )
                async with Troupe(orders, self._told, self._log) as troupe:
                    await self._work(stage, troupe)
                self.progress.phase = "counting"
                return await self._report(stage, Path(folder), time.monotonic() - began)

    async def _work(self, stage: Stage, troupe: Troupe) -> None:
        progress = self.progress
        progress.phase = "connecting"
        for session, method in stage.floods:
            await stage.server.faults.flood_wait(method, seconds=_FLOOD_SECONDS, user=stage.user(session))
            progress.trouble.append(f"{session}: flood wait of {_FLOOD_SECONDS} s for {method}")
        await troupe.begin()
        await progress.until(self._connected, _SETTLE_SECONDS)
        progress.phase = "working"
        async with asyncio.TaskGroup() as work:
            work.create_task(self._make_trouble(stage, troupe))
            work.create_task(self._post(stage))
        progress.phase = "waiting for the last events"
        await progress.until(self._over, _SETTLE_SECONDS)
        progress.phase = "stopping"
        await troupe.end()
        self._lives.append(self._status)

    # -- the parts -----------------------------------------------------------------------------------

    async def _sign_in(self, stage: Stage) -> dict[str, str]:
        """The string of each session."""
        self.progress.phase = "signing in"
        sessions = {}
        for part in stage.cast:
            sessions[part.name] = part.session or await self._log_in(stage.server, part)
            self.progress.signed_in += 1
        return sessions

    async def _log_in(self, server: LoopbackProcess, part: Part) -> str:
        session: Any = await sign_in(
            API_ID,
            API_HASH,
            part.user.phone,
            code=lambda: server.login_code(part.user.phone),
            session=await server.blank_session(),
        )
        return str(session.save())

    def _told(self, line: Line) -> None:
        """Takes in what the crew tells."""
        progress = self.progress
        if isinstance(line, Picture):
            self._status, self._done = line.status, line.done
            progress.sent, progress.history, progress.members = line.sent, line.history, line.members
        else:
            new = not any(line in seen for seen in self._seen)
            self._seen[-1][line] += 1
            progress.events += new
            progress.failures += new and line.failed
        progress.touch()

    def _connected(self) -> bool:
        sessions = self._status.sessions
        return bool(sessions) and all(session.state is SessionState.READY for session in sessions)

    async def _post(self, stage: Stage) -> None:
        for number in range(1, self.plan.posts + 1):
            await stage.post(number)
            self.progress.posts = number
            self.progress.touch()
            await asyncio.sleep(_POST_EVERY)

    async def _make_trouble(self, stage: Stage, troupe: Troupe) -> None:
        """Faults at fixed points of the run."""
        faults, plan, progress = stage.server.faults, self.plan, self.progress

        async def kill_session() -> None:
            troupe.kill_session("watch-002")

        steps: tuple[tuple[str, Callable[[], bool], Callable[[], Awaitable[object]]], ...] = (
            (
                "send-001: connection cut",
                lambda: progress.sent >= plan.messages // 4,
                lambda: faults.disconnect(stage.user("send-001")),
            ),
            (
                "the whole fleet: SIGKILL, and a new process",
                self._halfway,
                lambda: self._crash(troupe),
            ),
            (
                "watch-001: connection cut",
                lambda: self._connected() and progress.posts >= plan.posts * 5 // 8,
                lambda: faults.disconnect(stage.user("watch-001")),
            ),
            (
                "watch-002: session killed",
                lambda: self._connected() and progress.posts >= plan.posts * 3 // 4,
                kill_session,
            ),
        )
        for what, due, make in steps:
            await progress.until(due, _SETTLE_SECONDS)
            await make()
            progress.trouble.append(what)

    def _over(self) -> bool:
        """All is done, the session that was killed is back, and nobody holds a permit."""
        permits, sessions = self._status.permits.total, self._status.sessions
        back = self._connected() and any(session.restarts for session in sessions)
        return self._done and self.progress.events >= self.plan.events and back and not permits.in_use

    def _halfway(self) -> bool:
        """Half of the messages are sent, or half of the posts made; and the flood waits are over."""
        plan, progress = self.plan, self.progress
        half = progress.sent >= plan.messages // 2 or progress.posts >= plan.posts // 2
        flooded = any(session.floods for session in self._status.sessions)
        return half and progress.history > 0 and progress.members > 0 and not flooded

    async def _crash(self, troupe: Troupe) -> None:
        """Kills the process with the fleet, and starts another one with the same store."""
        self.progress.phase = "the fleet's process is killed"
        await troupe.kill()
        self._lives.append(self._status)
        self._seen.append(Counter())
        self._status = msgspec.structs.replace(self._status, sessions=[])
        self._done = False
        await troupe.begin()
        await self.progress.until(self._connected, _SETTLE_SECONDS)
        self.progress.phase = "working, in a new process"

    async def _report(self, stage: Stage, folder: Path, seconds: float) -> tuple[Report, list[str]]:
        """The figures: of messages and calls from the server, of rows from the files, of events from the handlers."""
        received = await stage.received()
        lives, last = self._lives, self._lives[-1]
        history = [json.loads(line)["id"] for line in (folder / HISTORY).read_text().splitlines()]
        with (folder / MEMBERS).open(newline="") as file:
            members = [row["id"] for row in csv.DictReader(file)]
        events = set().union(*self._seen)
        report = Report(
            sessions=sum(session.state is SessionState.READY for session in last.sessions),
            messages_sent=received.distinct,
            messages_delivered=received.delivered,
            messages_lost=received.lost,
            messages_duplicated=received.duplicated,
            history_scraped=len(set(history)),
            members_scraped=len(set(members)),
            events_expected=self.plan.events,
            events_handled=len(events),
            events_repeated=sum(len(seen) for seen in self._seen) - len(events),
            handler_failures=sum(event.failed for event in events),
            monitor_restarts=sum(monitor.restarts for life in lives for monitor in life.monitors),
            session_restarts=sum(session.restarts for life in lives for session in life.sessions),
            crashes=len(lives) - 1,
            flood_waits=received.floods,
            permits_granted=last.permits.total.granted,
            permits_returned=last.permits.total.returned,
            peak_concurrent_operations=max(life.permits.total.peak for life in lives),
            seconds=round(seconds, 2),
        )
        problems = report.problems(self.plan) + received.problems(self.plan)
        if len(events) < self.plan.events:
            problems += _missed(stage, events, self.plan.posts)
        for what, rows in (("messages", history), ("members", members)):
            if len(rows) != len(set(rows)):
                problems.append(f"{len(rows) - len(set(rows))} {what} scraped more than once")
        repeated = sum(times - 1 for seen in self._seen for times in seen.values())
        if repeated:
            problems.append(f"{repeated} events handled more than once by the same monitor, in one process")
        return report, problems


def _missed(stage: Stage, events: set[Seen], posts: int) -> list[str]:
    """Who wasn't given what, by session and channel."""
    seen = {(event.session, event.handler, event.post) for event in events}
    told = []
    for session in (part.name for part in stage.cast if part.name.startswith("watch-")):
        for channel in CHANNELS:
            missed = [
                number
                for number in range(1, posts + 1)
                if any((session, handler, f"{channel} {number}") not in seen for handler in ("keep", "shaky"))
            ]
            if missed:
                told.append(f"{session} missed {len(missed)} posts of {channel}, between {missed[0]} and {missed[-1]}")
    return told
