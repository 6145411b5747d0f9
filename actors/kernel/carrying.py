"""What travels with messages, and what is told of each: only in systems that ask for it.

Invariants:
- A message's handler runs in a context of the message's own, all of it: what it awaits and the tasks it starts too.
  It holds what the system was started with, and the carried variables as the sender had them: those he hadn't set
  aren't set. So nothing that a handler leaves set is seen by another message.
- A system that carries nothing and has no instrument with a hook per message uses plain cells and the classes' own
  handler tables: there it costs nothing.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.carried import Carried
from telestage.actors.kernel.cell import Arguments, Cell
from telestage.actors.kernel.handlers import Handler, HandlerTable
from telestage.actors.kernel.instruments import Handling, Hooks
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.steps import Notice

if TYPE_CHECKING:
    from telestage.actors.kernel.actor import Actor
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.spec import Spec

__all__ = ["Carrier", "CarryingCell", "ObservedCell"]

_UNSET = object()


class Carrier:
    """Packs messages as they leave, and has them handled as they should be.

    Args:
        variables: What travels.
        hooks: Of the system's instruments.
    """

    def __init__(self, variables: Sequence[ContextVar[Any]], hooks: Hooks) -> None:
        self._variables = tuple(variables)
        self._hooks = hooks
        self._departs = [each.departs for each in hooks.per_message] if hooks.departures else []
        self._begins = [each.begins for each in hooks.per_message]
        self._ends = [each.ends for each in hooks.per_message]
        self.observes = bool(self._begins)
        self._no_notes = tuple(None for _ in self._begins)
        self._tables: dict[int, ObservedTable] = {}  # by the identity of the class's own, which each holds
        self._specs: dict[type[Actor], Spec] = {}  # of those that are made without options
        # The variables set by whoever starts the system aren't set for all of its messages.
        self.context = Context()
        for variable, value in copy_context().items():
            if variable not in self._variables:
                self.context.run(variable.set, value)

    @property
    def cell_class(self) -> type[Cell]:
        """What an actor of this system lives in."""
        if self._variables or self._departs:
            return CarryingCell
        return ObservedCell if self.observes else Cell

    def pack(self, message: object, target: Cell) -> object:
        """The message with what travels with it."""
        if type(message) is Carried:
            return message
        values = tuple([variable.get(_UNSET) for variable in self._variables]) if self._variables else ()
        if not self._departs:
            return Carried(message, values, self._no_notes)
        call = self._hooks.call
        return Carried(message, values, tuple([call(departs, message, target) for departs in self._departs]))

    def table(self, plain: HandlerTable) -> ObservedTable:
        """The handlers of a class, each to be run as this module says."""
        table = self._tables.get(id(plain))
        if table is None:
            table = self._tables[id(plain)] = ObservedTable(plain, self)
        return table

    def spec(self, plain: Spec) -> Spec:
        """The same, with the handlers run as this module says."""
        cls = plain.cls
        if plain is not cls.plain_spec:
            return plain.wrapped(self.table)
        spec = self._specs.get(cls)
        if spec is None:
            spec = self._specs[cls] = plain.wrapped(self.table)
        return spec

    def run(self, handlers: HandlerTable, actor: Any, message: object, carried: Carried | None) -> object:
        """Runs the handler as far as it gets without waiting; called in the message's context."""
        if carried is not None and carried.values:
            for variable, value in zip(self._variables, carried.values, strict=True):
                if value is not _UNSET:
                    variable.set(value)
        result = handlers[type(message)](actor, message)
        if type(result) is not CoroutineType:
            return result
        try:
            return Suspended(result, result.send(None))
        except StopIteration as stop:
            return stop.value

    def run_observed(self, handlers: HandlerTable, actor: Any, message: object, carried: Carried | None) -> object:
        """The same, and the instruments are told."""
        call = self._hooks.call
        cell = actor._cell
        handling = Handling(cell, cell.spec.cls, message, type(cell.current) is Ask)
        notes = self._no_notes if carried is None else carried.notes
        begun = [call(begins, handling, note) for begins, note in zip(self._begins, notes, strict=True)]
        try:
            result = self.run(handlers, actor, message, carried)
        except BaseException as error:
            self._end(handling, begun, error)
            raise
        if type(result) is Suspended:
            result.handling, result.begun = handling, begun
        else:
            self._end(handling, begun, None)
        return result

    async def go_on(self, context: Context, suspended: Suspended) -> object:
        """The rest of a handler that waits."""
        handling, begun = suspended.handling, suspended.begun
        if handling is None:
            return await _stepped(context, suspended.coroutine, suspended.yielded)
        try:
            result = await _stepped(context, suspended.coroutine, suspended.yielded)
        except BaseException as error:
            context.run(self._end, handling, begun, error)
            raise
        context.run(self._end, handling, begun, None)
        return result

    def _end(self, handling: Handling, begun: list[object], error: BaseException | None) -> None:
        for ends, state in zip(reversed(self._ends), reversed(begun), strict=True):
            self._hooks.call(ends, handling, state, error)


