"""The manager by itself: whom it asks, and what becomes of permits that nobody waits for any more."""

import asyncio
import logging

import pytest

from telestage.actors import ActorSystem, AskDirection, Limits, PermitTimeout, handles
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.manager import ManagerActor
from telestage.actors.telegram.monitor import MonitorActor
from telestage.actors.telegram.session import Credentials, SessionActor
from telestage.messages import (
    PauseSession,
    PermitGranted,
    PermitRequest,
    PermitReturned,
    RemoveSession,
    ResumeSession,
)


class Onwards:
    def __init__(self, target):
        self.target = target


class Asking:
    """Asks whom it is told to, and does nothing else of what its class does."""

    def __init__(self):
        pass

    async def started(self):
        pass

    async def stopped(self):
        pass

    @handles(Onwards)
    async def onwards(self, message):
        return await self.ask(message.target, "anything", timeout=5.0)

    @handles(str)
    def answer(self, message):
        return "answer"


async def test_asks_go_from_monitor_to_session_to_manager_and_no_other_way():
    """R-D1: of the actors of a fleet, as it is checked when an ask is made."""
    ranks = {
        name: type(name, (Asking, cls), {})
        for name, cls in {"manager": ManagerActor, "session": SessionActor, "monitor": MonitorActor}.items()
    }
    async with ActorSystem() as system:
        refs = {name: system.spawn(cls, name=name) for name, cls in ranks.items()}
        order = list(refs)
        for asker in order:
            for target in order:
                if asker == target:
                    continue
                ask = refs[asker].ask(Onwards(refs[target]), timeout=5.0)
                if order.index(target) < order.index(asker):
                    assert await ask == "answer"
                else:
                    with pytest.raises(AskDirection, match=f"/{asker} may ask upwards only, and /{target} isn't"):
                        await ask


def request(operation):
    return PermitRequest(operation_id=operation, session="a", kind="sending", priority=0)


@pytest.fixture
async def manager():
    """A manager with one permit, and its board."""
    limits = Limits(operations=1, scraping=1, permit_timeout=0.1)
    board = PermitBoard(limits)
    async with ActorSystem() as system:
        yield system.spawn(ManagerActor, board, Credentials(1, "hash"), limits, name="manager"), board


async def test_a_permit_for_who_waits_no_longer_goes_to_the_next(manager):
    """R-G3: though nobody has said so."""
    manager, board = manager
    await manager.ask(request("first"), timeout=5.0)
    gone = asyncio.ensure_future(manager.ask(request("gone"), timeout=5.0))
    await asyncio.sleep(0)
    assert board.status().total.waiting == 1
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    next_one = asyncio.ensure_future(manager.ask(request("next"), timeout=5.0, expecting=PermitGranted))
    await asyncio.sleep(0)
    manager.signal(PermitReturned(operation_id="first"))
    assert (await next_one).operation_id == "next"
    manager.signal(PermitReturned(operation_id="next"))
    assert await manager.ask(request("last"), timeout=5.0)
    assert (board.status().total.in_use, board.status().total.waiting) == (1, 0)


async def test_who_got_no_permit_in_time_is_no_longer_in_line(manager):
    """R-G2: from the moment in which it is told."""
    manager, board = manager
    await manager.ask(request("first"), timeout=5.0)
    with pytest.raises(PermitTimeout):
        await manager.ask(request("late"), timeout=5.0)
    status = board.status().total
    assert (status.in_use, status.waiting, status.refused) == (1, 0, 1)


async def test_with_the_manager_all_permits_end(manager):
    """R-G3: those still held are back, and none is taken without it."""
    manager, board = manager
    board.sessions["a"] = SessionBook.__new__(SessionBook)  # its name is all that matters
    await manager.ask(request("first"), timeout=5.0)
    manager.stop()
    assert await manager.stopped(5.0)
    status = board.status().total
    assert (status.granted, status.returned, status.in_use) == (1, 1, 0)
    assert not board.take("a", "second", "sending")


@pytest.mark.parametrize(
    "message",
    [PauseSession(session="nobody"), ResumeSession(session="nobody"), RemoveSession(session="nobody", timeout=5.0)],
)
async def test_there_is_nothing_to_do_to_a_session_that_is_not_there(manager, message):
    """R-G5: it isn't an error, and the manager goes on."""
    manager, _ = manager
    assert await manager.ask(message, timeout=5.0) is False
    assert await manager.ask(request("first"), timeout=5.0)


async def test_a_permit_that_the_manager_grants_is_logged(manager, caplog):
    """R-D4: asked for, granted, returned."""
    manager, _ = manager
    with caplog.at_level(logging.DEBUG, logger="telestage.manager"):
        await manager.ask(request("first"), timeout=5.0)
        manager.signal(PermitReturned(operation_id="first"))
        await manager.ask(request("second"), timeout=5.0)
    words = [" ".join(record.getMessage().split()[:2]) for record in caplog.records]
    assert words == ["permit asked", "permit granted:", "permit returned:", "permit asked", "permit granted:"]
