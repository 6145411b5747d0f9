"""Jobs of a fleet: bulk sends and scrapes that are rows of its store (R-X5)."""

import asyncio
import csv
import json
import os
import sqlite3

import msgspec
import pytest
from pyarrow import parquet

from telestage.actors import (
    Fleet,
    JobCancelled,
    JobConflict,
    JobError,
    JobFailed,
    JobState,
    JobUnknown,
    Limits,
    SessionUnknown,
)
from telestage.actors.jobs.values import Checkpoint


@pytest.fixture
def store(tmp_path):
    return tmp_path / "fleet.db"


@pytest.fixture
def job_fleet(store):
    def make(*users, limits=None, **options):
        fleet = Fleet(1, "hash", store=store, limits=limits or Limits.unpaced(), **options)
        for user in users:
            fleet.add(user.username, session=user.session)
        return fleet

    return make


def names(telegram, count, prefix="peer"):
    return [telegram.add_user(f"{prefix}{number}").username for number in range(count)]


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def pause_midway(fleet, job, path, eventually):
    """Pauses a scrape that has written something, and isn't done; nothing of it is under way any more."""
    await eventually(lambda: path.exists() and path.stat().st_size > 0)
    await job.pause()
    await eventually(lambda: fleet.tasks.count(type="job") == 0)
    assert (await job.status()).state is JobState.PAUSED


async def test_a_bulk_send_is_stored_before_it_begins_and_delivers_each_message_once(telegram, job_fleet, store):
    """R-X5: the random_ids on the server are those of the store, each from the session it was given to."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = names(telegram, 30)
    async with job_fleet(alice, bob) as fleet:
        telegram.faults.latency(0.02)
        job = await fleet.jobs.bulk_send(peers, "hello")
        with sqlite3.connect(store) as file:
            stored = {row[0]: row[1] for row in file.execute("SELECT random_id, session FROM job_messages")}
        file.close()
        assert len(stored) == 30
        assert len(telegram.delivered()) < 30
        status = await job.result(30)
        assert (status.state, status.done, status.failed, status.total) == (JobState.DONE, 30, 0, 30)
        users = {alice.id: "alice", bob.id: "bob"}
        assert {each.random_id: users[each.sender_id] for each in telegram.delivered()} == stored
        deliveries = [each async for each in job.deliveries()]
        assert [each.peer for each in deliveries] == peers
        assert all(each.message_id for each in deliveries)


async def test_a_stopped_fleet_leaves_its_jobs_and_the_next_one_goes_on(telegram, job_fleet, tmp_path, eventually):
    """R-X5: nothing is lost or doubled, and nobody has to ask for it."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 60)
    telegram.fill_history(telegram.add_channel("archive"), 950)
    telegram.faults.latency(0.01)
    first = job_fleet(alice)
    output = tmp_path / "archive.jsonl"
    async with first:
        await first.jobs.bulk_send(peers, "hello")
        await first.jobs.scrape_history("archive", session="alice", to=output)
        await eventually(lambda: len(telegram.delivered()) >= 5)
    assert len(telegram.delivered()) < 60
    async with job_fleet(alice) as fleet:
        for job in (fleet.jobs[1], fleet.jobs[2]):
            await job.result(30)
        assert sorted(each.text for each in telegram.delivered()) == ["hello"] * 60
        assert len({each.peer for each in telegram.delivered()}) == 60
        found = ids(output)
        assert len(found) == len(set(found)) == 950


async def test_a_fleet_that_drains_begins_nothing_more_for_its_jobs(telegram, job_fleet, eventually):
    """R-X5, R-T4: before it is stopped."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 60)
    telegram.faults.latency(0.01)
    async with job_fleet(alice) as fleet:
        await fleet.jobs.bulk_send(peers, "hello")
        await eventually(lambda: len(telegram.delivered()) >= 5)
        assert fleet.tasks.count(type="job") > 0
        assert await fleet.drain(10.0)
        assert fleet.tasks.count(type="job") == 0
        assert len(telegram.delivered()) < 60
    async with job_fleet(alice) as fleet:
        await fleet.jobs[1].result(20)
    assert len(telegram.delivered()) == 60


async def test_a_fleet_that_does_not_resume_jobs_does_only_its_own(telegram, job_fleet):
    """R-X5: and what it is told to resume."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(["bob"], "old")
        await job.pause()
        await job.result(0.01) if (await job.status()).state is JobState.DONE else None
    first = len(telegram.delivered())
    with sqlite3.connect(fleet.store.path) as file:
        file.execute("UPDATE jobs SET state = 'active', done = 0")
        file.execute("UPDATE job_messages SET state = 0, random_id = random_id + 1")
    file.close()
    async with job_fleet(alice, resume_jobs=False) as fleet:
        await (await fleet.jobs.bulk_send(["bob"], "new")).result(30)
        assert (await fleet.jobs[1].status()).state is JobState.WAITING
        await fleet.jobs[1].resume()
        await fleet.jobs[1].result(30)
    assert [each.text for each in telegram.delivered()][first:] == ["new", "old"]


