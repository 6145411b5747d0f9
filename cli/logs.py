"""Where the log goes: only the command decides, no library of ours installs a handler."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from telestage.cli.secrecy import RedactingFormatter, Redactor

__all__ = ["logging_to"]

_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def logging_to(handler: logging.Handler | None, level: int, redactor: Redactor | None = None) -> Iterator[None]:
    """Inside the block, records of `level` and above go to `handler`, by default stderr, without known secrets.

    Telethon's own are a level quieter: its INFO has a line for each update.
    """
    if handler is None:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(_FORM, () if redactor is None else (redactor,)))
    root, telethon = logging.getLogger(), logging.getLogger("telethon")
    before = root.level, telethon.level
    root.addHandler(handler)
    root.setLevel(level)
    telethon.setLevel(max(level + 10, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        telethon.setLevel(before[1])
        handler.close()
