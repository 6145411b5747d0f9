"""Which method handles which type of message.

`@handles(Add)` marks a method; a class collects its marks, and those it inherits, once. A message
goes to the handler of its own type, else to that of its nearest base class that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["Handler", "HandlerTable", "handles"]

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
    if not types or not all(isinstance(cls, type) for cls in types):
        raise TypeError(f"@handles takes the classes of the messages, as in @handles(Add), not {types!r}")

    def mark(method: F) -> F:
        setattr(method, _MARK, (*getattr(method, _MARK, ()), *types))
        return method

    return mark


class HandlerTable(dict[type, Handler]):
    """Handlers by message type; a type met for the first time is resolved over its bases and kept."""

    __slots__ = ("_declared", "_unhandled")

    def __init__(self, declared: Mapping[type, Handler], unhandled: Handler) -> None:
        super().__init__(declared)
        self._declared = dict(declared)  # resolved over these alone: what was met before must not matter
        self._unhandled = unhandled

    def __missing__(self, cls: type) -> Handler:
        declared = self._declared
        handler = next((declared[base] for base in cls.__mro__[1:] if base in declared), self._unhandled)
        self[cls] = handler
        return handler

    @classmethod
    def of(cls, actor_class: type, unhandled: Handler) -> HandlerTable:
        """Collects the marked methods of a class. A subclass overrides by type, or by method name.

        Raises:
            TypeError: Two methods of one class handle the same type.
        """
        declared: dict[type, Handler] = {}
        for owner in reversed(actor_class.__mro__):
            seen: dict[type, str] = {}
            for name, value in vars(owner).items():
                for message_type in getattr(value, _MARK, ()):
                    if message_type in seen:
                        raise TypeError(
                            f"{owner.__qualname__}: both {seen[message_type]} and {name} handle "
                            f"{message_type.__qualname__}; one handler a type"
                        )
                    seen[message_type] = name
                    declared[message_type] = getattr(actor_class, name)
        return cls(declared, unhandled)