async def test_the_same_key_finds_the_same_job(telegram, job_fleet):
    """R-X5: a service may start its job again after each restart; other work under that key is refused."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 3)
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(peers, "hello", key="monday")
        assert (await fleet.jobs.bulk_send(peers, "hello", key="monday")).id == job.id
        await job.result(30)
        assert (await fleet.jobs.bulk_send(peers, "hello", key="monday")).id == job.id
        for other in ((peers[:2], "hello"), (peers, "bye")):
            with pytest.raises(JobConflict, match="monday"):
                await fleet.jobs.bulk_send(*other, key="monday")
        assert len(telegram.delivered()) == 3
        await fleet.jobs.forget(job.id)
        with pytest.raises(JobUnknown):
            await job.status()
        again = await fleet.jobs.bulk_send(peers, "bye", key="monday")
        await again.result(30)
        assert len(telegram.delivered()) == 6


async def test_a_paused_job_waits_and_a_resumed_one_goes_on(telegram, job_fleet, eventually):
    """R-X5: what is under way as it is paused is finished, and counted."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 40)
    telegram.faults.latency(0.01)
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(peers, "hello")
        await eventually(lambda: len(telegram.delivered()) >= 5)
        await job.pause()
        await eventually(lambda: fleet.tasks.count(type="job") == 0)
        status = await job.status()
        assert status.state is JobState.PAUSED
        assert status.done == len(telegram.delivered()) < 40
        await job.resume()
        assert (await job.result(30)).done == len(telegram.delivered()) == 40


async def test_a_cancelled_job_has_ended(telegram, job_fleet, eventually):
    """R-X5: what it waits for is given up within the grace."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 40)
    telegram.faults.latency(0.01)
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(peers, "hello")
        await eventually(lambda: len(telegram.delivered()) >= 5)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(30)
        await eventually(lambda: fleet.tasks.count(type="job") == 0)
        sent = len(telegram.delivered())
        assert (await job.status()).done == sent < 40
        await job.resume()
        with pytest.raises(JobError, match="cancelled"):
            await job.retry()
        await fleet["alice"].get_me()
        assert len(telegram.delivered()) == sent


async def test_what_was_written_to_the_store_by_another_process_takes_effect(telegram, job_fleet, store, eventually):
    """R-X5: within half a second."""
    alice = telegram.add_user("alice")
    telegram.faults.latency(0.02)
    peers = names(telegram, 100)
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(peers, "hello")
        await eventually(lambda: len(telegram.delivered()) >= 3)
        with sqlite3.connect(store) as file:
            file.execute("UPDATE jobs SET state = 'paused'")
        file.close()
        await eventually(lambda: fleet.tasks.count(type="job") == 0, within=2.0)
        assert (await job.status()).done == len(telegram.delivered()) < 100


async def test_messages_that_failed_are_tried_again_with_their_random_ids(telegram, job_fleet):
    """R-X5: a failure of one is no failure of the job; a retry sends what failed and nothing else."""
    alice = telegram.add_user("alice")
    names(telegram, 2)
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.bulk_send(["peer0", "later_there", "peer1"], "hello")
        status = await job.result(30)
        assert (status.done, status.failed, status.state) == (2, 1, JobState.DONE)
        (failed,) = [each async for each in job.deliveries(failed=True)]
        assert failed.peer == "later_there"
        assert "later_there" in failed.error
        later = telegram.add_user("later_there")
        assert await job.retry() == 1
        status = await job.result(30)
        assert (status.done, status.failed) == (3, 0)
        assert await job.retry() == 0
        assert [each.random_id for each in telegram.delivered(to=later)] == [failed.random_id]
        assert len(telegram.delivered()) == 3


async def test_a_session_that_ends_fails_its_own_share_only(telegram, job_fleet):
    """R-X4, R-X5: nothing is moved to another account."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = names(telegram, 10)
    async with job_fleet(alice, bob) as fleet:
        telegram.faults.ban(alice)
        status = await (await fleet.jobs.bulk_send(peers, "hello")).result(30)
        assert (status.done, status.failed) == (5, 5)
        assert len(telegram.delivered(sender=bob)) == 5


