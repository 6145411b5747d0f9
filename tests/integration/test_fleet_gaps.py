"""Updates missed in between are fetched: each monitor gets each message once, in order."""

import asyncio

import pytest
from telethon import events


def watched(fleet, *chats):
    """Has a fleet collect what arrives, by session."""
    got = {name: [] for name in fleet}
    fleet.on(events.NewMessage(chats=chats or None, incoming=True), name="watch")(
        lambda event: got[event.client.label].append(event.raw_text)
    )
    return got


@pytest.mark.parametrize("seen_before", [0, 3])
async def test_posts_made_while_cut_off_arrive_once_and_in_order(telegram, new_fleet, eventually, seen_before):
    """R-M5: also when they were the first that the channel ever had for this session."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    telegram.fill_history(news, 5)
    fleet = new_fleet(alice, bob)
    got = watched(fleet, "news")
    async with fleet:
        for n in range(seen_before):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got["alice"]) == seen_before)
        telegram.faults.disconnect(alice)
        for n in range(seen_before, seen_before + 10):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got["alice"]) >= seen_before + 10)
        telegram.post(news, "last")
        await eventually(lambda: "last" in got["alice"] and "last" in got["bob"])
    everything = [*(f"p{n}" for n in range(seen_before + 10)), "last"]
    assert got == {"alice": everything, "bob": everything}


async def test_private_messages_sent_while_cut_off_arrive_once_and_in_order(telegram, new_fleet, eventually):
    """R-M5."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    got = watched(fleet)
    async with fleet:
        telegram.post(bob, "p0", to=alice)
        await eventually(lambda: got["alice"] == ["p0"])
        telegram.faults.disconnect(alice)
        for n in range(1, 6):
            telegram.post(bob, f"p{n}", to=alice)
        await eventually(lambda: len(got["alice"]) >= 6)
        assert fleet.status().sessions[0].restarts == 0
    assert got["alice"] == [f"p{n}" for n in range(6)]


async def test_posts_made_while_a_session_restarts_arrive_once_and_in_order(telegram, new_fleet, eventually):
    """R-M5: over kills and disconnects in a row."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob], megagroup=True)
    fleet = new_fleet(alice)
    got = watched(fleet, "news", "bob")
    async with fleet:
        telegram.post(news, "n0")
        telegram.post(bob, "b0", to=alice)
        await eventually(lambda: len(got["alice"]) == 2)
        for n in range(1, 4):
            await fleet.restart("alice")
            telegram.post(news, f"n{2 * n - 1}")
            telegram.post(bob, f"b{2 * n - 1}", to=alice)
            telegram.faults.disconnect(alice)
            telegram.post(news, f"n{2 * n}")
            telegram.post(bob, f"b{2 * n}", to=alice)
            await fleet["alice"].settled()
        await eventually(lambda: len(got["alice"]) >= 14)
        telegram.post(news, "last")
        await eventually(lambda: "last" in got["alice"])
    assert [text for text in got["alice"] if text[0] == "n"] == [f"n{n}" for n in range(7)]
    assert [text for text in got["alice"] if text[0] == "b"] == [f"b{n}" for n in range(7)]
    assert len(got["alice"]) == 15


@pytest.mark.parametrize("slow", ["users.getUsers", "updates.getDifference", "updates.getChannelDifference"])
@pytest.mark.parametrize("failures", [1, 2])
async def test_posts_made_while_there_was_no_client_at_all_arrive_once_and_in_order(
    telegram, new_fleet, eventually, slow, failures
):
    """R-M5: what the new client fetches waits until the monitors are taken over, whichever takes longer.

    A client that could not even connect doesn't overwrite where the updates stand.
    """
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice, connection_retries=0, retry_delay=0)
    got = watched(fleet, "news", "bob")
    async with fleet:
        telegram.post(news, "n0")
        telegram.post(bob, "b0", to=alice)
        await eventually(lambda: len(got["alice"]) == 2)
        telegram.faults.refuse_connections()
        telegram.faults.disconnect(alice)
        await eventually(lambda: fleet["alice"].status.restarts >= failures)
        for n in range(1, 6):
            telegram.post(news, f"n{n}")
            telegram.post(bob, f"b{n}", to=alice)
        telegram.faults.latency(0.05, slow)
        telegram.faults.accept_connections()
        await eventually(lambda: len(got["alice"]) >= 12)
        telegram.post(news, "n6")
        await eventually(lambda: "n6" in got["alice"])
    assert [text for text in got["alice"] if text[0] == "n"] == [f"n{n}" for n in range(7)]
    assert [text for text in got["alice"] if text[0] == "b"] == [f"b{n}" for n in range(6)]


async def test_an_update_that_was_lost_comes_before_the_one_that_shows_the_gap(telegram, new_fleet, eventually):
    """R-M5."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = watched(fleet)
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: got["alice"] == ["p0"])
        telegram.faults.lose_updates(count=2)
        for n in range(1, 5):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got["alice"]) >= 5)
        telegram.faults.lose_updates(alice)
        telegram.post(bob, "b0", to=alice)
        telegram.post(bob, "b1", to=alice)
        await eventually(lambda: len(got["alice"]) >= 7)
    assert got["alice"] == [*(f"p{n}" for n in range(5)), "b0", "b1"]


async def test_events_that_wait_for_a_handler_survive_the_restart_of_their_session(telegram, new_fleet, eventually):
    """R-M5, R-S3: the monitor and its mailbox outlive it."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got, go_on = [], asyncio.Event()

    @fleet.on(events.NewMessage(chats="news"))
    async def slow(event):
        await go_on.wait()
        got.append(event.raw_text)

    async with fleet:
        for n in range(4):
            telegram.post(news, f"p{n}")
        await eventually(lambda: fleet.status().monitors[0].queued == 3)
        await fleet.restart("alice")
        await fleet["alice"].settled()
        telegram.post(news, "p4")
        await eventually(lambda: fleet.status().monitors[0].queued == 4)
        go_on.set()
        await eventually(lambda: len(got) == 5)
    assert got == [f"p{n}" for n in range(5)]


async def test_a_fleet_that_is_started_again_gets_what_it_missed(telegram, new_fleet, eventually):
    """R-M5: the session keeps where its updates stand."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    got = watched(fleet)
    async with fleet:
        telegram.post(bob, "p0", to=alice)
        await eventually(lambda: got["alice"] == ["p0"])
    telegram.post(bob, "p1", to=alice)
    async with fleet:
        await eventually(lambda: got["alice"] == ["p0", "p1"])
        assert (await fleet["alice"].get_me()).username == "alice"