class Suspended:
    """A handler that waits: its coroutine and what that has yielded; and what instruments know of it."""

    __slots__ = ("begun", "coroutine", "handling", "yielded")

    def __init__(self, coroutine: Any, yielded: object) -> None:
        self.coroutine = coroutine
        self.yielded = yielded
        self.handling: Handling | None = None
        self.begun: list[object] = []


class ObservedTable(HandlerTable):
    """The handlers of one class, each run in a context of the message's own.

    What isn't done without waiting is returned as a coroutine: a handler that doesn't wait costs none but its own.
    """

    __slots__ = ("carrier", "plain")

    def __init__(self, plain: HandlerTable, carrier: Carrier) -> None:
        super().__init__({}, _nobody)
        self.plain = plain
        self.carrier = carrier

    def __contains__(self, cls: object) -> bool:
        return cls in self.plain

    def __missing__(self, cls: type) -> Handler:
        plain, carrier = self.plain, self.carrier
        new_context, go_on = carrier.context.copy, carrier.go_on
        run = carrier.run_observed if carrier.observes else carrier.run

        def handle_carried(actor: object, carried: Any) -> object:
            context = new_context()
            result = context.run(run, plain, actor, carried.message, carried)
            return go_on(context, result) if type(result) is Suspended else result

        def handle_bare(actor: object, message: object) -> object:
            context = new_context()
            result = context.run(run, plain, actor, message, None)
            return go_on(context, result) if type(result) is Suspended else result

        handler = self[cls] = handle_carried if cls is Carried else handle_bare
        return handler


class ObservedCell(Cell):
    """A cell whose handlers are run by the system's carrier."""

    __slots__ = ()

    def set_up(
        self, dispatcher: Dispatcher, spec: Spec, parent: Cell | None, label: str | None, arguments: Arguments | None
    ) -> None:
        assert dispatcher.carrier is not None
        super().set_up(dispatcher, dispatcher.carrier.spec(spec), parent, label, arguments)


class CarryingCell(ObservedCell):
    """A cell whose messages bring something with them from their senders' contexts."""

    __slots__ = ()

    def tell(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self, message: object, priority: int = 0, sender: Ref | None = None
    ) -> None:
        Cell.tell(self, self.packed(message), priority, sender)

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        super().signal(message if isinstance(message, Notice) else self.packed(message), sender=sender)

    def send(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> Coroutine[Any, Any, None]:
        return super().send(self.packed(message), priority, sender, timeout)

    async def ask(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        expecting: type | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
        asker: Cell | None = None,
    ) -> Any:  # `Ref` says of what
        return await super().ask(self.packed(message), expecting, timeout, priority, queue_timeout, cancel, asker)

    def packed(self, message: object) -> object:
        carrier = self.dispatcher.carrier
        assert carrier is not None
        return carrier.pack(message, self)


@types.coroutine
def _stepped(context: Context, driven: Any, yielded: object) -> Generator[object, Any, object]:
    """Goes on with a coroutine that has yielded, each of its steps in `context`.

    It is called `driven` here for `stacks` to find it.
    """
    run: Callable[..., Any] = context.run
    send = driven.send
    try:
        while True:
            try:
                value = yield yielded
            except BaseException as error:
                yielded = run(driven.throw, error)
            else:
                yielded = run(send, value)
    except StopIteration as stop:
        return stop.value


def _nobody(actor: object, message: object) -> object:
    raise AssertionError("the plain table knows who handles it")
