"""What all actors that are made alike have in common."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.supervision import ChildKind, Strategy, Supervision

if TYPE_CHECKING:
    from telestage.actors.kernel.actor import Actor
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.handlers import Behaviour, HandlerTable

__all__ = ["UNBOUNDED", "Spec"]

UNBOUNDED = 1 << 62
"""The capacity of a mailbox without a bound."""

_QUICK_LIMIT = (1 << 30) - 1  # CPython compares integers of up to 30 bits at once


class Spec:
    """A class of actors, and how those of it are bounded and supervised. Shared by all that are made alike.

    Raises:
        ValueError: A capacity or a number of times that can't be, or a `supervision` with a strategy.
    """

    __slots__ = (
        "_initial",
        "_variants",
        "_wrap",
        "behaviour",
        "capacity",
        "cls",
        "handlers",
        "kind",
        "limit",
        "overflow",
        "redeliver",
        "restarting_hook",
        "started_hook",
        "stopped_hook",
        "supervision",
    )

    def __init__(
        self,
        cls: type[Actor],
        capacity: int | None = None,
        supervision: Supervision | None = None,
        kind: ChildKind = ChildKind.TRANSIENT,
        redeliver: int = 0,
        overflow: Overflow = Overflow.FAIL,
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
        self.limit = None if capacity is None else min(capacity, _QUICK_LIMIT)  # see `Mailbox`
        self.supervision = supervision
        self.kind = kind
        self.overflow = overflow
        self.redeliver = redeliver
        self.handlers: HandlerTable = cls.handler_table()
        self.behaviour: Behaviour | None = None  # what they have become
        self._initial = self
        self._wrap: Callable[[HandlerTable], HandlerTable] | None = None
        self._variants: dict[Behaviour, Spec] = {}  # for those that have become something else
        self.started_hook, self.restarting_hook, self.stopped_hook = cls.overridden_hooks()

    def wrapped(self, wrap: Callable[[HandlerTable], HandlerTable]) -> Spec:
        """The same with the handlers that `wrap` makes of these, and of each behaviour's."""
        other = copy(self)
        other._initial = other
        other._variants = {}
        other._wrap = wrap
        other.handlers = wrap(self.handlers)
        return other

    def behaving(self, behaviour: Behaviour | None) -> Spec:
        """The same with the handlers of `behaviour`. Default: those that a new instance has."""
        initial = self._initial
        if behaviour is None:
            return initial
        spec = initial._variants.get(behaviour)
        if spec is None:
            spec = initial._variants[behaviour] = copy(initial)
            spec.behaviour = behaviour
            table = initial.cls.behaviours()[behaviour]
            spec.handlers = table if initial._wrap is None else initial._wrap(table)
        return spec

    def create(self, cell: Cell) -> Actor:
        """A new instance, which knows its cell before `__init__` runs."""
        cls = self.cls
        actor = cls.__new__(cls)
        actor._cell = cell
        arguments = cell.arguments
        if arguments is None:
            actor.__init__()  # type: ignore[misc]  # after __new__, as type.__call__ does
        else:
            actor.__init__(*arguments[0], **arguments[1])  # type: ignore[misc]  # likewise
        return actor
