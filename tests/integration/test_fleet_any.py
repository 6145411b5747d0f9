"""Reads by whichever of several sessions may: opt-in, page by page, and never before anybody's time (R-X2)."""

import asyncio
import contextlib
import json
import random
import time

import pytest
import pytest_asyncio
from telethon import errors

from telestage.actors import (
    FloodParked,
    JobFailed,
    JobState,
    Limits,
    Pace,
    QueueWaitTimeout,
    SessionDead,
    SessionDraining,
    SessionUnknown,
)
from telestage.messages import SessionState
from telestage.testing import LoopbackTelegram

READS = ("messages.getHistory", "messages.search", "contacts.resolveUsername")


@pytest_asyncio.fixture
async def telegram():
    """As Telegram: what one account knows a peer by is refused from another."""
    async with LoopbackTelegram(hashes_per_account=True) as server:
        yield server


@pytest.fixture
def crew(telegram, new_fleet):
    """A fleet of so many sessions, user0 and so on, and what it takes; and the users."""

    def make(count=3, **options):
        users = [telegram.add_user(f"user{number}") for number in range(count)]
        return new_fleet(*users, **options), users

    return make


def readers(telegram, users):
    """Who got how many pages."""
    pages = [call.user_id for call in telegram.calls if call.method == "messages.getHistory" and call.outcome == "ok"]
    return {user.username: pages.count(user.id) for user in users if user.id in pages}


async def ids(reader, *arguments, **options):
    return [message.id async for message in reader.iter_messages(*arguments, **options)]


async def test_a_read_goes_on_with_another_session_where_a_flood_wait_stopped_it(telegram, crew):
    """R-X2: each message once, in order; the flood wait stays with the one that met it."""
    fleet, users = crew(2)
    telegram.fill_history(telegram.add_channel("news", users), 1050)
    async with fleet:
        found = []
        async for message in fleet.any("user*").iter_messages("news"):
            found.append(message.id)
            if message.id == 751:
                (busy,) = readers(telegram, users)
                flooded = next(user for user in users if user.username == busy)
                telegram.faults.flood_wait("messages.getHistory", seconds=100, user=flooded)
        assert found == list(range(1050, 0, -1))
        assert readers(telegram, users)[flooded.username] == 3
        (flood,) = fleet.floods()
        assert (flood.session, flood.kind, flood.seconds) == (flooded.username, "scraping", 100)
        with pytest.raises(FloodParked):
            await fleet[flooded.username].get_messages("news", timeout=1.0)
        assert await ids(fleet.any(), "news", limit=5, reverse=True) == [1, 2, 3, 4, 5]
    assert not telegram.early_calls
    refused = [call for call in telegram.calls if call.outcome.startswith("FLOOD")]
    assert len(refused) == 1


@pytest.mark.parametrize("run", range(2))
async def test_with_floods_at_random_each_message_comes_once_in_order(telegram, crew, run):
    """R-X2: and nobody asks before the time that Telegram named, as the server saw it."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    rng = random.Random(seed)
    fleet, users = crew(4)
    count = rng.randrange(1500, 2500)
    telegram.fill_history(telegram.add_channel("news", users), count)
    sink = telegram.add_user("sink")
    async with fleet:
        for user in users:
            for _ in range(rng.randrange(3)):
                telegram.faults.flood_wait(rng.choice(READS), seconds=1, user=user)

        async def read(reverse):
            expected = list(range(1, count + 1))
            found = []
            async for message in fleet.any().iter_messages("news", reverse=reverse):
                found.append(message.id)
                if not len(found) % 100 and rng.random() < 0.2:
                    telegram.faults.flood_wait("messages.getHistory", seconds=1, user=rng.choice(users))
            assert found == (expected if reverse else expected[::-1])

        async def send(user):
            for number in range(5):
                await fleet[user.username].send_message("sink", f"{user.username} {number}")

        await asyncio.gather(read(True), read(False), *map(send, users))
    assert not telegram.early_calls, seed
    assert len(telegram.delivered(to=sink)) == 20


async def test_a_session_that_is_cut_off_leaves_the_read_to_the_others(telegram, crew, eventually):
    """R-X2: between pages and in the middle of one; it isn't waited for."""
    fleet, users = crew(3)
    telegram.fill_history(telegram.add_channel("news", users), 1000)
    async with fleet:
        telegram.faults.latency(0.02, "messages.getHistory")
        reading = asyncio.ensure_future(ids(fleet.any(), "news", limit=1000))
        await eventually(lambda: readers(telegram, users))
        (busy,) = readers(telegram, users)
        telegram.faults.refuse_connections()
        telegram.faults.unanswered("messages.getHistory", user=next(each for each in users if each.username == busy))
        await eventually(lambda: any(call.outcome == "unanswered" for call in telegram.calls))
        await fleet[busy].kill()
        assert await reading == list(range(1000, 0, -1))
        assert fleet[busy].status.state in (SessionState.CONNECTING, SessionState.RESTARTING)
        telegram.faults.accept_connections()