async def test_a_job_waits_for_a_fleet_that_has_its_session(telegram, job_fleet):
    """R-X5: the status says so; the sessions that are there go on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = names(telegram, 20)
    telegram.faults.latency(0.05)
    async with job_fleet(alice, bob) as fleet:
        await fleet.jobs.bulk_send(peers, "hello")
    async with job_fleet(alice) as fleet:
        async with asyncio.timeout(20):
            while (await fleet.jobs[1].status()).reason != "needs a fleet with session 'bob'":  # noqa: ASYNC110 - it is in a file
                await asyncio.sleep(0.05)
        assert len(telegram.delivered(sender=alice)) == 10
        assert (await fleet.jobs[1].status()).state is JobState.WAITING
        fleet.add("bob", session=bob.session)
        await fleet.jobs[1].result(30)
    assert len(telegram.delivered(sender=bob)) == 10


async def test_a_job_is_one_fleets_until_that_has_ended(telegram, job_fleet, eventually):
    """R-X5: another one with the same store leaves it alone, though it has a session of it, and goes on after that."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = names(telegram, 4)
    telegram.faults.flood_wait("messages.sendMessage", seconds=900, user=alice)
    async with job_fleet(alice, bob) as fleet:
        await fleet.pause("bob")
        await fleet.jobs.bulk_send(peers, "hello")
    first = await job_fleet(alice).start()
    try:
        async for status in first.jobs[1].progress():
            if status.owner is not None and "parked" in status.reason:
                break
        owner = status.owner
        async with job_fleet(bob) as second:
            job = await second.jobs.bulk_send(peers, "another")  # looked for after the first, and so tried after it
            await job.result(30)
            assert [each.text for each in telegram.delivered()] == ["another"] * 4
            assert (await second.jobs[1].status()).owner == owner
            await first.stop()
            await eventually(lambda: len(telegram.delivered(sender=bob)) == 6)
            assert sorted(each.text for each in telegram.delivered(sender=bob))[4:] == ["hello"] * 2
    finally:
        await first.stop()
    assert telegram.delivered(sender=alice) == []
    assert not telegram.early_calls


async def test_a_flood_wait_is_waited_out_and_told(telegram, job_fleet):
    """R-X2, R-X5: however long it is; the status says until when."""
    alice = telegram.add_user("alice")
    names(telegram, 2)
    limits = Limits.unpaced(queue_timeout=0.2)
    async with job_fleet(alice, limits=limits) as fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=2, user=alice)
        job = await fleet.jobs.bulk_send(["peer0", "peer1"], "hello", timeout=0.5)
        reasons = {status.reason async for status in job.progress()}
        assert any("parked by a flood wait until" in reason for reason in reasons)
        status = await job.status()
        assert (status.done, status.reason) == (2, "")
        assert not telegram.early_calls


async def test_a_job_waits_until_a_person_has_sending_resumed(telegram, job_fleet):
    """R-X2, R-X5: after PEER_FLOOD, which has no end of its own."""
    alice = telegram.add_user("alice")
    names(telegram, 2)
    async with job_fleet(alice) as fleet:
        telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
        job = await fleet.jobs.bulk_send(["peer0", "peer1"], "hello", timeout=0.5)
        async with asyncio.timeout(20):
            async for status in job.progress():
                if "PEER_FLOOD" in status.reason:
                    break
        assert telegram.delivered() == []
        assert await fleet.resume_sending("alice")
        assert (await job.result(30)).done == len(telegram.delivered()) == 2


async def test_what_is_asked_for_goes_before_the_messages_of_a_job(telegram, job_fleet, eventually):
    """R-X5: theirs have the lowest priority of all, however early they came."""
    alice = telegram.add_user("alice")
    peers = names(telegram, 3)
    async with job_fleet(alice) as fleet:
        await fleet.pause("alice")
        job = await fleet.jobs.bulk_send(peers, "hello")
        await eventually(lambda: fleet["alice"].status.queued == 1)
        sending = asyncio.ensure_future(fleet["alice"].send_message("peer0", "at once", priority=0))
        await eventually(lambda: fleet["alice"].status.queued == 2)
        await fleet.resume("alice")
        await sending
        await job.result(20)
    assert [each.text for each in telegram.delivered()] == ["at once", *["hello"] * 3]


