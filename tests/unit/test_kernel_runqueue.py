"""The run queue: a list that is taken from while it grows."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telestage.actors.kernel import runqueue
from telestage.actors.kernel.runqueue import RunQueue


class Ready:
    """Stands for an actor: the queue asks nothing of what is in it."""


def queue_of(*ready: Any) -> Any:
    queue = RunQueue()
    queue.extend(ready)
    return queue


@given(
    steps=st.lists(st.sampled_from(["append", "trim", "pop"]) | st.integers(1, 5), max_size=60),
    quickly_moved=st.integers(0, 8),
)
def test_it_gives_what_a_deque_would_whatever_is_let_go_meanwhile(steps: list[Any], quickly_moved: int) -> None:
    """`pop` takes the last one, as for a sender that waits; a number takes as many, with one more to come from each."""
    queue = queue_of()
    model: deque[int] = deque()
    number = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runqueue, "_QUICKLY_MOVED", quickly_moved)
        for step in steps:
            if step == "append":
                queue.append(number)
                model.append(number)
                number += 1
            elif step == "trim":
                assert queue.trim() is bool(model)
            elif step == "pop":
                if queue.waiting:
                    assert queue.pop() == model.pop()
            else:
                for taken in queue.taking:
                    assert taken == model.popleft()
                    queue.append(number)
                    model.append(number)
                    number += 1
                    queue.trim()  # as inside a turn
                    step -= 1
                    if not step:
                        break
                else:
                    queue.renew()
            assert queue.waiting == len(model)
            assert queue or not model
    assert list(queue.taking) == list(model)


@pytest.mark.parametrize("meanwhile", ["all were given", "more were given than are left"])
def test_who_was_given_is_let_go_again_and_again(meanwhile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps at the beginning of the list, then the others move up, then gaps again."""
    monkeypatch.setattr(runqueue, "_QUICKLY_MOVED", 0)
    queue = queue_of(*range(10))
    assert list(islice(queue.taking, 4)) == [0, 1, 2, 3]
    queue.trim()
    assert list(queue) == [None, None, None, None, 4, 5, 6, 7, 8, 9]
    if meanwhile == "all were given":
        assert list(queue.taking) == [4, 5, 6, 7, 8, 9]
        queue.renew()
        queue.extend(range(8, 12))
    else:
        assert list(islice(queue.taking, 4)) == [4, 5, 6, 7]
        queue.trim()
        queue.extend(range(10, 12))
    assert list(queue) == [8, 9, 10, 11]
    assert next(queue.taking) == 8
    queue.trim()
    assert list(queue) == [None, 9, 10, 11]


@pytest.mark.parametrize("others", [0, 1, 10_000])
def test_who_was_given_is_let_go_however_many_are_ready(others: int) -> None:
    first = Ready()
    gone = weakref.ref(first)
    queue = queue_of(first, *([Ready()] * others))
    assert next(queue.taking) is first
    del first
    assert queue.trim() is (others > 0)
    gc.collect()
    assert gone() is None
    assert queue.waiting == others


def test_what_was_let_go_takes_no_more_room_than_what_waits() -> None:
    queue = queue_of(*range(10_000))
    longest = 0
    for turns, taken in enumerate(islice(queue.taking, 100_000)):
        queue.append(taken)
        if turns % 512 == 0:
            longest = max(longest, len(queue))
            queue.trim()
    assert queue.waiting == 10_000
    assert 10_000 < longest < 21_000


def test_once_all_are_given_it_begins_anew() -> None:
    queue = queue_of(1, 2)
    assert list(queue.taking) == [1, 2]
    queue.renew()
    assert not queue
    queue.append(3)
    assert (queue.waiting, next(queue.taking), queue.trim(), list(queue)) == (1, 3, False, [])
