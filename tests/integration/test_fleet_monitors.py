"""Monitors: each alone with its handler, its errors and its events."""

import asyncio
import logging

import pytest
from telethon import events

from telestage.actors import Directive, FatalError, Limits, RetryableError, Supervision
from telestage.messages import SessionState

PATIENT = Supervision(intensity=1_000_000, exceeded=Directive.STOP)


def monitor(fleet, name, session="alice"):
    return next(each for each in fleet.status().monitors if (each.name, each.session) == (name, session))


async def test_two_sessions_that_watch_one_channel_both_get_each_event(telegram, new_fleet, eventually):
    """R-M2: in order, each once."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice, bob)
    got = {"alice": [], "bob": []}

    @fleet.on(events.NewMessage(chats="news"))
    async def keep(event):
        got[event.client.label].append(event.raw_text)

    async with fleet:
        for n in range(20):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got["alice"]) == len(got["bob"]) == 20)
    assert got["alice"] == got["bob"] == [f"p{n}" for n in range(20)]


async def test_a_handler_that_always_raises_stops_nothing_else(telegram, new_fleet, eventually, caplog):
    """R-M2, R-M3: it is logged with its traceback, counted, and in the end stopped alone."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []

    @fleet.on(events.NewMessage, supervision=Supervision(intensity=2, exceeded=Directive.STOP))
    async def bad(event):
        raise LookupError("in the handler")

    @fleet.on(events.NewMessage(chats="news"))
    def good(event):
        got.append(event.raw_text)

    async with fleet:
        for n in range(6):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got) == 6)
        await eventually(lambda: monitor(fleet, "bad").state == "stopped")
        assert monitor(fleet, "bad").failures == 3
        assert monitor(fleet, "bad").handled == 0
        assert monitor(fleet, "good").handled == 6
        assert monitor(fleet, "good").failures == 0
        assert fleet.status().sessions[0].restarts == 0
        telegram.post(news, "after")
        await eventually(lambda: "after" in got)
        assert monitor(fleet, "bad").dropped >= 1
        await fleet.restart("alice")
        await fleet["alice"].settled()
        assert monitor(fleet, "bad").state == "stopped"  # a restart of its session is no pardon
    assert any(record.exc_info and "in the handler" in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.parametrize("fault", ["func", "pattern", "async func"])
async def test_a_filter_that_raises_fails_its_own_monitor_only(telegram, new_fleet, eventually, fault):
    """R-M3: Telethon loses such errors silently; here they are counted and answered."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []

    def raising(*_):
        raise LookupError("in the filter")

    async def raising_later(_):
        raise LookupError("in the filter")

    builder = {
        "func": lambda: events.NewMessage(func=raising),
        "pattern": lambda: events.NewMessage(pattern=raising),
        "async func": lambda: events.NewMessage(func=raising_later),
    }[fault]()
    fleet.on(builder, name="bad", supervision=PATIENT)(lambda event: got.append("never"))
    fleet.on(events.NewMessage, name="good")(lambda event: got.append(event.raw_text))
    async with fleet:
        telegram.post(news, "p0")
        telegram.post(news, "p1")
        await eventually(lambda: monitor(fleet, "bad").failures == 2 and len(got) == 2)
        assert got == ["p0", "p1"]
        assert monitor(fleet, "bad").handled == 0


async def test_filters_are_telethons_own(telegram, new_fleet, eventually):
    """R-M1: pattern, func, incoming and raw updates, as a Telethon user knows them."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    got = []

    @fleet.on(events.NewMessage(pattern=r"/add (\d+)"))
    async def add(event):
        got.append(("add", int(event.pattern_match.group(1))))

    async def is_long(event):
        return len(event.raw_text) > 8

    fleet.on(events.NewMessage(incoming=True, func=is_long), name="long")(lambda event: got.append(("long", None)))
    fleet.on(events.Raw, name="raw")(lambda update: got.append(("raw", None)))

    @fleet.on(events.NewMessage)
    async def stop(event):
        raise events.StopPropagation

    async with fleet:
        telegram.post(bob, "/add 5", to=alice)
        telegram.post(bob, "long enough", to=alice)
        await eventually(lambda: len(got) >= 4 and monitor(fleet, "stop").handled == 2)
    assert got.count(("add", 5)) == 1
    assert got.count(("long", None)) == 1
    assert got.count(("raw", None)) == 2


async def test_registering_again_replaces_and_never_doubles(telegram, new_fleet, eventually):
    """R-M1: before the start and at run time."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []

    @fleet.on(events.NewMessage, name="keep")
    async def first(event):
        got.append("first")

    @fleet.on(events.NewMessage, name="keep")
    async def second(event):
        got.append("second")

    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: got == ["second"])
        await fleet.monitor(events.NewMessage(chats="news"), lambda event: got.append("third"), name="keep")
        telegram.post(news, "p1")
        await eventually(lambda: got == ["second", "third"])
        paths = [each.path for each in fleet.system.statistics() if each.path.startswith("/manager/alice/")]
        assert len(paths) == 1  # the one that was replaced has ended
        await fleet.restart("alice")
        await fleet["alice"].settled()
        telegram.post(news, "p2")
        await eventually(lambda: got == ["second", "third", "third"])
        assert len(fleet.status().monitors) == 1


async def test_replacing_a_monitor_whose_chat_is_unknown_changes_nothing(telegram, new_fleet, eventually):
    """R-M1, bad input: the one that is there goes on."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []
    fleet.on(events.NewMessage(chats="news"), name="keep")(lambda event: got.append(event.raw_text))
    async with fleet:
        with pytest.raises(ExceptionGroup) as failed:
            await fleet.monitor(events.NewMessage(chats="nowhere_at_all"), print, name="keep")
        assert "nowhere_at_all" in str(failed.value.exceptions[0])
        telegram.post(news, "p0")
        await eventually(lambda: got == ["p0"])


async def test_removing_a_monitor_removes_that_one_only(telegram, new_fleet, eventually):
    """R-M2: of that name, in the sessions that match."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice, bob)
    got = []
    fleet.on(events.NewMessage, name="one")(lambda event: got.append(("one", event.client.label)))
    fleet.on(events.NewMessage, name="two")(lambda event: got.append(("two", event.client.label)))
    async with fleet:
        assert await fleet.remove_monitor("one", sessions="alice") == 1
        assert await fleet.remove_monitor("nothing") == 0
        telegram.post(news, "p0")
        await eventually(lambda: len(got) == 3)
        assert sorted(got) == [("one", "bob"), ("two", "alice"), ("two", "bob")]
        assert await fleet.remove_monitor("two") == 2
        assert [(each.name, each.session) for each in fleet.status().monitors] == [("one", "bob")]


async def test_monitors_registered_at_run_time_watch_later_sessions_too(telegram, new_fleet, eventually):
    """R-M1, R-G5."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice)
    got = []
    async with fleet:
        await fleet.monitor(events.NewMessage(chats="news"), lambda event: got.append(event.client.label), name="keep")
        await fleet.add("bob", session=bob.session).settled()
        telegram.post(news, "p0")
        await eventually(lambda: sorted(got) == ["alice", "bob"])


async def test_a_slow_handler_delays_no_other(telegram, new_fleet, eventually):
    """R-M2: nor the operations of its session."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got, go_on = [], asyncio.Event()

    @fleet.on(events.NewMessage)
    async def slow(event):
        await go_on.wait()

    fleet.on(events.NewMessage, name="quick")(lambda event: got.append(event.raw_text))
    async with fleet:
        for n in range(5):
            telegram.post(news, f"p{n}")
        await eventually(lambda: len(got) == 5)
        assert monitor(fleet, "slow").queued == 4
        assert (await fleet["alice"].get_me()).username == "alice"
        go_on.set()
        await eventually(lambda: monitor(fleet, "slow").handled == 5)


async def test_events_past_the_bound_are_dropped_and_counted(telegram, new_fleet, eventually):
    """R-E3: the newest go."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice, limits=Limits(monitor_queue=3))
    got, go_on = [], asyncio.Event()

    @fleet.on(events.NewMessage)
    async def slow(event):
        await go_on.wait()
        got.append(event.raw_text)

    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: fleet.tasks.count(owner="/manager/alice/slow") == 1)
        for n in range(1, 7):
            telegram.post(news, f"p{n}")
        await eventually(lambda: monitor(fleet, "slow").dropped == 3)
        go_on.set()
        await eventually(lambda: monitor(fleet, "slow").handled == 4)
    assert got == ["p0", "p1", "p2", "p3"]


