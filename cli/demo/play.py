"""One run: a server in a process of its own, a fleet of real sessions here, and trouble on purpose.

Everything at once: two channels are watched and posted on, an archive and a membership are scraped, a
text goes to many; meanwhile the server answers with flood waits and cuts connections, and a session is
killed. The figures are then taken from the server and from the fleet's own books.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from telethon.events.newmessage import NewMessage
from telethon.sessions.abstract import Session

from telestage.actors import Backoff, Delivery, Fleet, Limits, Supervision, sign_in
from telestage.cli.demo.progress import Progress
from telestage.cli.demo.report import Plan, Report
from telestage.cli.demo.stage import ARCHIVE, CHANNELS, COMMUNITY, Part, Stage
from telestage.messages import FleetStatus, SessionState
from telestage.testing import LoopbackProcess

__all__ = ["Play"]

API_ID, API_HASH = 1, "demo"  # the server on loopback takes any

_new_message: Any = NewMessage  # Telethon's builders carry no annotations

_FLOOD_SECONDS = 2
_LATENCY = 0.05  # seconds the server takes for each call, so that there is something to interrupt
_POST_EVERY = 0.06  # seconds between two posts on each channel
_SETTLE_SECONDS = 30.0  # what the last events may take to arrive
_OFTEN = Supervision(intensity=1_000_000, backoff=Backoff(first=0.0))  # its handler is meant to fail again and again


class HandlerTrouble(Exception):
    """What the demo's unreliable handler raises."""


