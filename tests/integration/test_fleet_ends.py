"""How sessions end for good, how they come back, and that either is their own business."""

import asyncio

import pytest
from telethon import errors

from telestage.actors import SessionDead
from telestage.messages import SessionState

ENDS = {
    "revoked": (lambda telegram, user: telegram.faults.revoke(user, "SESSION_REVOKED"), "revoked"),
    "unregistered": (lambda telegram, user: telegram.faults.revoke(user), "not registered"),
    "expired": (lambda telegram, user: telegram.faults.revoke(user, "SESSION_EXPIRED"), "expired"),
    "banned": (lambda telegram, user: telegram.faults.ban(user), "banned"),
    "duplicated": (lambda telegram, user: telegram.faults.duplicate_key(user), "two addresses"),
    "forgotten": (lambda telegram, user: telegram.faults.forget_key(user), "does not know its key"),
}


@pytest.fixture(params=ENDS)
def end(request):
    return ENDS[request.param]


def state(fleet, name):
    return fleet[name].status.state


async def test_an_operation_that_meets_the_end_gets_its_reason_and_so_does_all_that_waits(
    telegram, new_fleet, eventually, end
):
    """R-X4, R-G3: that session alone, at once, and nothing tries again."""
    strike, reason = end
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    async with fleet:
        strike(telegram, alice)
        asked = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(5)]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(result, SessionDead)
            assert reason in result.reason
        assert state(fleet, "alice") is SessionState.DEAD
        assert reason in fleet["alice"].status.reason
        calls = len(telegram.calls)
        with pytest.raises(SessionDead, match=reason):
            await fleet["alice"].get_me()
        assert len(telegram.calls) == calls
        assert (await fleet["bob"].get_me()).username == "bob"
        assert fleet.status().permits.total.in_use == 0
        assert fleet["alice"].status.restarts == 0
    assert fleet.status().permits.granted == fleet.status().permits.returned
    assert telegram.delivered() == []


async def test_the_end_is_noticed_while_the_session_is_idle(telegram, new_fleet, eventually, end):
    """R-X4: as soon as Telegram says so, here when the client reconnects."""
    strike, reason = end
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    async with fleet:
        assert telegram.faults.disconnect(alice) == 1
        strike(telegram, alice)
        await eventually(lambda: state(fleet, "alice") is SessionState.DEAD)
        assert reason in fleet["alice"].status.reason
        assert (await fleet["bob"].get_me()).username == "bob"
        for control in (fleet.pause, fleet.resume, fleet.restart):
            with pytest.raises(SessionDead, match=reason):
                await control("alice")


async def test_the_end_is_noticed_at_the_start(telegram, new_fleet, end):
    """R-X4: with the reason, and it doesn't keep the fleet from starting."""
    strike, reason = end
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob)
    strike(telegram, alice)
    async with fleet:
        assert state(fleet, "alice") is SessionState.DEAD
        assert reason in fleet["alice"].status.reason
        assert state(fleet, "bob") is SessionState.READY
        with pytest.raises(SessionDead, match=reason):
            await fleet["alice"].send_message("bob", "hi")


async def test_a_session_that_never_signed_in_is_dead(telegram, new_fleet):
    """R-X4: it has a key of its own by then, and says what is missing."""
    fleet = new_fleet()
    fleet.add("nobody", session=telegram.blank_session())
    async with fleet:
        assert state(fleet, "nobody") is SessionState.DEAD
        with pytest.raises(SessionDead, match="never signed in"):
            await fleet["nobody"].get_me()


async def test_the_end_comes_to_an_operation_whose_answer_is_awaited(telegram, new_fleet, eventually):
    """R-X4: it doesn't wait for its timeout."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.unanswered("users.getUsers", user=alice)
        asked = asyncio.ensure_future(fleet["alice"].get_me())
        await eventually(lambda: telegram.calls[-1].outcome == "unanswered")
        assert telegram.faults.disconnect(alice) == 1
        telegram.faults.forget_key(alice)
        with pytest.raises(SessionDead, match="does not know its key"):
            await asyncio.wait_for(asked, 5.0)


async def test_a_killed_session_keeps_its_queue_and_sends_each_message_once(telegram, new_fleet, eventually):
    """R-S3: in order, whatever it was doing."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    telegram.faults.latency(0.005, user=alice)
    fleet = new_fleet(alice)
    async with fleet:
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(20)]
        await eventually(lambda: len(telegram.delivered(to=bob)) == 5)
        await fleet.restart("alice")
        messages = await asyncio.gather(*sending)
        assert [message.text for message in messages] == [f"m{n}" for n in range(20)]
        assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(20)]
        assert fleet["alice"].status.restarts == 1


async def test_a_send_that_a_kill_interrupts_before_it_arrived_keeps_its_place(telegram, new_fleet, eventually):
    """R-S3: those that waited behind it don't overtake it."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.unanswered("messages.sendMessage", user=alice, executed=False)
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(4)]
        await eventually(lambda: telegram.calls[-1].outcome == "unanswered")
        await fleet.restart("alice")
        await asyncio.gather(*sending)
        assert [each.text for each in telegram.delivered(to=bob)] == [f"m{n}" for n in range(4)]


async def test_a_send_whose_answer_was_lost_is_repeated_and_delivered_once(telegram, new_fleet, eventually):
    """R-X5: by its random_id."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.unanswered("messages.sendMessage", user=alice)
        sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))
        await eventually(lambda: telegram.delivered(to=bob))
        await fleet.restart("alice")
        message = await sending
        assert message.text == "hi"
        assert len(telegram.delivered(to=bob)) == 1
        assert telegram.repeats == 1


async def test_a_session_whose_server_is_away_comes_back_by_itself(telegram, new_fleet, eventually):
    """R-S2: with backoff; operations wait; the sessions that are connected go on."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, bob, connection_retries=1, retry_delay=0)
    async with fleet:
        telegram.faults.refuse_connections()
        telegram.faults.disconnect(alice)
        sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))
        await eventually(lambda: fleet["alice"].status.restarts >= 2)
        assert state(fleet, "alice") in (SessionState.RESTARTING, SessionState.CONNECTING)
        assert "Connection" in fleet["alice"].status.reason
        assert (await fleet["bob"].get_me()).username == "bob"
        telegram.faults.accept_connections()
        await sending
        assert state(fleet, "alice") is SessionState.READY
        assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]


async def test_a_fleet_whose_server_is_away_starts_and_is_ready_later(telegram, new_fleet, eventually, caplog):
    """R-G5: what isn't ready in time is named, and goes on trying."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, connection_retries=0, retry_delay=0)
    telegram.faults.refuse_connections()
    await fleet.start(timeout=0.2)
    try:
        assert any("trying on: alice" in record.getMessage() for record in caplog.records)
        assert state(fleet, "alice") is not SessionState.READY
        telegram.faults.accept_connections()
        await eventually(lambda: state(fleet, "alice") is SessionState.READY)
    finally:
        await fleet.stop()


async def test_errors_of_telegram_reach_the_caller_as_they_are(telegram, new_fleet):
    """R-X1: Telethon's own classes."""
    alice = telegram.add_user("alice")
    telegram.add_user("bob")
    fleet = new_fleet(alice)
    async with fleet:
        telegram.faults.error("messages.sendMessage", 403, "CHAT_WRITE_FORBIDDEN", user=alice)
        with pytest.raises(errors.ChatWriteForbiddenError):
            await fleet["alice"].send_message("bob", "hi")
        assert state(fleet, "alice") is SessionState.READY
