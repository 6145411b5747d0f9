"""The queue of a session: bounded, by priority, with deadlines, and cancelled by those who stop waiting."""

import asyncio

import pytest

from telestage.actors import AskCycle, Limits, MailboxFull, OperationTimeout, QueueWaitTimeout
from telestage.actors.telegram import asking
from telestage.messages import Kind, Operation


def methods(telegram, user):
    return [call.method for call in telegram.calls if call.user_id == user.id]


async def named(client):
    return (await client.get_me()).username


async def busy(fleet, name):
    """Keeps a session busy until the event is set."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(client):
        begun.set()
        await go_on.wait()

    task = asyncio.ensure_future(fleet[name].call(hold))
    await begun.wait()
    return task, go_on


async def test_the_operation_past_the_hundredth_waiting_is_refused_with_its_message(telegram, new_fleet):
    """R-Q2: 100 may wait; one more fails at once and gets its message back; nothing else is lost."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        task, go_on = await busy(fleet, "alice")
        waiting = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(100)]
        await asyncio.sleep(0)
        assert fleet.status().sessions[0].queued == 100
        with pytest.raises(MailboxFull) as refused:
            await fleet["alice"].send_message("bob", "one more")
        assert isinstance(refused.value.message, Operation)
        assert refused.value.message.request.text == "one more"
        go_on.set()
        await asyncio.gather(task, *waiting)
        assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(100)]


async def test_a_full_queue_can_still_be_stopped_and_restarted(telegram, new_fleet, eventually):
    """R-Q2: control goes by the system lane, which is never full; the queue survives the restart."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(queue=5))
    async with fleet:
        task, _ = await busy(fleet, "alice")
        waiting = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(5)]
        await asyncio.sleep(0)
        await fleet.restart("alice")
        await asyncio.gather(*waiting)
        assert len(telegram.delivered(to=bob)) == 5
        await asyncio.gather(task, return_exceptions=True)


async def test_higher_priority_goes_first_and_equals_in_order(telegram, new_fleet):
    """R-Q3: monitoring before scraping before sending before other; a caller may set its own."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    order = []

    def note(what):
        async def run(client):
            order.append(what)

        return run

    async with fleet:
        task, go_on = await busy(fleet, "alice")
        asked = [
            fleet["alice"].call(note("other 1"), kind="other"),
            fleet["alice"].call(note("sending"), kind="sending"),
            fleet["alice"].call(note("scraping 1"), kind="scraping"),
            fleet["alice"].call(note("monitoring"), kind=Kind.MONITORING),
            fleet["alice"].call(note("scraping 2"), kind="scraping"),
            fleet["alice"].call(note("urgent"), priority=99),
        ]
        waiting = [asyncio.ensure_future(each) for each in asked]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, *waiting)
    assert order == ["urgent", "monitoring", "scraping 1", "scraping 2", "sending", "other 1"]


async def test_the_server_gets_calls_in_the_order_of_their_priorities(telegram, new_fleet):
    """R-Q3: as the server has it on record."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    telegram.fill_history(news, 10)
    fleet = new_fleet(alice)
    async with fleet:
        await fleet["alice"].call(lambda client: client.get_input_entity("bob"))
        await fleet["alice"].call(lambda client: client.get_input_entity("news"))
        before = len(methods(telegram, alice))
        task, go_on = await busy(fleet, "alice")
        waiting = [
            asyncio.ensure_future(fleet["alice"].get_me()),
            asyncio.ensure_future(fleet["alice"].send_message("bob", "hi")),
            asyncio.ensure_future(fleet["alice"].get_messages("news", limit=5)),
        ]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, *waiting)
        assert methods(telegram, alice)[before:] == ["messages.getHistory", "messages.sendMessage", "users.getUsers"]
    assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]


async def test_an_operation_that_waited_too_long_fails_and_is_never_executed(telegram, new_fleet):
    """R-Q4: `QueueWaitTimeout`, then nothing of it reaches the server."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(queue_timeout=0.1))
    async with fleet:
        task, go_on = await busy(fleet, "alice")
        with pytest.raises(QueueWaitTimeout):
            await fleet["alice"].send_message("bob", "late")
        go_on.set()
        await task
        await fleet["alice"].send_message("bob", "after")
        assert [each.text for each in telegram.delivered(to=bob)] == ["after"]


