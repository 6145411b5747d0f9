"""docs/requirements.md: every requirement has its row, and every row what proves it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
NUMBERS = [
    f"R-{section}{number}"
    for section, count in {"Q": 8, "G": 7, "D": 4, "M": 5, "T": 4, "E": 7, "S": 5, "X": 6}.items()
    for number in range(1, count + 1)
]
OPEN: set[str] = set()
"""What is known to be missing, in part or all of it. A gap that isn't listed here must not be in the table, nor the
other way round."""
UNPROVEN: set[str] = set()
"""Of these, what isn't there at all."""
_ROW = re.compile(r"^\| (R-[A-Z]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def docstrings() -> dict[str, str]:
    """Of every function of every test module, by `folder/file.py::name`."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{path.relative_to(ROOT / 'tests').as_posix()}::{node.name}"] = ast.get_docstring(node) or ""
    return found


ROWS = {number: (what, where, tests) for number, what, where, tests in _ROW.findall(PAGE)}
TESTS = docstrings()


def test_every_number_has_one_row_in_order() -> None:
    assert [number for number, *_ in _ROW.findall(PAGE)] == NUMBERS


def test_what_is_open_is_known_to_be() -> None:
    assert {number for number, (what, *_) in ROWS.items() if "**Open:**" in what} == OPEN
    assert {number for number, (_, _, tests) in ROWS.items() if tests == "—"} == UNPROVEN


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_names_places_and_tests_that_exist_and_name_the_number(number: str) -> None:
    _, where, tests = ROWS[number]
    if number in UNPROVEN:
        return
    places = re.findall(r"`([^`]+)`", where)
    assert places
    assert [place for place in places if not (ROOT / place).is_file()] == []
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    for test in named:
        assert test in TESTS, f"{number}: there is no {test}"
        assert re.search(rf"{number}\b", TESTS[test]), f"{test} doesn't name {number}"


def test_no_test_names_a_requirement_that_there_is_not() -> None:
    named = {(number, test) for test, text in TESTS.items() for number in re.findall(r"\bR-[A-Z]\d+", text)}
    assert {(number, test) for number, test in named if number not in NUMBERS} == set()
