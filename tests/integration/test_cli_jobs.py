"""`telestage jobs`: on the store of a fleet that runs, and of one that has stopped."""

import asyncio
import json

import pytest

from telestage.actors import Fleet, Limits
from telestage.cli.main import _run


@pytest.fixture
def command(capsys):
    async def run(*arguments):
        """The command in a thread, as it has a loop of its own: its exit code, stdout and stderr."""
        capsys.readouterr()
        code = await asyncio.to_thread(_run, ["jobs", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def fleet(telegram, tmp_path):
    alice = telegram.add_user("alice")
    fleet = Fleet(1, "hash", store=tmp_path / "fleet.db", limits=Limits.unpaced())
    fleet.add("alice", session=alice.session)
    return fleet


async def test_jobs_of_a_running_fleet_are_listed_paused_resumed_and_cancelled(telegram, fleet, command, eventually):
    """R-X5: a fleet that runs notices within half a second."""
    peers = [telegram.add_user(f"peer{number}").username for number in range(200)]
    telegram.faults.latency(0.02)
    store = fleet.store.path
    async with fleet:
        await fleet.jobs.bulk_send(peers, "hello", key="monday")
        code, out, _ = await command("list", "--store", store, "--json")
        (row,) = map(json.loads, out.splitlines())
        assert (code, row["id"], row["key"], row["total"]) == (0, 1, "monday", 200)
        assert await command("pause", 1, "--store", store) == (0, "job 1 paused\n", "")
        await eventually(lambda: fleet.tasks.count(type="job") == 0)
        sent = len(telegram.delivered())
        code, out, _ = await command("show", 1, "--store", store, "--json")
        shown = json.loads(out)
        assert (shown["state"], shown["done"], shown["failures"]) == ("paused", sent, [])
        assert await command("pause", 1, "--store", store) == (0, "job 1 is paused: nothing to pause\n", "")
        assert await command("resume", 1, "--store", store) == (0, "job 1 resumed\n", "")
        await eventually(lambda: len(telegram.delivered()) > sent)
        code, out, _ = await command("cancel", 1, "--store", store, "--json")
        assert json.loads(out)["applied"] is True
        assert json.loads(out)["state"] == "cancelled"
        await eventually(lambda: fleet.tasks.count(type="job") == 0)
    code, _, err = await command("retry", 1, "--store", store)
    assert code == 2
    assert "cancelled" in err


async def test_what_failed_is_shown_and_retried_while_no_fleet_runs(telegram, fleet, command):
    """R-X5: the next fleet does it."""
    async with fleet:
        job = await fleet.jobs.bulk_send(["alice", "later_there"], "hello")
        await job.result(10)
    store = fleet.store.path
    _, out, _ = await command("show", 1, "--store", store)
    assert "to later_there by alice: " in out
    _, out, _ = await command("list", "--store", store)
    assert "bulk_send" in out
    assert "done" in out
    assert await command("retry", 1, "--store", store) == (0, "job 1: 1 messages to be retried\n", "")
    _, out, _ = await command("list", "--store", store, "--json")
    assert json.loads(out)["state"] == "waiting"
    telegram.add_user("later_there")
    async with fleet:
        assert (await fleet.jobs[1].result(10)).done == 2
    assert (await command("retry", 1, "--store", store))[1] == "job 1 is done: nothing to retry\n"


async def test_a_wrong_store_or_job_is_one_clear_line(telegram, fleet, command, tmp_path):
    """Bad input makes nothing."""
    code, _, err = await command("list", "--store", tmp_path / "nowhere.db")
    assert (code, err.count("\n")) == (2, 1)
    assert "nowhere.db" in err
    assert not (tmp_path / "nowhere.db").exists()
    (tmp_path / "text.db").write_text("a text that is long enough to be taken for a header" * 20)
    code, _, err = await command("list", "--store", tmp_path / "text.db")
    assert code == 1
    assert "no SQLite file" in err
    async with fleet:
        pass
    code, out, _ = await command("list", "--store", fleet.store.path)
    assert (code, out) == (0, "no jobs\n")
    code, _, err = await command("pause", 7, "--store", fleet.store.path)
    assert code == 2
    assert "job 7: the store has none of that id" in err
