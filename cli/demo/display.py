"""What a person sees of a run: a live picture on a terminal, plain lines without one."""

from __future__ import annotations

import asyncio
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from telestage.cli.demo.play import Play
from telestage.cli.demo.report import Report
from telestage.messages import FleetStatus, SessionState

__all__ = ["show", "show_result"]

_ROWS = 20  # sessions shown one by one; more are summed up
_TROUBLE = 6
_STYLES = {
    SessionState.READY: "green",
    SessionState.CONNECTING: "yellow",
    SessionState.RESTARTING: "yellow",
    SessionState.PAUSED: "yellow",
    SessionState.DEAD: "red",
}


async def show(play: Play, console: Console) -> None:
    """Shows how the play goes, until cancelled."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(_picture(play), refresh=True)
                await asyncio.sleep(0.1)
    while True:
        console.print(_line(play), highlight=False, soft_wrap=True)
        await asyncio.sleep(1.0)


def show_result(report: Report, problems: list[str], console: Console) -> None:
    """Prints the figures as a table, and the verdict."""
    table = Table(title="telestage demo", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value, note in _rows(report):
        table.add_row(name, value, note)
    console.print(table)
    for problem in problems:
        console.print(f"[red]not as it should be:[/] {problem}")
    console.print(Text("ok", "bold green") if not problems else Text("not ok", "bold red"))


def _rows(report: Report) -> list[tuple[str, str, str]]:
    return [
        ("sessions", f"{report.sessions}", "real Telethon clients over TCP"),
        ("messages delivered", f"{report.messages_delivered:,} of {report.messages_sent:,}", "counted by the server"),
        ("lost, duplicated", f"{report.messages_lost}, {report.messages_duplicated}", "counted by the server"),
        ("history scraped", f"{report.history_scraped:,}", "messages"),
        ("members scraped", f"{report.members_scraped:,}", ""),
        ("events handled", f"{report.events_handled:,} of {report.events_expected:,}", ""),
        ("handler failures", f"{report.handler_failures:,}", f"{report.monitor_restarts:,} monitor restarts"),
        ("session restarts", f"{report.session_restarts}", "one was killed"),
        ("process crashes", f"{report.crashes}", "SIGKILL; the next one went on"),
        ("events seen again", f"{report.events_repeated}", "from just before the crash"),
        ("flood waits", f"{report.flood_waits}", "waited out"),
        ("permits", f"{report.permits_granted:,}", f"{report.permits_returned:,} returned"),
        ("operations at once", f"{report.peak_concurrent_operations}", "at most"),
        ("seconds", f"{report.seconds:.1f}", ""),
    ]


def _line(play: Play) -> str:
    plan, progress = play.plan, play.progress
    permits = play.status().permits.total
    return (
        f"{progress.phase}: {progress.signed_in}/{plan.sessions} sessions, {progress.sent}/{plan.messages} sent, "
        f"{progress.history}/{plan.history} history, {progress.members}/{plan.members} members, "
        f"{progress.events}/{plan.events} events, {progress.failures} handler failures, "
        f"{permits.in_use}/{permits.limit} permits, {len(progress.trouble)} faults"
    )


def _picture(play: Play) -> Group:
    status = play.status()
    return Group(
        Text.assemble(("telestage demo", "bold"), "  ", (play.progress.phase, "cyan")),
        _bars(play),
        _permits(status),
        _sessions(status),
        Panel(
            "\n".join(play.progress.trouble[-_TROUBLE:]) or "none yet",
            title="trouble on purpose",
            title_align="left",
            border_style="dim",
        ),
    )


def _bars(play: Play) -> Table:
    plan, progress = play.plan, play.progress
    table = Table.grid(padding=(0, 2))
    for name, done, total in (
        ("signed in", progress.signed_in, plan.sessions),
        ("sent", progress.sent, plan.messages),
        ("history", progress.history, plan.history),
        ("members", progress.members, plan.members),
        ("events", progress.events, plan.events),
    ):
        table.add_row(name, ProgressBar(total=total, completed=done, width=40), f"{done:,} of {total:,}")
    return table


def _permits(status: FleetStatus) -> Text:
    parts = [
        f"{kind.kind} {kind.in_use}/{kind.limit}" for kind in (status.permits.total, *status.permits.kinds.values())
    ]
    monitors = status.monitors
    return Text(
        f"permits: {', '.join(parts)} in use, {status.permits.total.waiting} waiting\n"
        f"monitors: {len(monitors)}, {sum(m.queued for m in monitors)} events queued, "
        f"{sum(m.failures for m in monitors)} failures, {sum(m.restarts for m in monitors)} restarts"
    )


def _sessions(status: FleetStatus) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("session", "state", "doing", "queue", "done", "restarts"):
        table.add_column(column, justify="right" if column in ("queue", "done", "restarts") else "left")
    if len(status.sessions) > _ROWS:
        states = Counter(session.state for session in status.sessions)
        for state, count in states.items():
            of_state = [session for session in status.sessions if session.state is state]
            table.add_row(
                f"{count} sessions",
                Text(state, _STYLES.get(state, "")),
                f"{sum(s.kind is not None for s in of_state)} busy",
                f"{sum(s.queued for s in of_state)}",
                f"{sum(s.operations for s in of_state)}",
                f"{sum(s.restarts for s in of_state)}",
            )
        return table
    for session in status.sessions:
        parked = ", ".join(f"{kind} parked" for kind in session.floods)
        table.add_row(
            session.name,
            Text(session.state, _STYLES.get(session.state, "")),
            parked or session.kind or "",
            f"{session.queued}",
            f"{session.operations}",
            f"{session.restarts}",
        )
    return table
