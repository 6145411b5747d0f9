"""An event loop in a thread of its own, for programs that have none.

Invariants:
- Whoever waits for something in the loop gets its result or its error, also if the loop ends meanwhile.
- The thread ends with its main coroutine; nothing else of it is left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["LoopBlocked", "LoopEnded", "LoopThread"]

_log = logging.getLogger("telestage.thread")

S = TypeVar("S")
T = TypeVar("T")

Future = concurrent.futures.Future


class LoopEnded(RuntimeError):
    """The event loop has ended: nothing can be done in it any more."""


class LoopBlocked(TimeoutError):
    """What was to be done in the event loop wasn't in time: something blocks it."""


class LoopThread(Generic[S]):
    """A thread that runs `serve` in an event loop of its own until that ends.

    Args:
        name: Of the thread.
        serve: The main coroutine function. It is given a function to call once, with what the others are to use
            (`value`); until then the maker of the thread waits.
        patience: Seconds until then.

    Raises:
        BaseException: What `serve` raised before it called that.
        TimeoutError: It didn't in time.
    """

    def __init__(
        self, name: str, serve: Callable[[Callable[[S], None]], Coroutine[object, object, None]], *, patience: float
    ) -> None:
        self._serve = serve
        self._waiting: set[Future[Any]] = set()  # touched with the lock held
        self._lock = threading.Lock()
        self._ended = False
        self._started: Future[tuple[asyncio.AbstractEventLoop, S]] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._loop, self.value = self._started.result(patience)

    @property
    def inside(self) -> bool:
        """Whether the caller runs in it."""
        return threading.current_thread() is self._thread

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Has the loop call `function`, with the caller's context variables, and doesn't wait.

        Raises:
            LoopEnded: It won't.
        """
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError as error:
            raise LoopEnded("the event loop has ended") from error

    def call(self, function: Callable[[], T], *, timeout: float) -> T:
        """What `function` returns or raises, called in the loop. From inside it is called at once.

        Raises:
            LoopEnded: The loop ended before.
            LoopBlocked: It wasn't done within `timeout` seconds.
        """
        if self.inside:
            return function()

        def run(future: Future[T]) -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # whatever it was, it is the caller's
                future.set_exception(error)

        return self._wait(run, timeout)

    def run(self, make: Callable[[], Coroutine[object, object, T]], *, timeout: float) -> T:
        """What the coroutine made by `make` returns or raises, in the loop. It is cancelled if the wait ends otherwise.

        Raises:
            LoopEnded: The loop ended before.
            LoopBlocked: It wasn't done within `timeout` seconds.
            RuntimeError: The caller runs in the loop, which would wait for itself.
        """
        if self.inside:
            raise RuntimeError("a wait in the loop's own thread would never end: await it")
        task: asyncio.Task[T] | None = None
        given_up = False

        def start(future: Future[T]) -> None:
            nonlocal task
            if not given_up:
                task = asyncio.get_running_loop().create_task(make())
                task.add_done_callback(lambda done: _pass_on(done, future))

        def cancel() -> None:
            if task is not None:
                task.cancel()

        try:
            return self._wait(start, timeout)
        except BaseException:
            given_up = True
            if task is None or not task.done():
                with contextlib.suppress(LoopEnded):
                    self.post(cancel)
            raise

    def join(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the end of the thread; says whether it has ended. From inside: at once."""
        if not self.inside:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait(self, begin: Callable[[Future[T]], None], timeout: float) -> T:
        future: Future[T] = Future()
        with self._lock:
            if self._ended:
                raise LoopEnded("the event loop has ended")
            self._waiting.add(future)
        try:
            self.post(begin, future)
            concurrent.futures.wait((future,), timeout)
            if not future.done():
                raise LoopBlocked(f"not done within {timeout:g} s")
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise LoopEnded("the event loop has ended") from error
        finally:
            with self._lock:
                self._waiting.discard(future)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            else:
                _log.exception("the event loop of %s ended by an error", threading.current_thread().name)
        finally:
            with self._lock:
                self._ended = True
                waiting = list(self._waiting)
            for future in waiting:
                future.cancel()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        await self._serve(lambda value: self._started.set_result((loop, value)))


def _pass_on(task: asyncio.Task[T], future: Future[T]) -> None:
    """Gives the outcome of a task to who waits for it in another thread."""
    if future.done():
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio doesn't report it as never retrieved
    elif task.cancelled():
        future.cancel()
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
