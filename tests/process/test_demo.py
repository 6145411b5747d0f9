"""The demo as a person runs it: a process of its own, with another for the server."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

FIGURES = {
    "ok",
    "sessions",
    "messages_sent",
    "messages_delivered",
    "messages_lost",
    "messages_duplicated",
    "history_scraped",
    "members_scraped",
    "events_expected",
    "events_handled",
    "events_repeated",
    "handler_failures",
    "monitor_restarts",
    "session_restarts",
    "crashes",
    "flood_waits",
    "permits_granted",
    "permits_returned",
    "peak_concurrent_operations",
    "seconds",
}


async def run_demo(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "telestage.cli",
        "demo",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.timeout(120)
async def test_a_small_demo_is_ok_and_its_report_says_so_in_figures(tmp_path: Path) -> None:
    """R-Q1, R-G3, R-M2, R-M3, R-M5, R-S3, R-X2, R-X5: nothing lost, nothing doubled, whatever goes wrong."""
    path = tmp_path / "report.json"
    code, out, err = await run_demo(
        *("--sessions", "10", "--messages", "60", "--history", "450", "--members", "250", "--posts", "20"),
        *("--operations", "6", "--report", str(path)),
    )
    assert code == 0, out + err
    report = json.loads(path.read_text())
    assert set(report) == FIGURES
    assert report["ok"] is True
    assert report["sessions"] == 10
    assert report["messages_sent"] == report["messages_delivered"] == 60
    assert report["messages_lost"] == report["messages_duplicated"] == 0
    assert (report["history_scraped"], report["members_scraped"]) == (450, 250)
    assert report["events_handled"] == report["events_expected"] == 2 * 2 * 3 * 20
    assert report["handler_failures"] == 2 * 3 * 2
    assert report["crashes"] == 1
    assert report["session_restarts"] >= 1
    assert report["flood_waits"] >= 3
    assert report["permits_granted"] == report["permits_returned"] > 0
    assert 1 <= report["peak_concurrent_operations"] <= 6


async def test_without_a_terminal_the_demo_prints_plain_lines(tmp_path: Path) -> None:
    code, out, err = await run_demo(
        "--sessions", "8", "--messages", "20", "--history", "1", "--members", "1", "--posts", "10"
    )
    assert code == 0, out + err
    assert "\x1b" not in out
    assert any("permits" in line and "sessions" in line for line in out.splitlines())
    assert out.splitlines()[-1].strip() == "ok"


async def test_a_plan_that_cannot_be_is_one_clear_line_and_starts_nothing() -> None:
    code, _, err = await run_demo("--sessions", "3")
    assert code == 2
    assert "8 sessions or more" in err
    assert "Traceback" not in err
