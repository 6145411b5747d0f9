"""A dump for each signal that comes.

Invariant: it comes even while a handler keeps the loop to itself, which is why this isn't a signal handler of the
loop; and what the signal did before, it does again afterwards.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from types import FrameType

__all__ = ["SignalDump"]

_log = logging.getLogger("telestage.system")


class SignalDump:
    """Calls `dump` for each signal of that number, until its end.

    Raises:
        ValueError: This isn't the main thread, the only one that may.
    """

    def __init__(self, number: signal.Signals, dump: Callable[[], None]) -> None:
        self._number = number
        self._dump = dump
        self._handler = self._came
        self._before = signal.signal(number, self._handler)
        self._ended = False

    def end(self) -> None:
        """The signal does again what it did before, unless somebody else has taken it since. Idempotent."""
        if self._ended:
            return
        self._ended = True
        try:
            if signal.getsignal(self._number) == self._handler:
                signal.signal(self._number, signal.SIG_DFL if self._before is None else self._before)
        except ValueError:
            _log.warning("%s can only be given back in the main thread", self._number.name)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._dump()
