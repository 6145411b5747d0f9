"""Who waits at the turnstile is let in when it may be, however busy the loop is."""

import asyncio
import math
import time

import pytest
from telethon.errors import FloodWaitError
from telethon.tl.functions.contacts import ResolveUsernameRequest
from telethon.tl.functions.messages import SendMessageRequest
from telethon.tl.types import InputPeerUser

from telestage.actors import Limits, Pace, PaceTimeout, SessionDead
from telestage.actors.telegram.scope import Turn
from telestage.actors.telegram.turnstile import HeldBack, Turnstile
from telestage.messages import Kind


class Sends:
    kind = Kind.SENDING
    priority = 0


async def waits(turnstile: Turnstile, name: str) -> None:
    place = turnstile.place(Sends())
    assert place is not None
    await turnstile.enter(name, place, asyncio.get_running_loop().time() + 60.0)
    turnstile.leave(name, place)


@pytest.mark.timeout(20)
async def test_who_may_be_let_in_is_not_forgotten_when_the_loop_was_busy() -> None:
    """R-X3: a request that is made while a timer is overdue takes nobody's wake-up away."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 0.1), Pace.RESOLVING: (100, 1.0)}))
    pacer = turnstile.pacer
    assert pacer is not None
    first = turnstile.place(Sends())
    assert first is not None
    await turnstile.enter("first", first, asyncio.get_running_loop().time() + 60.0)
    pacer.use(first, first.needs, time.monotonic())
    resolving = Turn()
    resolving.place = turnstile.place(None, [ResolveUsernameRequest("bob")])
    assert resolving.place is not None
    await turnstile.enter("resolving", resolving.place, asyncio.get_running_loop().time() + 60.0)
    assert resolving.place.held
    second = asyncio.ensure_future(waits(turnstile, "second"))
    await asyncio.sleep(0)
    assert pacer.waiting == 1
    time.sleep(0.15)  # noqa: ASYNC251 - the loop is busy: there is room now for who waits, and no timer has run
    await turnstile.admit([ResolveUsernameRequest("bob")], resolving)
    await asyncio.wait_for(second, 5.0)


def send(text: str = "hello") -> SendMessageRequest:
    return SendMessageRequest(InputPeerUser(1, 0), text)


def in_turn(*, wrote: bool) -> Turn:
    """A turn that may be begun again, unless it has written."""
    turn = Turn(again=False)
    turn.wrote = wrote
    return turn


async def test_a_request_that_waits_in_its_turn_as_the_session_ends_is_not_made() -> None:
    """R-X3: nor counted: the windows are as they were."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 60.0), Pace.USER: (9, 1.0)}))
    assert turnstile.pacer is not None
    await turnstile.admit([send()], in_turn(wrote=True))
    waiting = asyncio.ensure_future(turnstile.admit([send()], in_turn(wrote=True)))
    await asyncio.sleep(0)
    assert turnstile.pacer.waiting == 1
    turnstile.end()
    with pytest.raises(SessionDead):
        await waiting
    assert [window.reserved for window in turnstile.pacer.windows.values()] == [0, 0]


async def test_only_what_may_be_begun_again_is_held_back() -> None:
    """R-X3: what has written waits in its turn, until the deadline of that."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 60.0), Pace.USER: (9, 1.0)}))
    await turnstile.admit([send()], None)
    with pytest.raises(HeldBack) as held:
        await turnstile.admit([send()], in_turn(wrote=False))
    assert 0.0 < held.value.until - time.time() <= 60.0
    late = in_turn(wrote=True)
    late.until = asyncio.get_running_loop().time() + 0.1
    with pytest.raises(PaceTimeout):
        await turnstile.admit([send()], late)


async def test_what_may_not_be_begun_again_is_made_when_its_pace_allows() -> None:
    """R-X3: so is what belongs to no turn."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 0.2), Pace.USER: (9, 1.0)}))
    begun = time.monotonic()
    await turnstile.admit([send()], None)
    await turnstile.admit([send()], in_turn(wrote=True))
    assert time.monotonic() - begun >= 0.2
    await turnstile.admit([send()], None)
    assert time.monotonic() - begun >= 0.4


async def test_nobody_waits_past_his_deadline_for_one_that_does_nothing() -> None:
    """R-X3, R-D3: when there will be room isn't known then."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 0.05)}))
    first, second = turnstile.place(Sends()), turnstile.place(Sends())
    assert first is not None
    assert second is not None
    loop = asyncio.get_running_loop()
    await turnstile.enter("first", first, math.inf)
    give_up = loop.time() + 0.1
    with pytest.raises(PaceTimeout):
        await turnstile.enter("second", second, give_up)
    assert give_up <= loop.time() < give_up + 5.0


async def test_the_next_one_is_let_in_by_who_leaves_with_nothing_done() -> None:
    """R-X3: no timer would do it: nobody could know when he leaves."""
    turnstile = Turnstile("alice", Limits(paces={Pace.SENDING: (1, 0.05)}))
    first = turnstile.place(Sends())
    assert first is not None
    await turnstile.enter("first", first, math.inf)
    second = asyncio.ensure_future(waits(turnstile, "second"))
    await asyncio.sleep(0)
    assert not second.done()
    turnstile.leave("first", first)
    await asyncio.wait_for(second, 5.0)


async def test_nobody_waits_where_nothing_is_paced() -> None:
    """R-X3: and none that would come."""
    turnstile = Turnstile("alice", Limits.unpaced())
    assert turnstile.place(Sends()) is None
    assert turnstile.crowd(Kind.SENDING) == (0, 0.0)


async def test_what_is_no_flood_parks_nothing() -> None:
    """R-X2: nor slows anything down; a flood halves the pace of what met it."""
    turnstile = Turnstile("alice", Limits())
    assert turnstile.pacer is not None
    assert turnstile.met(ValueError("bad"), send(), None) is None
    assert not turnstile.ledger
    assert turnstile.pacer.windows == {}
    assert turnstile.met(FloodWaitError(None, 7), send(), None) is not None
    now = time.monotonic()
    assert [turnstile.pacer.window(key, now).factor(now) for key in ((Pace.SENDING, None), (Pace.USER, 1))] == [
        pytest.approx(0.5, abs=0.1)
    ] * 2
