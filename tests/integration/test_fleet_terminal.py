"""Each way in which Telegram ends a session, at each moment: it stops for good, says why, and nothing tries again."""

import asyncio

import pytest
from telethon import events

from telestage.actors import SessionDead
from telestage.messages import SessionState


def deactivate(telegram, user):
    """The account was deleted: there is no fault of that name, so each method that a session calls by itself has it."""
    for method in ("users.getUsers", "help.getConfig", "updates.getDifference", "updates.getState",
                   "updates.getChannelDifference", "messages.sendMessage"):  # fmt: skip
        telegram.faults.error(method, 401, "USER_DEACTIVATED", user=user, count=None)


ENDS = {
    "revoked": (lambda telegram, user: telegram.faults.revoke(user, "SESSION_REVOKED"), "revoked"),
    "unregistered": (lambda telegram, user: telegram.faults.revoke(user), "not registered"),
    "expired": (lambda telegram, user: telegram.faults.revoke(user, "SESSION_EXPIRED"), "expired"),
    "banned": (lambda telegram, user: telegram.faults.ban(user), "banned"),
    "deactivated": (deactivate, "deleted"),
    "duplicated": (lambda telegram, user: telegram.faults.duplicate_key(user), "two addresses"),
    "forgotten": (lambda telegram, user: telegram.faults.forget_key(user), "does not know its key"),
}
MOMENTS = ("start", "idle", "running", "answer awaited", "catching up")


class Scene:
    """Alice, who will meet her end, with a monitor; and bob, who goes on."""

    def __init__(self, telegram, fleet, eventually, alice, news, strike):
        self.telegram, self.fleet, self.eventually = telegram, fleet, eventually
        self.alice, self.news = alice, news
        self._strike = strike
        self.handled = []
        self.asked = []

    def strike(self):
        self._strike(self.telegram, self.alice)

    async def start(self):
        self.strike()
        await self.fleet.start()

    async def idle(self):
        await self.fleet.start()
        self.telegram.faults.disconnect(self.alice)
        self.strike()

    async def running(self):
        await self.fleet.start()
        self.strike()
        self.ask()

    async def answer_awaited(self):
        await self.fleet.start()
        self.telegram.faults.unanswered("messages.sendMessage", user=self.alice, executed=False)
        self.ask()
        await self.eventually(lambda: self.telegram.calls[-1].outcome == "unanswered")
        self.telegram.faults.disconnect(self.alice)
        self.strike()

    async def catching_up(self):
        await self.fleet.start()
        self.telegram.post(self.news, "seen")
        await self.eventually(lambda: self.handled == ["seen"])
        self.telegram.faults.lose_updates(self.alice)
        self.telegram.post(self.news, "missed")
        self.telegram.faults.disconnect(self.alice)
        self.strike()

    def ask(self):
        """One that runs and two that wait."""
        self.asked = [asyncio.ensure_future(self.fleet["alice"].send_message("bob", f"m{n}")) for n in range(3)]

    def calls(self):
        """What the server got of alice, by whatever connection; a connection of hers counts, too."""
        own = [call for call in self.telegram.calls if call.user_id == self.alice.id]
        return len(own), len(self.telegram._network.of(None))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ENDS)
async def test_a_session_that_telegram_ends_stops_for_good_at_whatever_moment(
    telegram, new_fleet, eventually, end, moment
):
    """R-X4, R-G3: with its reason; operations fail, permits return, monitors end, nothing is tried again."""
    strike, reason = ENDS[end]
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    news = telegram.add_channel("news", members=[alice, bob])
    fleet = new_fleet(alice, bob)
    scene = Scene(telegram, fleet, eventually, alice, news, strike)

    @fleet.on(events.NewMessage(chats="news"), sessions="alice")
    async def keep(event):
        scene.handled.append(event.raw_text)

    try:
        await getattr(scene, moment.replace(" ", "_"))()
        for result in await asyncio.wait_for(asyncio.gather(*scene.asked, return_exceptions=True), 10.0):
            assert isinstance(result, SessionDead), result
            assert reason in result.reason
        await eventually(lambda: fleet["alice"].status.state is SessionState.DEAD)
        assert reason in fleet["alice"].status.reason
        await eventually(lambda: len(telegram._network.of(None)) == 1)  # bob's
        before = scene.calls()
        for asked in (fleet["alice"].get_me(), fleet["alice"].send_message("bob", "hi"), fleet["alice"].settled()):
            with pytest.raises(SessionDead, match=reason):
                await asked
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.4  # a supervisor would make it anew after 0.2
        while loop.time() < until:
            assert (await fleet["bob"].get_me()).username == "bob"
        assert scene.calls() == before
        status = fleet.status()
        assert status.permits.total.in_use == status.permits.total.waiting == 0
        assert status.permits.granted == status.permits.returned
        assert fleet["alice"].status.restarts == 0
        assert not [monitor for monitor in status.monitors if monitor.session == "alice" and monitor.state == "running"]
        assert not [task for task in status.tasks if task.session == "alice"]
    finally:
        await fleet.stop()
    assert telegram.delivered(to=bob) == []
    assert "missed" not in scene.handled
