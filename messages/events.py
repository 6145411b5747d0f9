"""Events that a monitor handles: valid by construction (R-E1).

An event has a type and a source that aren't blank, a time that isn't in the future, and a priority
of four; whoever holds one need not check it again.
"""

import enum
import time
from collections.abc import Mapping

import msgspec
from msgspec import field

from telestage.messages.base import Message
from telestage.messages.checks import (
    Elapsed,
    Text,
    check_seconds,
    check_text,
    invalid,
    settle_mapping,
    settle_member,
)

CLOCK_SLACK = 1.0
"""Seconds an event's timestamp may be ahead of our clock. Not zero: two hosts' clocks differ, and one
host's own clock is set back at times; an event must not be refused, or break on its way, for that."""


class EventPriority(enum.IntEnum):
    """How urgent an event is; a higher one is handled before all lower ones that wait."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Event(Message, frozen=True):
    """Something that happened, for the handlers of its type.

    Args:
        type: A name, or a member of a `StrEnum` (of any `Enum` with string values, at run time); kept as
            the plain string. Whether it is a registered one is the monitor's business.
        source_id: Who or what it comes from.
        data: What there is to know; a dict with string keys. The values aren't looked at here: within a
            process they may be anything. On a wire only None, bool, int, float, str, bytes, and lists
            and string-keyed dicts of these can travel; `encode` names the first that can't.
        priority: NORMAL by default.
        timestamp: When it happened, in unix seconds, `CLOCK_SLACK` ahead of our clock at most; now by
            default.

    Raises:
        InvalidMessage: A value is not one of these.
    """

    type: Text
    source_id: Text
    data: Mapping[str, object] = field(default_factory=dict)
    priority: EventPriority = EventPriority.NORMAL
    timestamp: Elapsed = field(default_factory=time.time)

    def __post_init__(self) -> None:
        # Events are many. What nearly every one is passes here in one expression; only what is odd is
        # looked at field by field.
        if (
            type(self.type) is str
            and self.type
            and not self.type.isspace()
            and type(self.source_id) is str
            and self.source_id
            and not self.source_id.isspace()
            and type(self.data) is dict
            and type(self.priority) is EventPriority
            and type(self.timestamp) is float
            and 0.0 <= self.timestamp <= time.time() + CLOCK_SLACK
        ):
            return
        self._settle()

    def _settle(self) -> None:
        if isinstance(self.type, enum.Enum):
            msgspec.structs.force_setattr(self, "type", self.type.value)
        check_text(self, "type", "source_id")
        settle_mapping(self, "data")
        settle_member(self, "priority", EventPriority)
        check_seconds(self, "timestamp", zero=True)
        if self.timestamp > time.time() + CLOCK_SLACK:
            raise invalid(self, "timestamp", f"must not be in the future (our clock: {time.time():.3f})")