async def test_an_unanswered_operation_ends_at_its_timeout_and_the_next_one_runs(telegram, new_fleet, caplog):
    """R-Q5, R-G3, R-D4: the caller gets `OperationTimeout`, the permit is back, and the log says which."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.unanswered("users.getUsers", user=alice)
        with pytest.raises(OperationTimeout) as timeout:
            await fleet["alice"].get_me(timeout=0.1)
        assert timeout.value.session == "alice"
        assert timeout.value.kind == "other"
        assert fleet.status().permits.total.in_use == 0
        assert (await fleet["alice"].get_me()).username == "alice"
    assert fleet.status().permits.granted == fleet.status().permits.returned
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("alice" in line and "other" in line and "0.1 s" in line for line in warnings)


async def test_an_operation_that_swallows_its_cancellation_costs_its_session_a_restart(
    telegram, new_fleet, eventually, stubborn
):
    """R-Q5, R-G3: the caller is told within 5 s, the permit comes back, and the queue goes on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        began = asyncio.get_running_loop().time()
        asked = asyncio.ensure_future(fleet["alice"].call(stubborn, timeout=0.1))
        await eventually(lambda: fleet.status().sessions[0].kind == "other")
        next_one = asyncio.ensure_future(fleet["alice"].send_message("bob", "next"))
        with pytest.raises(OperationTimeout):
            await asked
        assert asyncio.get_running_loop().time() - began < 5.0
        await next_one
        assert fleet.status().permits.total.in_use == 0
        assert fleet.status().sessions[0].restarts == 1
        assert len(telegram.delivered(to=bob)) == 1
    assert fleet.status().permits.granted == fleet.status().permits.returned


@pytest.mark.parametrize("restarts", [0, 1])
async def test_a_cancelled_operation_that_resists_gives_its_permit_back_all_the_same(
    telegram, new_fleet, eventually, stubborn, restarts
):
    """R-Q8, R-G3: it is left behind within 5 s, and the session goes on, restarted before or not."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        for _ in range(restarts):
            await fleet.restart("alice")
            await fleet["alice"].settled()
        asked = asyncio.ensure_future(fleet["alice"].call(stubborn))
        await eventually(lambda: fleet.status().sessions[0].kind == "other")
        asked.cancel()
        await eventually(lambda: fleet.status().permits.total.in_use == 0, within=5.0)
        assert fleet.status().sessions[0].restarts == restarts
        assert fleet.status().sessions[0].kind is None
        assert (await fleet["alice"].get_me()).username == "alice"


async def test_an_operation_that_is_not_answered_in_time_gives_its_permit_back_all_the_same(
    telegram, new_fleet, eventually, stubborn, monkeypatch
):
    """R-Q8, R-G3, R-D3: though all of its own deadlines have failed, and it resists."""
    monkeypatch.setattr(asking, "_SLACK", -90.2)
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, limits=Limits(queue_timeout=60.0, permit_timeout=0.5))
    async with fleet:
        began = asyncio.get_running_loop().time()
        with pytest.raises(OperationTimeout):
            await fleet["alice"].call(stubborn, timeout=30.0)
        assert asyncio.get_running_loop().time() - began >= 0.29  # the sum of all its deadlines, and the slack
        assert fleet.status().permits.total.in_use == 1
        await eventually(lambda: fleet.status().permits.total.in_use == 0, within=5.0)
        assert (await fleet["alice"].call(named, timeout=89.0)) == "alice"
        assert fleet.status().sessions[0].restarts == 0


async def test_an_operation_that_resists_its_timeout_costs_its_session_a_restart(
    telegram, new_fleet, eventually, stubborn, caplog
):
    """R-Q5, R-G3: its caller has OperationTimeout a second later; what it leaves behind harms nobody after it."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        session = fleet["alice"]
        with pytest.raises(OperationTimeout):
            await asyncio.wait_for(session.call(stubborn, timeout=0.2), 3.0)
        assert "which resists, (other, operation" in caplog.text
        await eventually(lambda: session.status.restarts == 1, within=10.0)
        assert (await session.get_me()).username == "alice"
        assert session.status.kind is None
        assert fleet.status().permits.total.in_use == 0
        stubborn.end.set()
        assert (await session.get_me()).username == "alice"
        assert session.status.restarts == 1


async def test_an_operation_that_ends_after_its_timeout_costs_no_restart(telegram, new_fleet, eventually):
    """R-Q5: what its deadline has set going to end it by force is taken back."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        session = fleet["alice"]

        async def clean_up_slowly(client):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.3)

        with pytest.raises(OperationTimeout):
            await session.call(clean_up_slowly, timeout=0.1)
        task, go_on = await busy(fleet, "alice")
        await asyncio.sleep(1.2)  # past the moment at which it would have been left behind
        assert session.status.kind == "other"
        go_on.set()
        await task
        assert session.status.restarts == 0


async def test_the_status_shows_what_runs_and_what_waits(telegram, new_fleet):
    """R-Q6: looking disturbs nothing."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        assert fleet.status().sessions[0].kind is None
        task, go_on = await busy(fleet, "alice")
        waiting = [asyncio.ensure_future(fleet["alice"].get_me()) for _ in range(3)]
        await asyncio.sleep(0)
        status = fleet.status().sessions[0]
        assert (status.kind, status.queued) == ("other", 3)
        assert status.running_for is not None
        assert status.running_for >= 0
        (holder,) = fleet.status().permits.holders
        assert (holder.session, holder.kind) == ("alice", "other")
        go_on.set()
        await asyncio.gather(task, *waiting)
        assert fleet.status().sessions[0].operations == 4


