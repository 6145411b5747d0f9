"""Watches a folder, with handlers that can't hurt each other: nothing of Telegram is needed, or loaded.

Each new, changed or removed file is an event. One handler prints it, another keeps a journal, and a third one counts
the bytes; if the journal's disk is full, or somebody deletes the folder it is in, the others don't notice.

    python examples/monitor_anything.py ~/Downloads journal.jsonl
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import sys
from pathlib import Path

from telestage.actors import (
    Event,
    EventMonitor,
    EventMonitorConfig,
    EventMonitorStatistics,
    EventPriority,
    HandlerPolicy,
    Overflow,
    RetryableError,
)


class Change(enum.Enum):
    """What can happen to a file."""

    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"


class Journal:
    """Writes one line an event. Files are written in a thread, so that the loop goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, event: Event) -> None:
        """Appends the event; an OSError may be over soon, so the call is worth another try."""
        line = json.dumps({"what": event.type, "at": event.timestamp, **event.data})
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise RetryableError(f"the journal: {error}") from error

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")


def sizes_in(folder: Path) -> dict[str, int]:
    """The files in a folder and how large they are."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


async def watch(folder: Path, journal: Path, stop: asyncio.Event, interval: float = 0.5) -> EventMonitorStatistics:
    """Watches until `stop` is set; returns what became of the events."""
    monitor = EventMonitor(
        f"folder {folder.name}",
        # Whoever looks at the folder waits rather than lose a change.
        EventMonitorConfig(max_queue_size=500, overflow=Overflow.BLOCK, event_types=Change),
    )
    total = 0

    def count(event: Event) -> None:
        nonlocal total
        size = event.data["bytes"]
        assert isinstance(size, int)
        total += size

    keep = Journal(journal)
    for change in Change:
        monitor.register_handler(change, lambda event: print(event.type, event.data["name"]))
        monitor.register_handler(change, keep, policy=HandlerPolicy(keep_order=True, timeout=10.0))
    monitor.register_handler(Change.CREATED, count)
    async with monitor:
        known = sizes_in(folder)
        while not stop.is_set():
            found = sizes_in(folder)
            for name in found.keys() | known.keys():
                if known.get(name) == found.get(name):
                    continue
                change = Change.CREATED if name not in known else Change.CHANGED if name in found else Change.REMOVED
                priority = EventPriority.HIGH if change is Change.REMOVED else EventPriority.NORMAL
                data = {"name": name, "bytes": found.get(name, 0)}
                await monitor.queue_event(Event(change.value, str(folder), data, priority))
            known = found
            try:
                async with asyncio.timeout(interval):
                    await stop.wait()
            except TimeoutError:
                continue
    print(f"{total} bytes in new files")
    return monitor.get_stats()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(Path(sys.argv[1]), Path(sys.argv[2]), asyncio.Event()))
