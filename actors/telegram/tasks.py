"""The tasks of a fleet: how many, whose, for what, and since when (R-T1, R-T2).

Invariant: what is counted is what is listed, and what is listed has the name that a debugger shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from telestage.actors.kernel import TaskDetails, TaskRegistry
from telestage.actors.telegram.book import SessionBook
from telestage.messages import TaskStatus

__all__ = ["FleetTasks", "task_status"]


class FleetTasks:
    """What runs now in a fleet. Only reads; disturbs nobody.

    Args:
        registry: Of the fleet's actor system.
        books: Of its sessions, by name.
    """

    def __init__(self, registry: TaskRegistry, books: Mapping[str, SessionBook]) -> None:
        self._registry = registry
        self._books = books

    def details(
        self, *, type: str | None = None, session: str | None = None, owner: str | None = None
    ) -> list[TaskStatus]:
        """The running tasks, the oldest first.

        Args:
            type: Only these: `sending`, `scraping`, `monitoring`, `other`, `queue_processor`, `updates`, ...
            session: Only those of this session.
            owner: Only those of the actor with this path, such as `/manager/alice/keep`, and of those below it.
        """
        found = (task_status(task, self._books) for task in self._registry.details(owner=owner))
        return [
            task
            for task in found
            if (type is None or task.type == type) and (session is None or task.session == session)
        ]

    def count(self, *, type: str | None = None, session: str | None = None, owner: str | None = None) -> int:
        """How many there are; the same choices as `details`."""
        return len(self.details(type=type, session=session, owner=owner))

    def by_type(self) -> dict[str, int]:
        """How many there are of each type."""
        return dict(Counter(task.type for task in self.details()))

    def by_session(self) -> dict[str | None, int]:
        """How many each session has; None stands for the runtime itself."""
        return dict(Counter(task.session for task in self.details()))


def task_status(task: TaskDetails, books: Mapping[str, SessionBook]) -> TaskStatus:
    """A task as the fleet knows it: a session's turn by the operation that it works on."""
    session = _session_of(task.owner, books)
    kind, operation = task.type, task.operation
    book = books.get(session or "")
    if book is not None and kind == "queue_processor":
        running = book.running
        if task.owner != f"/manager/{session}":
            kind = "monitoring"
        elif running is not None:
            kind, operation = running.kind, running.operation_id
    return TaskStatus(
        name=task.name, type=kind, session=session, operation=operation, age=max(0.0, task.age), state=task.state
    )


def _session_of(owner: str, books: Mapping[str, SessionBook]) -> str | None:
    """The session of a path such as /manager/alice/keep, or of a task that belongs to a session by name."""
    if not owner.startswith("/"):
        return owner if owner in books else None  # `fleet`, `jobs`
    parts = owner.strip("/").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "manager" else None
