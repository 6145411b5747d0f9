"""Asks a person for a line, without holding up the event loop: the connection stays alive while they type.

The question goes to stderr, so that stdout has nothing but the result. On Windows, and where stdin is a file, the
line is read at once, in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from telestage.cli.errors import UsageError

__all__ = ["ask"]

try:
    import termios
except ImportError:  # Windows has none
    termios = None  # type: ignore[assignment]  # the module's absence is a value of it here


async def ask(question: str, *, hidden: bool = False, hint: str) -> str:
    """The line that a person types, stripped.

    Args:
        hidden: Don't show what is typed, where stdin is a terminal.
        hint: How to give the answer without being asked, for the error.

    Raises:
        UsageError: There is no line, or an empty one.
    """
    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    with _silent(hidden):
        line = await _line()
    if not line.strip():
        raise UsageError(f"no answer to {question!r}; {hint}")
    return line.strip()


async def _line() -> str:
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()
    complete = asyncio.Event()
    collected = bytearray()

    def read() -> None:
        # only here is it certain that the read doesn't wait
        byte = os.read(stdin, 1)  # not two: the rest is the answer to the next question
        collected.extend(byte)
        if byte in (b"", b"\n"):
            loop.remove_reader(stdin)
            complete.set()

    try:
        loop.add_reader(stdin, read)
    except (NotImplementedError, PermissionError):  # Windows; a file
        return sys.stdin.readline()
    try:
        await complete.wait()
    finally:
        loop.remove_reader(stdin)
    return collected.decode(sys.stdin.encoding or "utf-8", errors="replace")


@contextmanager
def _silent(hidden: bool) -> Iterator[None]:
    if not hidden or termios is None or not sys.stdin.isatty():
        yield
        return
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    quiet = termios.tcgetattr(stdin)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        print(file=sys.stderr, flush=True)
