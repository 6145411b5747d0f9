"""The order of `Lanes`, against its promise put plainly."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from telestage.actors.kernel.lanes import AGEING, Lanes

LEVELS = st.integers(-3, 12)


class LanesMachine(RuleBasedStateMachine):
    """R-Q3: highest first, first in first out among equals, every eighth the longest-waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.model: list[tuple[int, int]] = []  # number and level, the longest waiting first
        self.taken = 1
        self.numbers = 0

    def new(self, level: int) -> tuple[int, int]:
        self.numbers += 1
        return self.numbers, level

    @rule(level=LEVELS)
    def push(self, level: int) -> None:
        item = self.new(level)
        self.lanes.push(*item)
        self.model.append(item)

    @rule(levels=st.lists(LEVELS, max_size=4))
    def push_front(self, levels: list[int]) -> None:
        items = [self.new(level) for level in levels]
        self.lanes.push_front(items)
        self.model = items + self.model

    @rule(most=st.integers(1, 12))
    def take(self, most: int) -> None:
        for got in self.lanes.take(most):
            self.taken += 1
            highest = max(level for _, level in self.model)
            picked = self.model[0] if self.taken % AGEING == 0 else next(i for i in self.model if i[1] == highest)
            self.model.remove(picked)
            assert (got, self.lanes.level) == picked
            most -= 1
        assert most == 0 or not self.model

    @rule(level=LEVELS, part=st.integers(1, 3))
    def take_oldest(self, level: int, part: int) -> None:
        may_go = [item for item in sorted(self.model, key=lambda item: item[1]) if not item[0] % part]
        picked = next((item for item in may_go if item[1] <= level), None)
        got = self.lanes.take_oldest(level, lambda message: isinstance(message, int) and not message % part)
        assert got == (None if picked is None else picked[0])
        if picked is not None:
            self.model.remove(picked)

    @rule(part=st.integers(1, 3))
    def purge(self, part: int) -> None:
        self.lanes.purge(lambda message: isinstance(message, int) and not message % part)
        self.model = [item for item in self.model if item[0] % part]

    @invariant()
    def lanes_agree_with_a_plain_list(self) -> None:
        """R-Q3."""
        assert len(self.lanes) == len(self.model)
        assert list(self.lanes) == [number for number, _ in sorted(self.model, key=lambda item: -item[1])]


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


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
