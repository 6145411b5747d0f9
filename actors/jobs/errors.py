"""What can go wrong with a job.

TelestageError
└── JobError
    ├── JobUnknown    the store has no job of that id
    ├── JobConflict   the key, or the output file, is that of another job
    ├── JobFailed     it can't go on; its status says why, and `retry` lets it try again
    └── JobCancelled  it was cancelled
"""

from __future__ import annotations

from telestage.actors.kernel.errors import TelestageError

__all__ = ["JobCancelled", "JobConflict", "JobError", "JobFailed", "JobUnknown"]


class JobError(TelestageError):
    """Something about a job. `job` is its id."""

    def __init__(self, job: int, text: str) -> None:
        super().__init__(f"job {job}: {text}")
        self.job = job


class JobUnknown(JobError):
    """There is no job of that id."""

    def __init__(self, job: int) -> None:
        super().__init__(job, "the store has none of that id")


class JobConflict(JobError):
    """What was asked for is in the way of this job, which there is already; nothing was changed."""


class JobFailed(JobError):
    """It can't go on, for `reason`. What was done is kept."""

    def __init__(self, job: int, reason: str) -> None:
        super().__init__(job, f"failed: {reason}")
        self.reason = reason


class JobCancelled(JobError):
    """It was cancelled. What was done before is done."""

    def __init__(self, job: int) -> None:
        super().__init__(job, "it was cancelled")
