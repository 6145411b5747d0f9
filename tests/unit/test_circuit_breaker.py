"""The circuit breaker by itself, with a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from telestage.actors.monitoring.breaker import BreakerState, CircuitBreaker


@given(
    failures=st.one_of(st.none(), st.integers(1, 4)),
    steps=st.lists(st.tuples(st.sampled_from(["ok", "fail", "wait", "long"])), max_size=40),
)
def test_the_breaker_is_that_of_a_plain_model(failures, steps):
    """R-E5: opens after so many failures in a row, half-open after its time, closes on success."""
    breaker = CircuitBreaker(failures, 60.0)
    now, row, opened = 0.0, 0, None
    for (step,) in steps:
        if step == "wait":
            now += 59.0
        elif step == "long":
            now += 60.0
        elif step == "ok":
            breaker.succeeded()
            row, opened = 0, None
        else:
            row += 1
            opens = opened is not None or (failures is not None and row >= failures)
            if opens:
                opened = now
            assert breaker.failed(now) is opens
        expected = BreakerState.CLOSED
        if opened is not None:
            expected = BreakerState.OPEN if now - opened < 60.0 else BreakerState.HALF_OPEN
        assert breaker.state(now) is expected
        assert breaker.row == row


def test_the_defaults_are_three_failures_and_one_minute():
    """R-E4, R-E5: as they are in a handler's policy."""
    from telestage.actors import EventMonitorConfig

    config = EventMonitorConfig()
    assert (config.breaker_failures, config.breaker_seconds) == (3, 60.0)
    assert (config.max_handler_failures, config.failure_reset_interval) == (5, 300.0)
    assert (config.max_queue_size, config.warn_at, config.heartbeat_interval) == (1000, 0.8, 1.0)
