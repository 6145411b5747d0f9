"""The graph of who waits for whom, and which asks it refuses.

It holds exactly one edge for each ask an actor has in flight. An ask that would close a circle is refused
before it is sent, so no watchdog is needed: no circle ever comes to be (R-D2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telestage.actors.kernel.errors import AskCycle, AskDirection

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["allow", "forget_wait", "note_wait"]


def allow(asker: Cell, target: Cell) -> None:
    """Lets the ask pass, or refuses it.

    Costs one look at an idle target. Chains are followed only as far as actors really wait.

    Raises:
        AskCycle: `target` is `asker`, or waits for it over any number of actors.
        AskDirection: Both have an `ask_rank`, and the target's isn't lower.
    """
    rank = asker.ask_rank
    if rank is not None:
        other = target.ask_rank
        if other is not None and other >= rank and target is not asker:
            raise AskDirection(asker.path, target.path)
    if target is asker:
        raise AskCycle((asker.path, asker.path))
    if target.waits_on is None:
        return
    # breadth first over the actors that wait; each remembers who led to it, for the path
    came_from: dict[Cell, Cell] = {target: asker}
    frontier = [target]
    while frontier:
        following: list[Cell] = []
        for cell in frontier:
            for next_cell in _waits(cell):
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


def _waits(cell: Cell) -> list[Cell]:
    waits = cell.waits_on
    if waits is None:
        return []
    return waits if isinstance(waits, list) else [waits]


def note_wait(asker: Cell, target: Cell) -> None:
    """Adds one edge to the graph."""
    waits = asker.waits_on
    if waits is None:
        asker.waits_on = target
    elif isinstance(waits, list):
        waits.append(target)
    else:
        asker.waits_on = [waits, target]


def forget_wait(asker: Cell, target: Cell) -> None:
    """Takes one edge out of the graph."""
    waits = asker.waits_on
    if isinstance(waits, list):
        waits.remove(target)
        if len(waits) == 1:
            asker.waits_on = waits[0]
    else:
        asker.waits_on = None
