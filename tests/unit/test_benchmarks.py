"""The benchmarks run, on a scale at which their figures mean nothing, and the page says what they found."""

import asyncio
import importlib
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def load(name: str) -> types.ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("contestant", ["ours", "naive", "textbook", "mechanism"])
async def test_every_workload_of_a_contestant_runs(contestant: str) -> None:
    module = load(f"kernel.{contestant}")
    workloads = [workload for workload in load("kernel.workloads").WORKLOADS if hasattr(module, workload.name)]
    assert contestant in ("textbook", "mechanism") or len(workloads) == len(load("kernel.workloads").WORKLOADS)
    for workload in workloads:
        figure = await getattr(module, workload.name)(1000)
        assert figure > 0 or workload.name == "memory", workload.name  # what earlier tests freed is taken again


async def test_every_price_is_measured() -> None:
    prices = load("kernel.prices")
    for name in prices.PRICES:
        found = await prices.differences(name, 1000, 1)
        assert found["without"][0] > 0, name
        assert found["with"][0] > 0, name


async def test_chains_and_very_many_actors_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    chains, million = load("kernel.chains"), load("kernel.million")
    monkeypatch.setattr(chains, "LENGTHS", (1, 30))
    monkeypatch.setattr(chains, "_ASKS", 10)
    found = await chains._all(1)
    assert set(found["hop"]) == set(found["check"]) == {1, 30}
    assert (await million._measure(2000))["stop_seconds"] > 0


def test_the_page_says_which_goals_are_met_and_which_not() -> None:
    report, workloads = load("report"), load("kernel.workloads")
    results = report.Results(
        facts={"rounds": 3, "python": "3", "system": "x", "cores": 1, "loop": "asyncio", "seconds": 1}
        | {"command": "make bench", "other_loop": "uvloop"},
        figures={
            "tell": {"telestage": [300.0, 40.0, 600.0], "naive": [100.0, 10.0, 100.0]},
            "ask": {"telestage": [5.0, 5.0, 5.0], "naive": [1.0, 1.0, 1.0], "xoscar": [4.0, 4.0, 4.0]},
            "stall": {"telestage": [0.6, 0.4, 0.7]},
        },
    )
    page = report.markdown(results, workloads.WORKLOADS)
    assert "| tell 1 to 1 | naive | 4.00 (3.00 to 6.00) | 3.3 | met |" in page
    assert "| ask, one after another | naive | 5.00 (5.00 to 5.00) | 5 | met |" in page
    assert "| ask, one after another | xoscar | 1.25 (1.25 to 1.25) | 2 | **not met** |" in page
    assert "| longest loop stall, 200,000 waiting |  | 0.6 ms | at most 0.5 | **not met** |" in page
    assert "uvloop" not in page  # it wasn't measured
    assert len(list(report.outcome(results, workloads.WORKLOADS))) == 4


async def test_the_naive_form_keeps_order_and_answers() -> None:
    """A baseline that doesn't do the work would make anybody look slow or quick."""
    naive, messages = load("kernel.naive"), load("kernel.messages")
    counter = naive.Counter()
    for _ in range(10):
        counter.tell(messages.Count())
    assert await counter.ask(messages.Get()) == 10
    await naive.stop_all([counter])
    assert counter.task.done()
    await asyncio.sleep(0)