async def test_while_all_are_parked_the_first_end_is_waited_for(telegram, crew):
    """R-X2: if it comes before the deadline; else `FloodParked` says at once until when."""
    fleet, users = crew(2)
    telegram.fill_history(telegram.add_channel("news", users), 300)
    async with fleet:
        telegram.faults.flood_wait("messages.getHistory", seconds=900, user=users[0])
        telegram.faults.flood_wait("messages.getHistory", seconds=2, user=users[1])
        began = time.monotonic()
        assert await ids(fleet.any(), "news") == list(range(300, 0, -1))
        assert time.monotonic() - began >= 1.5
        assert readers(telegram, users) == {"user1": 4}
        telegram.faults.flood_wait("messages.getHistory", seconds=700, user=users[1])
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(FloodParked) as caught:
                await ids(fleet.any(), "news")
            assert caught.value.session == "user1"
            assert 600 < caught.value.until - time.time() <= 700
        assert time.monotonic() - began < 5
    assert not telegram.early_calls


async def test_what_a_flood_wait_has_used_up_is_not_to_be_had_again_in_a_queue(telegram, crew, eventually):
    """R-Q4, R-D3: a read ends by the deadline that it had from the start."""
    fleet, users = crew(1, limits=Limits(queue_timeout=2.5))
    go_on = asyncio.Event()
    async with fleet:
        telegram.faults.flood_wait("contacts.resolveUsername", seconds=2, user=users[0])
        began = time.monotonic()
        reading = asyncio.ensure_future(fleet.any().get_entity("news", timeout=0.5))
        await eventually(fleet.floods)
        holding = asyncio.ensure_future(fleet["user0"].call(lambda client: go_on.wait()))
        with pytest.raises(QueueWaitTimeout):
            await reading
        assert 2.9 <= time.monotonic() - began < 4.0
        go_on.set()
        await holding


async def test_a_flood_wait_for_look_ups_moves_the_read_too(telegram, crew):
    """R-X2: one that can't look the chat up now isn't asked again, page by page."""
    fleet, users = crew(2)
    telegram.fill_history(telegram.add_channel("news", users), 500)
    async with fleet:
        telegram.faults.flood_wait("contacts.resolveUsername", seconds=900, user=users[0])
        reader = fleet.any()
        assert await ids(reader, "news") == list(range(500, 0, -1))
        assert fleet.status().sessions[0].operations <= 1
        assert (await reader.get_entity("news")).username == "news"
    assert not telegram.early_calls


async def test_nothing_that_sends_or_changes_is_there(telegram, crew):
    """R-X2: a send is never moved; what is asked for in vain says what there is."""
    fleet, _ = crew(2)
    async with fleet:
        reader = fleet.any("user*")
        for name in ("send_message", "bulk_send", "call", "kill", "register_monitor", "remove_monitor", "get_me"):
            with pytest.raises(AttributeError, match=f"'{name}', only iter_messages, get_messages, page and get_ent"):
                getattr(reader, name)
        offered = {name for name in dir(reader) if not name.startswith("_")}
        assert offered == {"iter_messages", "get_messages", "page", "get_entity"}
    assert not telegram.delivered()