async def test_an_urgent_operation_goes_between_the_pages_of_a_job(telegram, job_fleet, tmp_path):
    """R-Q3, R-Q7: a job's operations are ordinary ones, below all others."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("archive"), 2000)
    async with job_fleet(alice) as fleet:
        telegram.faults.latency(0.02)
        job = await fleet.jobs.scrape_history("archive", session="alice", to=tmp_path / "archive.jsonl")
        await fleet["alice"].send_message("me", "urgent")
        assert (await job.status()).done < 2000
        await job.cancel()


async def test_scrapes_write_what_telegram_has_in_each_format(telegram, job_fleet, tmp_path):
    """R-X5: the same rows, each once; a Parquet file leaves nothing else behind."""
    alice = telegram.add_user("alice")
    archive = telegram.add_channel("archive")
    telegram.fill_history(archive, 250, text="message {n}, with a comma")
    async with job_fleet(alice) as fleet:
        for name in ("all.jsonl", "all.csv", "all.parquet"):
            job = await fleet.jobs.scrape_history("archive", session="alice", to=tmp_path / name)
            status = await job.result(30)
            assert (status.done, status.total, status.truncated) == (250, 250, False)
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    assert len({row["id"] for row in rows}) == 250
    assert {row["chat_id"] for row in rows} == {archive.marked_id}
    assert "with a comma" in rows[0]["text"]
    assert parquet.read_table(tmp_path / "all.parquet").to_pylist() == rows
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [row["text"] for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir() if "all" in path.name) == [
        "all.csv",
        "all.jsonl",
        "all.parquet",
    ]


async def test_a_part_of_a_history(telegram, job_fleet, tmp_path):
    """R-X5: limits and bounds as for `iter_messages`."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("archive"), 300)
    async with job_fleet(alice) as fleet:
        whole = [message.id async for message in fleet["alice"].iter_messages("archive")]
        cases = {
            "limit": ({"limit": 150}, whole[:150]),
            "reverse": ({"reverse": True, "limit": 120}, whole[::-1][:120]),
            "bounds": ({"min_id": whole[250], "max_id": whole[20]}, whole[21:250]),
        }
        for name, (options, expected) in cases.items():
            path = tmp_path / f"{name}.jsonl"
            job = await fleet.jobs.scrape_history("archive", session="alice", to=path, **options)
            assert (await job.result(30)).total == len(expected)
            assert ids(path) == expected, name


@pytest.mark.parametrize(("megagroup", "listed"), [(True, 451), (False, 200)])
async def test_members_are_written_once_and_a_truncated_list_is_told(telegram, job_fleet, tmp_path, megagroup, listed):
    """R-X5: of a broadcast channel Telegram lists 200."""
    alice = telegram.add_user("alice")
    members = [telegram.add_user(f"member{number}") for number in range(450)]
    telegram.add_channel("community", [alice, *members], megagroup=megagroup, creator=alice)
    async with job_fleet(alice) as fleet:
        path = tmp_path / "members.jsonl"
        job = await fleet.jobs.scrape_members("community", session="alice", to=path)
        status = await job.result(30)
        assert (status.done, status.total, status.truncated) == (listed, 451, listed < 451)
        found = ids(path)
        assert len(found) == len(set(found)) == listed
        assert set(found) <= {member.id for member in [alice, *members]}


async def test_members_that_move_to_a_later_page_are_not_written_again(
    telegram, job_fleet, store, tmp_path, eventually
):
    """R-X5: who has been written is in the store."""
    alice = telegram.add_user("alice")
    members = [telegram.add_user(f"member{number}") for number in range(500)]
    telegram.add_channel("community", members, megagroup=True)
    telegram.faults.latency(0.1, "channels.getParticipants")
    path = tmp_path / "members.jsonl"
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.scrape_members("community", session="alice", to=path)
        await pause_midway(fleet, job, path, eventually)
        with sqlite3.connect(store) as file:  # as if 150 had joined and were listed first
            (blob,) = file.execute("SELECT checkpoint FROM jobs").fetchone()
            standing = msgspec.msgpack.decode(blob, type=Checkpoint)
            moved = msgspec.structs.replace(standing, offset=standing.offset - 150)
            file.execute("UPDATE jobs SET checkpoint = ?", (msgspec.msgpack.encode(moved),))
        file.close()
        await job.resume()
        assert (await job.result(30)).done == 500
        assert sorted(ids(path)) == sorted(member.id for member in members)


