"""Who may run now: the permits of a fleet. Pure rules, no actor, no clock of its own.

Invariants:
- Never more than `total` permits are held, nor more of a kind than its own limit.
- granted = returned + held, whatever happens in between; a permit comes back once.
- Higher priority first; among equals the sessions take turns, however many requests one of them has:
  a session's n-th waiting request stands behind the first n-1 of every other (fair queueing).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

import msgspec

from telestage.actors.telegram.histogram import Histogram
from telestage.messages import PermitHolder, PermitKindStatus, PermitRequest, PermitStatus

__all__ = ["Grant", "PermitPool"]


class Grant(msgspec.Struct, frozen=True):
    """A request that may run now, after having waited `waited` seconds."""

    request: PermitRequest
    waited: float


class _Held(msgspec.Struct, frozen=True):
    request: PermitRequest
    since: float


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
        self._held: dict[str, _Held] = {}
        self._waiting: dict[str, _Held] = {}  # by operation; what is missing here is stale in the heaps
        self._queues: dict[str, list[tuple[int, int, int, str]]] = {}  # kind -> (-priority, turn, arrival, operation)
        self._next_turn: dict[str, int] = {}  # session -> the turn its next request may have
        self._turn = 0
        self._arrivals = 0

    def request(self, request: PermitRequest, now: float) -> Grant | None:
        """Grants the permit at once, or lets the request wait (None) for a later `release` or `withdraw`.

        Raises:
            ValueError: That operation holds a permit already, or waits for one.
        """
        operation = request.operation_id
        if operation in self._held or operation in self._waiting:
            raise ValueError(f"operation {operation} has a permit, or waits for one, already")
        turn = max(self._turn, self._next_turn.get(request.session, 0))
        self._next_turn[request.session] = turn + 1
        self._arrivals += 1
        self._waiting[operation] = _Held(request, now)
        queue = self._queues.setdefault(request.kind, [])
        heapq.heappush(queue, (-request.priority, turn, self._arrivals, operation))
        for count in self._counts(request.kind):
            count.waiting += 1
        granted = list(self._grant(now))
        # room that was there was used when it came, so at most the new request can be granted
        return granted[0] if granted else None

    def release(self, operation: str, now: float) -> list[Grant]:
        """Takes a permit back, or a waiting request out; returns what may run now. Unknown ones are fine."""
        held = self._held.pop(operation, None)
        if held is not None:
            for count in self._counts(held.request.kind):
                count.in_use -= 1
                count.returned += 1
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
        self._next_turn.pop(session, None)
        return [grant for grant in granted if grant.request.operation_id in self._held]

    def operations(self, session: str) -> list[str]:
        """The operations of a session that hold a permit or wait for one."""
        return [
            operation
            for held in (self._waiting, self._held)
            for operation, entry in held.items()
            if entry.request.session == session
        ]

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
                    session=held.request.session,
                    operation_id=operation,
                    kind=held.request.kind,
                    held_for=max(0.0, now - held.since),
                )
                for operation, held in self._held.items()
            ],
        )

    def _counts(self, kind: str) -> Iterator[_Count]:
        yield self._total
        if kind in self._kinds:
            yield self._kinds[kind]

    def _grant(self, now: float) -> Iterator[Grant]:
        while self._total.in_use < self._total.limit:
            queue = self._next_queue()
            if queue is None:
                return
            _, turn, _, operation = heapq.heappop(queue)
            waiting = self._waiting.pop(operation)
            self._turn = max(self._turn, turn)
            waited = max(0.0, now - waiting.since)
            self._held[operation] = _Held(waiting.request, now)
            for count in self._counts(waiting.request.kind):
                count.waiting -= 1
                count.in_use += 1
                count.granted += 1
                count.peak = max(count.peak, count.in_use)
                count.waits.add(waited)
            yield Grant(waiting.request, waited)

    def _next_queue(self) -> list[tuple[int, int, int, str]] | None:
        """The queue whose head comes first, of the kinds that have room."""
        best: list[tuple[int, int, int, str]] | None = None
        for kind, queue in self._queues.items():
            while queue and queue[0][3] not in self._waiting:
                heapq.heappop(queue)
            count = self._kinds.get(kind)
            if queue and (count is None or count.in_use < count.limit) and (best is None or queue[0] < best[0]):
                best = queue
        return best
