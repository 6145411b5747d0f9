"""The graph of who waits for whom, and which asks it refuses.

It holds exactly one edge for each ask an actor has in flight. An ask that would close a circle is refused
before it is sent, so no watchdog is needed: no circle ever comes to be (R-D2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telestage.actors.kernel.errors import AskCycle, AskDirection

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["allow", "forget_wait", "note_wait", "waited_for"]


def allow(asker: Cell, target: Cell) -> None:
    """Lets the ask pass, or refuses it.

    Costs one look at an idle target. Chains are followed only as far as actors really wait.

    Raises:
        AskCycle: `target` is `asker`, or waits for it over any number of actors.
        AskDirection: Both have an `ask_rank`, and the target's isn't lower.
    """
    rank = asker.spec.cls.ask_rank
    if rank is not None:
        other = target.spec.cls.ask_rank
        if other is not None and other >= rank and target is not asker:
            raise AskDirection(asker.path, target.path)
    if target is asker:
        raise AskCycle((asker.path, asker.path))
    if target.family is None or target.family.waits_on is None:
        return
    waits: Cell | list[Cell] | None = target.family.waits_on
    while waits is not None and waits is not asker and not isinstance(waits, list):  # mostly each waits for one other
        waits = waits.family.waits_on if waits.family is not None else None
    if waits is None:
        return
    # breadth first over the actors that wait; each remembers who led to it, for the path
    came_from: dict[Cell, Cell] = {target: asker}
    frontier = [target]
    while frontier:
        following: list[Cell] = []
        for cell in frontier:
            for next_cell in waited_for(cell):
                if next_cell is asker:
                    path = [asker.path]
                    step = cell
                    while step is not asker:
                        path.append(step.path)
                        step = came_from[step]
                    path.append(asker.path)
                    raise AskCycle(tuple(reversed(path)))
                if next_cell not in came_from:
                    came_from[next_cell] = cell
                    following.append(next_cell)
        frontier = following


def waited_for(cell: Cell) -> list[Cell]:
    """Whom `cell` waits for: one entry for each of its asks in flight."""
    waits = cell.family.waits_on if cell.family is not None else None
    if waits is None:
        return []
    return waits if isinstance(waits, list) else [waits]


def note_wait(asker: Cell, target: Cell) -> None:
    """Adds one edge to the graph."""
    kin = asker.family or asker.kin
    waits = kin.waits_on
    if waits is None:
        kin.waits_on = target
    elif isinstance(waits, list):
        waits.append(target)
    else:
        kin.waits_on = [waits, target]


def forget_wait(asker: Cell, target: Cell) -> None:
    """Takes one edge out of the graph."""
    kin = asker.kin
    waits = kin.waits_on
    if isinstance(waits, list):
        waits.remove(target)
        if len(waits) == 1:
            kin.waits_on = waits[0]
    else:
        kin.waits_on = None
