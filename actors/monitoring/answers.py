"""What `EventMonitor.queue_event` returns where there is nothing to wait for.

Invariant: an `Answer` has its result from the start and never changes, so that any number of callers may be given
the same one, to be awaited once each, often or never.

It is a future that is done: to await one is C code that neither suspends nor allocates, where a coroutine of our own
would cost more than all of the queueing. And it is a coroutine that ends at once, so that it may go wherever one may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, cast

__all__ = ["Answer", "Answers", "answered", "raised"]


class Answer(asyncio.Future[bool]):
    """A result that is there; a `Coroutine`, too, for `asyncio.create_task` and `asyncio.run`."""

    def __init__(self, value: bool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.set_result(value)

    def send(self, value: None, /) -> NoReturn:
        """As a coroutine: it ends."""
        raise StopIteration(self.result())

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> NoReturn:
        """As a coroutine that hasn't begun: what is thrown comes out again."""
        if isinstance(kind, BaseException):
            value = kind
        elif not isinstance(value, BaseException):
            value = kind() if value is None else kind(value)
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self) -> None:
        """As a coroutine: there is nothing to close."""


Coroutine.register(Answer)  # pyright: ignore[reportAttributeAccessIssue]  # an ABC has it, whatever its stub says


class Answers:
    """Both answers of one event loop, typed as the coroutines that a type checker can't see they are."""

    __slots__ = ("loop", "no", "yes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.yes = cast("Coroutine[Any, Any, bool]", Answer(True, loop))
        self.no = cast("Coroutine[Any, Any, bool]", Answer(False, loop))


async def answered(value: bool) -> bool:
    """The same where no event loop runs yet."""
    return value


async def raised(error: Exception) -> bool:
    """An error, for whoever awaits it.

    Raises:
        Exception: `error`.
    """
    try:
        raise error
    finally:
        del error  # no circle with its own traceback
