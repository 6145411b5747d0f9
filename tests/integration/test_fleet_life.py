"""The life of a fleet: started, changed while it runs, stopped, and nothing left; and what it refuses."""

import asyncio
from pathlib import Path

import pytest
from telethon import events
from telethon.sessions import SQLiteSession, StringSession

from telestage.actors import Fleet, Limits, SessionDead, SessionExists, SessionUnknown, Store, StoreError
from telestage.messages import Kind, SessionState


async def test_sessions_are_added_and_removed_while_the_fleet_runs(telegram, new_fleet):
    """R-G5: what waits for a removed one fails; the others go on; its name is free again."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        handle = fleet.add("bob", session=bob.session)
        assert (await handle.get_me()).username == "bob"
        go_on = asyncio.Event()
        running = asyncio.ensure_future(handle.call(lambda client: go_on.wait()))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(handle.get_me())
        await asyncio.sleep(0)
        await fleet.remove("bob")
        for task in (running, waiting):
            with pytest.raises(SessionDead):
                await task
        assert list(fleet) == ["alice"]
        assert telegram.connections(bob) == 0
        with pytest.raises(SessionUnknown):
            await handle.get_me()
        assert (await fleet["alice"].get_me()).username == "alice"
        assert (await fleet.add("bob", session=telegram.add_session(bob)).get_me()).username == "bob"


async def test_a_session_is_removed_before_it_ever_ran(telegram, new_fleet, tmp_path):
    """R-G5: the file that it opened is closed."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    file = SQLiteSession(str(tmp_path / "file.session"))
    fleet.add("file", session=file)
    await fleet.remove("file")
    assert file._conn is None
    await fleet.remove("alice")
    assert len(fleet) == 0
    with pytest.raises(SessionUnknown):
        await fleet.remove("alice")


async def test_a_session_is_removed_while_it_connects(telegram, new_fleet, eventually):
    """R-G5, R-T4: nothing of the attempt is left."""
    alice = telegram.add_user("alice")
    telegram.faults.latency(30.0)
    fleet = new_fleet()
    async with fleet:
        fleet.add("alice", session=alice.session)
        asked = asyncio.ensure_future(fleet["alice"].get_me())
        await eventually(lambda: fleet["alice"].status.queued == 1)
        await fleet.remove("alice")
        with pytest.raises(SessionDead):
            await asked
        assert fleet.tasks.count(owner="/manager/alice") == 0


async def test_removing_a_session_takes_5_s_at_most_whatever_resists(telegram, new_fleet, eventually, stubborn, caplog):
    """R-T3: what resists is named in a WARNING and isn't counted any more."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    fleet.on(events.NewMessage)(stubborn)
    async with fleet:
        telegram.post(alice, "hi")
        asked = asyncio.ensure_future(fleet["alice"].call(stubborn))
        await eventually(lambda: len(stubborn.calls) == 2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await fleet.remove("alice")
        assert loop.time() - began < 5.0
        with pytest.raises(SessionDead):
            await asked
        assert fleet.tasks.count(owner="/manager/alice") == 0
        assert fleet.status().permits.total.in_use == 0
    warnings = [record.getMessage() for record in caplog.records if "resists" in record.getMessage()]
    assert any("/manager/alice/stubborn" in line for line in warnings)
    assert any("of /manager/alice " in line for line in warnings)


async def test_two_removals_at_once_are_one(telegram, new_fleet):
    """R-G5."""
    fleet = new_fleet(telegram.add_user("alice"))
    async with fleet:
        await asyncio.gather(fleet.remove("alice"), fleet.remove("alice"))
        assert len(fleet) == 0


async def test_a_paused_session_begins_nothing_until_it_is_resumed(telegram, new_fleet, eventually):
    """R-G5: what waits stays queued; another session goes on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    async with fleet:
        await fleet.pause("alice")
        assert fleet["alice"].status.state is SessionState.PAUSED
        sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))
        await fleet["bob"].get_me()
        assert fleet["alice"].status.queued == 1
        assert telegram.delivered() == []
        await fleet.restart("alice")  # stays paused over it
        await fleet["alice"].settled()
        await fleet["bob"].get_me()
        assert telegram.delivered() == []
        await fleet.resume("alice")
        await sending
        assert len(telegram.delivered()) == 1


