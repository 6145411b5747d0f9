"""What a plain method returns, instead of being a coroutine function, where there is nothing to wait for.

Invariant: a `Done` has its result from the start and never changes, so that any number of callers may be given
the same one, to be awaited once each, often or never.

It is a future that is done: to await one is C code that neither suspends nor allocates, where a coroutine of our own
would cost more than all of what the method does. And it is a coroutine that ends at once, so that it may go wherever
one may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

__all__ = ["Done", "done", "raised"]

T = TypeVar("T")


class Done(asyncio.Future[T]):
    """A result that is there; a `Coroutine`, too, for `asyncio.create_task` and `asyncio.run`."""

    def __init__(self, value: T, loop: asyncio.AbstractEventLoop) -> None:
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


def done(value: T, loop: asyncio.AbstractEventLoop) -> Coroutine[Any, Any, T]:
    """A `Done`, typed as the coroutine that a type checker can't see it is."""
    return cast("Coroutine[Any, Any, T]", Done(value, loop))


async def raised(error: Exception) -> NoReturn:
    """An error, for whoever awaits it.

    Raises:
        Exception: `error`.
    """
    try:
        raise error
    finally:
        del error  # no circle with its own traceback
