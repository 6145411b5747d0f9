"""Every wait of an operation ends: queued, for its permit, running, and for an answer that never comes.

By its deadline, or with its caller. Then nothing of it runs, its permit is back, and its session goes on.
"""

import asyncio

import pytest

from telestage.actors import Limits, OperationTimeout, PermitTimeout, QueueWaitTimeout
from telestage.actors.telegram import connection
from telestage.messages import SessionState

SHORT = 0.15
PHASES = {
    "queued": (QueueWaitTimeout, {"queue_timeout": SHORT}, {}),
    "waiting for its permit": (PermitTimeout, {"permit_timeout": SHORT}, {}),
    "running": (OperationTimeout, {}, {"timeout": SHORT}),
    "unanswered": (OperationTimeout, {}, {"timeout": SHORT}),
    "unanswered, one call": (TimeoutError, {"rpc_timeout": SHORT}, {}),
}


class Scene:
    """A session, another that holds the only permit where one is waited for, and an operation that gets stuck."""

    def __init__(self, telegram, fleet, eventually):
        self.telegram, self.fleet, self.eventually = telegram, fleet, eventually
        self.go_on = asyncio.Event()
        self.begun = self.ended = 0
        self.others = []

    async def hold(self, name):
        """Keeps a session busy, and the only permit in use."""
        self.others.append(asyncio.ensure_future(self.fleet[name].call(lambda client: self.go_on.wait())))
        await self.eventually(lambda: self.fleet[name].status.kind == "other")

    async def work(self, client):
        self.begun += 1
        try:
            await (client.get_me() if self.silent else asyncio.Event().wait())
        finally:
            self.ended += 1

    async def stuck(self, phase, options):
        """The operation, as it has come to that phase."""
        self.silent = phase.startswith("unanswered")
        if phase == "queued":
            await self.hold("alice")
        elif phase == "waiting for its permit":
            await self.hold("bob")
        elif phase.startswith("unanswered"):
            self.telegram.faults.unanswered("users.getUsers", count=None)
        task = asyncio.ensure_future(self.fleet["alice"].call(self.work, **options))
        if phase == "queued":
            await self.eventually(lambda: self.fleet["alice"].status.queued == 1)
        elif phase == "waiting for its permit":
            await self.eventually(lambda: self.fleet.status().permits.total.waiting == 1)
        elif phase == "running":
            await self.eventually(lambda: self.begun)
        else:
            await self.eventually(lambda: self.telegram.calls[-1].outcome == "unanswered")
        return task

    async def is_over(self, phase):
        """Nothing of it is left, and the session goes on."""
        self.telegram.faults.clear()
        self.go_on.set()
        await asyncio.gather(*self.others)
        assert (await self.fleet["alice"].get_me()).username == "alice"
        assert self.begun == self.ended == (phase not in ("queued", "waiting for its permit"))
        status = self.fleet.status()
        assert status.permits.total.in_use == status.permits.total.waiting == 0
        assert status.permits.granted == status.permits.returned
        assert status.sessions[0].restarts == 0
        assert [task.type for task in status.tasks if task.type in ("other", "queue_processor")] == []


@pytest.fixture
def scene(telegram, new_fleet, eventually):
    """Makes the scene for a phase."""

    def make(phase, limits):
        users = [telegram.add_user("alice"), telegram.add_user("bob")]
        one = {"operations": 1} if phase == "waiting for its permit" else {}
        return Scene(telegram, new_fleet(*users, limits=Limits(**one, **limits)), eventually)

    return make


@pytest.mark.parametrize("phase", PHASES)
async def test_an_operation_that_is_stuck_ends_by_the_deadline_of_its_phase(scene, phase):
    """R-Q4, R-Q5, R-G2, R-G3, R-D3: with the error of that phase."""
    error, limits, options = PHASES[phase]
    stage = scene(phase, limits)
    async with stage.fleet:
        asked = await stage.stuck(phase, options)
        assert (await asyncio.wait({asked}, timeout=5.0))[0], "it goes on"
        with pytest.raises(error):
            await asked
        await stage.is_over(phase)


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "unanswered, one call"])
async def test_an_operation_that_is_stuck_ends_with_its_caller(scene, phase):
    """R-Q8, R-G3: whoever stops waiting ends it, within 5 s."""
    stage = scene(phase, {})
    async with stage.fleet:
        asked = await stage.stuck(phase, {})
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await stage.eventually(lambda: stage.ended == stage.begun, within=5.0)
        await stage.is_over(phase)


async def test_a_server_that_answers_nothing_keeps_no_start_waiting_and_no_permit(
    telegram, new_fleet, eventually, monkeypatch
):
    """R-D3, R-G3: connecting has its deadline, too, and is tried again."""
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.3)
    alice = telegram.add_user("alice")
    telegram.faults.unanswered("help.getConfig", user=alice, count=1)
    telegram.faults.unanswered("users.getUsers", user=alice, count=1)
    fleet = new_fleet(alice, limits=Limits(rpc_timeout=0.3))
    async with fleet:
        assert fleet["alice"].status.state is SessionState.READY
        unanswered = [call.method for call in telegram.calls if call.outcome == "unanswered"]
        assert unanswered == ["help.getConfig", "users.getUsers"]
        assert fleet["alice"].status.restarts == 2
        permits = fleet.status().permits
        assert permits.total.in_use == 0
        assert permits.granted == permits.returned


async def test_a_difference_that_is_never_answered_ends_by_the_deadline_of_a_call(telegram, new_fleet, eventually):
    """R-D3: Telethon's own calls have it, and its updates go on."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, limits=Limits(rpc_timeout=0.2))
    async with fleet:
        telegram.faults.unanswered("updates.getDifference", user=alice)
        telegram.faults.disconnect(alice)
        await eventually(lambda: any(call.outcome == "unanswered" for call in telegram.calls))
        assert (await fleet["alice"].get_me()).username == "alice"
        before = len(telegram.calls)
        await eventually(
            lambda: (
                any(call.method == "updates.getDifference" for call in telegram.calls[before:])
                or fleet["alice"].status.restarts
            )
        )
        await fleet["alice"].settled()
        assert (await fleet["alice"].get_me()).username == "alice"
