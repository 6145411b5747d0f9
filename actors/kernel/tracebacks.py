"""Keeps an error short that passes through many actors.

An error that each asker lets through fails one actor after the other, and grows by some frames at each. One that each
raises anew, `raise Unavailable() from error`, has one cause more at each. Logged with every failure, either way a chain
of a thousand would write half a million tracebacks, and keep the event loop for minutes.

Invariants:
- Where it was raised stays, and the way through the actor that it failed last; what lies between them is in the log,
  with the failures of those actors.
- Of its causes, those stay that came from the last actor, and the first one with all that led to it. A `LeftOut` stands
  for those between. What has causes within one actor keeps them all.
"""

from __future__ import annotations

from types import TracebackType

__all__ = ["LeftOut", "shorten"]

_WORKING = "telestage.actors.kernel.working"
"""The module whose frame each handler's frames begin below."""

_MOST = 3
"""Causes that came from other actors, before those between the newest and the oldest are left out."""


class LeftOut(Exception):
    """Stands among the causes of an error for those that are left out; `count` is how many."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} errors, each raised because of the next, are left out; their actors logged them")
        self.count = count


def shorten(error: BaseException) -> None:
    """Takes out of `error` the actors between the first and the last of its way."""
    if error.__cause__ is not None or error.__context__ is not None:
        _cut_causes(error)
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


def _cut_causes(error: BaseException) -> None:
    chain = [error]
    passed: list[int] = []  # the places of those that came from other actors
    known = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in known:  # a circle is the user's own
        if _came_from_an_actor(cause):
            passed.append(len(chain))
        known.add(id(cause))
        chain.append(cause)
        cause = _cause(cause)
    if len(passed) <= _MOST:
        return
    newest, oldest = passed[0], passed[-1]
    between = chain[newest + 1 : oldest]
    out = LeftOut(sum(each.count if isinstance(each, LeftOut) else 1 for each in between))
    out.__cause__ = chain[oldest]
    if chain[newest].__cause__ is not None:
        chain[newest].__cause__ = out
    else:
        chain[newest].__context__ = out


def _cause(error: BaseException) -> BaseException | None:
    """What a traceback shows as what led to it."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _came_from_an_actor(error: BaseException) -> bool:
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__") == _WORKING:
            return True
        entry = entry.tb_next
    return False
