"""`Supervision` against OTP's rules (supervisor.erl, add_restart), and the bounds of `Backoff`."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from telestage.actors.kernel import Backoff, Directive, Supervision
from telestage.actors.kernel.supervision import RestartLog

ERRORS = [ValueError, KeyError, LookupError, UnicodeError, OSError, TimeoutError, RuntimeError, Exception]


class Otp:
    """OTP: a restart is allowed if, with it, there were no more than `intensity` within the last `period`."""

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity, self.period = intensity, period
        self.restarts: list[float] = []

    def allows(self, now: float) -> bool:
        restarts = [at for at in [now, *self.restarts] if at >= now - self.period]
        if len(restarts) > self.intensity:
            return False
        self.restarts = restarts
        return True


@given(
    intensity=st.integers(0, 6),
    period=st.sampled_from([1.0, 5.0, 60.0]),
    gaps=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 61.0]), max_size=60),
    exceeded=st.sampled_from([Directive.STOP, Directive.ESCALATE]),
)
def test_intensity_and_period_count_as_otp_does(
    intensity: int, period: float, gaps: list[float], exceeded: Directive
) -> None:
    """R-S2."""
    rules = Supervision(intensity=intensity, period=period, exceeded=exceeded)
    model, log, rng = Otp(intensity, period), RestartLog(), random.Random(0)
    now, allowed = 0.0, 0
    for gap in gaps:
        now += gap
        decision = rules.decide(ValueError(), log, now, rng)
        if model.allows(now):
            allowed += 1
            assert decision.directive is Directive.RESTART
        else:
            assert decision == (exceeded, 0.0)
        assert log.total == allowed
        assert len(log.recent) <= intensity


@given(st.dictionaries(st.sampled_from(ERRORS), st.sampled_from(list(Directive))), st.sampled_from(ERRORS))
def test_the_most_specific_class_decides(
    directives: dict[type[BaseException], Directive], error: type[Exception]
) -> None:
    """R-S1: and what isn't listed is restarted."""
    listed = [cls for cls in directives if issubclass(error, cls)]
    expected = directives[max(listed, key=lambda cls: len(cls.__mro__))] if listed else Directive.RESTART
    assert Supervision(directives).directive_for(error("x")) is expected


@given(
    first=st.floats(0, 100),
    factor=st.floats(1, 1e9),
    maximum=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    restarts=st.integers(0, 5000),
    seed=st.integers(),
)
def test_a_backoff_is_never_above_its_maximum_nor_negative(
    first: float, factor: float, maximum: float, jitter: float, restarts: int, seed: int
) -> None:
    """R-S2: jitter included, and no exponent overflows."""
    delay = Backoff(first, factor, maximum, jitter).delay(restarts, random.Random(seed))
    assert 0 <= delay <= maximum
    if not first:
        assert delay == 0


@given(st.floats(0.001, 10), st.floats(1, 3), st.integers(0, 8))
def test_a_backoff_without_jitter_is_exponential(first: float, factor: float, restarts: int) -> None:
    assume(first * factor**restarts <= 1e6)
    delay = Backoff(first, factor, 1e6, jitter=0).delay(restarts, random.Random(0))
    assert delay == pytest.approx(first * factor**restarts)


def test_a_restart_exactly_one_period_ago_still_counts() -> None:
    """R-S2: as in OTP, whose comparison is >=."""
    rules, log, rng = Supervision(intensity=1, period=5.0), RestartLog(), random.Random(0)
    assert rules.decide(ValueError(), log, 0.0, rng).directive is Directive.RESTART
    assert rules.decide(ValueError(), log, 5.0, rng).directive is Directive.ESCALATE
    assert rules.decide(ValueError(), log, 5.25, rng).directive is Directive.RESTART


def test_jitter_spreads_those_that_failed_together() -> None:
    """R-S2."""
    rng = random.Random(1)
    delays = {Backoff(first=1.0, maximum=30).delay(3, rng) for _ in range(100)}
    assert len(delays) == 100
    assert 6.4 <= min(delays) < 7 < 9 < max(delays) <= 9.6


@pytest.mark.parametrize(
    "arguments",
    [
        {"intensity": -1},
        {"period": 0},
        {"exceeded": Directive.RESTART},
        {"backoff": Backoff(first=-1)},
        {"backoff": Backoff(factor=0.5)},
        {"backoff": Backoff(jitter=2)},
        {"backoff": Backoff(maximum=float("nan"))},
    ],
)
def test_rules_that_cannot_be_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|first and maximum"):
        Supervision(**arguments)  # type: ignore[arg-type]  # the mistakes are the point
