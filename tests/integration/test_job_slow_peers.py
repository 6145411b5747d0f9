"""A bulk send with slow groups among its recipients: they wait, and nobody else does (R-X2, R-X5)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telestage.actors import FloodParked
from telestage.actors.jobs.slow import SlowPeers
from telestage.actors.jobs.work import Waiting


@pytest.fixture
def place(telegram):
    """Alice, a group in which she has written already and that is slow from then on, and twenty people."""
    alice = telegram.add_user("alice")
    group = telegram.add_channel("group", [alice], megagroup=True)
    people = [telegram.add_user(f"peer{number}").username for number in range(20)]
    return alice, group, people


async def made_slow(telegram, fleet, group, seconds):
    telegram.faults.slow_mode(group, seconds)
    await fleet["alice"].send_message("group", "before")
    assert len(telegram.delivered(to=group)) == 1


async def stored(job):
    """The random_ids of a job's messages to the group, in its order."""
    return [each.random_id async for each in job.deliveries() if each is not None and each.peer == "group"]


def refusals(telegram):
    return [call for call in telegram.calls if call.outcome.startswith("SLOWMODE")]


async def test_the_others_go_on_and_the_slow_ones_come_at_their_time_in_order(telegram, new_fleet, place, tmp_path):
    """R-X2: a peer's slow mode holds up nothing else of the session's share, and its messages keep their order."""
    alice, group, people = place
    async with new_fleet(alice, store=tmp_path / "fleet.db") as fleet:
        await made_slow(telegram, fleet, group, 3)
        began = time.monotonic()
        recipients = ["group", *people[:10], "group", *people[10:]]
        job = await fleet.jobs.bulk_send(recipients, "hello")
        reasons = {status.reason async for status in job.progress()}
        status = await job.status()
        assert (status.done, status.failed, status.reason) == (22, 0, "")
        assert any(f"sending to {group.marked_id} is parked" in reason for reason in reasons)
        assert time.monotonic() - began >= 5.0  # at 3 s and at 6 s after the one before
        sent = telegram.delivered()[1:]
        assert [each.peer for each in sent[-2:]] == [group.marked_id] * 2
        assert len({each.peer for each in sent}) == 21
        assert [each.random_id for each in sent[-2:]] == await stored(job)
        assert len(refusals(telegram)) == 2  # each was asked for twice: at first, and at its time


async def test_what_was_put_off_outlives_the_process(telegram, new_fleet, place, tmp_path, eventually):
    """R-X5: a fleet that stops meanwhile leaves it in the store; the next one sends each once, not before its time."""
    alice, group, people = place
    store = tmp_path / "fleet.db"
    async with new_fleet(alice, store=store) as fleet:
        await made_slow(telegram, fleet, group, 4)
        await fleet.jobs.bulk_send(["group", *people, "group"], "hello")
        await eventually(lambda: len(telegram.delivered()) == 21)
        began = time.monotonic()
    assert time.monotonic() - began < 3.0  # the stop doesn't wait for a slow peer
    async with new_fleet(alice, store=store) as fleet:
        status = await fleet.jobs[1].result(20)
        assert (status.done, status.failed) == (22, 0)
        sent = telegram.delivered()[1:]
        assert len(sent) == len({each.random_id for each in sent}) == 22
        assert [each.random_id for each in sent[-2:]] == await stored(fleet.jobs[1])
        assert len(refusals(telegram)) == 2
        assert telegram.repeats == 0


async def test_slow_mode_under_another_name_of_the_peer(telegram, new_fleet, place, tmp_path):
    """R-X2: the second message is known to be too early, and isn't asked for before the first one's time."""
    alice, group, people = place
    async with new_fleet(alice, store=tmp_path / "fleet.db") as fleet:
        await made_slow(telegram, fleet, group, 2)
        job = await fleet.jobs.bulk_send(["group", people[0], group.marked_id, people[1]], "hello")
        assert (await job.result(20)).done == 4
        deliveries = [each.random_id async for each in job.deliveries()]
        assert [each.random_id for each in telegram.delivered()[1:]] == [deliveries[n] for n in (1, 3, 0, 2)]
        assert len(refusals(telegram)) == 2


def parked(until):
    return FloodParked("alice", "sending", until, 1)


@given(
    peers=st.lists(st.sampled_from("abc"), max_size=20),
    waits=st.lists(st.integers(0, 5), max_size=30),
)
def test_messages_to_a_slow_peer_keep_their_order_and_its_time(peers, waits):
    """R-X2: as one session sends them, with refusals at random; what is never held up is sent at once."""
    slow, sent, until, now = SlowPeers(), [], dict.fromkeys("abc", 0), 0
    todo = [Waiting(place, peer, place) for place, peer in enumerate(peers)]
    refusals = list(waits)
    while todo or slow:
        message = slow.due(now)
        if message is None and todo:
            message = todo.pop(0)
            if slow.holds(message):
                continue
        if message is None:
            assert slow.first().until > now
            now = slow.first().until
            continue
        assert until[message.peer] <= now
        if refusals and (wait := refusals.pop()):
            until[message.peer] = now + wait
            slow.put_back(message, parked(now + wait))
        else:
            sent.append(message)
    assert sorted(each.place for each in sent) == list(range(len(peers)))
    for peer in "abc":
        places = [each.place for each in sent if each.peer == peer]
        assert places == sorted(places)