async def test_a_handler_may_ask_for_an_event_again_and_the_order_is_kept(telegram, new_fleet, eventually):
    """R-E4, R-M5: that is no failure, and no restart."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    tries = []

    @fleet.on(events.NewMessage)
    async def late(event):
        tries.append(event.raw_text)
        if tries == ["p0"]:
            raise RetryableError("not yet")

    async with fleet:
        for n in range(3):
            telegram.post(news, f"p{n}")
        await eventually(lambda: monitor(fleet, "late").handled == 3)
        assert (monitor(fleet, "late").failures, monitor(fleet, "late").restarts) == (0, 0)
    assert tries == ["p0", "p0", "p1", "p2"]


async def test_a_handler_that_can_not_go_on_stops_its_monitor(telegram, new_fleet, eventually):
    """R-E4: at once, whatever the restarts that it had left; what waits or comes later is dropped, and counted."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    got = []

    @fleet.on(events.NewMessage, supervision=PATIENT)
    async def dead(event):
        raise FatalError("no such table")

    fleet.on(events.NewMessage, name="good")(got.append)
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: monitor(fleet, "dead").state == "stopped")
        telegram.post(news, "p1")
        await eventually(lambda: len(got) == 2)
        assert (monitor(fleet, "dead").failures, monitor(fleet, "dead").restarts) == (1, 0)
        assert monitor(fleet, "dead").dropped == 1


