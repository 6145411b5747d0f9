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
from collections.abc import Callable, Generator, Sequence
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
        self._instruments = tuple(hooks.per_message)
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
        if self._variables or self._hooks.departures:
            return CarryingCell
        return ObservedCell if self._instruments else Cell

    def pack(self, message: object, target: Cell) -> object:
        """The message with what travels with it."""
        if type(message) is Carried or isinstance(message, Notice):
            return message
        values: tuple[object, ...] | None = tuple([variable.get(_UNSET) for variable in self._variables])
        if all(value is _UNSET for value in values or ()):
            values = None
        call = self._hooks.call
        return Carried(message, values, tuple([call(each.departs, message, target) for each in self._instruments]))

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

    def handle(self, handler: Handler, actor: Any, message: object, carried: Carried | None) -> object:
        """Has one message handled in a context of its own."""
        context = self.context.copy()
        run = context.run
        if carried is not None and carried.values is not None:
            run(self._set, carried.values)
        if not self._instruments:
            result = run(handler, actor, message)
            return _steps(context, result) if type(result) is CoroutineType else result
        cell = actor._cell
        handling = Handling(cell, cell.spec.cls, message, type(cell.current) is Ask)
        begun = run(self._begin, handling, None if carried is None else carried.notes)
        try:
            result = run(handler, actor, message)
        except BaseException as error:
            run(self._end, handling, begun, error)
            raise
        if type(result) is CoroutineType:
            return self._observed(context, result, handling, begun)
        run(self._end, handling, begun, None)
        return result

    async def _observed(self, context: Context, coroutine: Any, handling: Handling, begun: list[object]) -> object:
        try:
            result = await _stepped(context, coroutine)
        except BaseException as error:
            context.run(self._end, handling, begun, error)
            raise
        context.run(self._end, handling, begun, None)
        return result

    def _set(self, values: tuple[object, ...]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            if value is not _UNSET:
                variable.set(value)

    def _begin(self, handling: Handling, notes: tuple[object, ...] | None) -> list[object]:
        call = self._hooks.call
        if notes is None:
            return [call(each.begins, handling, None) for each in self._instruments]
        return [call(each.begins, handling, note) for each, note in zip(self._instruments, notes, strict=True)]

    def _end(self, handling: Handling, begun: list[object], error: BaseException | None) -> None:
        call = self._hooks.call
        for each, state in zip(reversed(self._instruments), reversed(begun), strict=True):
            call(each.ends, handling, state, error)


class ObservedTable(HandlerTable):
    """The handlers of one class, run by the carrier of one system."""

    __slots__ = ("carrier", "plain")

    def __init__(self, plain: HandlerTable, carrier: Carrier) -> None:
        super().__init__({}, _nobody)
        self.plain = plain
        self.carrier = carrier

    def __contains__(self, cls: object) -> bool:
        return cls in self.plain

    def __missing__(self, cls: type) -> Handler:
        handle, plain = self.carrier.handle, self.plain

        def handle_carried(actor: object, carried: Any) -> object:
            message = carried.message
            return handle(plain[type(message)], actor, message, carried)

        def handle_bare(actor: object, message: object) -> object:
            return handle(plain[cls], actor, message, None)

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
        super().tell(self.packed(message), priority, sender)

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        super().signal(self.packed(message), sender=sender)

    async def send(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> None:
        await super().send(self.packed(message), priority, sender, timeout)

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


async def _steps(context: Context, coroutine: Any) -> object:
    return await _stepped(context, coroutine)


@types.coroutine
def _stepped(context: Context, driven: Any) -> Generator[object, Any, object]:
    """Awaits a coroutine, each of its steps in `context`. It is called `driven` here for `stacks` to find it."""
    run: Callable[..., Any] = context.run
    send = driven.send
    try:
        yielded = run(send, None)
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
