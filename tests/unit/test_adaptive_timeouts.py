"""Timeouts that follow what operations take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telestage.actors import Limits
from telestage.actors.telegram.adaptive import Timeouts
from telestage.messages import Kind

SENDING = Limits(adaptive_timeouts={Kind.SENDING: (0.5, 120.0)})


def test_timeouts_are_fixed_unless_asked_for_otherwise():
    """R-G7: off by default."""
    timeouts = Timeouts(Limits())
    for _ in range(1000):
        timeouts.note(Kind.SENDING, 0.001)
    assert timeouts.of(Kind.SENDING) == 60.0
    timeouts = Timeouts(SENDING)
    for _ in range(1000):
        timeouts.note(Kind.SCRAPING, 0.001)
    assert timeouts.of(Kind.SCRAPING) == 300.0


def test_the_fixed_timeout_holds_until_enough_is_known():
    """R-G7: but within the bounds."""
    timeouts = Timeouts(SENDING)
    for _ in range(19):
        timeouts.note(Kind.SENDING, 2.0)
    assert timeouts.of(Kind.SENDING) == 60.0
    timeouts.note(Kind.SENDING, 2.0)
    assert timeouts.of(Kind.SENDING) == pytest.approx(4.0, rel=0.2)
    assert Timeouts(Limits(adaptive_timeouts={Kind.SENDING: (1.0, 10.0)})).of(Kind.SENDING) == 10.0


def test_the_timeout_is_twice_the_99th_percentile():
    """R-G7: two slow ones of a hundred move it, and one of a thousand doesn't."""
    timeouts = Timeouts(SENDING)
    for number in range(400):
        timeouts.note(Kind.SENDING, 10.0 if number % 50 == 0 else 1.0)
    assert timeouts.of(Kind.SENDING) == pytest.approx(20.0, rel=0.2)
    timeouts = Timeouts(SENDING)
    for number in range(400):
        timeouts.note(Kind.SENDING, 10.0 if number == 7 else 1.0)
    assert timeouts.of(Kind.SENDING) == pytest.approx(2.0, rel=0.2)


def test_a_timeout_that_has_become_too_short_grows_again():
    """R-G7: what ran into it counts as having taken that long."""
    timeouts = Timeouts(SENDING)
    for _ in range(100):
        timeouts.note(Kind.SENDING, 0.3)
    assert timeouts.of(Kind.SENDING) < 1.0
    for _ in range(20):
        timeouts.note(Kind.SENDING, timeouts.of(Kind.SENDING))  # Telegram is slow now: each one is cut off
    assert timeouts.of(Kind.SENDING) == 120.0


def test_what_is_long_past_counts_no_more():
    """R-G7."""
    timeouts = Timeouts(SENDING)
    for _ in range(500):
        timeouts.note(Kind.SENDING, 20.0)
    for _ in range(499):
        timeouts.note(Kind.SENDING, 1.0)
    assert timeouts.of(Kind.SENDING) == pytest.approx(40.0, rel=0.2)
    timeouts.note(Kind.SENDING, 1.0)
    assert timeouts.of(Kind.SENDING) == pytest.approx(2.0, rel=0.2)


@given(st.lists(st.floats(0.0, 1e6), max_size=200), st.floats(0.01, 100.0), st.floats(0.0, 100.0))
def test_no_observation_takes_the_timeout_out_of_its_bounds(durations, floor, more):
    """R-G7."""
    timeouts = Timeouts(Limits(adaptive_timeouts={Kind.OTHER: (floor, floor + more)}))
    for seconds in durations:
        timeouts.note(Kind.OTHER, seconds)
        assert floor <= timeouts.of(Kind.OTHER) <= floor + more


@pytest.mark.parametrize(
    "bounds", [{"sending": (1.0, 2.0)}, {Kind.SENDING: (0.0, 2.0)}, {Kind.SENDING: (3.0, 2.0)}, {Kind.SENDING: (1.0,)}]
)
def test_bounds_that_can_not_be_are_refused(bounds):
    """R-G7, bad input."""
    with pytest.raises(ValueError, match="adaptive_timeouts"):
        Limits(adaptive_timeouts=bounds)
