"""What keeps a cell from simply taking its next message: one number, so that one look tells that nothing does.

Invariant: `SIGNALLED` is set whenever another flag is, but for `WATCHED` and `AHEAD`.
"""

from __future__ import annotations

__all__ = ["AHEAD", "CLOSED", "FAILED", "FINAL", "PARKED", "PAUSED", "SIGNALLED", "WATCHED"]

SIGNALLED = 1
"""Look at the system lane and at the other flags before the next message."""
CLOSED = 2
"""The stop is decided: no message is taken any more."""
FINAL = 4
"""It has stopped."""
PARKED = 8
"""Halted with mail waiting, so not on the run queue."""
PAUSED = 16
"""`Ref.pause` halts it; the system lane goes on."""
FAILED = 32
"""A failure that isn't answered yet halts it altogether."""
WATCHED = 64
"""It has kept the event loop too long: its messages are taken one by one, so that the next one to do so is known."""
AHEAD = 128
"""Its worker is at the system lane, ahead of a batch it may have begun."""
