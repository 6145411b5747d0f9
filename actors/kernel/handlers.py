"""Which method handles which type of message.

`@handles(Add)` marks a method; a class collects its marks, and those it inherits, once. A message
goes to the handler of its own type, else to that of its nearest base class that has one. A `Behaviour`
comes before that, while its actor has become it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import TypeVar

__all__ = ["Behaviour", "Handler", "HandlerTable", "handles"]

_MARK = "__telestage_handles__"

Handler = Callable[[object, object], object]
"""Gets the actor and the message."""


F = TypeVar("F", bound=Callable[..., object])


def handles(*types: type) -> Callable[[F], F]:
    """Marks a method, plain or `async`, as the handler of messages of these types.

    What it returns answers an ask; `NO_REPLY` says that the answer comes later.

    Raises:
        TypeError: No type is given, or something that isn't a class.
    """
    return _marked(None, types)


class Behaviour:
    """Handlers that an actor has in one of its states. Made in the body of its class:

        class Door(Actor):
            locked = Behaviour()

            @handles(Push)
            def open(self, message: Push) -> None: ...

            @locked.handles(Push)
            def hold(self, message: Push) -> None: ...

    After `self.become(Door.locked)` a message goes to the handler that the behaviour has for its type or the nearest
    base class of it; what the behaviour doesn't handle goes to the handlers marked with plain `@handles`, which
    are common to all states. A handler for `object` leaves nothing to them. A subclass overrides as ever: by type,
    or by method name.
    """

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name = "?"

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{owner.__qualname__}.{name}"

    def __repr__(self) -> str:
        return f"<Behaviour {self._name}>"

    def handles(self, *types: type) -> Callable[[F], F]:
        """Marks a method as the handler of messages of these types while this is the actor's behaviour.

        Raises:
            TypeError: No type is given, or something that isn't a class.
        """
        return _marked(self, types)


def _marked(behaviour: Behaviour | None, types: tuple[type, ...]) -> Callable[[F], F]:
    if not types or not all(isinstance(cls, type) for cls in types):
        raise TypeError(f"@handles takes the classes of the messages, as in @handles(Add), not {types!r}")

    def mark(method: F) -> F:
        marks = getattr(method, _MARK, ())
        setattr(method, _MARK, (*marks, *((behaviour, cls) for cls in types)))
        return method

    return mark


class HandlerTable(dict[type, Handler]):
    """Handlers by message type; a type met for the first time is resolved over its bases and kept.

    Args:
        declared: The handlers themselves.
        otherwise: What handles the rest: a function, or the table of handlers common to all behaviours.
    """

    __slots__ = ("_declared", "_otherwise", "coroutines")

    def __init__(self, declared: Mapping[type, Handler], otherwise: Handler | HandlerTable) -> None:
        super().__init__(declared)
        self._declared = dict(declared)  # resolved over these alone: what was met before must not matter
        self._otherwise = otherwise
        self.coroutines = {cls: handler for cls, handler in declared.items() if iscoroutinefunction(handler)}
        """Those that are `async def`, of the types met so far: what they return needn't be looked at."""
        if isinstance(otherwise, HandlerTable):
            for cls in otherwise._declared:
                self[cls]  # so that `in` knows what is handled

    def __missing__(self, cls: type) -> Handler:
        declared, otherwise = self._declared, self._otherwise
        handler = next((declared[base] for base in cls.__mro__ if base in declared), None)
        if handler is None:
            handler = otherwise[cls] if isinstance(otherwise, HandlerTable) else otherwise
        self[cls] = handler
        if iscoroutinefunction(handler):
            self.coroutines[cls] = handler
        return handler

    @classmethod
    def of(cls, actor_class: type, unhandled: Handler) -> tuple[HandlerTable, dict[Behaviour, HandlerTable]]:
        """Collects the marked methods of a class: those common to all behaviours, and each behaviour's.

        Raises:
            TypeError: Two methods of one class handle the same type in the same behaviour.
        """
        declared: dict[Behaviour | None, dict[type, Handler]] = {None: {}}
        for owner in reversed(actor_class.__mro__):
            seen: dict[tuple[Behaviour | None, type], str] = {}
            for name, value in vars(owner).items():
                if isinstance(value, Behaviour):
                    declared.setdefault(value, {})
                for mark in getattr(value, _MARK, ()):
                    behaviour, message_type = mark
                    if mark in seen:
                        raise TypeError(
                            f"{owner.__qualname__}: both {seen[mark]} and {name} handle "
                            f"{message_type.__qualname__}; one handler a type"
                        )
                    seen[mark] = name
                    declared.setdefault(behaviour, {})[message_type] = getattr(actor_class, name)
        common = cls(declared.pop(None), unhandled)
        return common, {behaviour: cls(own, common) for behaviour, own in declared.items() if behaviour is not None}
