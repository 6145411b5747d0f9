"""How an actor comes to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telestage.actors.kernel.cell import Arguments, Cell
from telestage.actors.kernel.errors import ActorStopped, NameTaken
from telestage.actors.kernel.flags import CLOSED
from telestage.actors.kernel.stopping import finish, stop

if TYPE_CHECKING:
    from telestage.actors.kernel.spec import Spec

__all__ = ["spawn"]


def spawn(parent: Cell, spec: Spec, arguments: Arguments | None, name: str | None) -> Cell:
    """Makes a cell and its actor below `parent`.

    Raises:
        ActorStopped: The parent is stopping.
        NameTaken: A living child of `parent` has that name.
        ValueError: The name is empty, or has a `/` or starts with a `$`.
        Exception: Whatever `__init__` raised; nothing was spawned.
    """
    if parent.flags & CLOSED:
        raise ActorStopped(parent.path)
    children = (parent.family or parent.kin).children
    if name is not None:
        if not name or "/" in name or name.startswith("$"):
            raise ValueError(f"an actor's name must not be empty, contain '/' or start with '$': {name!r}")
        if taken := children.named(name):
            raise NameTaken(taken.path)
    dispatcher = parent.dispatcher
    cell = dispatcher.cell_class()
    cell.set_up(dispatcher, spec, parent, name, arguments)
    try:
        cell.actor = spec.create(cell)
    except BaseException:
        if cell.family is not None:
            for child in list(cell.family.children):  # they stop by themselves, in their own turns
                cell.family.children.remove(child)
                stop(child, None, grace=0.0)
        finish(cell)
        raise
    if name is not None:
        children.name(cell, name)
    children.add(cell)
    if dispatcher.life is not None:
        dispatcher.life.tell("spawned", cell, spec.cls)
    if spec.started_hook:
        cell.begin()
    return cell
