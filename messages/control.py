"""Calls from one process to another: each `ControlCall` gets one `ControlReply` or `ControlFailure`.

The `id` pairs them; it is unique among the calls that one end of a connection has open. Arguments and
results are None, bool, int, float, str, bytes, and lists and string-keyed dicts of these.
"""

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta, field

from telestage.messages.base import Message
from telestage.messages.checks import INT64, Text, check_string, check_text, check_whole, settle_mapping

CallId: TypeAlias = Annotated[int, Meta(ge=0, le=INT64 - 1)]


class ControlCall(Message, frozen=True, kw_only=True):
    """Call `method` with keyword arguments."""

    id: CallId
    method: Text
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_whole(self, "id", 0, INT64 - 1)
        check_text(self, "method")
        settle_mapping(self, "arguments")


class ControlReply(Message, frozen=True, kw_only=True):
    """The call succeeded with `result`."""

    id: CallId
    result: object = None

    def __post_init__(self) -> None:
        check_whole(self, "id", 0, INT64 - 1)


class ControlFailure(Message, frozen=True, kw_only=True):
    """The call failed: `error` is the name of the exception's class, `message` its text."""

    id: CallId
    error: Text
    message: str = ""

    def __post_init__(self) -> None:
        check_whole(self, "id", 0, INT64 - 1)
        check_text(self, "error")
        check_string(self, "message")
