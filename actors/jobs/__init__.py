"""Bulk sends and scrapes that survive the process: rows in the store, done by whichever fleet is there."""

from telestage.actors.jobs.errors import JobCancelled, JobConflict, JobError, JobFailed, JobUnknown
from telestage.actors.jobs.job import Job
from telestage.actors.jobs.jobs import Jobs
from telestage.actors.jobs.values import JobKind, JobState, JobStatus, OutputFormat

__all__ = [
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobKind",
    "JobState",
    "JobStatus",
    "JobUnknown",
    "Jobs",
    "OutputFormat",
]
