"""The store: one transaction a piece of work, in one thread of its own, in a file that others may use, too."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from telestage.actors.store import Store, StoreClosed, StoreError, StoreTooNew

NUMBERS = ("CREATE TABLE numbers (number INTEGER PRIMARY KEY); CREATE INDEX by_number ON numbers (number)",)


def insert(number: int, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


async def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "fleet.db")
    async with store:
        await store.prepare("numbers", NUMBERS)
        await store.write(lambda connection: insert(1, connection))
    assert not store.is_open
    async with store:
        await store.prepare("numbers", NUMBERS)
        assert await store.read(numbers) == [1]


async def test_a_piece_of_work_that_fails_changes_nothing(tmp_path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        insert(1, connection)
        raise LookupError("half of it")

    async with Store(tmp_path / "fleet.db") as store:
        await store.prepare("numbers", NUMBERS)
        with pytest.raises(LookupError):
            await store.write(half)
        assert await store.read(numbers) == []


async def test_pieces_of_work_are_done_whole_and_in_order(tmp_path: Path) -> None:
    async with Store(tmp_path / "fleet.db") as store:
        await store.prepare("numbers", NUMBERS)

        def swell(connection: sqlite3.Connection) -> int:
            count = len(numbers(connection))
            insert(count, connection)
            return count

        assert await asyncio.gather(*(store.write(swell) for _ in range(50))) == list(range(50))


async def test_a_part_is_brought_up_to_date_step_by_step_and_never_back(tmp_path: Path) -> None:
    more = (*NUMBERS, "ALTER TABLE numbers ADD COLUMN word TEXT DEFAULT 'none; at all'")
    async with Store(tmp_path / "fleet.db") as store:
        await store.prepare("numbers", NUMBERS)
        await store.write(lambda connection: insert(7, connection))
        await store.prepare("numbers", more)
        await store.prepare("numbers", more)
        rows = await store.read(lambda connection: connection.execute("SELECT * FROM numbers").fetchall())
        assert rows == [(7, "none; at all")]
        with pytest.raises(StoreTooNew, match="version 2, and this Telestage knows up to 1"):
            await store.prepare("numbers", NUMBERS)


async def test_the_file_is_its_owner_s_and_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    async with Store(tmp_path / "fleet.db") as store:
        assert stat.S_IMODE((tmp_path / "fleet.db").stat().st_mode) == 0o600
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = await store.read(lambda c: [c.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas])
        assert values == ["wal", 2, 1]


async def test_a_writer_in_another_connection_is_waited_for_and_then_named(tmp_path: Path) -> None:
    async with Store(tmp_path / "fleet.db", patience=0.05) as store:
        await store.prepare("numbers", NUMBERS)
        other = sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="another process keeps it locked"):
                await store.write(lambda connection: insert(1, connection))
            assert await store.read(numbers) == []  # who reads doesn't wait for who writes
            other.execute("ROLLBACK")
            await store.write(lambda connection: insert(1, connection))
        finally:
            other.close()


async def test_what_can_not_be_opened_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is no database, whatever its name says. " * 100)
    for path, why in (
        (tmp_path / "text.db", "it is no SQLite file"),
        (tmp_path / "nowhere" / "fleet.db", "it can't be made: No such file"),
    ):
        with pytest.raises(StoreError, match=why):
            await Store(path).open()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("telestage-store")]


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "fleet.db")
    with pytest.raises(StoreClosed, match="isn't open"):
        await store.read(numbers)
    await store.open()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.write(numbers)
    with pytest.raises(ValueError, match="patience"):
        Store(tmp_path / "fleet.db", patience=0)


async def test_closing_waits_for_what_was_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "fleet.db")
    await store.open()
    await store.prepare("numbers", NUMBERS)
    writes = [asyncio.ensure_future(store.write(lambda c, n=n: insert(n, c))) for n in range(20)]
    await asyncio.sleep(0)  # each has been handed to the thread
    await store.close()
    await asyncio.gather(*writes)
    async with store:
        assert await store.read(numbers) == list(range(20))