async def test_the_fleet_knows_its_tasks_by_session_type_and_operation(telegram, new_fleet, eventually):
    """R-T1, R-T2: those of Telethon too; each leaves as it ends."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    before = asyncio.all_tasks()
    async with fleet:
        go_on = asyncio.Event()
        running = asyncio.ensure_future(fleet["alice"].call(lambda client: go_on.wait(), kind="scraping"))
        await eventually(lambda: fleet["alice"].status.kind == "scraping")
        tasks = [task for task in fleet.status().tasks if task.session == "alice"]
        (working,) = [task for task in tasks if task.type == "scraping"]
        assert working.operation == fleet.status().permits.holders[0].operation_id
        assert working.age >= 0
        assert {"updates", "keepalive", "send_loop", "receive_loop"} <= {task.type for task in tasks}
        assert fleet.tasks.count(owner="/manager/bob") == len(tasks) - 1
        known = {task.name for task in fleet.status().tasks}
        for task in asyncio.all_tasks() - before - {running}:
            # not listed are workers that do nothing, and what Python 3.11 makes a task of inside a `wait_for`
            assert task.get_name() in known or "telestage worker" in task.get_name() or "Queue.get" in repr(task)
        # the same by session, by type and in all, counted and in detail; and a debugger shows the same names
        (again,) = fleet.tasks.details(type="scraping", session="alice")
        assert (again.name, again.operation, again.state) == (working.name, working.operation, "running")
        await eventually(lambda: fleet.tasks.details(type="scraping")[0].age > working.age)
        assert fleet.tasks.count(type="scraping", session="bob") == 0
        assert fleet.tasks.count() == len(fleet.status().tasks) == sum(fleet.tasks.by_type().values())
        assert fleet.tasks.by_session() == {"alice": len(tasks), "bob": len(tasks) - 1}
        assert fleet.tasks.by_type()["scraping"] == 1
        assert fleet.tasks.by_type()["send_loop"] == 2
        assert fleet.system.tasks.by_type()["queue_processor"] == 1
        assert working.name.startswith("telestage scraping alice ")
        assert working.name.endswith(f" {working.operation}")
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {working.name, "telethon send_loop /manager/bob", "telethon updates /manager/alice"} <= names
        go_on.set()
        await running
        assert "scraping" not in {task.type for task in fleet.status().tasks}
        assert working.name not in {task.get_name() for task in asyncio.all_tasks()}
    assert fleet.status().tasks == []


async def test_stopping_ends_what_runs_and_what_waits_with_an_error(telegram, new_fleet, eventually):
    """R-T4, R-D3, R-G3: nobody is left waiting, nobody is cancelled, and the permits are back."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    await fleet.start()
    running = asyncio.ensure_future(fleet["alice"].call(lambda client: asyncio.Event().wait()))
    await eventually(lambda: fleet["alice"].status.kind == "other")
    waiting = asyncio.ensure_future(fleet["alice"].get_me())
    await asyncio.sleep(0)
    await fleet.stop(timeout=1.0)
    for task in (running, waiting):
        with pytest.raises(SessionDead):
            await task
    assert fleet["alice"].status.state is SessionState.STOPPED
    await fleet.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        await fleet["alice"].get_me()
    assert telegram.connections() == 0
    permits = fleet.status().permits
    assert permits.granted == permits.returned == 2
    assert permits.holders == []


async def test_a_start_that_is_cancelled_leaves_nothing_and_can_be_made_again(telegram, new_fleet, eventually):
    """R-T4."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    before = asyncio.all_tasks()
    telegram.faults.latency(30.0)
    starting = asyncio.ensure_future(fleet.start())
    await eventually(lambda: telegram.connections() == 1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert [task for task in asyncio.all_tasks() - before if "telestage" in task.get_name()] == []
    telegram.faults.clear()
    async with fleet:
        assert (await fleet["alice"].get_me()).username == "alice"
        with pytest.raises(RuntimeError, match="runs already"):
            await fleet.start()
    async with fleet:
        assert (await fleet["alice"].get_me()).username == "alice"


async def test_who_waits_for_a_session_that_was_not_yet_there_hears_of_the_stop(telegram, new_fleet):
    """R-D3: also if the fleet ends in the very moment."""
    alice = telegram.add_user("alice")
    fleet = new_fleet()
    await fleet.start()
    handle = fleet.add("alice", session=alice.session)
    asked = asyncio.ensure_future(handle.get_me())
    stopping = asyncio.ensure_future(fleet.stop())
    with pytest.raises((SessionDead, RuntimeError)):
        await asked
    await stopping


async def test_who_asks_while_a_fleet_starts_again_waits_for_the_session(telegram, new_fleet):
    """R-G5: the one that ended with the last run is nobody's."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        handle = fleet["alice"]
        await handle.get_me()
    starting = asyncio.ensure_future(fleet.start())
    while True:
        try:
            me = await handle.get_me()
        except RuntimeError:  # it doesn't run yet
            assert not starting.done()
            await asyncio.sleep(0)
        else:
            break
    assert me.username == "alice"
    await starting
    await fleet.stop()


