"""What the store keeps of updates: a new process goes on where the last one was, and each monitor where it was."""

from telethon import events

from telestage.actors import Fleet


def fleet_with(store, *users):
    fleet = Fleet(1, "hash", store=store)
    for user in users:
        fleet.add(user.username, session=user.session)
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
