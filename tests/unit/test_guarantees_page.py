"""Every guarantee that docs/guarantees.md makes has a test, and every known failure is on the page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def names_in(*paths: Path) -> set[str]:
    return {name for path in paths for name in TEST.findall(path.read_text())}


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named <= names_in(*(ROOT / "tests").rglob("test_*.py"))


def test_every_promise_names_its_proof() -> None:
    promises = PAGE[: PAGE.index("## What is not promised")]
    rows = [
        row
        for row in promises.splitlines()
        if row.startswith("| ") and not row.startswith(("| what is", "| the failure"))
    ]
    assert len(rows) > 25
    assert [row for row in rows if "`test_" not in row.split(" | ")[-1]] == []


@pytest.mark.parametrize("topic", ["mailbox", "supervision", "ending"])
def test_every_known_failure_of_others_is_a_guarantee_here(topic: str) -> None:
    missing = names_in(ROOT / "tests" / "unit" / f"test_known_failures_{topic}.py") - set(re.findall(r"`(\w+)`", PAGE))
    assert missing == set()


def test_twelve_known_failures_of_others_are_named_with_what_shows_that_they_cannot_happen() -> None:
    section = PAGE[PAGE.index("## What went wrong elsewhere") : PAGE.index("## What is not promised")]
    rows = [row for row in section.splitlines() if "`test_" in row and row.startswith("| ")]
    known = names_in(*(ROOT / "tests" / "unit").glob("test_known_failures_*.py"))
    assert len(rows) == 12
    assert [row for row in rows if not set(re.findall(r"`(test_\w+)`", row)) <= known] == []