async def test_what_one_account_knows_a_chat_by_is_never_used_by_another(telegram, crew):
    """R-X2: a name is looked up by each, an id is used by those that have met it, an entity is refused."""
    fleet, users = crew(3)
    news = telegram.add_channel("news", users)
    telegram.fill_history(news, 300)
    async with fleet:
        reader = fleet.any()
        entity = await fleet["user1"].call(lambda client: client.get_entity("news"))
        for name in ("get_messages", "get_entity"):
            with pytest.raises(TypeError, match="username or its id"):
                await getattr(reader, name)(entity)
        assert await ids(reader, news.marked_id) == list(range(300, 0, -1))
        assert readers(telegram, users) == {"user1": 4}
        assert (await reader.get_entity(news.marked_id)).id == news.id
        with pytest.raises(ValueError, match=r"none of user\d, user\d, user\d has met"):
            await ids(reader, news.marked_id - 7)
        telegram.faults.flood_wait("messages.getHistory", seconds=900, user=users[1])
        with pytest.raises(FloodParked):
            await ids(fleet.any(["user1"]), news.marked_id)
        assert len(await ids(reader, "news")) == 300
        assert readers(telegram, users)["user1"] == 4
    assert not [call for call in telegram.calls if "INVALID" in call.outcome]


@pytest.mark.parametrize("chat", ["user1", "me", 5_000_000_001, -77])
async def test_only_chats_that_all_accounts_see_alike_are_read(telegram, crew, chat):
    """R-X2: in a private chat each account has ids of its own, so a page of one says nothing of another's."""
    fleet, _ = crew(2)
    async with fleet:
        with pytest.raises(ValueError, match="no channel or supergroup"):
            await fleet.any().get_messages(chat)
    assert not [call for call in telegram.calls if call.method == "messages.getHistory"]


async def test_a_refusal_is_not_taken_to_another_account(telegram, crew):
    """R-X2: what Telegram answers is the caller's, and is asked once."""
    fleet, users = crew(3)
    telegram.fill_history(telegram.add_channel("news", users), 300)
    async with fleet:
        telegram.faults.error("messages.getHistory", 400, "CHANNEL_PRIVATE")
        with pytest.raises(errors.ChannelPrivateError):
            await ids(fleet.any(), "news")
        assert [call.outcome for call in telegram.calls if call.method == "messages.getHistory"] == ["CHANNEL_PRIVATE"]


async def test_a_session_that_has_ended_is_left_out(telegram, crew):
    """R-X4: when all have, `SessionDead` says why."""
    fleet, users = crew(3)
    telegram.fill_history(telegram.add_channel("news", users), 900)
    async with fleet:
        reader = fleet.any()
        found = []
        async for message in reader.iter_messages("news"):
            found.append(message.id)
            if message.id == 801:
                (busy,) = readers(telegram, users)
                telegram.faults.ban(next(user for user in users if user.username == busy))
            if message.id == 301:
                await fleet.remove(next(name for name in fleet if name != busy))
        assert found == list(range(900, 0, -1))
        for user in users:
            telegram.faults.ban(user)
        with pytest.raises(SessionDead, match="banned"):
            await ids(reader, "news")


async def test_who_has_least_to_do_reads(telegram, crew, eventually):
    """R-X2: a session that is busy, or held back by its pace, isn't waited for."""
    fleet, users = crew(2)
    telegram.fill_history(telegram.add_channel("news", users), 400)
    async with fleet:
        end = asyncio.Event()
        busy = asyncio.ensure_future(fleet["user0"].call(lambda _: end.wait()))
        await eventually(lambda: fleet["user0"].status.kind is not None)
        assert len(await ids(fleet.any(), "news")) == 400
        assert readers(telegram, users) == {"user1": 5}
        end.set()
        await busy


