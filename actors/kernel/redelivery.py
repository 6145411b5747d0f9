"""What becomes of the message whose handling failed.

Invariant: it is dropped, unless its actor was spawned with `redeliver`. Then it goes first of all after the
restart, by the system lane, at most that often. What was asked has been answered with the error, and what the
runtime tells by itself is told once: neither is given again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import Envelope, bare, sender_of, worn
from telestage.actors.kernel.steps import Notice

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Redelivery", "give_again"]


class Redelivery(NamedTuple):
    """The message given again last, or dropped last."""

    item: object
    """As it was when its handling failed."""
    envelope: Envelope | None
    """As it is given again; None if it has been dropped."""
    times: int
    """How often it has been, with this one."""


def give_again(cell: Cell, item: object) -> None:
    """Puts `item`, which a restart of `cell` cut short, ahead of all that waits, if its policy says so."""
    times = cell.spec.redeliver
    if not times or item is None or isinstance(item, Ask) or isinstance(bare(item), Notice):
        return
    kin = cell.kin
    last = kin.again
    given = 0
    if last is not None:
        if item is last.item and (last.envelope is None or (kin.control and kin.control[0] is last.envelope)):
            return  # it was cut short, and then failed: once is enough
        if item is last.envelope:
            given = last.times
    kin.again = Redelivery(item, None, given)
    if given < times:
        envelope = Envelope(worn(item), sender_of(item))  # a new one each time, to be known by
        kin.again = Redelivery(item, envelope, given + 1)
        if kin.control is None:
            kin.control = deque()
        kin.control.appendleft(envelope)