class Play:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.progress = Progress()
        self._fleet = Fleet(API_ID, API_HASH, limits=Limits.unpaced(operations=plan.operations))
        self._seen: Counter[tuple[int, str, str]] = Counter()  # session, handler, post
        self._history: set[int] = set()
        self._members: set[int] = set()

    def status(self) -> FleetStatus:
        """How the fleet is doing now."""
        return self._fleet.status()

    async def run(self) -> tuple[Report, list[str]]:
        """Does everything; returns the figures, and what isn't as it should be."""
        began = time.monotonic()
        async with LoopbackProcess(latency=_LATENCY) as server:
            stage = Stage(server, self.plan)
            self.progress.phase = "filling the server"
            await stage.set_up()
            await self._sign_in(stage)
            self._watch()
            self.progress.phase = "connecting"
            async with self._fleet:
                self.progress.phase = "working"
                async with asyncio.TaskGroup() as work:
                    work.create_task(self._make_trouble(stage))
                    work.create_task(self._post(stage))
                    work.create_task(self._scrape_history())
                    work.create_task(self._scrape_members())
                    work.create_task(self._send(stage))
                self.progress.phase = "waiting for the last events"
                await self.progress.until(lambda: self.progress.events >= self.plan.events, _SETTLE_SECONDS)
                status = self._fleet.status()
                self.progress.phase = "stopping"
            self.progress.phase = "counting"
            return await self._report(stage, status, time.monotonic() - began)

    # -- the parts -----------------------------------------------------------------------------------

    async def _sign_in(self, stage: Stage) -> None:
        self.progress.phase = "signing in"
        for part in stage.cast:
            session = part.session or await self._log_in(stage.server, part)
            self._fleet.add(part.name, session=session)
            self.progress.signed_in += 1

    async def _log_in(self, server: LoopbackProcess, part: Part) -> Session:
        return await sign_in(
            API_ID,
            API_HASH,
            part.user.phone,
            code=lambda: server.login_code(part.user.phone),
            session=await server.blank_session(),
        )

    def _watch(self) -> None:
        """Two monitors a channel in each watching session; one of the two raises on every tenth post."""
        for channel in CHANNELS:
            post = _new_message(chats=channel)

            async def keep(event: Any) -> None:
                self._handled(event, "keep")

            async def shaky(event: Any) -> None:
                if self._handled(event, "shaky") % 10 == 0:
                    self.progress.failures += 1
                    raise HandlerTrouble(f"this handler fails on every tenth post: {event.raw_text}")

            self._fleet.on(post, sessions="watch-*", name=f"keep-{channel}")(keep)
            self._fleet.on(post, sessions="watch-*", name=f"shaky-{channel}", supervision=_OFTEN)(shaky)

    def _handled(self, event: Any, handler: str) -> int:
        """Notes an event and returns the number of its post."""
        self._seen[id(event.client.session), handler, event.raw_text] += 1
        self.progress.events += 1
        self.progress.touch()
        return int(event.raw_text.rsplit(" ", 1)[1])

    async def _post(self, stage: Stage) -> None:
        for number in range(1, self.plan.posts + 1):
            await stage.post(number)
            self.progress.posts = number
            self.progress.touch()
            await asyncio.sleep(_POST_EVERY)

    async def _scrape_history(self) -> None:
        async for message in self._fleet["scrape-001"].iter_messages(ARCHIVE):
            self._history.add(message.id)
            self.progress.history = len(self._history)

    async def _scrape_members(self) -> None:
        async for user in self._fleet["scrape-002"].iter_participants(COMMUNITY):
            self._members.add(user.id)
            self.progress.members = len(self._members)

    async def _send(self, stage: Stage) -> None:
        def count(delivery: Delivery) -> None:
            self.progress.sent += delivery.error is None
            self.progress.touch()

        senders = self._fleet.names("watch-*") + self._fleet.names("send-*")
        await self._fleet.bulk_send(stage.recipients, "hello", sessions=senders, progress=count)

    async def _make_trouble(self, stage: Stage) -> None:
        """Flood waits for the first calls of three sessions, then faults at fixed points of the run."""
        faults, plan, progress = stage.server.faults, self.plan, self.progress
        for session, method in stage.floods:
            await faults.flood_wait(method, seconds=_FLOOD_SECONDS, user=stage.user(session))
            progress.trouble.append(f"{session}: flood wait of {_FLOOD_SECONDS} s for {method}")
        steps: tuple[tuple[str, Callable[[], bool], Callable[[], Awaitable[object]]], ...] = (
            (
                "watch-001: connection cut",
                lambda: progress.posts >= plan.posts // 4,
                lambda: faults.disconnect(stage.user("watch-001")),
            ),
            (
                "send-001: connection cut",
                lambda: progress.sent >= plan.messages // 4,
                lambda: faults.disconnect(stage.user("send-001")),
            ),
            (
                "watch-002: session killed",
                lambda: progress.sent >= plan.messages // 2,
                lambda: self._fleet["watch-002"].kill("by the demo"),
            ),
        )
        for what, due, make in steps:
            await progress.until(due, _SETTLE_SECONDS)
            await make()
            progress.trouble.append(what)

    async def _report(self, stage: Stage, status: FleetStatus, seconds: float) -> tuple[Report, list[str]]:
        """The figures: of messages and calls from the server, of events and restarts from the fleet."""
        received = await stage.received()
        permits = self._fleet.status().permits
        report = Report(
            sessions=sum(session.state is SessionState.READY for session in status.sessions),
            messages_sent=received.distinct,
            messages_delivered=received.delivered,
            messages_lost=received.lost,
            messages_duplicated=received.duplicated,
            history_scraped=len(self._history),
            members_scraped=len(self._members),
            events_expected=self.plan.events,
            events_handled=sum(monitor.handled + monitor.failures for monitor in status.monitors),
            handler_failures=sum(monitor.failures for monitor in status.monitors),
            monitor_restarts=sum(monitor.restarts for monitor in status.monitors),
            session_restarts=sum(session.restarts for session in status.sessions),
            flood_waits=received.floods,
            permits_granted=permits.granted,
            permits_returned=permits.returned,
            peak_concurrent_operations=permits.peak,
            seconds=round(seconds, 2),
        )
        problems = report.problems(self.plan) + received.problems(self.plan)
        repeated = sum(times - 1 for times in self._seen.values())
        if repeated:
            problems.append(f"{repeated} events handled more than once by the same monitor")
        return report, problems
