"""The checkpoint of a session against a plain list of steps, and the order of a difference against what happened."""

import datetime

from hypothesis import given
from hypothesis import strategies as st
from telethon import types

from telestage.actors.telegram.checkpoint import Account, Channel, Checkpoint, Position
from telestage.actors.telegram.updatebox import in_order

NOW = datetime.datetime.now(datetime.UTC)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=20), st.randoms())
def test_a_checkpoint_is_where_the_longest_row_of_steps_that_are_done_ends(received, rng):
    """R-M5: whatever the order in which handlers are done."""
    checkpoint = Checkpoint()
    checkpoint.base(Position(Account(1, 0, NOW, 0), {}))
    steps, left, pts = [], [], dict.fromkeys(range(1, 4), 1)
    states = [(1, {})]
    for number, (deliveries, channel) in enumerate(received):
        pts[channel] += 1
        changed = {channel: Channel(pts[channel], 0)}
        step = checkpoint.begin(Position(Account(number + 2, 0, NOW, 0), dict(changed)))
        for _ in range(deliveries):
            step.hold()
        step.release()
        steps.append(step)
        left.append(deliveries)
        states.append((number + 2, {**states[-1][1], **changed}))
    while True:
        done = next((n for n, count in enumerate(left) if count), len(left))
        assert checkpoint.account is not None
        assert (checkpoint.account.pts, checkpoint.channels) == states[done]
        if done == len(left):
            return
        chosen = rng.choice([n for n, count in enumerate(left) if count])
        left[chosen] -= 1
        steps[chosen].release()


def test_a_frozen_checkpoint_stays_where_it_is():
    """R-M5: what a stop takes from the monitors is to come again."""
    checkpoint = Checkpoint()
    checkpoint.base(Position(Account(1, 0, NOW, 0), {5: Channel(1, 0)}))
    step = checkpoint.begin(Position(Account(2, 0, NOW, 0), {5: Channel(2, 0)}))
    checkpoint.freeze()
    step.release()
    assert (checkpoint.account, checkpoint.channels) == (Account(1, 0, NOW, 0), {5: Channel(1, 0)})


def test_what_comes_a_second_time_ends_beyond_what_was_received_and_not_at_it():
    """R-M5: where that is reached exactly, pages of a history may still come."""
    checkpoint = Checkpoint({0: 10, 5: 20})
    checkpoint.reached(Position(Account(10, 0, NOW, 0), {5: Channel(20, 0)}))
    assert checkpoint.rewound == {0: 10, 5: 20}
    checkpoint.reached(Position(Account(11, 0, NOW, 0), {5: Channel(20, 0)}))
    assert checkpoint.rewound == {5: 20}
    checkpoint.reached(Position(None, {5: Channel(21, 0)}))
    assert checkpoint.rewound == {}


@given(st.lists(st.sampled_from(["new", "edit", "delete"]), max_size=30), st.randoms())
def test_a_difference_is_put_in_the_order_in_which_it_happened(kinds, rng):
    """R-M5: exactly, unless messages were written and deleted in between."""
    happened, messages, others, old, pts = [], [], [], list(range(1, 11)), 100
    new_id = 50
    for kind in kinds:
        pts += 1
        if kind == "new":
            new_id += 1
            update = types.UpdateNewMessage(types.Message(new_id, types.PeerUser(1), None, ""), 0, 0)
            messages.append(update)
        elif kind == "edit":
            id = rng.choice([*old, *range(51, new_id + 1)]) if old or new_id > 50 else 1
            update = types.UpdateEditMessage(types.Message(id, types.PeerUser(1), None, ""), pts, 1)
            others.append(update)
        else:
            gone = [old.pop() for _ in range(min(2, len(old)))] or [0]
            pts += len(gone) - 1
            update = types.UpdateDeleteMessages(gone, pts, len(gone))
            others.append(update)
        happened.append(update)
    rng.shuffle(messages)
    rng.shuffle(others)
    assert in_order(100, messages, others) == happened
