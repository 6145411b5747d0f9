"""A picture of a fleet at one instant. Only reads; disturbs nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from telestage.actors.kernel import TaskDetails
from telestage.actors.telegram.book import SessionBook
from telestage.messages import FleetStatus, PermitStatus, TaskStatus

__all__ = ["fleet_status"]


def fleet_status(books: Mapping[str, SessionBook], permits: PermitStatus, tasks: Iterable[TaskDetails]) -> FleetStatus:
    """The status of the fleet with these books."""
    return FleetStatus(
        sessions=[book.status() for book in books.values()],
        permits=permits,
        monitors=[monitor.status() for book in books.values() for monitor in book.monitors.values()],
        tasks=[_task(task, books) for task in tasks],
    )


def _task(task: TaskDetails, books: Mapping[str, SessionBook]) -> TaskStatus:
    session = _session_of(task.owner)
    kind, operation = task.type, task.operation
    book = books.get(session or "")
    running = None if book is None else book.running
    if running is not None and kind == "queue_processor" and task.owner == f"/manager/{session}":
        kind, operation = running.kind, running.operation_id  # what it works on is known better here
    return TaskStatus(
        name=task.name, type=kind, session=session, operation=operation, age=max(0.0, task.age), state="running"
    )


def _session_of(owner: str) -> str | None:
    """The session of a path such as /manager/alice/keep, or of a task that belongs to a session by name."""
    parts = owner.strip("/").split("/")
    if len(parts) == 1 and owner.startswith("/"):
        return None
    return parts[1] if len(parts) > 1 and parts[0] == "manager" else parts[0]