async def test_an_urgent_send_waits_for_one_page_of_a_long_scrape(telegram, new_fleet, eventually):
    """R-Q7: of 50,000 messages, wherever the scrape is; counted in pages that the server gave out meanwhile."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice])
    telegram.fill_history(news, 50_000)
    fleet = new_fleet(alice)
    async with fleet:
        await fleet["alice"].call(lambda client: client.get_input_entity("bob"))
        got = []

        async def scrape():
            got.extend([message.id async for message in fleet["alice"].iter_messages("news")])

        def pages():
            return methods(telegram, alice).count("messages.getHistory")

        scraping = asyncio.ensure_future(scrape())
        waited = []
        for n in range(20):
            await eventually(lambda n=n: pages() >= 3 + 20 * n)
            queued = pages()
            await fleet["alice"].send_message("bob", "urgent", priority=50)
            calls = methods(telegram, alice)
            sent = len(calls) - calls[::-1].index("messages.sendMessage")
            waited.append(calls[:sent].count("messages.getHistory") - queued)
            assert not scraping.done()
        await scraping
    assert max(waited) <= 1, waited
    assert got == list(range(50_000, 0, -1))
    assert pages() == 501  # the last one is empty


async def test_cancelling_takes_a_waiting_operation_out_and_ends_a_running_one(telegram, new_fleet, eventually):
    """R-Q8: neither holds the session up, and the permit is back."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.unanswered("users.getUsers", user=alice)
        running = asyncio.ensure_future(fleet["alice"].get_me())
        await eventually(lambda: telegram.calls[-1].outcome == "unanswered")
        waiting = asyncio.ensure_future(fleet["alice"].send_message("bob", "never"))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        for task in (waiting, running):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await fleet["alice"].get_me()).username == "alice"
        assert telegram.delivered(to=bob) == []
        assert fleet.status().permits.total.in_use == 0
        assert fleet.status().sessions[0].restarts == 0


async def test_an_operation_asked_for_inside_its_own_turn_is_refused_at_once(telegram, new_fleet):
    """R-D2: it would wait for itself."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        with pytest.raises(AskCycle):
            await fleet["alice"].call(lambda client: fleet["alice"].get_me())
        assert (await fleet["alice"].get_me()).username == "alice"


async def test_what_a_call_raises_is_its_callers_and_the_session_goes_on(telegram, new_fleet):
    """R-Q5: an error of the function, of a connection or a task of its own, is no failure of the session."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)

    async def fail(client):
        raise ConnectionError("of its own")

    async def wait_for_a_cancelled_task(client):
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    async with fleet:
        with pytest.raises(ConnectionError, match="of its own"):
            await fleet["alice"].call(fail)
        with pytest.raises(Exception, match="was cancelled"):
            await fleet["alice"].call(wait_for_a_cancelled_task)
        with pytest.raises(ValueError, match="nobody"):
            await fleet["alice"].send_message("nobody_there", "hi")
        assert (await fleet["alice"].get_me()).username == "alice"
        assert fleet.status().sessions[0].restarts == 0


async def test_a_timeout_that_follows_the_operations_cuts_off_what_takes_much_longer(telegram, new_fleet):
    """R-G7: of that kind; a caller's own timeout comes first."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, limits=Limits(adaptive_timeouts={Kind.OTHER: (0.2, 60.0)}))
    async with fleet:
        session = fleet["alice"]
        assert session.timeout("other") == 60.0
        for _ in range(20):
            await session.get_me()
        assert session.timeout("other") < 5.0
        assert session.timeout("scraping") == 300.0
        with pytest.raises(OperationTimeout) as late:
            await session.call(lambda client: asyncio.Event().wait())
        assert late.value.seconds < 5.0
        assert session.timeout("other") >= 2 * late.value.seconds  # what ran into it counts, too
        with pytest.raises(OperationTimeout) as late:
            await session.call(lambda client: asyncio.Event().wait(), timeout=0.05)
        assert late.value.seconds == 0.05
