"""SIGINT and SIGTERM as events: the first asks for an end, the second for haste, the third kills as usual."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

__all__ = ["StopSignals"]

_Handler = Callable[[int, FrameType | None], object] | int | None
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Inside the block the running loop handles both signals; afterwards they do what they did before.

    Where the system has no such handlers (Windows), Ctrl-C is a KeyboardInterrupt as ever.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.name = ""
        """The first signal's name."""
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            try:
                self._loop.add_signal_handler(number, self._came, number)
            except NotImplementedError:
                continue
            self._before[number] = before
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def _came(self, number: signal.Signals) -> None:
        if not self.stop.is_set():
            self.name = number.name
            self.stop.set()
        else:
            self.hurry.set()
            self._release()

    def _release(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            self._loop.remove_signal_handler(number)
            signal.signal(number, before)
