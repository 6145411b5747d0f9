"""The demo's end of the pipes to its crew, and the end of a crew: by itself, or by SIGKILL.

Invariant: what a crew has told before its end is taken in before the end is known.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from telestage.cli.demo.script import Line, Orders, decode_line, encode_line

__all__ = ["Troupe"]

_LINE = 16 * 1024 * 1024  # bytes: the picture of some thousand sessions
_ENDING = 20.0  # seconds a crew has to stop its fleet


class Troupe:
    """The crews of one run, one after the other, with the same orders.

    Args:
        told: Is given each line.
        log: Where the crews log to.
    """

    def __init__(self, orders: Orders, told: Callable[[Line], None], log: Path | None) -> None:
        self._orders = orders
        self._told = told
        self._log: BinaryIO | None = None if log is None else log.open("ab")
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._process is not None:
                await self.kill()
        finally:
            if self._log is not None:
                self._log.close()

    async def begin(self) -> None:
        """Starts a crew."""
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "telestage.cli.demo.crew",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL if self._log is None else self._log,
            limit=_LINE,
            start_new_session=True,  # an interrupt from the terminal is for the demo, which then ends it
        )
        assert process.stdin is not None
        process.stdin.write(encode_line(self._orders))
        self._reading = asyncio.create_task(self._read(process), name="demo: crew")

    async def kill(self) -> None:
        """Kills the crew, without warning, and waits until what it has told is taken in."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._over()

    async def end(self) -> None:
        """Has the crew stop its fleet, and waits for it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(_ENDING):
            await self._over()

    def kill_session(self, name: str) -> None:
        """Has the crew kill one of its sessions."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n".encode())

    async def _over(self) -> None:
        assert self._process is not None
        assert self._reading is not None
        await self._process.wait()
        await self._reading
        self._process = self._reading = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.endswith(b"\n"):  # else it was killed as it wrote
                self._told(decode_line(line))
