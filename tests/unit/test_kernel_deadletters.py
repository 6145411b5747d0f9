"""Dead letters: kept up to a bound, all of them counted, told to whoever asks; none of it is lost by who fails."""

import logging
from types import SimpleNamespace

import pytest

from telestage.actors.kernel import deadletters
from telestage.actors.kernel.deadletters import DeadLetter, DeadLetters


def test_the_last_ones_are_kept_and_all_are_counted() -> None:
    """R-S5: in all, and by the type of the message."""
    letters = DeadLetters(capacity=3)
    for number in range(5):
        letters.add(number, None, None, "nobody")
    letters.add("text", None, None, "nobody")
    assert [letter.message for letter in letters.recent] == [3, 4, "text"]
    assert letters.recent[-1].reason == "nobody"
    assert len(letters) == 6
    assert letters.by_type == {"int": 5, "str": 1}


def test_a_thousand_are_kept_by_default() -> None:
    """R-S5: whatever comes, memory doesn't grow."""
    letters = DeadLetters()
    for number in range(1500):
        letters.add(number, None, None, "nobody")
    assert [letters.recent[0].message, letters.recent[-1].message] == [500, 1499]
    assert len(letters.recent) == 1000
    assert len(letters) == 1500


def test_subscribers_are_told_of_each_until_they_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """R-S5: one that fails is logged, and takes none from the others, nor from the record."""
    letters = DeadLetters()
    first: list[DeadLetter] = []
    second: list[DeadLetter] = []

    def fails(letter: DeadLetter) -> None:
        raise LookupError(letter.message)

    letters.add("before", None, None, "nobody")
    end_first = letters.subscribe(first.append)
    end_failing = letters.subscribe(fails)
    letters.subscribe(second.append)
    letters.add("one", None, None, "nobody")
    end_first()
    end_first()  # idempotent
    end_failing()
    letters.add("two", None, None, "nobody")
    assert [letter.message for letter in first] == ["one"]
    assert [letter.message for letter in second] == ["one", "two"]
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in failed if record.exc_info] == ["one"]
    assert len(letters) == 3


def test_a_flood_of_them_is_a_line_a_second(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-S5: which says how many it stands for."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(deadletters, "monotonic", lambda: clock.now)
    letters = DeadLetters()
    for _ in range(50):
        letters.add(1, None, None, "nobody")
    assert [record.getMessage() for record in caplog.records] == ["dead letter: int to None: nobody"]
    clock.now += 1.0
    letters.add("text", None, None, "gone")
    letters.add("text", None, None, "gone")
    assert [record.getMessage() for record in caplog.records[1:]] == ["dead letter (one of 50): str to None: gone"]
