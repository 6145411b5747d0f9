"""Which monitors sessions have by their name's pattern, those that are added later too."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import get_args

from telestage.actors.kernel import Directive, Supervision
from telestage.actors.monitoring import EventMonitorConfig
from telestage.actors.telegram.book import Durable, EventHandler, MonitorSpec
from telestage.actors.telegram.once import Once
from telestage.actors.telegram.router import checked_builder

__all__ = ["Registrations"]

_SUPERVISION = Supervision(exceeded=Directive.STOP)
_UNFIT = re.compile(r"[/$\s]")
_LONGEST_NAME = 64


class Registrations:
    """The monitors of a fleet, each with the pattern of the sessions that have it. One of a name.

    Args:
        capacity: How many events may wait for one monitor.
    """

    def __init__(self, capacity: int) -> None:
        # Supervision answers the failures, so there is nothing for a breaker to do, nor anybody to be disabled.
        self._config = EventMonitorConfig(
            max_queue_size=capacity,
            max_handler_failures=None,
            breaker_failures=None,
            keep_order=True,
            heartbeat_interval=None,  # monitors are many, and whoever looks at one sees how it is
        )
        self._entries: dict[str, tuple[MonitorSpec, str]] = {}

    def spec(
        self,
        event: object,
        handler: EventHandler,
        name: str | None,
        supervision: Supervision | None,
        once: bool = False,
        durable: Durable = "soon",
    ) -> MonitorSpec:
        """What a monitor for this handler is. One that replaces another, both `once`, knows what that one had.

        Raises:
            TypeError: `event` isn't one that can be monitored, or the handler can't be called.
            ValueError: The name is empty, another handler has the name that this one has by default, or `durable` isn't
                one of its words.
        """
        if durable not in get_args(Durable):
            raise ValueError(f"durable is one of {', '.join(map(repr, get_args(Durable)))}, not {durable!r}")
        builder = checked_builder(event)
        if not callable(handler):
            raise TypeError(f"a handler is a function that takes one event, not {handler!r}")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise ValueError(f"a monitor's name is a text that isn't empty, not {name!r}")
        wanted = str(getattr(handler, "__name__", type(handler).__name__)) if name is None else name
        wanted = _UNFIT.sub("_", wanted)[:_LONGEST_NAME]
        known = self._entries.get(wanted)
        if name is None and known is not None and known[0].handler is not handler:
            raise ValueError(
                f"another handler is registered as {wanted!r} already: give this one a name=, or that very name "
                "to replace it"
            )
        shared = None
        if once:
            shared = Once(wanted) if known is None or known[0].once is None else known[0].once
        return MonitorSpec(wanted, builder, handler, supervision or _SUPERVISION, self._config, shared, durable)

    def shared(self) -> Iterator[Once]:
        """What the monitors have had that get each event once from all their sessions."""
        for spec, _ in self._entries.values():
            if spec.once is not None:
                yield spec.once

    def add(self, spec: MonitorSpec, sessions: str) -> None:
        """Notes a monitor, in place of one of that name."""
        self._entries[spec.name] = (spec, sessions)

    def remove(self, name: str, sessions: str) -> None:
        """Forgets a monitor, if it was noted for these sessions, or `sessions` is all of them."""
        known = self._entries.get(name)
        if known is not None and sessions in ("*", known[1]):
            del self._entries[name]

    def of(self, session: str) -> Iterator[MonitorSpec]:
        """The monitors that a session of this name has."""
        for spec, pattern in self._entries.values():
            if fnmatch.fnmatchcase(session, pattern):
                yield spec