async def test_a_session_kept_in_a_file_survives_a_restart(telegram, new_fleet, tmp_path):
    """R-X1: Telethon's own SQLite sessions."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    known = alice.session
    path = str(tmp_path / "alice.session")
    file = SQLiteSession(path)
    file.set_dc(known.dc_id, known.server_address, known.port)
    file.auth_key = known.auth_key
    file.save()
    file.close()
    fleet = new_fleet()
    fleet.add("alice", session=path)
    got = []
    fleet.on(events.NewMessage(incoming=True), name="watch")(lambda event: got.append(event.raw_text))
    async with fleet:
        await fleet.restart("alice")
        telegram.post(bob, "p0", to=alice)
        await fleet["alice"].settled()
        assert (await fleet["alice"].get_me()).username == "alice"
        await fleet["alice"].send_message("bob", "hi")
        assert got == ["p0"]
    await fleet.remove("alice")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "$a", "x" * 65, 5, None])
def test_a_name_that_can_not_be_is_refused(name):
    """Bad input: nothing is changed."""
    fleet = Fleet(1, "hash", limits=Limits.unpaced())
    with pytest.raises(ValueError, match="name"):
        fleet.add(name, session=StringSession())
    assert len(fleet) == 0


def test_a_session_file_that_is_none_is_refused_and_closed(tmp_path):
    """Bad input: the error says which file, and what is wrong with it."""
    path = tmp_path / "text.session"
    path.write_text("this is not a database" * 100)
    fleet = Fleet(1, "hash", limits=Limits.unpaced())
    with pytest.raises(
        ValueError, match=r"'alice': .*text\.session can't be opened: file is not a database"
    ) as refused:
        fleet.add("alice", session=str(path))
    assert [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == path] == []
    assert refused.value.__cause__ is not None  # which holds on to what it came from
    assert len(fleet) == 0


@pytest.mark.parametrize("session", ["", "no session", 5, None, b"x"])
def test_a_session_that_can_not_be_is_refused(session):
    """Bad input."""
    fleet = Fleet(1, "hash", limits=Limits.unpaced())
    with pytest.raises(ValueError, match="neither a Telethon session"):
        fleet.add("alice", session=session)
    assert len(fleet) == 0


def test_an_option_that_can_not_be_is_refused():
    """Bad input: unknown to Telethon, or the fleet's own business."""
    fleet = Fleet(1, "hash", options={"device_model": "tests"})
    with pytest.raises(ValueError, match="no option 'colour'"):
        fleet.add("alice", session=StringSession(), colour="red")
    for option in ("catch_up", "flood_sleep_threshold", "receive_updates"):
        with pytest.raises(ValueError, match=option):
            Fleet(1, "hash", options={option: True})
    assert len(fleet) == 0


