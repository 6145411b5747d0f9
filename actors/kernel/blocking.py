"""Actors for programs that have no event loop: the same system, in a loop with a thread of its own.

Invariants:
- Everything here may be called from any thread but the loop's own. What waits has a deadline and holds even if an
  actor blocks the loop.
- A handler that raises SystemExit ends the loop; who asked gets the SystemExit, everybody else `ActorStopped`.
- Leaving the `with` block, also by an exception or Ctrl-C, ends the actors, the loop and the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, overload

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.errors import ActorStopped, AskTimeout
from telestage.actors.kernel.loopthread import LoopBlocked, LoopEnded, LoopThread
from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.supervision import ChildKind, Supervision
from telestage.actors.kernel.system import ActorSystem

__all__ = ["BlockingActorSystem", "BlockingRef"]

_log = logging.getLogger("telestage.thread")

_PATIENCE = 30.0  # seconds the loop's thread gets for what takes no time, or to end: a handler may block it
_LATE = 0.5  # seconds an answer may be late because the loop is busy

R = TypeVar("R")


class BlockingRef:
    """An actor, as seen from outside its loop. What is put into messages is its `ref`."""

    __slots__ = ("_thread", "path", "ref")

    def __init__(self, thread: LoopThread[ActorSystem], ref: Ref, path: str) -> None:
        self._thread = thread
        self.ref = ref
        self.path = path
        """The names from the root down to the actor."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    @property
    def alive(self) -> bool:
        """Whether the actor takes messages: a look from outside, which may be outdated at once."""
        return self.ref.alive

    def tell(self, message: object, *, priority: int = 0) -> None:
        """`Ref.tell`. What one thread tells arrives in order. After the end of the system it is a dead letter."""
        try:
            self._thread.post(lambda: self.ref.tell(message, priority=priority))
        except LoopEnded:
            self._thread.value.dead_letters.add(message, None, self.ref, "the actor system has ended")

    @overload
    def ask(
        self,
        message: object,
        *,
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> object: ...

    @overload
    def ask(
        self,
        message: object,
        *,
        expecting: type[R],
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> R: ...

    def ask(
        self,
        message: object,
        *,
        expecting: type[R] | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> object:
        """`Ref.ask`, waited for in this thread. Raises the same errors; Ctrl-C gives the ask up.

        Raises:
            AskTimeout: Also if an actor blocks the loop, half a second later.
            ActorStopped: Also if the system has ended, or ends before the answer.
            RuntimeError: Called in the loop's own thread, by an actor: it would wait for itself.
        """
        ask = partial(
            self.ref.ask, message, timeout=timeout, priority=priority, queue_timeout=queue_timeout, cancel=cancel
        )
        try:
            return self._thread.run(
                ask if expecting is None else partial(ask, expecting=expecting), timeout=timeout + _LATE
            )
        except LoopEnded as error:
            raise ActorStopped(self.path) from error
        except LoopBlocked as error:
            raise AskTimeout(self.path, message, timeout) from error

    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        """`Ref.stop`. After the end of the system it has been stopped."""
        try:
            self._thread.post(lambda: self.ref.stop(drain=drain, grace=grace))
        except LoopEnded:
            return

    def stopped(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until the actor has stopped; says whether it has."""
        try:
            return self._thread.run(lambda: self.ref.stopped(timeout), timeout=timeout + _PATIENCE)
        except LoopEnded:
            return True


class BlockingActorSystem:
    """A tree of actors for a program without an event loop.

        with BlockingActorSystem() as system:
            counter = system.spawn(Counter)
            counter.tell(Add(2))
            assert counter.ask(Get(), timeout=1.0) == 2

    Args:
        system: What runs in the thread; made, and not started. Default: `ActorSystem()`.
        timeout: Seconds the end may take.
        drain: Whether actors handle what waits before they end.
    """

    def __init__(self, system: ActorSystem | None = None, *, timeout: float = 10.0, drain: bool = False) -> None:
        self._system = ActorSystem() if system is None else system
        self._timeout = timeout
        self._drain = drain
        self._thread: LoopThread[ActorSystem] | None = None
        self._end: asyncio.Event | None = None
        self._resisting: list[str] = []

    @property
    def system(self) -> ActorSystem:
        """What runs in the thread. Hazard: but for `name` and `dead_letters` it is for that thread only; use `call`."""
        return self._system

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def start(self) -> None:
        """Starts the thread, the loop and the system; the `with` statement does it.

        Raises:
            RuntimeError: It runs already.
        """
        if self._thread is not None:
            raise RuntimeError(f"actor system {self._system.name!r} runs already")
        self._thread = LoopThread(f"telestage {self._system.name}", self._serve, patience=_PATIENCE)

    def shutdown(self) -> list[str]:
        """Ends the actors, the loop and the thread. Idempotent.

        Returns:
            The names of what resisted; empty after a clean end.
        """
        thread, end = self._thread, self._end
        if thread is None or end is None:
            return []
        if thread.inside:
            raise RuntimeError("an actor can't wait for the end of its own system")
        with contextlib.suppress(LoopEnded):
            thread.post(end.set)
        if not thread.join(self._timeout + _PATIENCE):
            _log.warning("the thread of %s did not end in time: a handler blocks it", self._system.name)
        return self._resisting

    def spawn(
        self,
        cls: type[Actor],
        *args: object,
        name: str | None = None,
        capacity: int | None = None,
        supervision: Supervision | None = None,
        kind: ChildKind = ChildKind.TRANSIENT,
        redeliver: int = 0,
        overflow: Overflow = Overflow.FAIL,
        **kwargs: object,
    ) -> BlockingRef:
        """`ActorSystem.spawn`. Raises the same errors, and `RuntimeError` if the system doesn't run."""
        ref = self.call(
            lambda: self._system.spawn(
                cls,
                *args,
                name=name,
                capacity=capacity,
                supervision=supervision,
                kind=kind,
                redeliver=redeliver,
                overflow=overflow,
                **kwargs,
            )
        )
        return self.outside(ref)

    def find(self, path: str) -> BlockingRef | None:
        """`ActorSystem.find`."""
        ref = self.call(lambda: self._system.find(path))
        return None if ref is None else self.outside(ref)

    def outside(self, ref: Ref) -> BlockingRef:
        """The outside of a ref that came in an answer."""
        return BlockingRef(self._running(), ref, self.call(lambda: ref.path))  # a name may be made as it is asked for

    def call(self, function: Callable[[], R]) -> R:
        """What `function` returns or raises, called in the loop: for all that isn't here.

        Raises:
            RuntimeError: The system doesn't run.
            TimeoutError: An actor blocks the loop for half a minute.
        """
        return self._running().call(function, timeout=_PATIENCE)

    def _running(self) -> LoopThread[ActorSystem]:
        if self._thread is None:
            raise RuntimeError(f"actor system {self._system.name!r} does not run: use `with`, or `start()`")
        return self._thread

    async def _serve(self, started: Callable[[ActorSystem], None]) -> None:
        self._end = asyncio.Event()
        await self._system.start()
        try:
            started(self._system)
            await self._end.wait()
        finally:
            self._resisting = await self._system.shutdown(self._timeout, drain=self._drain)
