"""Who may run now: the permits of a fleet. Pure rules, no actor, no clock of its own.

Invariants:
- Never more than `total` permits are held, nor more of a kind than its own limit.
- granted = returned + held, whatever happens in between; a permit comes back once.
- Higher priority first; among equals the session goes first whose last grant is the longest ago, so sessions
  take turns, however many requests one of them has; of one session, its oldest.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from telestage.actors.telegram.histogram import Histogram
from telestage.messages import PermitHolder, PermitKindStatus, PermitRequest, PermitStatus

__all__ = ["Grant", "PermitPool"]


class Grant(msgspec.Struct, frozen=True):
    """A request that may run now, after having waited `waited` seconds."""

    request: PermitRequest
    waited: float


class _Held(msgspec.Struct, frozen=True, gc=False):
    session: str
    kind: str
    since: float


class _Waiting(msgspec.Struct, frozen=True):
    request: PermitRequest
    since: float
    arrival: int

    @property
    def session(self) -> str:
        return self.request.session


def _busy(operation: str) -> ValueError:
    return ValueError(f"operation {operation} has a permit, or waits for one, already")


_Line = deque[_Waiting]
"""The requests of one kind, -priority and session, the oldest first: those that wait, and withdrawn ones among them."""

_Place = tuple[int, int, int, str]
"""Where the head of a line stands in its kind's heap: -priority, number of the session's last grant, arrival,
session. A number may be out of date, but only ever too low: it is put right when the line comes to the top."""


class _Count:
    """The books of one kind, or of all together."""

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.in_use = 0
        self.waiting = 0
        self.granted = 0
        self.returned = 0
        self.refused = 0
        self.peak = 0
        self.waits = Histogram()

    def status(self) -> PermitKindStatus:
        return PermitKindStatus(
            kind=self.kind,
            limit=self.limit,
            in_use=self.in_use,
            waiting=self.waiting,
            granted=self.granted,
            returned=self.returned,
            refused=self.refused,
            peak=self.peak,
            wait_p50=self.waits.quantile(0.5),
            wait_p95=self.waits.quantile(0.95),
            wait_p99=self.waits.quantile(0.99),
        )


class PermitPool:
    """The permits of a fleet.

    Args:
        total: Permits of all kinds that may be held at once.
        kinds: Permits of single kinds, within the total. Kinds that aren't named have no limit of their own.
    """

    def __init__(self, total: int, kinds: Mapping[str, int]) -> None:
        self._total = _Count("all", total)
        self._kinds = {kind: _Count(kind, limit) for kind, limit in kinds.items()}
        self._counted = {kind: (self._total, count) for kind, count in self._kinds.items()}
        self._unlimited = (self._total,)
        self._held: dict[str, _Held] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._lines: dict[tuple[str, int, str], _Line] = {}
        self._heaps: dict[str, list[_Place]] = {}  # kind -> one place for each of its lines
        self._last: dict[str, int] = {}  # session -> the number of its last grant
        self._grants = 0
        self._arrivals = 0

    def request(self, request: PermitRequest, now: float) -> Grant | None:
        """Grants the permit at once, or lets the request wait (None) for a later `release` or `withdraw`.

        Raises:
            ValueError: That operation holds a permit already, or waits for one.
        """
        operation = request.operation_id
        if operation in self._waiting:
            raise _busy(operation)
        if self.take(request.session, operation, request.kind, now):
            return Grant(request, 0.0)
        self._arrivals += 1
        waiting = self._waiting[operation] = _Waiting(request, now, self._arrivals)
        key = (request.kind, -request.priority, request.session)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            last = self._last.get(request.session, 0)
            heap = self._heaps.setdefault(request.kind, [])
            heapq.heappush(heap, (-request.priority, last, self._arrivals, request.session))
        line.append(waiting)
        for count in self._counts(request.kind):
            count.waiting += 1
        granted = list(self._grant(now))
        # room that was there was used when it came, so at most the new request can be granted
        return granted[0] if granted else None

    def take(self, session: str, operation: str, kind: str, now: float) -> bool:
        """Grants a permit at once if one is free and nobody waits for any, whom the request had to be compared with.

        Raises:
            ValueError: That operation holds a permit already.
        """
        if operation in self._held:
            raise _busy(operation)
        if self._waiting:
            return False
        counts = self._counted.get(kind, self._unlimited)
        for count in counts:
            if count.in_use >= count.limit:
                return False
        self._hold(session, operation, counts, kind, 0.0, now)
        return True

    @property
    def waiting(self) -> bool:
        """Whether anybody waits for a permit: then who gets the next is to be told of it."""
        return bool(self._waiting)

    def release(self, operation: str, now: float) -> list[Grant]:
        """Takes a permit back, or a waiting request out; returns what may run now. Unknown ones are fine."""
        held = self._held.pop(operation, None)
        if held is not None:
            for count in self._counts(held.kind):
                count.in_use -= 1
                count.returned += 1
            if not self._waiting:
                return []
        elif (waiting := self._waiting.pop(operation, None)) is not None:
            for count in self._counts(waiting.request.kind):
                count.waiting -= 1
                count.refused += 1
        else:
            return []
        return list(self._grant(now))

    def release_session(self, session: str, now: float) -> list[Grant]:
        """Takes back all that a session holds and waits for: its actor has ended or been restarted."""
        granted: list[Grant] = []
        for operation in self.operations(session):
            granted.extend(self.release(operation, now))
        return granted

    def operations(self, session: str) -> list[str]:
        """The operations of a session that wait for a permit or hold one; the waiting first.

        So none of its own is granted what it gives back, one after the other.
        """
        waiting = [operation for operation, entry in self._waiting.items() if entry.session == session]
        return waiting + [operation for operation, entry in self._held.items() if entry.session == session]

    def held_for(self, operation: str, now: float) -> float | None:
        """Seconds the operation has held its permit; None if it holds none."""
        held = self._held.get(operation)
        return None if held is None else now - held.since

    def status(self, now: float) -> PermitStatus:
        """A picture of the pool (R-G6)."""
        return PermitStatus(
            total=self._total.status(),
            kinds={kind: count.status() for kind, count in self._kinds.items()},
            holders=[
                PermitHolder(
                    session=held.session,
                    operation_id=operation,
                    kind=held.kind,
                    held_for=max(0.0, now - held.since),
                )
                for operation, held in self._held.items()
            ],
        )

    def _counts(self, kind: str) -> tuple[_Count, ...]:
        return self._counted.get(kind, self._unlimited)

    def _grant(self, now: float) -> Iterator[Grant]:
        while self._total.in_use < self._total.limit:
            kind = self._next_kind()
            if kind is None:
                return
            priority, _, _, session = self._heaps[kind][0]
            waiting = self._lines[kind, priority, session].popleft()
            del self._waiting[waiting.request.operation_id]
            yield self._granted(waiting, now)

    def _granted(self, waiting: _Waiting, now: float) -> Grant:
        """Notes that a request, which was waiting, has its permit."""
        request = waiting.request
        waited = max(0.0, now - waiting.since)
        counts = self._counts(request.kind)
        for count in counts:
            count.waiting -= 1
        self._hold(request.session, request.operation_id, counts, request.kind, waited, now)
        return Grant(request, waited)

    def _hold(
        self, session: str, operation: str, counts: tuple[_Count, ...], kind: str, waited: float, now: float
    ) -> None:
        self._grants = grants = self._grants + 1
        self._last[session] = grants
        self._held[operation] = _Held(session, kind, now)
        for count in counts:
            count.in_use = in_use = count.in_use + 1
            count.granted += 1
            if in_use > count.peak:
                count.peak = in_use
            count.waits.add(waited)

    def _next_kind(self) -> str | None:
        """The kind whose first place comes first of all, of the kinds that have room."""
        best: _Place | None = None
        found: str | None = None
        for kind, heap in self._heaps.items():
            count = self._kinds.get(kind)
            if count is not None and count.in_use >= count.limit:
                continue
            place = self._first_place(kind, heap)
            if place is not None and (best is None or place < best):
                best, found = place, kind
        return found

    def _first_place(self, kind: str, heap: list[_Place]) -> _Place | None:
        """Puts the top of a heap right and returns it."""
        while heap:
            place = heap[0]
            priority, last, arrival, session = place
            entries = self._lines[kind, priority, session]
            while entries and self._waiting.get(entries[0].request.operation_id) is not entries[0]:
                entries.popleft()
            if not entries:
                heapq.heappop(heap)
                del self._lines[kind, priority, session]
                continue
            now = (self._last.get(session, 0), entries[0].arrival)
            if now == (last, arrival):
                return place
            heapq.heapreplace(heap, (priority, *now, session))
        return None
