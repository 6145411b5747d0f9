"""The live picture of a fleet on a terminal: sessions, queues, permits and monitors.

Drawn when there is something new, by whoever runs the fleet: no thread draws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from telestage.cli.reporting import PlainReporter
from telestage.messages import FleetStatus, MonitorStatus, PermitKindStatus, SessionState, SessionStatus

__all__ = ["LiveReporter", "picture"]

_STYLES = {
    SessionState.READY: "green",
    SessionState.DEAD: "bold red",
    SessionState.STOPPED: "red",
    SessionState.PAUSED: "cyan",
}


class LiveReporter(PlainReporter):
    """Keeps a table on the terminal, and prints what happens above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The block in which the table is there."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, status: FleetStatus) -> None:
        """Prints what has changed, and draws."""
        super().update(status)
        if self._live is not None:
            self._live.update(picture(status, rows=max(3, self._console.height - 12)), refresh=True)

    def say(self, text: str) -> None:
        """Prints a line above the table."""
        self._console.print(f"[dim]{datetime.now():%H:%M:%S}[/dim] {escape(text)}", highlight=False)

    def log(self, text: str) -> None:
        """Prints a log line above the table."""
        self._console.print(escape(text), style="yellow", highlight=False)


def picture(status: FleetStatus, *, rows: int) -> Group:
    """The fleet in tables; of its sessions at most `rows`, those in trouble and at work first."""
    sessions = sorted(status.sessions, key=_calm)
    table = Table(title=_title(status.sessions), title_justify="left", title_style="bold", expand=False)
    for name in ("session", "state", "does", "queued", "operations", "restarts"):
        table.add_column(name, justify="left" if name in ("session", "state", "does") else "right")
    for session in sessions[:rows]:
        table.add_row(
            escape(session.name),
            f"[{_STYLES.get(session.state, 'yellow')}]{session.state.value}",
            escape(_doing(session)),
            str(session.queued),
            str(session.operations),
            str(session.restarts),
        )
    if len(sessions) > rows:
        table.add_row(f"... {len(sessions) - rows} more", *[""] * 5)
    parts: list[Table] = [table, _permits(status)]
    if status.monitors:
        parts.append(_monitors(status.monitors))
    return Group(*parts)


def _calm(session: SessionStatus) -> tuple[bool, bool, int, str]:
    return session.state is SessionState.READY, session.kind is None, -session.queued, session.name


def _title(sessions: list[SessionStatus]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for session in sessions:
        counts[session.state.value] += 1
    return f"{len(sessions)} sessions: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _doing(session: SessionStatus) -> str:
    if session.kind is not None:
        return f"{session.kind} {session.running_for or 0:.0f} s"
    if session.floods:
        kind, until = max(session.floods.items(), key=lambda item: item[1])
        return f"{kind} waits until {datetime.fromtimestamp(until):%H:%M:%S}"
    return (session.reason or "")[:60]


def _permits(status: FleetStatus) -> Table:
    table = Table(expand=False)
    for name in ("permits", "in use", "limit", "waiting", "granted", "refused", "p95 wait"):
        table.add_column(name, justify="left" if name == "permits" else "right")
    kinds: list[PermitKindStatus] = [status.permits.total, *status.permits.kinds.values()]
    for kind in kinds:
        wait = "" if kind.wait_p95 is None else f"{kind.wait_p95:.3f} s"
        numbers = (kind.in_use, kind.limit, kind.waiting, kind.granted, kind.refused)
        table.add_row(escape(kind.kind), *map(str, numbers), wait)
    return table


def _monitors(monitors: list[MonitorStatus]) -> Table:
    table = Table(expand=False)
    for name in ("monitor", "running", "queued", "handled", "failed", "dropped", "restarts"):
        table.add_column(name, justify="left" if name == "monitor" else "right")
    by_name: dict[str, list[MonitorStatus]] = defaultdict(list)
    for monitor in monitors:
        by_name[monitor.name].append(monitor)
    for name, each in by_name.items():
        running = sum(monitor.state == "running" for monitor in each)
        table.add_row(
            escape(name),
            f"{running} of {len(each)}",
            str(sum(monitor.queued for monitor in each)),
            str(sum(monitor.handled for monitor in each)),
            str(sum(monitor.failures for monitor in each)),
            str(sum(monitor.dropped for monitor in each)),
            str(sum(monitor.restarts for monitor in each)),
        )
    return table
