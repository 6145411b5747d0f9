"""Quantiles of durations from a bounded structure: 96 buckets, whatever is counted.

Bucket bounds grow by a quarter octave from 10 us, so a quantile is at most 19 % above the true one, up
to 160 s; what is longer falls into the last bucket, whose quantile is the longest duration seen.
"""

from __future__ import annotations

import math

__all__ = ["Histogram"]

_FIRST = 1e-5
_STEPS = 4  # buckets an octave
_BUCKETS = 96


class Histogram:
    """Counts durations in seconds."""

    __slots__ = ("_counts", "_longest", "total")

    def __init__(self) -> None:
        self.total = 0
        self._counts = [0] * (_BUCKETS + 1)
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Counts one duration."""
        self.total += 1
        self._longest = max(self._longest, seconds)
        place = 0 if seconds <= _FIRST else math.ceil(_STEPS * math.log2(seconds / _FIRST))
        self._counts[min(place, _BUCKETS)] += 1

    def quantile(self, fraction: float) -> float | None:
        """The upper bound of the bucket that holds this fraction (0 to 1) of what was counted; None if empty."""
        if not self.total:
            return None
        wanted = fraction * self.total
        seen = 0
        for place, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count:
                return min(self._longest, _FIRST * 2.0 ** (place / _STEPS)) if place < _BUCKETS else self._longest
        return self._longest
