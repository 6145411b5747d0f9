"""What a fleet hands on to its actor system: context variables that travel, instruments, and the limit for hogs."""

import time
from contextvars import ContextVar

import pytest
from telethon import events

from telestage.actors import Fleet, Instrument, Limits
from telestage.actors.telegram.calls import CallOperation

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="nobody's")


async def test_context_variables_travel_to_the_operation_and_to_what_it_asks_for(telegram):
    """R-Q6: whose operation runs can be said from inside of it, and nothing of it stays behind."""
    alice = telegram.add_user("alice")
    fleet = Fleet(1, "hash", limits=Limits.unpaced(), carry=[REQUEST])
    fleet.add("alice", session=alice.session)

    async def whose(client):
        await client.get_me()
        return REQUEST.get()

    async with fleet:
        REQUEST.set("mine")
        assert await fleet["alice"].call(whose) == "mine"
        REQUEST.set("nobody's")
        assert await fleet["alice"].call(whose) == "nobody's"


async def test_instruments_are_told_of_each_operation_and_each_life(telegram):
    """R-Q6: from outside, without disturbing the session."""

    class Watch(Instrument):
        def __init__(self):
            self.begun, self.ended, self.lives = [], [], []

        def begins(self, handling, note):
            if isinstance(handling.message, CallOperation):
                self.begun.append((handling.ref.path, handling.message.correlation_id))
            return handling.message

        def ends(self, handling, begun, error):
            if isinstance(begun, CallOperation):
                self.ended.append((handling.ref.path, begun.correlation_id))

        def spawned(self, ref, cls):
            self.lives.append(ref.path)

    alice = telegram.add_user("alice")
    watch = Watch()
    fleet = Fleet(1, "hash", limits=Limits.unpaced(), instruments=[watch])
    fleet.add("alice", session=alice.session)
    fleet.on(events.NewMessage, name="keep")(print)
    async with fleet:
        await fleet["alice"].get_me()
        await fleet["alice"].get_me()
    assert [path for path, _ in watch.begun] == ["/manager/alice"] * 2
    assert watch.begun == watch.ended
    assert len(set(watch.begun)) == 2
    assert watch.lives == ["/manager", "/manager/alice", "/manager/alice/keep"]


async def test_an_operation_that_keeps_the_loop_is_named_past_the_limit(telegram, caplog):
    """R-D4: with its session; a limit that can't be is refused before anything is started."""
    with pytest.raises(ValueError, match="hog_limit"):
        Fleet(1, "hash", hog_limit=0)
    alice = telegram.add_user("alice")
    fleet = Fleet(1, "hash", hog_limit=0.05)
    fleet.add("alice", session=alice.session)

    async def hog(client):
        time.sleep(0.06)  # noqa: ASYNC251 - the very thing

    async with fleet:
        await fleet["alice"].call(hog)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("/manager/alice" in line and "CallOperation" in line for line in warnings)
