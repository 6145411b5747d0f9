"""The types that travel: closed when this package is imported, and never changed after.

A type is registered by being defined in a protocol module. Its name is its tag on the wire, so two
types of one name are refused here, at import, and not by a peer that takes one for the other.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType

from telestage.messages import control, events, lifecycle, operations, permits, status
from telestage.messages.base import Message
from telestage.messages.opendata import Openness, openness


def closed_registry(modules: Iterable[ModuleType]) -> Mapping[str, type[Message]]:
    """Return the message types that these modules define, by tag; it can't be changed.

    Raises:
        TypeError: Two types have one tag, or a type is not frozen.
    """
    types: dict[str, type[Message]] = {}
    for module in modules:
        for value in vars(module).values():
            if not (isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__):
                continue
            tag = value.__struct_config__.tag
            assert isinstance(tag, str)
            if types.setdefault(tag, value) is not value:
                raise TypeError(f"{value.__module__} and {types[tag].__module__} both define a message {tag!r}")
            if not value.__struct_config__.frozen:
                raise TypeError(f"message {tag!r} of {value.__module__} must be frozen")
    return MappingProxyType(types)


REGISTRY: Mapping[str, type[Message]] = closed_registry((control, events, lifecycle, operations, permits, status))
"""Every type that travels, by its tag."""

OPENNESS: Mapping[type[Message], Openness] = MappingProxyType({each: openness(each) for each in REGISTRY.values()})
"""Which fields of each have no schema."""
