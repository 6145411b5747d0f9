"""Who waits at the turnstile is let in when it may be, however busy the loop is."""

import asyncio
import time

import pytest
from telethon.tl.functions.contacts import ResolveUsernameRequest

from telestage.actors import Limits, Pace
from telestage.actors.telegram.scope import Turn
from telestage.actors.telegram.turnstile import Turnstile
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
