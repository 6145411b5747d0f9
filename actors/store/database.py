"""One SQLite file for all that outlives a process, in WAL mode.

Invariants:
- A piece of work is one transaction: all of it is in the file, or nothing is. What `write` has returned from
  survives the end of the process and of the machine (`synchronous=FULL`).
- The connection is used by one thread, which the store owns: work is done one piece after another, in the order in
  which it was asked for, and the event loop never waits for the disk or for another process that writes.
- Several processes may use the same file: who writes waits for the other's transaction, `patience` seconds at most.

The library is Python's own `sqlite3`; an asyncio wrapper would share one connection between coroutines, and their
transactions would mix at each `await`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from telestage.actors.store.errors import StoreClosed, StoreError, StoreTooNew

__all__ = ["Migrations", "Store", "overwriting", "statements_of"]

T = TypeVar("T")

Migrations = Sequence[str]
"""The scripts that bring a part of the store from one version to the next: the first one makes its tables.

One that has been released is never changed; a further one follows it.
"""

_PARTS = "CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"


class Store:
    """A file, its connection and its thread. Made closed; `async with store:` opens and closes it.

    Args:
        path: Of the file. It is made, readable by its owner only, if there is none; its folder must exist.
        patience: Seconds to wait for another process that writes.

    Raises:
        ValueError: `patience` isn't a positive number.
    """

    def __init__(self, path: str | os.PathLike[str], *, patience: float = 5.0) -> None:
        if not isinstance(patience, int | float) or not patience > 0:
            raise ValueError(f"patience must be a positive number of seconds, not {patience!r}")
        self.path = os.fspath(path)
        self._patience = float(patience)
        self._parts: dict[str, Migrations] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may be read and written."""
        return self._connection is not None

    async def open(self) -> Self:
        """Opens the file. Idempotent.

        Raises:
            StoreError: It can't be opened, is no SQLite file, or another process keeps it locked.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="telestage-store")
            try:
                self._connection = await self._run(self._connect)
            except BaseException:
                await self.close()
                raise
        return self

    async def close(self) -> None:
        """Ends what was begun, closes the file and ends the thread. Idempotent."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            executor.submit(connection.close)
        ended = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        executor.submit(loop.call_soon_threadsafe, ended.set_result, None)
        await asyncio.shield(ended)
        executor.shutdown()  # its thread has nothing left to do

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def prepare(self, part: str, migrations: Migrations) -> None:
        """Makes the tables of one part of the store, or brings them up to date. Idempotent.

        Raises:
            StoreTooNew: A newer Telestage has written that part.
            StoreError: The file can't be written.
        """

        def migrate(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT version FROM parts WHERE name = ?", (part,)).fetchone()
            version = 0 if row is None else int(row[0])
            if version > len(migrations):
                raise StoreTooNew(self.path, part, version, len(migrations))
            for script in migrations[version:]:
                for statement in statements_of(script):
                    connection.execute(statement)
            connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (part, len(migrations)))

        await self.write(migrate)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` with the connection, in the store's thread, and returns its result: one picture of one instant.

        Raises:
            StoreClosed: The store isn't open.
            StoreError: SQLite couldn't.
            Exception: Whatever `work` raises.
        """
        return await self._transact("BEGIN", work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` as one transaction that no other writer is beside of; returns its result when it is in the file.

        A caller that is cancelled doesn't undo it: what has begun is done.

        Raises:
            StoreClosed: The store isn't open.
            StoreError: SQLite couldn't; nothing was changed.
            Exception: Whatever `work` raises; nothing was changed.
        """
        return await self._transact("BEGIN IMMEDIATE", work)

    async def flush(self) -> bool:
        """Has the log written into the file and emptied; says whether it could be: others may still read or write.

        Raises:
            StoreClosed: The store isn't open.
            StoreError: SQLite couldn't.
        """
        connection = self._connection
        if connection is None:
            raise StoreClosed(self.path)
        (busy, *_) = await self._run(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        return not busy

    async def _transact(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise StoreClosed(self.path)

        def transact() -> T:
            connection.execute(begin)
            try:
                result = work(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return result

        return await self._run(transact)

    async def _run(self, work: Callable[[], T]) -> T:
        executor = self._executor
        if executor is None:
            raise StoreClosed(self.path)
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except sqlite3.Error as error:
            raise StoreError(self.path, _explained(error)) from error

    def _connect(self) -> sqlite3.Connection:
        path = Path(self.path)
        with contextlib.suppress(FileExistsError):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except FileExistsError:
                raise
            except OSError as error:
                raise StoreError(self.path, f"it can't be made: {error.strerror}") from error
        connection = sqlite3.connect(path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise StoreError(self.path, f"SQLite can't keep a write-ahead log there, it says {mode!r}")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(_PARTS)
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def overwriting(connection: sqlite3.Connection) -> Iterator[None]:
    """What is deleted or replaced in the block is overwritten in the file, not only forgotten.

    The log has it until `Store.flush`. Some builds of SQLite do so always, most don't.
    """
    (before,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA secure_delete={before:d}")


def statements_of(script: str) -> list[str]:
    """The statements of a script: `executescript` would commit the transaction that they belong to."""
    statements: list[str] = []
    text = ""
    for piece in script.split(";"):
        text += piece + ";"
        if sqlite3.complete_statement(text):
            if text.strip(" \n;"):
                statements.append(text)
            text = ""
    return statements


_REASONS: Mapping[str, str] = {
    "database is locked": "another process keeps it locked; who is it, or is `patience` too short?",
    "file is not a database": "it is no SQLite file; name another one",
    "unable to open database file": "it can't be opened: is its folder there, and may it be written?",
}


def _explained(error: sqlite3.Error) -> str:
    text = str(error)
    return f"{text}: {_REASONS[text]}" if text in _REASONS else text
