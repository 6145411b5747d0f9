"""`telestage jobs`: the jobs in the store of a fleet that runs or has stopped; what is asked for takes effect there.

Nothing here talks to Telegram or to the fleet's process: a fleet that runs finds in its store within half a second what
was written there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from telestage.actors import JobError, JobKind, JobStatus, StoreError
from telestage.actors.jobs.ledger import JobLedger
from telestage.actors.store import Store
from telestage.cli.errors import CommandError, UsageError

__all__ = ["change", "list_jobs", "show"]

T = TypeVar("T")

_FAILED_SHOWN = 20
_DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "to be retried"}


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    peer: object
    session: str
    random_id: int
    error: str | None


def list_jobs(store: Path, *, json: bool) -> None:
    """Prints all jobs, the oldest first.

    Raises:
        UsageError: There is no such store.
        CommandError: It can't be read.
    """
    statuses = _with_ledger(store, lambda ledger: ledger.statuses())
    if json:
        for status in statuses:
            print(msgspec.json.encode(status).decode())
        return
    if not statuses:
        print("no jobs")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("id", "kind", "state", "done", "failed", "of", "key", "changed", "output or reason"):
        table.add_column(column, justify="right" if column in ("id", "done", "failed", "of") else "left")
    for status in statuses:
        table.add_row(
            str(status.id),
            status.kind,
            status.state,
            f"{status.done:,}",
            f"{status.failed:,}",
            "" if status.total is None else f"{status.total:,}",
            status.key or "",
            _when(status.changed),
            status.reason or status.output or "",
        )
    Console().print(table, soft_wrap=True)


def show(store: Path, job: int, *, json: bool) -> None:
    """Prints all that is known of one job, with the first of the messages that failed.

    Raises:
        UsageError: There is no such store, or no such job.
        CommandError: It can't be read.
    """

    async def read(ledger: JobLedger) -> tuple[JobStatus, list[_Failure]]:
        rows = await ledger.deliveries(job, after=-1, count=_FAILED_SHOWN, failed=True)
        failures = [
            _Failure(peer=peer, session=session, random_id=random_id, error=error)
            for _, peer, session, random_id, _, _, error in rows
        ]
        return await ledger.status(job), failures

    status, failures = _with_ledger(store, read)
    if json:
        print(msgspec.json.encode({**msgspec.to_builtins(status), "failures": failures}).decode())
        return
    for name, value in msgspec.structs.asdict(status).items():
        if name in ("created", "changed"):
            value = _when(value)
        print(f"{name:<10} {'-' if value is None or value == '' else value}")
    for failure in failures:
        print(f"{'not sent':<10} to {failure.peer} by {failure.session}: {failure.error}")
    if status.kind is JobKind.BULK_SEND and status.failed > len(failures):
        print(f"{'':<10} and {status.failed - len(failures)} more")


def change(store: Path, job: int, what: str, *, json: bool) -> None:
    """Pauses, resumes, cancels or retries a job; a fleet that runs notices it within half a second.

    Raises:
        UsageError: There is no such store, or no such job.
        CommandError: The job can't be changed so.
    """

    async def write(ledger: JobLedger) -> tuple[int | None, JobStatus, JobStatus]:
        before = await ledger.status(job)
        again = await ledger.retry(job) if what == "retry" else None
        if what != "retry":
            await {"pause": ledger.pause, "resume": ledger.resume, "cancel": ledger.cancel}[what](job)
        return again, before, await ledger.status(job)

    again, before, status = _with_ledger(store, write)
    changed = bool(again) if what == "retry" else status.state is not before.state
    if json:
        print(msgspec.json.encode({"applied": changed, **msgspec.to_builtins(status)}).decode())
    elif not changed:
        print(f"job {job} is {status.state}: nothing to {what}")
    elif again and status.kind is JobKind.BULK_SEND:
        print(f"job {job}: {again:,} messages {_DONE[what]}")
    else:
        print(f"job {job} {_DONE[what]}")


def _with_ledger(path: Path, work: Callable[[JobLedger], Awaitable[T]]) -> T:
    if not path.is_file():
        raise UsageError(f"there is no store {path}: name the file of Fleet(store=) or of `store` in FLEET.toml")

    async def run() -> T:
        async with Store(path) as store:
            ledger = JobLedger(store)
            await ledger.open()
            return await work(ledger)

    try:
        return asyncio.run(run())
    except StoreError as error:
        raise CommandError(str(error)) from error
    except JobError as error:
        raise UsageError(f"{error}; `telestage jobs list` tells which there are") from error


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")
