"""What the store keeps of updates: a new process goes on where the last one was, and each monitor where it was."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest
from telethon import events

from telestage.actors import Fleet, event_in_hand, event_key


def fleet_with(store, *users):
    fleet = Fleet(1, "hash", store=store)
    for user in users:
        fleet.add(user.username, session=user.session.save())  # a text: it keeps no position
    return fleet


def watch(fleet, got, **options):
    @fleet.on(events.NewMessage(incoming=True), name="watch", **options)
    async def note(event):
        got.append(event.raw_text)


async def test_a_session_string_goes_on_in_a_new_process_where_it_was(telegram, eventually, tmp_path):
    """R-M5: what came while no process ran is fetched, of channels too, and nothing comes a second time."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    got = []
    for run in range(3):
        fleet = fleet_with(tmp_path / "fleet.db", alice)  # what the last one knew is gone but for the store
        watch(fleet, got)
        async with fleet:
            telegram.post(news, f"n{run}")
            telegram.post(bob, f"b{run}", to=alice)
            await eventually(lambda run=run: f"n{run}" in got and f"b{run}" in got)
        telegram.post(news, f"between {run}")
        telegram.post(bob, f"private {run}", to=alice)
    fleet = fleet_with(tmp_path / "fleet.db", alice)
    watch(fleet, got)
    async with fleet:
        telegram.post(news, "last")
        telegram.post(bob, "last of all", to=alice)
        await eventually(lambda: "last" in got and "last of all" in got)
    of_channel = ["n0", "between 0", "n1", "between 1", "n2", "between 2", "last"]
    assert [text for text in got if text in of_channel] == of_channel
    assert [text for text in got if text not in of_channel] == [
        *("b0", "private 0", "b1", "private 1", "b2", "private 2"),
        "last of all",
    ]


async def test_a_process_that_got_nothing_has_said_where_the_next_one_begins(telegram, eventually, tmp_path):
    """R-M5: from its connect on, also if it is gone in the next moment."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    telegram.post(news, "before all")
    got = []
    fleet = fleet_with(tmp_path / "fleet.db", alice)
    watch(fleet, got)
    async with fleet:
        pass
    telegram.post(news, "n0")
    telegram.post(bob, "b0", to=alice)
    fleet = fleet_with(tmp_path / "fleet.db", alice)
    watch(fleet, got)
    async with fleet:
        await eventually(lambda: len(got) >= 2)
        telegram.post(news, "n1")
        await eventually(lambda: "n1" in got)
    assert sorted(got) == ["b0", "n0", "n1"]


def marks(path):
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM marks WHERE fresh")]


@pytest.mark.parametrize(("durable", "expected"), [("each", [[], [1], [2]]), ("before", [[1], [2], [3]])])
async def test_the_mark_is_in_the_file_when_the_monitor_was_asked_to_have_it_there(
    telegram, eventually, tmp_path, durable, expected
):
    """R-M5: of the event before as one begins, or of that one itself."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = fleet_with(tmp_path / "fleet.db", alice)
    found = []

    @fleet.on(events.NewMessage(chats="news"), durable=durable)
    def look(event):
        found.append(marks(tmp_path / "fleet.db"))

    async with fleet:
        for number in range(3):
            telegram.post(news, f"p{number}")
        await eventually(lambda: len(found) == 3)
    assert found == expected


async def test_an_event_has_one_key_from_whichever_session_and_however_it_comes(telegram, eventually, tmp_path):
    """R-M5: pushed to one, fetched by the other; those of private chats are each account's."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = fleet_with(tmp_path / "fleet.db", alice, bob)
    got = {"alice": [], "bob": []}

    def note(session, event):
        assert event_in_hand().key == event_key(event)
        assert event_in_hand().session == session
        got[session].append(event_key(event))

    for session in got:
        for kind in (events.NewMessage(incoming=True), events.MessageEdited(), events.MessageDeleted()):
            name = f"{session}-{type(kind).__name__}"
            fleet.on(kind, sessions=session, name=name)(partial(note, session))
    async with fleet:
        telegram.faults.refuse_connections()
        telegram.faults.disconnect(alice)
        id = telegram.post(news, "p")
        telegram.edit(news, id, "again")
        other = telegram.post(news, "q")
        telegram.delete(news, [telegram.post(news, "r")])
        telegram.faults.accept_connections()
        telegram.post(bob, "private", to=alice)
        await eventually(lambda: len(got["alice"]) >= 5)
        await eventually(lambda: len(got["bob"]) >= 5)
    private = [key for key in got["alice"] if key.startswith("account")]
    assert private == [f"account/{alice.id}/message/1"]
    fetched = {key for key in got["alice"] if key.startswith("channel")}
    assert fetched == set(got["bob"]) - {f"channel/{news.id}/message/{other + 1}"}
    assert f"channel/{news.id}/message/{id}" in fetched
    with pytest.raises(LookupError, match="in a monitor's handler"):
        event_in_hand()


async def test_a_fleet_without_a_store_says_what_durable_needs(telegram, new_fleet):
    """R-M5."""
    fleet = new_fleet(telegram.add_user("alice"))
    with pytest.raises(ValueError, match=r"durable='each' is about the fleet's store"):
        fleet.on(events.NewMessage, durable="each")
    with pytest.raises(ValueError, match="durable is one of 'soon', 'each', 'before', not 'never'"):
        fleet_with("unused.db").on(events.NewMessage, durable="never")(print)


async def test_monitors_that_were_removed_leave_no_marks(telegram, eventually, tmp_path):
    """R-M1, R-M5: one that is registered by that name later begins anew."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = fleet_with(tmp_path / "fleet.db", alice)
    got = []
    watch(fleet, got, durable="each")
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: marks(tmp_path / "fleet.db") == [1])
        await fleet.remove_monitor("watch")
    assert marks(tmp_path / "fleet.db") == []