@pytest.mark.parametrize("resists", [False, True])
async def test_a_monitor_stops_within_5_s_whatever_its_handler_does(
    telegram, new_fleet, eventually, stubborn, resists, caplog
):
    """R-M4: also one that swallows its cancellation, which the log then names."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    calls = stubborn.calls

    async def hang(event):
        calls.append(event)
        await asyncio.Event().wait()

    fleet.on(events.NewMessage, name="hang")(stubborn if resists else hang)
    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: calls)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await fleet.remove_monitor("hang") == 1
        assert loop.time() - began < 5.0
        assert fleet.status().monitors == []
        assert (await fleet["alice"].get_me()).username == "alice"
    assert resists == any("resists" in record.getMessage() for record in caplog.records)


async def test_a_monitor_stops_while_its_session_is_busy(telegram, new_fleet, eventually):
    """R-M4: its handler's reply, which waits for the session, is taken out of the queue."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)

    @fleet.on(events.NewMessage(incoming=True))
    async def answer(event):
        await event.reply("never")

    async with fleet:
        go_on = asyncio.Event()
        begun = asyncio.Event()

        async def hold(client):
            begun.set()
            await go_on.wait()

        holding = asyncio.ensure_future(fleet["alice"].call(hold))
        await begun.wait()
        telegram.post(bob, "ping", to=alice)
        await eventually(lambda: fleet.status().sessions[0].queued == 1)
        removing = asyncio.ensure_future(fleet.remove_monitor("answer"))
        await eventually(lambda: monitor(fleet, "answer").state == "stopped")
        go_on.set()
        assert await removing == 1
        await holding
        assert telegram.delivered(to=bob) == []


async def test_an_error_of_a_handler_is_logged_with_its_monitor(telegram, new_fleet, eventually, caplog):
    """R-M3: by the path of its actor."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)

    @fleet.on(events.NewMessage)
    def bad(event):
        raise LookupError("plain handlers too")

    async with fleet:
        telegram.post(news, "p0")
        await eventually(lambda: monitor(fleet, "bad").failures == 1)
    assert any(
        "/manager/alice/bad" in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    )


@pytest.mark.parametrize("fault", ["unknown", "private"])
async def test_a_monitor_whose_chat_cannot_be_watched_fails_alone(telegram, new_fleet, eventually, fault):
    """R-M2: its session is ready all the same, and so are its other monitors."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    telegram.add_channel("secret")
    if fault == "private":
        telegram.faults.error("channels.getFullChannel", code=400, message="CHANNEL_PRIVATE", user=alice)
    fleet = new_fleet(alice)
    heard = []
    fleet.on(events.NewMessage(chats="nobody" if fault == "unknown" else "secret"), name="broken")(print)
    fleet.on(events.NewMessage(chats="news"), name="sound")(lambda event: heard.append(event.raw_text))
    async with fleet:
        assert fleet["alice"].status.state is SessionState.READY
        telegram.post(news, "hello")
        await eventually(lambda: heard == ["hello"])
        assert monitor(fleet, "broken").failures == 1
        assert fleet["alice"].status.restarts == 0
