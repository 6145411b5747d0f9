"""What a person or a program sees of a running fleet: lines, or a live table on a terminal.

Lines go to stdout; as JSON, each is one object. Logs go to stderr, or above the table.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Protocol

import msgspec

from telestage.cli.watching import Change, Watcher
from telestage.messages import FleetStatus

__all__ = ["JsonReporter", "LogHandler", "PlainReporter", "Reporter"]


class Reporter(Protocol):
    """Shows a run while `shown` lasts."""

    def shown(self) -> AbstractContextManager[object]:
        """The block in which it shows."""
        ...

    def update(self, status: FleetStatus) -> None:
        """A new picture of the fleet."""
        ...

    def say(self, text: str) -> None:
        """A word of the command itself."""
        ...

    def log(self, text: str) -> None:
        """A line of the log."""
        ...

    def end(self, status: FleetStatus) -> None:
        """The last picture, when the fleet has stopped."""
        ...


class PlainReporter:
    """A line for each change."""

    def __init__(self) -> None:
        self._watcher = Watcher()

    def shown(self) -> AbstractContextManager[object]:
        """The block in which it shows."""
        return nullcontext()

    def update(self, status: FleetStatus) -> None:
        """Prints what has changed."""
        for change in self._watcher.changes(status):
            self.change(change)

    def change(self, change: Change) -> None:
        """Prints one change."""
        self.say(change.text)

    def say(self, text: str) -> None:
        """Prints a line, with the time."""
        print(f"{datetime.now():%H:%M:%S} {text}", flush=True)

    def log(self, text: str) -> None:
        """Prints on stderr."""
        print(text, file=sys.stderr, flush=True)

    def end(self, status: FleetStatus) -> None:
        """Prints the sums."""
        operations = sum(session.operations for session in status.sessions)
        handled = sum(monitor.handled for monitor in status.monitors)
        failures = sum(monitor.failures for monitor in status.monitors)
        dropped = sum(monitor.dropped for monitor in status.monitors)
        self.say(f"ended: {operations} operations; {handled} events handled, {failures} failed, {dropped} dropped")


class JsonReporter(PlainReporter):
    """The same, each line a JSON object."""

    def change(self, change: Change) -> None:
        """Prints one change."""
        _print_json(change)

    def say(self, text: str) -> None:
        """Prints a word of the command."""
        _print_json({"event": "note", "time": datetime.now().timestamp(), "text": text})

    def end(self, status: FleetStatus) -> None:
        """Prints the last picture as a whole."""
        _print_json({"event": "end", "time": datetime.now().timestamp(), "status": status})


class LogHandler(logging.Handler):
    """Hands log lines to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Formats and shows one."""
        try:
            self._reporter.log(self.format(record))
        except Exception:  # as every handler: a log line that fails must not end what it is about
            self.handleError(record)


def _print_json(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)
