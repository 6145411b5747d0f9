"""One operation of a session at a time, whoever asks and whatever happens meanwhile: counted by the server."""

import asyncio
import contextlib

import pytest
from telethon import events
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from telestage.actors import OperationTimeout, ReplyLost


@pytest.mark.parametrize("cuts", [0, 4])
async def test_callers_of_every_sort_never_overlap(telegram, new_fleet, eventually, cuts):
    """R-Q1: at most one call of a session is in flight, across disconnects too."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    group = telegram.add_channel("group", members=[alice, bob], megagroup=True)
    telegram.fill_history(group, 350)
    telegram.faults.latency(0.004, user=alice)
    fleet = new_fleet(alice)
    replied = []

    async def answer(event):
        replied.append(await event.reply(f"re {event.raw_text}"))

    for number in range(8):  # more than the runtime keeps workers for
        fleet.on(events.NewMessage(chats="group", incoming=True), name=f"answer-{number}")(answer)

    async def scrape():
        return [message async for message in fleet["alice"].iter_messages("group")]

    async with fleet:
        session = fleet["alice"]
        sent = await session.send_message("bob", "first")
        work = [
            *(session.send_message("bob", f"m{n}") for n in range(12)),
            *(session.get_me() for _ in range(6)),
            *(session.call(lambda client: client.get_messages("group", limit=5)) for _ in range(6)),
            *(sent.reply(f"r{n}") for n in range(6)),
            scrape(),
            scrape(),
        ]
        running = [asyncio.ensure_future(each) for each in work]
        for n in range(3):
            telegram.post(group, f"p{n}", sender=bob)
            await eventually(lambda n=n: len(telegram.calls) > 20 * (n + 1))
            if n < cuts:
                telegram.faults.disconnect(alice)
        done = await asyncio.gather(*running)
        await eventually(lambda: len(replied) == 24)
        assert len(done[-1]) >= 350
        assert telegram.peak_in_flight(alice) == 1


async def test_kills_do_not_make_operations_overlap(telegram, new_fleet, eventually):
    """R-Q1, R-S3: also while the session is made anew, and its first calls are its own."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    group = telegram.add_channel("group", members=[alice, bob], megagroup=True)
    telegram.faults.latency(0.003, user=alice)
    fleet = new_fleet(alice)
    seen = []

    @fleet.on(events.NewMessage(chats="group", incoming=True))
    async def answer(event):
        seen.append((event.raw_text, await event.get_sender(), await event.reply("seen")))

    async with fleet:
        running = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(15)]
        for n in range(3):
            delivered = len(telegram.delivered(to=bob))
            await eventually(lambda delivered=delivered: len(telegram.delivered(to=bob)) >= delivered + 3)
            await fleet.restart("alice")
            telegram.post(group, f"p{n}", sender=bob)
            await fleet["alice"].settled()
        await asyncio.gather(*running)
        await eventually(lambda: len(seen) == 3)
        assert [text for text, _, _ in seen] == ["p0", "p1", "p2"]
        assert telegram.peak_in_flight(alice) == 1
        assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(15)]


async def test_calls_made_by_tasks_that_a_turn_left_behind_queue_up_again(telegram, new_fleet):
    """R-Q1: what a turn started may use the client freely during the turn only."""
    alice = telegram.add_user("alice")
    telegram.faults.latency(0.01, user=alice)
    fleet = new_fleet(alice)
    left = []

    async def leave(client):
        async def later():
            return [await client.get_me() for _ in range(4)]

        left.append(asyncio.ensure_future(later()))

    async with fleet:
        await fleet["alice"].call(leave)
        await asyncio.gather(*(fleet["alice"].get_me() for _ in range(6)), *left)
        assert telegram.peak_in_flight(alice) == 1


async def test_what_was_left_behind_calls_as_anybody_does(telegram, new_fleet, eventually):
    """R-Q1: what resisted its timeout, and goes on, waits for its turn beside what runs by then."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    left, held, entered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    names = []

    async def resist(client):
        while not left.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await left.wait()
        names.append((await client.get_me()).username)

    async def hold(client):
        entered.set()
        await held.wait()

    async with fleet:
        session = fleet["alice"]
        with pytest.raises(OperationTimeout):
            await session.call(resist, timeout=0.05)
        holding = asyncio.ensure_future(session.call(hold))
        await entered.wait()
        left.set()
        await eventually(lambda: session.status.queued == 1)
        assert names == []
        held.set()
        await holding
        await eventually(lambda: names == ["alice"])


async def test_downloads_and_lists_of_requests_of_a_held_client_are_operations_too(telegram, new_fleet):
    """R-Q1: every way by which Telethon makes requests is led through the mailbox."""
    alice = telegram.add_user("alice")
    telegram.faults.latency(0.01, user=alice)
    fleet = new_fleet(alice)
    held = []

    async def hold(client):
        held.append(client)

    async with fleet:
        await fleet["alice"].call(hold)
        (client,) = held

        def me():
            return GetUsersRequest([InputUserSelf()])

        before = fleet.status().sessions[0].operations
        await asyncio.gather(client(me()), client([me()]), client._call(client._sender, me()), fleet["alice"].get_me())
        assert fleet.status().sessions[0].operations == before + 4
        assert telegram.peak_in_flight(alice) == 1


async def test_a_restart_loses_no_reply_of_a_handler(telegram, new_fleet, eventually):
    """R-Q1, R-S3: a reply asked for through an event is sent once, though the session was killed meanwhile."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)

    @fleet.on(events.NewMessage(incoming=True))
    async def answer(event):
        await event.reply("pong")

    async with fleet:
        telegram.faults.unanswered("messages.sendMessage", user=alice)  # sent, and the answer lost
        telegram.post(bob, "ping", to=alice)
        await eventually(lambda: telegram.delivered(to=bob))
        await fleet.restart("alice")
        await eventually(lambda: fleet.status().monitors[0].handled == 1)
        assert [each.text for each in telegram.delivered(to=bob)] == ["pong"]


async def test_a_call_that_may_not_be_repeated_says_that_its_answer_is_lost(telegram, new_fleet, eventually):
    """R-S3: its asker is told at once."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.latency(5.0, "users.getUsers", user=alice, count=1)
        asked = asyncio.ensure_future(fleet["alice"].call(lambda client: client.get_me()))
        await eventually(lambda: fleet.status().sessions[0].kind == "other")
        await fleet.restart("alice")
        with pytest.raises(ReplyLost, match="alice"):
            await asked