async def test_rows_after_the_checkpoint_are_cut_off(telegram, job_fleet, tmp_path, eventually):
    """R-X5: what a crash left beyond the checkpoint is no row."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("archive"), 1000)
    telegram.faults.latency(0.05)
    path = tmp_path / "archive.jsonl"
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.scrape_history("archive", session="alice", to=path)
        await pause_midway(fleet, job, path, eventually)
        before = (await job.status()).done
        with path.open("ab") as file:
            file.write(b'{"id": 1}\n' * 100_000 + b'{"half a ro')
        await job.resume()
        await job.result(30)
        assert 0 < before < 1000
        assert len(ids(path)) == len(set(ids(path))) == 1000


async def test_a_file_that_was_changed_fails_the_job(telegram, job_fleet, tmp_path, eventually):
    """R-X5: it isn't gone on with as if it were whole."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("archive"), 1000)
    telegram.faults.latency(0.05)
    path = tmp_path / "archive.jsonl"
    async with job_fleet(alice) as fleet:
        job = await fleet.jobs.scrape_history("archive", session="alice", to=path)
        await pause_midway(fleet, job, path, eventually)
        os.truncate(path, 10)
        await job.resume()
        with pytest.raises(JobFailed, match="10 bytes"):
            await job.result(30)


async def test_a_scrape_that_telegram_refuses_fails_and_can_be_retried(telegram, job_fleet, tmp_path):
    """R-X5: it goes on from where it stood."""
    alice = telegram.add_user("alice")
    telegram.fill_history(telegram.add_channel("archive"), 500)
    path = tmp_path / "archive.jsonl"
    async with job_fleet(alice) as fleet:
        telegram.faults.error("messages.getHistory", 400, "CHANNEL_PRIVATE", user=alice)
        job = await fleet.jobs.scrape_history("archive", session="alice", to=path)
        with pytest.raises(JobFailed, match="ChannelPrivate"):
            await job.result(30)
        assert await job.retry() == 1
        await job.result(30)
        assert len(set(ids(path))) == 500


async def test_what_cannot_be_a_job_is_refused_and_stores_nothing(telegram, job_fleet, tmp_path, new_fleet):
    """Bad input: what was wrong, and what would be right."""
    alice = telegram.add_user("alice")
    with pytest.raises(RuntimeError, match="need a store"):
        await new_fleet(alice).jobs.list()
    fleet = job_fleet(alice)
    with pytest.raises(RuntimeError, match="does not run"):
        await fleet.jobs.bulk_send(["alice"], "hello")
    (tmp_path / "there.jsonl").touch()
    async with fleet:
        jobs = fleet.jobs
        with pytest.raises(TypeError, match="list of peers"):
            await jobs.bulk_send("alice", "hello")
        with pytest.raises(TypeError, match=r"3\.5"):
            await jobs.bulk_send(["alice", 3.5], "hello")
        with pytest.raises(ValueError, match="matches"):
            await jobs.bulk_send(["alice"], "hello", sessions="nobody-*")
        with pytest.raises(SessionUnknown):
            await jobs.bulk_send(["alice"], "hello", sessions=["nobody"])
        with pytest.raises(SessionUnknown):
            await jobs.scrape_history("archive", session="nobody", to=tmp_path / "new.jsonl")
        with pytest.raises(ValueError, match="jsonl, csv, parquet"):
            await jobs.scrape_history("archive", session="alice", to=tmp_path / "new.txt")
        with pytest.raises(ValueError, match="limit"):
            await jobs.scrape_history("archive", session="alice", to=tmp_path / "new.jsonl", limit=0)
        with pytest.raises(FileExistsError, match=r"there\.jsonl"):
            await jobs.scrape_history("archive", session="alice", to=tmp_path / "there.jsonl")
        with pytest.raises(FileNotFoundError, match="no folder"):
            await jobs.scrape_members("archive", session="alice", to=tmp_path / "nowhere" / "new.jsonl")
        assert await jobs.list() == []
        with pytest.raises(JobUnknown):
            await jobs[7].pause()
        done = await (await jobs.bulk_send([], "hello")).result(5)
        assert (done.state, done.total) == (JobState.DONE, 0)