async def test_each_keeps_to_its_own_pace(telegram, crew):
    """R-X3: so two read twice as fast as one, and neither faster than it may."""
    count, seconds = 2, 1.0
    limits = Limits(paces={Pace.HISTORY: (count, seconds)})
    fleet, users = crew(2, limits=limits, paced=True)
    telegram.fill_history(telegram.add_channel("news", users), 999)
    async with fleet:
        assert len(await ids(fleet.any(), "news")) == 999
    for user in users:
        times = [each.started for each in telegram.calls if each.user_id == user.id and each.method == READS[0]]
        assert len(times) >= 4
        # what is apart when it is sent may arrive a little closer
        assert all(later - earlier > seconds - 0.1 for earlier, later in zip(times, times[count:], strict=False))


async def test_it_is_refused_what_the_fleet_has_not_got(telegram, crew):
    """Bad input, and a fleet that ends."""
    fleet, users = crew(2)
    telegram.fill_history(telegram.add_channel("news", users), 400)
    with pytest.raises(ValueError, match="matches 'nobody-"):
        fleet.any("nobody-*")
    with pytest.raises(ValueError, match="matches"):
        fleet.any([])
    with pytest.raises(SessionUnknown, match="nobody"):
        fleet.any(["user0", "nobody"])
    reader = fleet.any()
    with pytest.raises(RuntimeError, match="does not run"):
        await ids(reader, "news")
    async with fleet:
        messages = reader.iter_messages("news")
        async with contextlib.aclosing(messages):
            assert (await anext(messages)).id == 400
            await fleet.drain()
            with pytest.raises(SessionDraining):
                [each async for each in messages]


async def test_a_scrape_job_of_several_sessions_goes_on_with_those_that_may(telegram, crew, new_fleet, tmp_path):
    """R-X2, R-X5: each row once, in order; over a stop of the fleet, and without a session that has ended."""
    store, path = tmp_path / "fleet.db", tmp_path / "news.jsonl"
    fleet, users = crew(3, store=store)
    telegram.fill_history(telegram.add_channel("news", users), 1500)
    telegram.faults.latency(0.01)
    async with fleet:
        job = await fleet.jobs.scrape_history("news", session=fleet.names("user[012]"), to=path, key="news")
        async for status in job.progress():
            if status.done >= 300:
                break
        telegram.faults.flood_wait("messages.getHistory", seconds=900, user=users[0])
        telegram.faults.ban(users[1])
    assert len(path.read_text().splitlines()) < 1500
    other = telegram.add_user("other")
    async with new_fleet(users[0], users[2], other, store=store) as fleet:
        assert (await fleet.jobs[1].result(20)).state is JobState.DONE
        found = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert found == list(range(1500, 0, -1))
        assert not readers(telegram, [other])
    assert not telegram.early_calls


async def test_a_scrape_job_of_several_sessions_is_refused_what_only_one_can_read(telegram, crew, tmp_path):
    """R-X5: before anything is stored; a private chat that has a name, as the job learns it."""
    fleet, users = crew(2, store=tmp_path / "fleet.db")
    news = telegram.add_channel("news", users)
    path = tmp_path / "news.jsonl"
    async with fleet:
        entity = await fleet["user1"].call(lambda client: client.get_entity("news"))
        for chat, session, error in (
            (entity, ["user0", "user1"], TypeError),
            (users[1].id, ["user0", "user1"], ValueError),
            ("news", [], ValueError),
            ("news", ["user0", "nobody"], SessionUnknown),
            (news.marked_id, "user*", SessionUnknown),
        ):
            with pytest.raises(error):
                await fleet.jobs.scrape_history(chat, session=session, to=path)
        assert await fleet.jobs.list() == []
        job = await fleet.jobs.scrape_history("user1", session=["user0", "user1"], to=path)
        with pytest.raises(JobFailed, match="no channel or supergroup"):
            await job.result(10)
