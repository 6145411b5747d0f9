"""The flood ledger of one session: what Telegram made it wait for, until when. Pure: whoever asks says what time it is.

Invariants:
- A deadline is one, not a sleep: it is neither forgotten nor shortened but by its own end, or, where Telegram named
  none, by a person.
- What is about one peer parks nothing else; what is about one kind parks no other.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator

from telestage.actors.telegram.shapes import Shape
from telestage.messages import FloodStatus, Kind

__all__ = ["PEER_FLOOD", "Ledger", "end_of"]

PEER_FLOOD = "PEER_FLOOD"
"""The reason of a pause of all sending."""

_Key = tuple[str, int | None, bool]
_PAUSE: _Key = (Kind.SENDING.value, None, True)


def end_of(flood: FloodStatus) -> float:
    """When it ends, in Unix seconds; infinite if only a person ends it."""
    return math.inf if flood.until is None else flood.until


class Ledger:
    """The floods of one session.

    Args:
        session: Its name.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.on_change: Callable[[FloodStatus, bool], None] | None = None
        """Is told of each that comes, and, with False, of each that a person ends."""
        self.on_flood: Callable[[FloodStatus], None] | None = None
        """Is told of each that comes, too."""
        self.stored: Callable[[], Awaitable[object]] | None = None
        """Returns when what it has been told is in the store, or couldn't be written; None without a store."""
        self._floods: dict[_Key, FloodStatus] = {}

    def __bool__(self) -> bool:
        return bool(self._floods)

    def __iter__(self) -> Iterator[FloodStatus]:
        return iter(list(self._floods.values()))

    @property
    def paused(self) -> bool:
        """Whether all sending is paused by PEER_FLOOD."""
        return _PAUSE in self._floods

    def restore(self, floods: Iterable[FloodStatus]) -> None:
        """What another process knew; a later deadline that is known already stays."""
        for flood in floods:
            known = self._floods.get(_key(flood))
            if known is None or end_of(known) < end_of(flood):
                self._floods[_key(flood)] = flood

    def park(
        self, kind: str, method: str, seconds: float | None, reason: str, now: float, peer: int | None = None
    ) -> FloodStatus:
        """Parks a kind, for one peer or for all, for so many seconds; None: until a person resumes it."""
        flood = FloodStatus(
            session=self.session,
            kind=kind,
            peer=peer,
            until=None if seconds is None else now + seconds,
            seconds=seconds,
            method=method,
            seen_at=now,
            reason=reason,
        )
        known = self._floods.get(_key(flood))
        if known is not None and end_of(known) > end_of(flood):
            return known
        self._floods[_key(flood)] = flood
        if self.on_change is not None:
            self.on_change(flood, True)
        if self.on_flood is not None:
            self.on_flood(flood)
        return flood

    def resume(self) -> bool:
        """A person ends the pause of sending that PEER_FLOOD began; says whether there was one."""
        flood = self._floods.pop(_PAUSE, None)
        if flood is not None and self.on_change is not None:
            self.on_change(flood, False)
        return flood is not None

    def parked(self, kind: str, now: float) -> FloodStatus | None:
        """What parks all of this kind, the last to end; None if it isn't parked."""
        found = [flood for flood in self.now(now) if flood.kind == kind and flood.peer is None]
        return max(found, key=end_of, default=None)

    def refuses(self, shape: Shape, peer: int | None, now: float) -> FloodStatus | None:
        """What keeps a request from being made now, the last to end; None if it may be made."""
        found = [
            flood
            for flood in self.now(now)
            if (flood.kind == shape.kind or flood.method == shape.method) and flood.peer in (None, peer)
        ]
        return max(found, key=end_of, default=None)

    def now(self, now: float) -> list[FloodStatus]:
        """Those whose end hasn't come. The others are forgotten."""
        for key, flood in list(self._floods.items()):
            if end_of(flood) <= now:
                del self._floods[key]
        return list(self._floods.values())


def _key(flood: FloodStatus) -> _Key:
    return flood.kind, flood.peer, flood.reason == PEER_FLOOD
