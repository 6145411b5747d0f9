"""A picture of a fleet at one instant. Only reads; disturbs nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from telestage.actors.kernel import TaskDetails
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.tasks import task_status
from telestage.messages import FleetStatus, PermitStatus

__all__ = ["fleet_status"]


def fleet_status(books: Mapping[str, SessionBook], permits: PermitStatus, tasks: Iterable[TaskDetails]) -> FleetStatus:
    """The status of the fleet with these books."""
    return FleetStatus(
        sessions=[book.status() for book in books.values()],
        permits=permits,
        monitors=[monitor.status() for book in books.values() for monitor in book.monitors.values()],
        tasks=[task_status(task, books) for task in tasks],
    )
