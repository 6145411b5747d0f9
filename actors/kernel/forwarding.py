"""What is handed on to another actor, or put aside for later, is no more its handler's to answer.

Invariants:
- Whoever asked waits for whoever has the question now: his edge of the wait-for graph goes there, and his deadlines
  and his cancellation reach it there.
- The current message of the actor is nobody's then (`GIVEN_AWAY`). So what the handler returns or raises afterwards
  answers nothing, whether it says `return` or forgets it, and a failure doesn't have it given again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import bare, sender_of, worn
from telestage.actors.kernel.errors import AskCycle, AskError
from telestage.actors.kernel.steps import Notice
from telestage.actors.kernel.waits import allow, forget_wait, note_wait

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.ref import Ref

__all__ = ["SAME", "GivenAway", "forward", "take_current", "wait_on"]

SAME = object()
"""Stands for the message being handled, where another one could be given."""


class GivenAway(Notice, frozen=True):
    """Stands in a cell for the current message, which its handler has handed on or put aside."""


GIVEN_AWAY = GivenAway()


def take_current(cell: Cell, what: str) -> object:
    """Takes the current message, as it travels, out of its handler's hands.

    Raises:
        RuntimeError: No message is being handled, or it has been taken already.
    """
    item = cell.current
    if item is None or item is GIVEN_AWAY:
        raise RuntimeError(f"{cell.path} has nothing to {what}: no message is being handled, or it has been given away")
    cell.current = GIVEN_AWAY
    return item


def wait_on(ask: Ask) -> None:
    """Its asker is to wait on: the ask is not begun any more, and what is returned doesn't settle it."""
    ask.begun = False
    ask.shared()


def forward(cell: Cell, ref: Ref, message: object, priority: int) -> None:
    """Hands the current message of `cell`, or `message` in its place, on to `ref`."""
    item = take_current(cell, "forward")
    if not isinstance(item, Ask):
        ref.tell(worn(item) if message is SAME else message, priority=priority, sender=sender_of(item))
        return
    if item.settled:
        return  # its asker has given up: it is never executed
    target = ref.cell_for(bare(item) if message is SAME else message)
    asker = item.asker
    try:
        if target is cell:
            raise AskCycle((cell.path, cell.path))
        if asker is not None:
            allow(asker, target)
    except AskError as error:
        item.fail(error)
        return
    if asker is not None:
        forget_wait(asker, cell)
        note_wait(asker, target)
    if message is not SAME:
        item.message = target.packed(message)
    item.target = target
    if refusal := target.admit_ask(item, priority):
        item.fail(refusal)
    else:
        wait_on(item)
