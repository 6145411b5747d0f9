"""Who holds a lease: a name for people, and what tells whether the process is still there.

Invariant: a process is called gone only if it is certain: it ran in the same place (machine, boot and set of process
ids), and there is none of its id, or one that began at another moment, or what is left of it waits to be buried.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from pathlib import Path

import msgspec

__all__ = ["Owner"]


class Owner(msgspec.Struct, frozen=True):
    """A holder of leases: one fleet, in one process."""

    text: str
    """What people are told."""
    token: str
    """No two owners have the same."""
    place: str
    """Where its process id means something."""
    pid: int
    born: int
    """When the process began, in a unit of the system's; 0 where that can't be told."""

    @classmethod
    def here(cls, text: str | None = None) -> Owner:
        """An owner in this process; by default it is named for the machine, the process and this start.

        Raises:
            ValueError: `text` is empty or longer than 200 characters.
        """
        if text is not None and not 0 < len(text) <= 200:
            raise ValueError(f"an owner's name has 1 to 200 characters, unlike {text!r}")
        token = secrets.token_hex(8)
        pid = os.getpid()
        named = f"{platform.node() or 'localhost'}, process {pid}, start {token[:6]}" if text is None else text
        return cls(named, token, _place(), pid, _born(pid))

    @property
    def gone(self) -> bool:
        """Whether its process has certainly ended."""
        if self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is somebody else's
            pass
        born = _born(self.pid)
        return 0 not in (born, self.born) and born != self.born


def _place() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # a container has process ids of its own
    return " ".join(parts)


def _born(pid: int) -> int:
    """When the process began; 0 if that can't be told, -1 if it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()  # what comes before may hold anything, parentheses too
    return -1 if fields[0] in "ZX" else int(fields[19])
