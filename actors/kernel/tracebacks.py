"""Keeps an error short that passes through many actors.

An error that each asker lets through fails one actor after the other, and grows by some frames at each. Logged with
every failure, a chain of a thousand would write half a million frames.

Invariant: where it was raised stays, and the way through the actor that it failed last; what lies between them is in
the log, with the failures of those actors.
"""

from __future__ import annotations

from types import TracebackType

__all__ = ["shorten"]

_WORKING = "telestage.actors.kernel.working"
"""The module whose frame each handler's frames begin below."""


def shorten(error: BaseException) -> None:
    """Takes out of the traceback of `error` the actors between the first and the last of its way."""
    begin = error.__traceback__
    own: list[TracebackType] = []  # the frames of the actor it failed last
    seen = 0
    last: TracebackType | None = None  # where the way through the first actor begins
    entry = begin
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__") == _WORKING:
            seen += entry is not begin
            last = entry
        if not seen:
            own.append(entry)
        entry = entry.tb_next
    if seen < 2:
        return
    for entry in reversed(own):
        last = TracebackType(last, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = last
