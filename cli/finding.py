"""One thing that `telestage doctor` looked at, and what is right or wrong with it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["Finding", "permissions"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at."""

    state: Literal["right", "warning", "wrong"]
    """`warning`: it works, but not as well or as safely as it could."""
    what: str
    found: str
    mend: str | None = None
    """What to do about it; None if it is right."""


def permissions(what: str, path: Path) -> Finding:
    """Whether a file with secrets can be read or written by others than its owner."""
    if os.name == "posix" and path.stat().st_mode & _OTHERS:
        found = f"{path} can be read or written by others, and whoever has it is you"
        return Finding(state="warning", what=what, found=found, mend=f"chmod 600 {path}")
    return Finding(state="right", what=what, found=f"{path} is there, for its owner only")
