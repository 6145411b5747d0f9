"""The order of `Lanes`, against its promise put plainly."""

from hypothesis import given
from hypothesis import strategies as st

from telestage.actors.kernel.lanes import AGEING, Lanes

STEPS = st.lists(st.one_of(st.integers(-3, 12), st.just("take"), st.just("purge")), max_size=300)


@given(STEPS)
def test_lanes_agree_with_a_plain_list(steps: list[int | str]) -> None:
    """R-Q3: highest first, first in first out among equals, every eighth the longest-waiting."""
    lanes = Lanes()
    model: list[tuple[int, int]] = []  # number and priority, in order of arrival
    taken = 1
    for number, step in enumerate(steps):
        if step == "take":
            got = next(lanes.take(1), None)
            if model:
                taken += 1
                highest = max(priority for _, priority in model)
                picked = model[0] if taken % AGEING == 0 else next(item for item in model if item[1] == highest)
                model.remove(picked)
                assert got == picked[0]
            else:
                assert got is None
        elif step == "purge":
            lanes.purge(lambda message: isinstance(message, int) and message % 3 == 0)
            model = [item for item in model if item[0] % 3]
        else:
            assert isinstance(step, int)
            lanes.push(number, step)
            model.append((number, step))
        assert len(lanes) == len(model)
        by_level = sorted(model, key=lambda item: -item[1])
        assert list(lanes) == [number for number, _ in by_level]


@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.integers(0, 39), st.integers(1, 7))
def test_no_message_is_overtaken_for_ever(before: list[int], place: int, stream: int) -> None:
    """R-Q3: with n older ones ahead, it is taken after at most AGEING * (n + 1) others, whatever arrives."""
    lanes = Lanes()
    place %= len(before)
    for number, priority in enumerate(before):
        lanes.push(number, priority if number != place else -1)
    for taken in range(AGEING * (place + 1) + 1):
        for _ in range(stream):
            lanes.push("higher", 100)
        if next(lanes.take(1)) == place:
            return
        assert taken < AGEING * (place + 1)
    raise AssertionError("never taken")


def test_levels_used_once_are_not_kept() -> None:
    """Callers choose the levels: a thousand of them must not leave a thousand empty lanes."""
    lanes = Lanes()
    for level in range(1000):
        lanes.push(level, level)
        assert list(lanes.take(1)) == [level]
    assert len(lanes._levels) <= 65
