"""The pure rules of floods and paces: which deadline counts, who goes next, and how polite the defaults are."""

from telestage.actors import Limits, Pace
from telestage.actors.telegram.floods import Ledger
from telestage.actors.telegram.pacing import Pacer
from telestage.messages import FloodStatus


def flood(until: float | None) -> FloodStatus:
    return FloodStatus(
        session="alice",
        kind="sending",
        peer=None,
        until=until,
        seconds=None,
        method="messages.sendMessage",
        seen_at=0.0,
        reason="FLOOD_WAIT",
    )


def test_a_flood_that_ends_sooner_shortens_no_other() -> None:
    """R-X2: of two about the same, the later deadline stays, whichever comes last: from Telegram or from the store."""
    ledger = Ledger("alice")
    told: list[FloodStatus] = []
    ledger.on_change = lambda each, begun: told.append(each)
    assert ledger.park("sending", "messages.sendMessage", 100.0, "FLOOD_WAIT", 0.0).until == 100.0
    assert ledger.park("sending", "messages.sendMessage", 10.0, "FLOOD_WAIT", 5.0).until == 100.0
    ledger.restore([flood(50.0)])
    assert [each.until for each in ledger.now(60.0)] == [100.0]
    assert len(told) == 1, "what changes nothing is not written"
    assert ledger.park("sending", "messages.sendMessage", 100.0, "FLOOD_WAIT", 60.0).until == 160.0
    ledger.restore([flood(200.0)])
    assert [each.until for each in ledger.now(199.9)] == [200.0]
    assert ledger.now(200.0) == []


def test_of_those_that_wait_the_most_urgent_goes_next() -> None:
    """R-X3: and of equals the one that came first."""
    pacer = Pacer(lambda _: (1, 10.0), 100.0)
    key = (Pace.SENDING, None)
    first = pacer.place((key,), 0)
    assert pacer.enter(first, 0.0)
    pacer.use(first, (key,), 0.0)
    waiting = {name: pacer.place((key,), priority) for name, priority in (("low", 0), ("high", 5), ("higher", 5))}
    assert not any(pacer.enter(place, 0.0) for place in waiting.values())
    order = []
    for now in (10.0, 20.0, 30.0):
        (let_in,) = pacer.let_in(now)
        pacer.use(let_in, (key,), now)
        order.append(next(name for name, place in waiting.items() if place is let_in))
    assert order == ["high", "higher", "low"]


def test_politeness_is_the_default() -> None:
    """R-X3: as stated in docs/telegram.md; only `unpaced` is without."""
    limits = Limits()
    assert limits.paced
    assert limits.peer_flood is None
    assert {pace: limits.pace(pace) for pace in Pace} == {
        Pace.SENDING: (30, 60.0),
        Pace.USER: (1, 1.1),
        Pace.GROUP: (16, 60.0),
        Pace.HISTORY: (3, 9.0),
        Pace.RESOLVING: (20, 60.0),
        Pace.JOINING: (3, 300.0),
    }
    assert not Limits.unpaced(operations=7).paced
    assert Limits.unpaced(operations=7).operations == 7
