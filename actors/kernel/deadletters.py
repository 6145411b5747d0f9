"""Messages that nobody will process: kept, counted, and told to whoever asks.

The last `capacity` letters are kept and each reason is counted; logging is limited to one line a
second, which says how many it stands for, so a flood of letters can't flood the log.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from time import monotonic, time

import msgspec

from telestage.actors.kernel.carried import unpacked
from telestage.actors.kernel.ref import Ref

__all__ = ["DeadLetter", "DeadLetters"]

_log = logging.getLogger("telestage.deadletters")


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that wasn't processed, from whom, to whom, why, and when (Unix seconds)."""

    message: object
    sender: Ref | None
    receiver: Ref | None
    reason: str
    at: float


class DeadLetters:
    """The dead letters of one system."""

    def __init__(self, capacity: int = 1000, log_interval: float = 1.0) -> None:
        self._kept: deque[DeadLetter] = deque(maxlen=capacity)
        self._subscribers: dict[int, Callable[[DeadLetter], None]] = {}
        self._next_subscriber = 0
        self._log_interval = log_interval
        self._next_log = 0.0
        self._unlogged = 0
        self._total = 0
        self._by_type: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many there were in all, also those no longer kept."""
        return self._total

    @property
    def recent(self) -> tuple[DeadLetter, ...]:
        """The letters kept, oldest first."""
        return tuple(self._kept)

    @property
    def by_type(self) -> dict[str, int]:
        """How many there were, by the name of the message's type."""
        return dict(self._by_type)

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> Callable[[], None]:
        """Calls `callback` with each letter from now on; returns what ends that. An error of it is logged."""
        key = self._next_subscriber
        self._next_subscriber += 1
        self._subscribers[key] = callback

        def end() -> None:
            self._subscribers.pop(key, None)

        return end

    def add(self, message: object, sender: Ref | None, receiver: Ref | None, reason: str) -> None:
        """Takes a letter in."""
        message = unpacked(message)
        letter = DeadLetter(message, sender, receiver, reason, time())
        self._total += 1
        self._by_type[type(message).__name__] += 1
        self._kept.append(letter)
        self._unlogged += 1
        now = monotonic()
        if now >= self._next_log:
            more = f" (one of {self._unlogged})" if self._unlogged > 1 else ""
            _log.warning("dead letter%s: %s to %s: %s", more, type(message).__name__, receiver, reason)
            self._next_log = now + self._log_interval
            self._unlogged = 0
        for callback in list(self._subscribers.values()):
            try:
                callback(letter)
            except Exception:
                _log.exception("a subscriber to dead letters failed")
