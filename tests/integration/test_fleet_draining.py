"""A fleet ends gracefully: what runs and waits is done, what is new is refused, and it takes no longer than stated."""

import asyncio
import os
import signal

import pytest

from telestage.actors import ReplyLost, SessionDead, SessionDraining
from telestage.actors.ending import end
from telestage.actors.stopsignals import StopSignals
from telestage.messages import SessionState


async def test_what_runs_and_waits_is_done_and_what_is_new_is_refused(telegram, new_fleet, eventually):
    """R-T4: each message that was taken is sent, and none that was refused."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.latency(0.02, user=alice)
    fleet = new_fleet(alice)
    async with fleet:
        taken = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(5)]
        await eventually(lambda: fleet["alice"].status.queued == 4)
        draining = asyncio.ensure_future(fleet.drain(10.0))
        await asyncio.sleep(0)
        for asked in (fleet["alice"].send_message("bob", "late"), fleet["alice"].get_messages("bob")):
            with pytest.raises(SessionDraining, match="not begun"):
                await asked
        assert await draining
        assert all(task.done() for task in taken)
        assert [message.text for message in await asyncio.gather(*taken)] == [f"m{n}" for n in range(5)]
    assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(5)]
    async with fleet:
        await fleet["alice"].send_message("bob", "again")


async def test_a_session_that_is_added_while_the_fleet_drains_takes_nothing_either(telegram, new_fleet):
    """R-T4: nor does one whose start is under way; the next start of the fleet is another matter."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        assert await fleet.drain(5.0)
        fleet.add("bob", session=bob.session)
        await fleet["bob"].settled()
        with pytest.raises(SessionDraining):
            await fleet["bob"].get_me()
    async with fleet:
        assert (await fleet["bob"].get_me()).username == "bob"


async def test_a_drain_ends_at_its_deadline_whatever_runs(telegram, new_fleet, stubborn, eventually):
    """R-D3: and says that something still does."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        asked = asyncio.ensure_future(fleet["alice"].call(stubborn))
        await eventually(lambda: stubborn.calls)
        began = asyncio.get_running_loop().time()
        assert not await fleet.drain(0.1)
        assert 0.1 <= asyncio.get_running_loop().time() - began < 3.0
        stubborn.end.set()
        await asked
        assert await fleet.drain(5.0)


async def test_what_waits_for_a_session_that_comes_back_is_waited_for_and_what_a_paused_one_has_is_not(
    telegram, new_fleet, eventually
):
    """R-T4: the one is done soon, the other when somebody resumes it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    go_on = asyncio.Event()
    async with fleet:
        await fleet.pause("bob")
        paused = asyncio.ensure_future(fleet["bob"].send_message("alice", "paused"))
        holding = asyncio.ensure_future(fleet["alice"].call(lambda client: go_on.wait()))
        await eventually(lambda: fleet["alice"].status.kind == "other")
        waiting = asyncio.ensure_future(fleet["alice"].send_message("bob", "waits"))
        await eventually(lambda: fleet["alice"].status.queued == fleet["bob"].status.queued == 1)
        telegram.faults.refuse_connections()
        await fleet["alice"].kill()
        with pytest.raises(ReplyLost):
            await holding
        await eventually(lambda: fleet["alice"].status.kind is None)
        draining = asyncio.ensure_future(fleet.drain(20.0))
        assert not (await asyncio.wait({draining}, timeout=0.2))[0]
        telegram.faults.accept_connections()
        assert await draining
        assert waiting.done()
        assert not paused.done()
        assert (await waiting).text == "waits"
    with pytest.raises(SessionDead):
        await paused


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_service_when_its_work_is_done(telegram, new_fleet, eventually, number):
    """R-T4: in place of a handler of one's own."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.latency(0.05, method="messages.sendMessage", user=alice)
    fleet = new_fleet(alice)
    before = signal.getsignal(number)
    async with fleet:
        running = asyncio.ensure_future(fleet.run_until_signal())
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(3)]
        await eventually(lambda: fleet["alice"].status.queued == 2)
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(running, 10.0) == number.name
        assert len(await asyncio.gather(*sending)) == 3
        assert fleet["alice"].status.state is SessionState.STOPPED
    assert len(telegram.delivered(to=bob)) == 3
    assert signal.getsignal(number) == before


async def test_a_second_signal_does_not_wait(telegram, new_fleet, eventually):
    """R-T4: what runs is cancelled at once."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        running = asyncio.ensure_future(fleet.run_until_signal(600.0))
        asked = asyncio.ensure_future(fleet["alice"].call(lambda client: asyncio.Event().wait()))
        await eventually(lambda: fleet["alice"].status.kind)
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: fleet._draining)
        assert not asked.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10.0)
        with pytest.raises(SessionDead):
            await asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_third_signal_does_what_it_did_before(number):
    """R-T4: so that nothing keeps a process from its end."""
    before = signal.getsignal(number)
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(signals.stop.wait(), 5.0)
        assert not signals.hurry.is_set()
        assert signal.getsignal(number) != before
        os.kill(os.getpid(), number)
        await asyncio.wait_for(signals.hurry.wait(), 5.0)
        assert signal.getsignal(number) == before


async def test_an_end_that_is_cancelled_leaves_no_stop_going_on(telegram, new_fleet, eventually, stubborn):
    """R-T4: whoever cancels it says what comes next."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        asked = asyncio.ensure_future(fleet["alice"].call(stubborn))
        await eventually(lambda: stubborn.calls)
        ending = asyncio.ensure_future(end(fleet, 1.0, asyncio.Event()))
        await eventually(lambda: fleet._manager is None)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await eventually(lambda: not any("Fleet.stop" in repr(task) for task in asyncio.all_tasks()), within=0.2)
        stubborn.end.set()
    with pytest.raises(SessionDead):
        await asked


async def test_a_drain_that_fails_is_told_to_who_asked_for_the_end(telegram, new_fleet, monkeypatch):
    """R-T4: and doesn't keep the signals."""
    fleet = new_fleet(telegram.add_user("alice"))

    async def broken(timeout):
        raise OSError("on purpose")

    monkeypatch.setattr(fleet, "drain", broken)
    async with fleet:
        with pytest.raises(OSError, match="on purpose"):
            await end(fleet, 1.0, asyncio.Event())
