"""Where the refs of sessions come from, and when all are ready, or disconnected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from telestage.actors.kernel import Ref, TaskRegistry
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.errors import SessionDead
from telestage.actors.telegram.manager import AddSession
from telestage.messages import SessionState

__all__ = ["Launches", "all_settled", "disconnect_all"]

_log = logging.getLogger("telestage.fleet")


class Launches:
    """The sessions of a running fleet, by name. Nobody who waits for one is left waiting."""

    def __init__(self) -> None:
        self._refs: dict[str, asyncio.Future[Ref]] = {}

    async def launch(self, manager: Ref, book: SessionBook) -> None:
        """Has the manager start the session. If it can't, whoever asks for the ref gets the error."""
        future = self._future(book.name)
        try:
            ref = await manager.ask(AddSession(book))
        except Exception as error:
            _log.exception("%s could not be started", book.name)
            _fail(future, error)
        else:
            if isinstance(ref, Ref) and not future.done():
                future.set_result(ref)

    async def ref(self, name: str) -> Ref:
        """The ref of a session; waits until it has been started, which takes no longer than an ask."""
        future = self._future(name)
        return future.result() if future.done() else await asyncio.shield(future)

    def forget(self, name: str) -> None:
        """The session was removed; another may have its name."""
        self._refs.pop(name, None)

    def end(self) -> None:
        """The fleet has ended: who still waits gets `SessionDead`."""
        for name, future in self._refs.items():
            _fail(future, SessionDead(name, "the fleet was stopped"))
        self._refs.clear()

    def _future(self, name: str) -> asyncio.Future[Ref]:
        future = self._refs.get(name)
        if future is None:
            future = self._refs[name] = asyncio.get_running_loop().create_future()
        return future


async def all_settled(books: Sequence[SessionBook], timeout: float, tasks: TaskRegistry) -> None:
    """Returns when each session is ready or has ended, or `timeout` seconds have passed: then it logs which aren't."""
    waiting = [
        tasks.spawn(book.until_settled(or_standby=True), type="launch", owner=f"/manager/{book.name}") for book in books
    ]
    try:
        if waiting and (await asyncio.wait(waiting, timeout=timeout))[1]:
            late = [book.name for book in books if not book.settled and book.state is not SessionState.STANDBY]
            _log.warning("not ready within %g s, and trying on: %s", timeout, ", ".join(late))
    finally:
        for waiter in waiting:
            waiter.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def disconnect_all(books: Sequence[SessionBook]) -> None:
    """Disconnects the sessions that were given up on before they could do so themselves, within 3 s."""
    left = [book for book in books if book.connection is not None]
    closing = []
    for book in left:
        if book.connection is not None:
            closing.append(book.connection.close())
        book.connection = book.running = None
        book.enter(SessionState.STOPPED, book.reason)
    for error in await asyncio.gather(*closing, return_exceptions=True):
        if isinstance(error, Exception):
            _log.error("a session could not be disconnected", exc_info=error)


def _fail(future: asyncio.Future[Ref], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # looked at: nobody needs to have waited for it
