"""The parts of jobs without a fleet: the ledger and its leases, and the files of scrapes."""

import json
import os
import subprocess
import sys

import pytest
from pyarrow import parquet

from telestage.actors import JobConflict, JobError, JobState, LeaseLost, Leases, Owner, Store
from telestage.actors.jobs.ledger import JobLedger
from telestage.actors.jobs.output import Output, OutputBusy, OutputLost, format_of
from telestage.actors.jobs.rows import MESSAGE_COLUMNS
from telestage.actors.jobs.tables import lease_key
from telestage.actors.jobs.values import BulkWork, Checkpoint, HistoryWork, OutputFormat, recipients_digest
from telestage.actors.jobs.work import Outcome, WorkLedger

PEERS = ["bob", 7, b"\x7d\xa6\xf7\x7d"]


def bulk(text="hello"):
    return BulkWork(text=text, sessions="*", digest=recipients_digest(PEERS))


def row(number):
    return {name: number if name == "id" else None for name in MESSAGE_COLUMNS}


async def test_who_lost_a_job_can_write_nothing_more_of_it(tmp_path):
    """R-X5, R-X6: an old epoch is refused in the transaction that would write."""
    async with Store(tmp_path / "fleet.db") as store:
        ledger, work = JobLedger(store), WorkLedger(store)
        await ledger.open()
        job, _ = await ledger.add(bulk(), key=None, assigned=lambda: [(peer, "alice") for peer in PEERS])
        old = Leases(store, Owner.here("old"), 0.1)
        await old.open()
        lost = await old.take(lease_key(job), "job")
        await old.release()
        new = Leases(store, Owner.here("new"), 30.0)
        held = await new.take(lease_key(job), "job")
        for write in (
            work.record(job, lost, [Outcome(0, 1, None)]),
            work.fail_share(job, lost, "alice", "dead"),
            work.checkpoint(job, lost, Checkpoint(rows=1), total=None),
            work.note(job, lost, "waits"),
            work.end(job, lost),
        ):
            with pytest.raises(LeaseLost):
                await write
        status = await ledger.status(job)
        assert (status.done, status.failed, status.reason, status.state) == (0, 0, "", JobState.RUNNING)
        assert status.owner == "new"
        await work.record(job, held, [Outcome(0, 1, None)])
        await work.record(job, held, [Outcome(0, 1, None)])  # once more is the same
        assert (await ledger.status(job)).done == 1
        await new.release()
        assert (await ledger.status(job)).state is JobState.WAITING


async def test_a_job_is_not_done_while_messages_are_left(tmp_path):
    """R-X5: such as those that were retried as the last ones were noted."""
    async with Store(tmp_path / "fleet.db") as store:
        ledger, work = JobLedger(store), WorkLedger(store)
        await ledger.open()
        job, _ = await ledger.add(bulk(), key=None, assigned=lambda: [(peer, "alice") for peer in PEERS])
        leases = Leases(store, Owner.here(), 30.0)
        await leases.open()
        lease = await leases.take(lease_key(job), "job")
        assert [each.peer for each in await work.waiting(job, "alice", after=-1, count=10)] == PEERS
        await work.record(job, lease, [Outcome(0, 1, None), Outcome(1, None, "no")])
        await work.end(job, lease)
        assert (await ledger.status(job)).state is JobState.RUNNING
        await work.record(job, lease, [Outcome(2, None, None)])
        await work.end(job, lease)
        assert (await ledger.status(job)).state is JobState.DONE
        await leases.release()


async def test_a_file_belongs_to_one_job_and_one_that_goes_on_is_not_forgotten(tmp_path):
    """R-X5."""
    async with Store(tmp_path / "fleet.db") as store:
        ledger = JobLedger(store)
        await ledger.open()
        work = HistoryWork(session="alice", peer="durov", to="/tmp/durov.csv", format=OutputFormat.CSV)
        job, _ = await ledger.add(work, key=None)
        with pytest.raises(JobConflict, match=r"durov\.csv"):
            await ledger.add(work, key="other")
        with pytest.raises(JobError, match="cancel it first"):
            await ledger.forget(job)
        assert await ledger.pause(job) is JobState.PAUSED
        assert await ledger.resume(job) is JobState.WAITING
        assert await ledger.cancel(job) is JobState.CANCELLED
        assert await ledger.pause(job) is JobState.CANCELLED
        await ledger.add(work, key="other")
        await ledger.forget(job)
        assert [status.key for status in await ledger.statuses()] == ["other"]


@pytest.mark.parametrize("format", OutputFormat)
def test_a_file_that_is_opened_again_has_what_the_checkpoint_says(tmp_path, format):
    """R-X5: neither the rows of a page that wasn't noted, nor half a row."""
    path = tmp_path / f"rows.{format}"
    output = Output(str(path), format, MESSAGE_COLUMNS, 0)
    length = output.append([row(1), row(2)])
    output.append([row(number) for number in range(3, 400)])
    output.close()
    output = Output(str(path), format, MESSAGE_COLUMNS, length)
    output.append([row(3)])
    output.finish()
    output.finish()  # as after a crash between the file's end and its note
    output.close()
    output.discard_parts()
    if format is OutputFormat.PARQUET:
        found = parquet.read_table(path).column("id").to_pylist()
    elif format is OutputFormat.CSV:
        found = [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]]
    else:
        found = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert found == [1, 2, 3]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_is_written_by_one_process_and_free_when_that_is_killed(tmp_path):
    """R-X5: whoever was stopped as it wrote keeps others out until it is gone."""
    path = tmp_path / "rows.jsonl"
    code = (
        "import sys; from telestage.actors.jobs.output import Output\n"
        f"output = Output({str(path)!r}, 'jsonl', {{'id': int}}, 0)\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(OutputBusy, match="another process"):
            Output(str(path), OutputFormat.JSONL, MESSAGE_COLUMNS, 0)
    finally:
        other.kill()
        other.communicate()
    Output(str(path), OutputFormat.JSONL, MESSAGE_COLUMNS, 0).close()


def test_a_file_that_is_gone_or_shorter_is_not_gone_on_with(tmp_path):
    """R-X5."""
    path = tmp_path / "rows.jsonl"
    with pytest.raises(OutputLost, match="gone"):
        Output(str(path), OutputFormat.JSONL, MESSAGE_COLUMNS, 10)
    path.write_text("short")
    with pytest.raises(OutputLost, match="5 bytes, and 10"):
        Output(str(path), OutputFormat.JSONL, MESSAGE_COLUMNS, 10)
    assert os.path.getsize(path) == 5


def test_the_format_follows_from_the_name():
    """Bad input says what there is."""
    assert format_of("a/b.CSV", None) is OutputFormat.CSV
    assert format_of("b.txt", "jsonl") is OutputFormat.JSONL
    with pytest.raises(ValueError, match="jsonl, csv, parquet"):
        format_of("b.txt", None)
    with pytest.raises(ValueError, match="xml"):
        format_of("b.jsonl", "xml")
