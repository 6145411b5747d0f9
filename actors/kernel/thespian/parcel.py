"""What travels between Thespian actors, and those outside."""
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import msgspec
from thespian.actors import ActorAddress

__all__ = ["Parcel"]


class Parcel(msgspec.Struct, frozen=True):
    """A message on its way: from whom, and the ask of an outsider that it goes back to, if any."""

    message: object
    sender: ActorAddress
    target: ActorAddress
    ask: int | None
