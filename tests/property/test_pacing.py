"""Pacing: windows hold whatever comes, nobody waits for ever, a flood halves and time restores (R-X3)."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from telestage.actors.telegram.limits import Pace
from telestage.actors.telegram.pacing import Key, Pacer, Place, Window

PACES = {
    Pace.SENDING: (5, 10.0),
    Pace.USER: (1, 1.0),
    Pace.GROUP: (2, 8.0),
    Pace.RESOLVING: (2, 6.0),
}
SENDING: Key = (Pace.SENDING, None)
RESOLVING: Key = (Pace.RESOLVING, None)
NEEDS: list[tuple[Key, ...]] = [
    (SENDING,),
    (RESOLVING,),
    (SENDING, RESOLVING),
    *((SENDING, (Pace.USER, peer)) for peer in (1, 2)),
    *((SENDING, (Pace.GROUP, peer)) for peer in (-1, -2)),
]


def new_pacer() -> Pacer:
    return Pacer(PACES.__getitem__, 100.0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from(NEEDS), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.floats(0.0, 7.0)),
        st.tuples(st.just("use"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("flood"), st.sampled_from([SENDING, RESOLVING])),
    ),
    max_size=80,
)


@given(steps)
def test_never_more_than_its_number_in_any_window(script) -> None:
    """R-X3: whatever is let in, held back, given up and slowed down."""
    pacer, now = new_pacer(), 0.0
    places: list[Place] = []  # that wait or are let in
    done: dict[Key, list[float]] = {}
    for action, *what in script:
        if action == "enter":
            place = pacer.place(what[0], what[1])
            pacer.enter(place, now)
            places.append(place)
        elif action == "wait":
            now += what[0]
            pacer.let_in(now)
        elif action == "flood":
            pacer.slow_down(what, now)
        else:
            ready = [place for place in places if place.held] if action == "use" else places
            if not ready:
                continue
            place = ready[what[0] % len(ready)]
            if action == "use":
                for key in place.needs:
                    done.setdefault(key, []).append(now)
                pacer.use(place, place.needs, now)
            pacer.leave(place)
            places.remove(place)
            pacer.let_in(now)
        for key, window in pacer.windows.items():
            assert window.reserved == sum(key in place.held for place in places)
    for key, times in done.items():
        count, seconds = PACES[key[0]]
        for first, last in zip(times, times[count:], strict=False):
            assert last - first >= seconds * (1 - 1e-9), (key, times)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(NEEDS), st.integers(0, 2)), max_size=8), st.sampled_from(NEEDS))
def test_nobody_waits_for_ever(others, needs) -> None:
    """R-X3: not even behind an endless stream of more urgent ones."""
    pacer, now = new_pacer(), 0.0
    for needed, priority in others:
        _enter(pacer, pacer.place(needed, priority), now)
    mine = pacer.place(needs, 0)
    pacer.enter(mine, now)
    for turn in range(400):
        if mine.held:
            return
        for place in pacer.let_in(now):
            if place is not mine:
                pacer.use(place, place.needs, now)
        _enter(pacer, pacer.place(NEEDS[turn % len(NEEDS)], 9), now)
        now += 1.0  # more come than there is room for
    raise AssertionError("still waiting")


def _enter(pacer: Pacer, place: Place, now: float) -> None:
    if pacer.enter(place, now):
        pacer.use(place, place.needs, now)


@given(st.lists(st.sampled_from(NEEDS), min_size=1, max_size=40))
def test_those_for_the_same_go_in_the_order_of_their_coming(needed) -> None:
    """R-X3: sends to one peer stay in order."""
    pacer, now = new_pacer(), 0.0
    places = [pacer.place(needs, 0) for needs in needed]
    order = [place for place in places if pacer.enter(place, now)]
    for place in order:
        pacer.use(place, place.needs, now)
    while len(order) < len(places):
        due = pacer.due(now)
        assert math.isfinite(due), "somebody waits, and for nothing"
        assert due > now
        now = due
        for place in pacer.let_in(now):
            pacer.use(place, place.needs, now)
            order.append(place)
    for needs in NEEDS:
        seqs = [place.seq for place in order if place.needs == needs]
        assert seqs == sorted(seqs)


@given(st.lists(st.sampled_from(NEEDS), min_size=1, max_size=30), st.sampled_from(NEEDS))
def test_it_is_never_let_in_before_what_was_said_to_be_the_earliest(others, needs) -> None:
    """R-X3: so whoever can't make its deadline can be told at once."""
    pacer, now = new_pacer(), 0.0
    for needed in others:
        _enter(pacer, pacer.place(needed, 0), now)
    mine = pacer.place(needs, 0)
    earliest = pacer.earliest(mine, now)
    pacer.enter(mine, now)
    while not mine.held:
        now = pacer.due(now)
        for place in pacer.let_in(now):
            if place is not mine:
                pacer.use(place, place.needs, now)
    assert now >= earliest - 1e-9


@given(st.integers(1, 10), st.floats(0.0, 200.0))
def test_a_flood_halves_and_time_restores(floods: int, later: float) -> None:
    """R-X3: down to a sixteenth; from nothing to all in the seconds of recovery, evenly."""
    window = Window(1, 2.0, 100.0)
    window.reserved = 1
    window.use(0.0)
    for _ in range(floods):
        window.slow_down(0.0)
    factor = max(1 / 16, 0.5**floods)
    assert window.ready_at(0.0) == 2.0 / factor
    assert math.isclose(window.factor(later), min(1.0, factor + later / 100.0))
    assert window.factor(100.0) == 1.0


def test_windows_of_peers_that_are_idle_are_forgotten() -> None:
    """R-X3: a session that writes to a million users remembers those of the last seconds."""
    pacer = Pacer({**PACES, Pace.SENDING: (1000, 1.0)}.__getitem__, 100.0)
    for peer in range(1, 10_000):
        _enter(pacer, pacer.place((SENDING, (Pace.USER, peer)), 0), peer / 10)
    assert pacer.waiting == 0
    assert len(pacer.windows) < 130


def test_windows_that_are_slowed_down_or_let_somebody_in_are_not_forgotten() -> None:
    """R-X3: however many others come and are idle."""
    pacer = Pacer({**PACES, Pace.SENDING: (1000, 1.0)}.__getitem__, 1e6)
    slow: Key = (Pace.USER, -1)
    about_to: Key = (Pace.USER, -2)
    pacer.slow_down([slow], 0.0)
    place = pacer.place((about_to,), 0)
    assert pacer.enter(place, 0.0)
    for peer in range(1, 1000):
        _enter(pacer, pacer.place((SENDING, (Pace.USER, peer)), 0), float(peer))
    assert len(pacer.windows) < 200
    assert pacer.window(slow, 1000.0).factor(1000.0) < 0.6
    pacer.use(place, (about_to,), 1000.0)
    assert pacer.window(about_to, 1000.0).ready_at(1000.0) == 1001.0


def test_the_earliest_is_after_those_that_came_before() -> None:
    """R-X3: of the same priority or a higher one."""
    pacer = new_pacer()
    pacer.slow_down([(Pace.USER, 1)], 0.0)
    for priority in (0, 1, 1):
        pacer.enter(pacer.place(((Pace.USER, 1),), priority), 0.0)
    assert pacer.waiting == 2
    assert pacer.earliest(pacer.place(((Pace.USER, 1),), 2), 0.0) == 1.0
    assert pacer.earliest(pacer.place(((Pace.USER, 1),), 1), 0.0) == 3.0
    assert pacer.earliest(pacer.place(((Pace.USER, 1),), 0), 0.0) == 3.0
