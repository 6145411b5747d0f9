"""What a job is to do, and how far it has come: values, and their form in the store.

Invariant: what is stored is MessagePack of the types here, and nothing that would be run as it is read.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable

import msgspec

from telestage.messages import Peer

__all__ = [
    "JOB_PRIORITY",
    "BulkWork",
    "Checkpoint",
    "HistoryWork",
    "JobKind",
    "JobState",
    "JobStatus",
    "MembersWork",
    "OutputFormat",
    "Work",
    "packed",
    "recipients_digest",
    "unpacked",
]

JOB_PRIORITY = -1
"""The priority of a job's operations: below all that is asked for directly (R-Q3). Hazard: a session that is never
without other work serves a job with every eighth turn only."""


class JobKind(enum.StrEnum):
    """What a job does."""

    BULK_SEND = "bulk_send"
    SCRAPE_HISTORY = "scrape_history"
    SCRAPE_MEMBERS = "scrape_members"


class JobState(enum.StrEnum):
    """Where a job stands. `waiting` and `running` are one and the same in the store, told apart by its lease."""

    WAITING = "waiting"
    """To be done, and nobody is at it: the fleet doesn't run, or has others to do first."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"
    """Nothing is left to do; of a bulk send some messages may have failed."""
    FAILED = "failed"
    """It can't go on: `JobStatus.reason` says why."""

    @property
    def ended(self) -> bool:
        """Whether it stays as it is, unless it is retried."""
        return self in (JobState.CANCELLED, JobState.DONE, JobState.FAILED)


class OutputFormat(enum.StrEnum):
    """The form of a scrape's output."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class BulkWork(msgspec.Struct, frozen=True, kw_only=True, tag="bulk_send"):
    """One text to many. The recipients are rows of their own; `digest` is theirs."""

    text: str
    sessions: str | list[str]
    digest: bytes
    options: dict[str, object] = {}
    """Of Telethon's `send_message`: single values."""
    priority: int = JOB_PRIORITY
    timeout: float | None = None


class HistoryWork(msgspec.Struct, frozen=True, kw_only=True, tag="scrape_history"):
    """The messages of a chat into a file."""

    session: str | list[str]
    """Who reads it; of several, whichever may."""
    peer: object
    to: str
    format: OutputFormat
    limit: int | None = None
    min_id: int = 0
    max_id: int = 0
    reverse: bool = False
    search: str | None = None
    priority: int = JOB_PRIORITY
    timeout: float | None = None

    @property
    def readers(self) -> list[str]:
        """The sessions that may read it."""
        return [self.session] if isinstance(self.session, str) else self.session


class MembersWork(msgspec.Struct, frozen=True, kw_only=True, tag="scrape_members"):
    """The members of a group or channel into a file."""

    session: str
    peer: object
    to: str
    format: OutputFormat
    limit: int | None = None
    search: str = ""
    priority: int = JOB_PRIORITY
    timeout: float | None = None

    @property
    def readers(self) -> list[str]:
        """The sessions that may read it."""
        return [self.session]


Work = BulkWork | HistoryWork | MembersWork
"""What a job is to do."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a scrape has come: up to `offset`, with `rows` rows in the first `length` bytes of its file."""

    offset: int = 0
    rows: int = 0
    length: int = 0


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is doing."""

    id: int
    key: str | None
    kind: JobKind
    state: JobState
    done: int
    """Messages delivered, or rows written."""
    failed: int
    """Messages that couldn't be sent."""
    total: int | None
    """Of how many; None while that isn't known, and of a history without a limit until it is done."""
    reason: str
    """Why it failed, or what it waits for."""
    truncated: bool
    """Telegram listed no more than `done` of `total` members: 10,000 of a group at most, 200 of a broadcast channel."""
    output: str | None
    """The file of a scrape."""
    owner: str | None
    """Who is at it."""
    created: float
    """In Unix seconds, as is `changed`."""
    changed: float


_WORK = msgspec.msgpack.Decoder(Work)


def packed(value: object) -> bytes:
    """A value as the store has it."""
    return msgspec.msgpack.encode(value)


def unpacked(work: bytes) -> Work:
    """What a job is to do, from the store."""
    found: Work = _WORK.decode(work)
    return found


def recipients_digest(peers: Iterable[Peer]) -> bytes:
    """What two lists of recipients have in common only if they are the same."""
    return hashlib.sha256(packed(list(peers))).digest()
