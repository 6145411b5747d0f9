"""The file of a scrape: its rows are in it exactly once, whenever the process was killed.

Invariants:
- The checkpoint in the store has the length that the file had when its rows were on the disk (`fsync`). Whatever is
  beyond that length when the file is opened again came after the checkpoint, and is cut off.
- One process at a time has the file open: it is locked, and the system lets go of the lock when the process ends.

A Parquet file can't be added to, and is nothing without its end. Its rows go to a JSONL file beside it, `<name>.part`,
and the file is made of that at the end, in groups of 10,000 rows, under another name, and then renamed.

Everything here blocks, and is called in a thread.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from telestage.actors.jobs.rows import Row
from telestage.actors.jobs.values import OutputFormat

try:
    import fcntl
except ImportError:  # Windows: the lease alone keeps others away
    fcntl = None  # type: ignore[assignment]  # looked at before each use

__all__ = ["Output", "OutputBusy", "OutputLost", "format_of"]

_GROUP = 10_000  # rows of a Parquet row group, and of what is in memory at once as one is made


class OutputBusy(Exception):
    """Another process has the file open."""


class OutputLost(Exception):
    """The file is shorter than the checkpoint says: somebody has removed or changed it."""


def format_of(path: str, format: OutputFormat | str | None) -> OutputFormat:
    """The format of an output: as given, or by the end of its name.

    Raises:
        ValueError: There is no such format, the name tells none, or pyarrow isn't installed.
    """
    wanted = Path(path).suffix.removeprefix(".").lower() if format is None else format
    try:
        found = OutputFormat(wanted)
    except ValueError:
        how = f"the name {path!r} tells none" if format is None else f"{format!r} is none"
        raise ValueError(f"a format is one of {', '.join(OutputFormat)}; {how}") from None
    if found is OutputFormat.PARQUET and find_spec("pyarrow") is None:
        raise ValueError("Parquet needs pyarrow: pip install 'telestage[parquet]'")
    return found


class Output:
    """The open file of a scrape.

    Args:
        path: Of the file, whose folder exists.
        length: How much of it the checkpoint knows of.

    Raises:
        OutputBusy: Another process has it open.
        OutputLost: There is less of it.
        OSError: It can't be written.
    """

    def __init__(self, path: str, format: OutputFormat, columns: Mapping[str, type], length: int) -> None:
        self._path = Path(path)
        self._format = format
        self._columns = columns
        parquet = format is OutputFormat.PARQUET
        self._written = self._path.with_name(self._path.name + ".part") if parquet else self._path
        if length and not self._written.exists():
            raise OutputLost(f"{self._written} is gone")
        descriptor = os.open(self._written, os.O_RDWR | os.O_CREAT, 0o666)
        self._file: BinaryIO = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - closed by `close`
        try:
            self._lock()
            size = os.fstat(descriptor).st_size
            if size < length:
                raise OutputLost(f"{self._written} has {size} bytes, and {length} were written")
            self._file.truncate(length)
            self._file.seek(length)
            if not length:
                _sync_folder(self._written)
        except BaseException:
            self._file.close()
            raise
        self._length = length

    def append(self, rows: Sequence[Row]) -> int:
        """Adds rows; when it returns they are on the disk. Gives the file's length."""
        data = memoryview(self._encoded(rows))
        while data:
            data = data[self._file.write(data) or 0 :]
        os.fsync(self._file.fileno())
        self._length = self._file.tell()
        return self._length

    def finish(self) -> None:
        """Makes the file what it is to be. Idempotent, and may be interrupted at any point."""
        if self._format is not OutputFormat.PARQUET:
            return
        import pyarrow as arrow
        from pyarrow import parquet

        kinds: dict[type, Any] = {int: arrow.int64(), str: arrow.string(), bool: arrow.bool_()}
        schema = arrow.schema([(name, kinds[kind]) for name, kind in self._columns.items()])
        making = self._path.with_name(self._path.name + ".new")
        with making.open("wb") as file:
            with parquet.ParquetWriter(file, schema) as writer:
                for rows in self._groups():
                    writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            file.flush()
            os.fsync(file.fileno())
        making.replace(self._path)
        _sync_folder(self._path)

    def close(self) -> None:
        """Closes the file and lets others have it. Idempotent."""
        self._file.close()

    def discard_parts(self) -> None:
        """Removes what only served to make the file, once the job is done."""
        if self._written != self._path:
            self._written.unlink(missing_ok=True)

    def _encoded(self, rows: Sequence[Row]) -> bytes:
        if self._format is not OutputFormat.CSV:
            return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self._columns))
        if not self._length:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def _groups(self) -> Iterator[list[Row]]:
        with self._written.open("rb") as file:
            group: list[Row] = []
            for line in file:
                group.append(msgspec.json.decode(line))
                if len(group) == _GROUP:
                    yield group
                    group = []
            yield group  # without one, a file of no rows would have no columns

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputBusy(f"{self._written} is in use by another process") from None


def _sync_folder(path: Path) -> None:
    """A file that is new survives the machine only when its folder is on the disk, too."""
    with contextlib.suppress(OSError):  # where folders can't be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
