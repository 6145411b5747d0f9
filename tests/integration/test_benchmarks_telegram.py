"""The benchmarks of the fleet do their work with a few sessions, and the page says what they found."""

import importlib
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def load(name: str) -> types.ModuleType:
    return importlib.import_module(f"benchmarks.telegram.{name}")


@pytest.mark.parametrize("contestant", ["telestage", "Telethon"])
@pytest.mark.parametrize("number", range(3))
async def test_a_batch_does_as_many_operations_as_it_says(contestant: str, number: int) -> None:
    workload = load("workloads").WORKLOADS[number]
    async with load("workloads").connected(workload, contestant, 3) as batch:
        assert await batch(6) == 6
        found = await load("one").measure(batch, 6)
    assert found["wall"] > 0
    assert found["cpu"] > 0


@pytest.mark.parametrize("rung", ["client", "deadline", "mailbox", "permit"])
async def test_each_rung_sends(rung: str) -> None:
    workload = load("workloads").WORKLOADS[1]
    assert workload.ladder
    async with load("workloads").connected(workload, rung, 3) as batch:
        assert await batch(6) == 6


@pytest.mark.parametrize("contestant", ["telestage", "Telethon"])
async def test_many_sessions_are_measured(contestant: str) -> None:
    scale = load("scale")
    found = await scale.whole(contestant, 4, 0.01)
    assert found["urgent_count"] > 0
    assert found["urgent_p99"] >= found["urgent_p50"] > 0
    assert (await scale.traced(contestant, 2))["bytes_each"] > 1000


def test_contestants_are_processes_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    running = load("running")
    monkeypatch.setattr(running, "WORKLOADS", load("workloads").WORKLOADS[:1])
    said: list[str] = []
    figures = running.overhead(1, 0.01, "asyncio", said.append)
    assert len(said) == 1
    assert {name: len(batches) for name, batches in figures["sequence"].items()} == {"telestage": 8, "Telethon": 8}


def test_the_page_says_what_a_fleet_costs() -> None:
    report = load("report")
    figures = {
        "parallel": {
            "Telethon": [{"cpu": 100.0, "wall": 200.0}, {"cpu": 110.0, "wall": 200.0}],
            "telestage": [{"cpu": 104.0, "wall": 210.0}, {"cpu": 112.0, "wall": 190.0}],
        }
    }
    figures["parallel"]["client"] = [{"cpu": 50.0, "wall": 60.0}, {"cpu": 60.0, "wall": 60.0}]
    kinds = ("start_seconds", "start_cpu", "idle_cpu", "a_second", "busy_cpu", "urgent_p50", "urgent_p99")
    rest = dict.fromkeys((*kinds, "ordinary_p50", "ordinary_p99", "stop_seconds"), 1.0)
    bare = {"count": 1000.0, "bytes_each": 50_000.0, "bytes_each_after": 60_000.0} | rest
    ours = bare | {"bytes_each": 59_000.0, "urgent_p99": 3.0}
    scale = {mode: {"Telethon": [bare], "telestage": [ours]} for mode in ("whole", "traced")}
    page = "\n".join(report.lines(figures, scale))
    assert "| 100 sessions send at once | CPU | 105 us | 108 us | 1.03 (1.02 to 1.04) | at most 1.05 | met |" in page
    assert "| a session's own client instead, which has a deadline for each call | 55 us | -50 us | 0.52 |" in page
    assert "| resident bytes a session | 50,000 | 59,000 | +9,000 | below 8,192 | **not met** |" in page
    assert "| an urgent message, p99 | 1 ms | 3 ms | 3.00 times |  |  |" in page
    assert len(report.outcome(figures, scale)) == 16
