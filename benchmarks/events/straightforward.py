"""The event monitor as it is written by hand, the baseline of its own benchmarks.

A bounded `asyncio.Queue` that one task reads with `wait_for(queue.get(), 1.0)`, a list of handlers a type, gathered if
they are several, and a breaker and statistics in Python. Nothing in it is slow on purpose; it is what the pieces at
hand amount to. It has no priorities, no retries, no overflow policy but one, and no deadline for its end. That its
queue is over 80 % full it says each time, as is done without a second thought.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum

_log = logging.getLogger(__name__)

__all__ = ["Config", "Event", "Monitor", "Priority"]


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


@dataclass(frozen=True)
class Event:
    type: str
    source_id: str
    data: dict[str, object] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    timestamp: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        if not self.type or not self.source_id:
            raise ValueError("an event needs a type and a source")
        if self.timestamp > time.time() + 1.0:
            raise ValueError("an event's timestamp must not be in the future")


@dataclass(frozen=True)
class Config:
    max_queue_size: int = 1000
    breaker: bool = True
    statistics: bool = True
    breaker_failures: int = 3
    breaker_seconds: float = 60.0
    max_handler_failures: int = 5
    failure_reset_interval: float = 300.0
    warn_at: float = 0.8


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    def __init__(self, failures: int, seconds: float) -> None:
        self.failures = failures
        self.seconds = seconds
        self.row = 0
        self.opened = 0.0
        self.state = State.CLOSED

    def allows(self) -> bool:
        if self.state is State.OPEN and time.monotonic() - self.opened >= self.seconds:
            self.state = State.HALF_OPEN
        return self.state is not State.OPEN

    def succeeded(self) -> None:
        self.row = 0
        self.state = State.CLOSED

    def failed(self) -> None:
        self.row += 1
        if self.state is State.HALF_OPEN or self.row >= self.failures:
            self.state = State.OPEN
            self.opened = time.monotonic()


@dataclass
class Statistics:
    calls: int = 0
    successes: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    last_failure: float | None = None
    latency: float = 0.0
    longest: float = 0.0
    recent: deque[float] = field(default_factory=deque)
    disabled: bool = False


class Monitor:
    def __init__(self, name: str, config: Config | None = None) -> None:
        self.name = name
        self.config = config or Config()
        self.queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=self.config.max_queue_size)
        self.handlers: dict[str, list[Callable[[Event], object]]] = {}
        self.breakers: dict[Callable[[Event], object], Breaker] = {}
        self.statistics: dict[Callable[[Event], object], Statistics] = {}
        self.accepted = 0
        self.processed = 0
        self.failed = 0
        self.dropped = 0
        self.running = False
        self.task: asyncio.Task[None] | None = None

    def register_handler(self, event_type: str, handler: Callable[[Event], object]) -> None:
        if not callable(handler):
            raise TypeError("a handler must be callable")
        self.handlers.setdefault(event_type, []).append(handler)
        self.breakers[handler] = Breaker(self.config.breaker_failures, self.config.breaker_seconds)
        self.statistics[handler] = Statistics()

    async def start_monitoring(self) -> None:
        if not self.running:
            self.running = True
            self.task = asyncio.create_task(self._process())

    async def stop_monitoring(self) -> None:
        self.running = False
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    async def queue_event(self, event: Event) -> bool:
        if not isinstance(event, Event):
            raise TypeError("not an event")
        if self.queue.full():
            self.dropped += 1
            return False
        await self.queue.put(event)
        self.accepted += 1
        if self.queue.qsize() > self.config.warn_at * self.config.max_queue_size:
            _log.warning("monitor %s: %d of %d events wait", self.name, self.queue.qsize(), self.config.max_queue_size)
        return True

    async def _process(self) -> None:
        while self.running:
            try:
                event = await asyncio.wait_for(self.queue.get(), 1.0)
            except TimeoutError:
                continue
            try:
                await self._dispatch(event)
            finally:
                self.queue.task_done()

    async def _dispatch(self, event: Event) -> None:
        handlers = [handler for handler in self.handlers.get(event.type, ()) if self._allowed(handler)]
        if not handlers:
            return
        if len(handlers) == 1:
            results: list[object] = [await self._call(handlers[0], event)]
        else:
            results = list(await asyncio.gather(*(self._call(handler, event) for handler in handlers)))
        if all(results):
            self.processed += 1
        else:
            self.failed += 1

    def _allowed(self, handler: Callable[[Event], object]) -> bool:
        if self.statistics[handler].disabled:
            return False
        return not self.config.breaker or self.breakers[handler].allows()

    async def _call(self, handler: Callable[[Event], object], event: Event) -> bool:
        began = time.perf_counter() if self.config.statistics else 0.0
        try:
            result = handler(event)
            if asyncio.iscoroutine(result):
                await result
        except Exception:
            self._note(handler, False, began)
            return False
        self._note(handler, True, began)
        return True

    def _note(self, handler: Callable[[Event], object], success: bool, began: float) -> None:
        if self.config.breaker:
            breaker = self.breakers[handler]
            if success:
                breaker.succeeded()
            else:
                breaker.failed()
        if not self.config.statistics:
            return
        seconds = time.perf_counter() - began
        statistics = self.statistics[handler]
        statistics.calls += 1
        statistics.latency += seconds
        statistics.longest = max(statistics.longest, seconds)
        if success:
            statistics.successes += 1
            statistics.consecutive_failures = 0
            return
        now = time.time()
        statistics.failures += 1
        statistics.consecutive_failures += 1
        statistics.last_failure = now
        statistics.recent.append(now)
        while statistics.recent[0] < now - self.config.failure_reset_interval:
            statistics.recent.popleft()
        if len(statistics.recent) >= self.config.max_handler_failures:
            statistics.disabled = True