async def test_one_key_is_not_added_twice(telegram, new_fleet):
    """R-X6: Telegram would revoke it."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    with pytest.raises(SessionExists):
        fleet.add("alice", session=telegram.add_session(alice))
    with pytest.raises(ValueError, match="key of 'alice'"):
        fleet.add("again", session=StringSession(alice.session.save()))
    fleet.add("another-device", session=telegram.add_session(alice))
    assert list(fleet) == ["alice", "another-device"]


@pytest.mark.parametrize("arguments", [(0, "x"), ("1", "x"), (True, "x"), (1, ""), (1, None)])
def test_credentials_that_can_not_be_are_refused(arguments):
    """Bad input."""
    with pytest.raises(ValueError, match="api_"):
        Fleet(*arguments)


@pytest.mark.parametrize(
    ("event", "message"),
    [("NewMessage", "telethon.events"), (None, "telethon.events"), (int, "telethon.events"), (events.Album, "Album")],
)
def test_an_event_that_can_not_be_watched_is_refused(event, message):
    """Bad input: nothing is registered."""
    fleet = Fleet(1, "hash", limits=Limits.unpaced())
    with pytest.raises(TypeError, match=message):
        fleet.on(event)(print)
    with pytest.raises(TypeError, match="function"):
        fleet.on(events.NewMessage)("no handler")
    with pytest.raises(ValueError, match="name"):
        fleet.on(events.NewMessage, name=" ")(print)
    fleet.add("alice", session=StringSession())
    assert fleet.status().monitors == []


def test_two_handlers_of_one_name_are_refused_unless_the_name_was_given():
    """R-M1: replacing is asked for by name; by accident it would lose a handler."""
    fleet = Fleet(1, "hash", limits=Limits.unpaced())
    fleet.add("alice", session=StringSession())

    def handler(event):
        pass

    fleet.on(events.NewMessage)(handler)
    with pytest.raises(ValueError, match="'handler'"):
        _register_another(fleet)
    fleet.on(events.MessageEdited, name="handler")(print)
    assert [each.name for each in fleet.status().monitors] == ["handler"]


def _register_another(fleet):
    def handler(event):
        pass

    fleet.on(events.NewMessage)(handler)


async def test_handlers_are_registered_before_the_start_or_with_monitor(telegram, new_fleet):
    """Bad input: `on` while the fleet runs would watch later than it says."""
    fleet = new_fleet(telegram.add_user("alice"))
    with pytest.raises(RuntimeError, match="does not run"):
        await fleet.monitor(events.NewMessage, print)
    async with fleet:
        with pytest.raises(RuntimeError, match="monitor"):
            fleet.on(events.NewMessage)


async def test_monitors_are_removed_before_the_start_too(telegram, new_fleet):
    """R-M1."""
    fleet = new_fleet(telegram.add_user("alice"))
    fleet.on(events.NewMessage, name="watch")(print)
    assert await fleet.remove_monitor("watch") == 1
    assert await fleet.remove_monitor("watch") == 0
    assert fleet.status().monitors == []


async def test_arguments_of_operations_are_checked_before_anything_is_queued(telegram, new_fleet):
    """Bad input: each error says what would be right."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    with pytest.raises(SessionUnknown, match="nobody"):
        fleet["nobody"]
    with pytest.raises(RuntimeError, match="async with fleet"):
        await fleet["alice"].get_me()
    with pytest.raises(RuntimeError, match="async with fleet"):
        await fleet.pause("alice")
    async with fleet:
        calls = len(telegram.calls)
        session = fleet["alice"]
        with pytest.raises(ValueError, match="begging"):
            await session.call(lambda client: client.get_me(), kind="begging")
        with pytest.raises(TypeError, match="function"):
            await session.call("get_me")
        with pytest.raises(TypeError, match="priority"):
            await session.get_me(priority="high")
        for timeout in (0, -1, float("nan"), float("inf"), "5"):
            with pytest.raises(ValueError, match="timeout"):
                await session.get_me(timeout=timeout)
        with pytest.raises(TypeError, match="peer"):
            await session.send_message(object(), "hi")
        with pytest.raises(ValueError, match="text"):
            await session.send_message("alice", None)
        with pytest.raises(ValueError, match="timeout"):
            await session.send_message("alice", "hi", timeout=-1)
        assert len(telegram.calls) == calls


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"operations": 0}, "operations"),
        ({"scraping": True}, "scraping"),
        ({"queue": 1.5}, "queue"),
        ({"permit_timeout": -1}, "permit_timeout"),
        ({"rpc_timeout": float("inf")}, "rpc_timeout"),
        ({"kinds": {"sending": 0}}, "kinds"),
        ({"timeouts": {"sending": 5.0}}, "Kind"),
        ({"timeouts": {Kind.SENDING: 0}}, "timeouts"),
        ({"priorities": {Kind.SENDING: "high"}}, "priorities"),
    ],
)
def test_limits_that_can_not_be_are_refused(limits, message):
    """Bad input."""
    if limits == {"timeouts": {"sending": 5.0}}:
        assert Kind.SENDING == "sending"  # a StrEnum: as a key it is the very same
    with pytest.raises(ValueError, match=message):
        Limits(**limits)


def test_limits_are_limits():
    """Bad input."""
    with pytest.raises(TypeError, match="Limits"):
        Fleet(1, "hash", limits={"operations": 5})


async def test_a_fleet_opens_its_store_and_closes_what_it_opened(telegram, new_fleet, tmp_path):
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, store=tmp_path / "fleet.db")
    assert not fleet.store.is_open
    for _ in range(2):
        async with fleet:
            assert fleet.store.is_open
        assert not fleet.store.is_open
    async with Store(tmp_path / "fleet.db") as store:
        async with new_fleet(alice, store=store) as fleet:
            assert fleet.store is store
        assert store.is_open


async def test_a_fleet_whose_store_can_not_be_opened_does_not_begin(telegram, new_fleet, tmp_path):
    fleet = new_fleet(telegram.add_user("alice"), store=tmp_path / "nowhere" / "fleet.db")
    with pytest.raises(StoreError, match="can't be made"):
        await fleet.start()
    assert not fleet.system.running
    await fleet.stop()
