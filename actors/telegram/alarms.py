"""The deadlines of one session: a single timer of the loop for all of them.

A session has few deadlines at a time, nearly all are met, and most are a minute or more away. `loop.call_later` and
`cancel` cost 3 us, but what is cancelled stays in the loop's heap until its time has come, with all that it refers
to: at a thousand operations a second the garbage collector had as much to do as our own code
(benchmarks/telegram). Here a deadline is an entry in a set, gone when it is met.

Invariants:
- What is due is rung within a clock tick; what was cancelled never is, and nothing is kept of it.
- At rest, which is from the first disconnect on, there is no timer unless a deadline is pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from telestage.actors.kernel.current import current_task

__all__ = ["Alarm", "Alarms", "Limit"]


class Alarms:
    """The pending alarms of one session, in one event loop."""

    __slots__ = ("_pending", "_resting", "_timer")

    def __init__(self) -> None:
        self._pending: set[Alarm] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._resting = False

    def after(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """Has `callback` called in so many seconds, unless the alarm is cancelled before."""
        alarm = Alarm(self, callback)
        self.set(alarm, seconds)
        return alarm

    def set(self, alarm: Alarm, seconds: float) -> None:
        """Has the alarm ring in so many seconds, unless it is cancelled before."""
        loop = asyncio.get_running_loop()
        alarm.due = due = loop.time() + seconds
        self._pending.add(alarm)
        timer = self._timer
        if timer is None:
            self._timer = loop.call_at(due, self._due, due)
        elif due < timer.when():
            timer.cancel()
            self._timer = loop.call_at(due, self._due, due)

    def drop(self, alarm: Alarm) -> None:
        """The alarm isn't needed any more, or has rung."""
        self._pending.discard(alarm)
        if self._resting:
            self.rest()

    def rest(self) -> None:
        """Few more deadlines are to be expected: from now on the timer goes with the last pending one."""
        self._resting = True
        if self._timer is not None and not self._pending:
            self._timer.cancel()
            self._timer = None

    def _due(self, due: float) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = max(due, loop.time())  # a loop may be early by the resolution of its clock
        for alarm in sorted((alarm for alarm in self._pending if alarm.due <= now), key=lambda alarm: alarm.due):
            if alarm in self._pending:  # else one that rang before it has cancelled it
                self._pending.discard(alarm)
                alarm.ring()
        if self._pending and self._timer is None:
            due = min(alarm.due for alarm in self._pending)
            self._timer = loop.call_at(due, self._due, due)


class Alarm:
    """One deadline: what is called when it has come. To be set once."""

    __slots__ = ("_alarms", "_callback", "due")

    def __init__(self, alarms: Alarms, callback: Callable[[], None] | None = None) -> None:
        self._alarms = alarms
        self._callback = callback
        self.due = 0.0

    def ring(self) -> None:
        """The time has come."""
        if self._callback is not None:
            self._callback()

    def cancel(self) -> None:
        """It isn't to ring any more. Idempotent."""
        self._alarms.drop(self)


class Limit(Alarm):
    """As `asyncio.timeout`: ends the block after `seconds` by a cancellation that becomes a `TimeoutError`."""

    __slots__ = ("_before", "_seconds", "_task", "expired")

    def __init__(self, alarms: Alarms, seconds: float) -> None:
        super().__init__(alarms)
        self._seconds = seconds
        self.expired = False

    def ring(self) -> None:
        """The time has come."""
        self.expire()

    def expire(self) -> None:
        """The time is over, now. May be called before it is, but not from the block's own task."""
        if not self.expired:
            self.expired = True
            self._alarms.drop(self)
            self._task.cancel()

    def covers(self, seconds: float) -> bool:
        """Whether the running code is the block's own, and is ended before so many seconds have passed."""
        loop = asyncio.get_running_loop()
        return current_task(loop) is self._task and self.due <= loop.time() + seconds

    def __enter__(self) -> Self:
        task = current_task(asyncio.get_running_loop())
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._alarms.set(self, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.left(kind):
            raise TimeoutError from error

    def left(self, kind: type[BaseException] | None) -> bool:
        """The block has ended so; whether that was because of the limit."""
        self._alarms.drop(self)
        if not self.expired:
            return False
        # another cancellation besides ours stays one
        return self._task.uncancel() <= self._before and kind is asyncio.CancelledError
