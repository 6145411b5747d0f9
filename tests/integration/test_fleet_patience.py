"""How long an operation is asked for again, and before whom: by its one deadline, whatever holds it up."""

import asyncio

import pytest

from telestage.actors import Limits, MailboxFull, QueueWaitTimeout, ReplyLost
from telestage.actors.telegram.handle import SessionHandle


@pytest.fixture
def scene(telegram, new_fleet, eventually):
    """Alice, whose operations wait for the only permit: bob has it until he is let go."""

    class Scene:
        def __init__(self, **limits):
            self.alice, self.bob, self.carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
            self.fleet = new_fleet(self.alice, self.bob, limits=Limits(operations=1, **limits))
            self.go_on = asyncio.Event()

        async def hold(self):
            self.holding = asyncio.ensure_future(self.fleet["bob"].call(lambda client: self.go_on.wait()))
            await eventually(lambda: self.fleet["bob"].status.kind == "other")

        def send(self, text, **options):
            return asyncio.ensure_future(self.fleet["alice"].send_message("carol", text, **options))

        def send_patiently(self, text):
            """By a handle whose operations may wait in the queue for a minute."""
            fleet = self.fleet
            handle = SessionHandle(fleet._books["alice"], lambda: fleet._ref("alice"), Limits())
            return asyncio.ensure_future(handle.send_message("carol", text))

        async def waits_for_its_permit(self):
            await eventually(lambda: self.fleet.status().permits.total.waiting == 1)

        def sent(self):
            return [each.text for each in telegram.delivered(to=self.carol)]

    return Scene


async def test_what_a_flood_wait_has_used_up_is_not_to_be_had_again_in_the_queue(telegram, new_fleet, eventually):
    """R-Q4, R-D3: an operation ends by the deadline that it had from the start."""
    alice, _ = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, limits=Limits(queue_timeout=2.5))
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with fleet:
        telegram.faults.flood_wait("messages.sendMessage", seconds=2, user=alice)
        began = loop.time()
        sending = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi", timeout=0.5))
        await eventually(lambda: fleet.floods())
        holding = asyncio.ensure_future(fleet["alice"].call(lambda client: go_on.wait()))
        with pytest.raises(QueueWaitTimeout):
            await sending
        assert 2.9 <= loop.time() - began < 4.0
        go_on.set()
        await holding


async def test_what_is_lost_after_its_deadline_is_not_asked_for_again(scene):
    """R-D3: though it could be; its caller hears that the answer is lost."""
    stage = scene(queue_timeout=0.2)
    loop = asyncio.get_running_loop()
    async with stage.fleet:
        await stage.hold()
        began = loop.time()
        sending = stage.send("late", timeout=0.2)
        await stage.waits_for_its_permit()
        await asyncio.sleep(max(0.0, began + 0.45 - loop.time()))
        await stage.fleet["alice"].kill()
        with pytest.raises(ReplyLost):
            await sending
        stage.go_on.set()
        await stage.holding
        await stage.fleet["alice"].settled()
    assert stage.sent() == []


async def test_what_is_asked_for_again_goes_before_what_came_later(scene, eventually):
    """R-Q3, R-X5: it had begun."""
    stage = scene()
    async with stage.fleet:
        await stage.hold()
        first = stage.send("first")
        await stage.waits_for_its_permit()
        later = [stage.send("second"), stage.send("third")]
        await eventually(lambda: stage.fleet["alice"].status.queued == 2)
        await stage.fleet["alice"].kill()
        await eventually(lambda: stage.fleet["alice"].status.queued == 3)
        stage.go_on.set()
        await asyncio.gather(first, *later, stage.holding)
    assert stage.sent() == ["first", "second", "third"]


@pytest.mark.parametrize("room", [True, False])
async def test_what_was_taken_in_before_waits_for_room_as_long_as_it_has_time(scene, eventually, room):
    """R-Q2: a queue that has filled up meanwhile refuses it at its deadline only."""
    stage = scene(queue=1, queue_timeout=60.0 if room else 1.0)
    loop = asyncio.get_running_loop()
    async with stage.fleet:
        await stage.hold()
        began = loop.time()
        first = stage.send("first", timeout=60.0 if room else 1.0)
        await stage.waits_for_its_permit()
        second = stage.send_patiently("second")
        await eventually(lambda: stage.fleet["alice"].status.queued == 1)
        await stage.fleet.pause("alice")
        await stage.fleet["alice"].kill()
        if room:
            await asyncio.sleep(0.1)  # and more than one look whether there is room
            assert not first.done()
            await stage.fleet.resume("alice")
            stage.go_on.set()
            await asyncio.gather(first, second, stage.holding)
            assert sorted(stage.sent()) == ["first", "second"]
        else:
            with pytest.raises(MailboxFull):
                await first
            assert 1.9 <= loop.time() - began < 4.0
            await stage.fleet.resume("alice")
            stage.go_on.set()
            await asyncio.gather(second, stage.holding)
            assert stage.sent() == ["second"]
