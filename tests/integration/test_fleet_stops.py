"""What a handler or an operation does that won't end, and that the stop ends in time all the same."""

import asyncio
import contextlib
import logging
import threading

import pytest
from telethon import events

from telestage.actors import SessionDead
from telestage.messages import SessionState

WITHIN = 5.0
RESISTS = ("swallows its cancellation", "swallows it in a thread")
CULPRITS = (*RESISTS, "blocks in a thread", "sleeps for an hour")


class Culprit:
    """A handler, or an operation, that does not end by itself; the test's end ends it."""

    def __init__(self, what):
        self.__name__ = self.__qualname__ = "culprit"
        self.what = what
        self.begun = 0
        self.over = False
        self.end = asyncio.Event()
        self.thread_end = threading.Event()

    async def __call__(self, argument):
        self.begun += 1
        while not self.over:
            try:
                match self.what:
                    case "swallows its cancellation":
                        await self.end.wait()
                    case "sleeps for an hour":
                        await asyncio.sleep(3600)
                    case _:
                        await asyncio.to_thread(self.thread_end.wait)
            except asyncio.CancelledError:
                if self.what not in RESISTS:
                    raise

    def let_go(self):
        self.over = True
        self.end.set()
        self.thread_end.set()


@contextlib.contextmanager
def ends_in_time():
    """The block takes less than the 5 s that a stop has."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    yield
    assert loop.time() - began < WITHIN


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(params=CULPRITS)
async def culprit(request):
    """Each of those that don't end."""
    what = Culprit(request.param)
    yield what
    what.let_go()


async def test_a_monitor_is_stopped_in_time_and_not_counted_any_more(telegram, new_fleet, eventually, culprit, caplog):
    """R-M4, R-T3: what resists is named; the events that wait for it are given up; its session goes on."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    heard = []
    fleet.on(events.NewMessage, name="culprit")(culprit)
    fleet.on(events.NewMessage, name="sound")(lambda event: heard.append(event.raw_text))
    async with fleet:
        for n in range(3):
            telegram.post(news, f"p{n}")
        await eventually(lambda: culprit.begun and len(heard) == 3)
        (handling,) = fleet.tasks.details(owner="/manager/alice/culprit")
        assert (handling.type, handling.session, handling.state) == ("monitoring", "alice", "running")
        assert handling.name == "telestage monitoring alice/culprit"
        with ends_in_time():
            removing = asyncio.ensure_future(fleet.remove_monitor("culprit"))
            if culprit.what in RESISTS:
                await eventually(lambda: [t.state for t in fleet.tasks.details(type="monitoring")] == ["cancelling"])
            assert await removing == 1
        assert [each.name for each in fleet.status().monitors] == ["sound"]
        assert fleet.tasks.count(owner="/manager/alice/culprit") == 0
        assert fleet.status().permits.total.in_use == 0
        telegram.post(news, "p3")
        await eventually(lambda: len(heard) == 4)
        assert culprit.begun == 1
        assert (await fleet["alice"].get_me()).username == "alice"
        culprit.let_go()
    resisting = [line for line in warnings(caplog) if "resists" in line and "/manager/alice/culprit" in line]
    assert bool(resisting) == (culprit.what in RESISTS)


async def test_a_session_is_removed_in_time_and_not_counted_any_more(telegram, new_fleet, eventually, culprit, caplog):
    """R-T3, R-G3, R-M4: with a monitor and an operation that won't end; its caller hears of it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    fleet.on(events.NewMessage(incoming=True), name="culprit", sessions="alice")(culprit)
    async with fleet:
        asked = asyncio.ensure_future(fleet["alice"].call(culprit))
        telegram.post(bob, "hi", to=alice)
        await eventually(lambda: culprit.begun == 2)
        with ends_in_time():
            await fleet.remove("alice")
        with pytest.raises(SessionDead):
            await asked
        assert fleet.names() == ["bob"]
        assert fleet.tasks.count(owner="/manager/alice") == 0
        assert [task for task in fleet.status().tasks if task.session == "alice"] == []
        permits = fleet.status().permits
        assert permits.total.in_use == 0
        assert permits.granted == permits.returned
        assert (await fleet["bob"].get_me()).username == "bob"
        culprit.let_go()
    named = [line for line in warnings(caplog) if "resists" in line]
    assert any("/manager/alice/culprit" in line for line in named) == (culprit.what in RESISTS)
    assert any("CallOperation" in line for line in named) == (culprit.what in RESISTS)


async def test_a_fleet_is_stopped_in_time_with_all_of_them_at_once(telegram, new_fleet, eventually, caplog):
    """R-T3, R-T4, R-G3: each in a session of its own; those that resist are named, each by its own."""
    culprits = {f"user{n}": Culprit(what) for n, what in enumerate(CULPRITS)}
    users = [telegram.add_user(name) for name in culprits]
    fleet = new_fleet(*users)
    try:
        await fleet.start()
        asked = [asyncio.ensure_future(fleet[name].call(each)) for name, each in culprits.items()]
        await eventually(lambda: all(each.begun for each in culprits.values()))
        with ends_in_time():
            await fleet.stop(timeout=4.5)
        assert {type(error) for error in await asyncio.gather(*asked, return_exceptions=True)} == {SessionDead}
        assert {each.state for each in fleet.status().sessions} == {SessionState.STOPPED}
        assert fleet.status().tasks == []
        permits = fleet.status().permits
        assert permits.granted == permits.returned == 8
        assert permits.holders == []
        assert telegram.connections() == 0
        for name, each in culprits.items():
            named = any("resists" in line and f"/manager/{name} " in f"{line} " for line in warnings(caplog))
            assert named == (each.what in RESISTS), (name, each.what)
    finally:
        for each in culprits.values():
            each.let_go()
