"""Timeouts that follow what operations of a kind really take (R-G7).

Off unless `Limits.adaptive_timeouts` says between which bounds; the structure is bounded, and what is long past
counts no more. An operation that ran into its timeout counts as having taken that long, so that a timeout which has
become too short grows again.
"""

from __future__ import annotations

from telestage.actors.telegram.histogram import Histogram
from telestage.actors.telegram.limits import Limits
from telestage.messages import Kind

__all__ = ["Timeouts"]

_MARGIN = 2.0  # times the p99: a hundredth of the operations takes longer than that, and is to come to its end
_ENOUGH = 20  # observations; with fewer, the fixed timeout
_EPOCH = 500  # observations after which new ones are counted apart; the last epoch counts until then


class Timeouts:
    """The timeouts of a fleet, by kind."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen = {kind: (Histogram(), Histogram()) for kind in limits.adaptive_timeouts}

    def of(self, kind: Kind) -> float:
        """Seconds an operation of this kind may run, if its caller doesn't say."""
        fixed = self._limits.timeout(kind)
        epochs = self._seen.get(kind)
        if epochs is None:
            return fixed
        floor, ceiling = self._limits.adaptive_timeouts[kind]
        if sum(epoch.total for epoch in epochs) < _ENOUGH:
            return min(max(fixed, floor), ceiling)
        longest = max(epoch.quantile(0.99) or 0.0 for epoch in epochs)
        return min(max(_MARGIN * longest, floor), ceiling)

    def note(self, kind: Kind, seconds: float) -> None:
        """An operation of this kind took so long, or ran into its timeout then."""
        epochs = self._seen.get(kind)
        if epochs is None:
            return
        epochs[1].add(seconds)
        if epochs[1].total >= _EPOCH:
            self._seen[kind] = (epochs[1], Histogram())
