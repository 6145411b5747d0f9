"""The examples do what they say: their own code, against a server on loopback."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from telestage.actors import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("TELESTAGE_API_ID", "1")
    monkeypatch.setenv("TELESTAGE_API_HASH", "hash")
    return monkeypatch


async def test_the_service_sends_answers_and_ends_gracefully(telegram, new_fleet, eventually):
    """R-X5, R-T4: jobs over TCP, a handler, and an end that finishes what was begun."""
    alice, bob, carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
    service = load("embed_in_service").Notifications(new_fleet(alice, bob))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(service.run(0, stop, ready.set_result))
    reader, writer = await asyncio.open_connection("127.0.0.1", await ready)

    async def job(line):
        writer.write(line + b"\n")
        return json.loads(await reader.readline())

    answer = await job(json.dumps({"to": ["carol", "bob", "nobody_there"], "text": "news"}).encode())
    assert answer["sent"] == 2
    assert list(answer["failed"]) == ["nobody_there"]
    assert "error" in await job(b"no job")
    telegram.post(carol, "/status", to=alice)
    await eventually(lambda: len(telegram.delivered(to=carol)) == 2)
    assert "2 of 2 sessions ready, 2 messages sent" in telegram.delivered(to=carol)[1].text

    telegram.faults.latency(0.1, "messages.sendMessage")
    last = asyncio.ensure_future(job(json.dumps({"to": ["carol"], "text": "last"}).encode()))
    await eventually(lambda: service._jobs)
    stop.set()
    assert (await last)["sent"] == 1
    await running
    assert await reader.read() == b""
    writer.close()
    assert telegram.delivered(to=carol)[-1].text == "last"


async def test_the_service_runs_by_its_environment_and_ends_on_sigterm(telegram, credentials, eventually, capsys):
    """R-T4: as it is started by hand."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    credentials.setenv("TELESTAGE_SESSIONS", f"one={alice.session.save()} two={bob.session.save()}")
    running = asyncio.ensure_future(load("embed_in_service").main(["0"]))
    printed = []

    def is_ready():
        printed.append(capsys.readouterr().out)
        return "listening" in "".join(printed)

    await eventually(is_ready)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert telegram.connections() == 0


async def test_the_archive_has_history_and_news_once_each_and_goes_on_where_it_ended(
    telegram, new_fleet, tmp_path, eventually
):
    """R-M5, R-Q7: over two runs, with messages posted while the history is read, and in between."""
    archive = load("archive_channel").archive
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    telegram.fill_history(news, 250)
    path = tmp_path / "news.jsonl"

    def ids():
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []

    async def run(until, while_reading=()):
        stop = asyncio.Event()
        running = asyncio.ensure_future(archive(new_fleet(alice), "news", path, stop))
        for text in while_reading:
            await eventually(lambda: len(ids()) > 100)
            telegram.post(news, text)
        await eventually(lambda: len(ids()) >= until)
        telegram.post(news, "news")
        await eventually(lambda: len(ids()) >= until + 1)
        stop.set()
        return await running

    assert await run(252, while_reading=["p1", "p2"]) >= 250
    telegram.post(news, "in between")
    assert await run(254) <= 1
    assert ids() == list(range(1, 256))


async def test_the_archive_says_what_its_environment_lacks(monkeypatch):
    """Bad input: which variable."""
    monkeypatch.delenv("TELESTAGE_API_ID", raising=False)
    with pytest.raises(KeyError, match="TELESTAGE_API_ID"):
        await load("archive_channel").main(["news", os.devnull])
    assert "archive_channel" not in sys.modules


async def test_a_folder_is_watched_and_a_journal_that_fails_disturbs_nobody(tmp_path, capsys, eventually):
    """R-E: the monitor in a program that has nothing to do with Telegram."""
    folder, journal = tmp_path / "folder", tmp_path / "away" / "journal.jsonl"
    folder.mkdir()
    (folder / "old").write_text("there before")
    stop = asyncio.Event()
    running = asyncio.ensure_future(load("monitor_anything").watch(folder, journal, stop, interval=0.01))
    printed = []

    def has(words):
        printed.append(capsys.readouterr().out)
        return words in "".join(printed)

    async def look(words):
        await eventually(lambda: has(words))

    await asyncio.sleep(0)
    (folder / "new").write_text("12345")
    await look("created new")
    journal.parent.mkdir()  # it couldn't be written until now
    (folder / "old").write_text("longer than it was before")
    await look("changed old")
    (folder / "new").unlink()
    await look("removed new")
    stop.set()
    statistics = await running
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["what"], line["name"]) for line in lines] == [
        ("created", "new"),
        ("changed", "old"),
        ("removed", "new"),
    ]
    assert (statistics.processed, statistics.failed) == (3, 0)


def test_the_first_program_of_the_page_on_events_does_what_it_says():
    """R-E: as it is printed."""
    page = (EXAMPLES.parent / "docs" / "events.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "user-123 3\n", "")


async def test_durable_jobs_are_the_same_at_each_start(telegram, credentials, tmp_path, capsys):
    """R-X5."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    telegram.fill_history(telegram.add_channel("archive"), 150)
    credentials.setenv("SESSION", alice.session.save())
    credentials.chdir(tmp_path)
    example = load("durable_jobs")
    for _ in range(2):
        await example.main("archive", ["bob"], Limits.unpaced())
        assert "bulk_send: done, 1 of 1" in capsys.readouterr().out
    assert len(telegram.delivered()) == 1
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 150
