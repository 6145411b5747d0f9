"""What is needed to make an actor, the first time and after every failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.errors import ActorStopped, NameTaken
from telestage.actors.kernel.handlers import HandlerTable
from telestage.actors.kernel.mailbox import UNBOUNDED
from telestage.actors.kernel.stopping import finish, stop
from telestage.actors.kernel.supervision import ChildKind, Strategy, Supervision

if TYPE_CHECKING:
    from telestage.actors.kernel.actor import Actor

__all__ = ["Spec", "spawn"]


class Spec:
    """The class of an actor, its arguments, and how it is bounded and supervised."""

    __slots__ = (
        "_args",
        "_kwargs",
        "capacity",
        "cls",
        "handlers",
        "kind",
        "redeliver",
        "restarting_hook",
        "started_hook",
        "stopped_hook",
        "supervision",
    )

    def __init__(
        self,
        cls: type[Actor],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        capacity: int | None,
        supervision: Supervision | None,
        kind: ChildKind = ChildKind.TRANSIENT,
        redeliver: int = 0,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ValueError(f"capacity of {cls.__qualname__} must be 1 message or more, or None, not {capacity}")
        if redeliver < 0:
            raise ValueError(f"redeliver of {cls.__qualname__} must be 0 times or more, not {redeliver}")
        if supervision is not None and supervision.strategy is not Strategy.ONE_FOR_ONE:
            raise ValueError(
                f"{supervision.strategy.value} is for the parent of {cls.__qualname__} to choose, in its `supervision`"
            )
        self.cls = cls
        self.capacity = UNBOUNDED if capacity is None else capacity
        self.supervision = supervision
        self.kind = kind
        self.redeliver = redeliver
        self.handlers: HandlerTable = cls.handler_table()
        self.started_hook, self.restarting_hook, self.stopped_hook = cls.overridden_hooks()
        self._args = args
        self._kwargs = kwargs

    def create(self, cell: Cell) -> Actor:
        """A new instance, which knows its cell before `__init__` runs."""
        actor = self.cls.__new__(self.cls)
        actor._cell = cell
        actor.__init__(*self._args, **self._kwargs)  # type: ignore[misc]  # after __new__, as type.__call__ does
        return actor


def spawn(parent: Cell, spec: Spec, name: str | None) -> Cell:
    """Makes a cell and its actor below `parent`.

    Raises:
        ActorStopped: The parent is stopping.
        NameTaken: A living child of `parent` has that name.
        ValueError: The name is empty, or has a `/` or starts with a `$`.
        Exception: Whatever `__init__` raised; nothing was spawned.
    """
    if parent.closed:
        raise ActorStopped(parent.path)
    kin = parent.kin
    if name is not None:
        if not name or "/" in name or name.startswith("$"):
            raise ValueError(f"an actor's name must not be empty, contain '/' or start with '$': {name!r}")
        if name in kin.children:
            raise NameTaken(kin.children[name].path)
    cell = Cell(parent.dispatcher, parent, parent.dispatcher.next_name() if name is None else name, spec)
    try:
        cell.actor = spec.create(cell)
    except BaseException:
        children = cell.kin.children
        for child in list(children.values()):  # they stop by themselves, in their own turns
            stop(child, None, grace=0.0)
        children.clear()
        finish(cell)
        raise
    kin.children[cell.name] = cell
    if spec.started_hook:
        cell.begin()
    return cell
