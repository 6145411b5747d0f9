"""What the demo and its crew, the process with the fleet, tell each other: a line of JSON each.

Invariant: an event is told before its handler returns, and a line that was written is read, whatever becomes of who
wrote it. What the demo counts is therefore what handlers were given, also by a process that was killed.
"""

from __future__ import annotations

import msgspec

from telestage.messages import FleetStatus

__all__ = ["Line", "Orders", "Picture", "Seen", "decode_line", "encode_line"]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a crew is to do; the same for each."""

    public_key: str
    """Of the server."""
    folder: str
    """Where the store is, and the files that scrapes write."""
    sessions: dict[str, str]
    recipients: list[str]
    operations: int
    log: bool
    """Whether to log to stderr."""


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """An event was given to a handler, which raised if `failed`."""

    session: str
    handler: str
    post: str
    failed: bool


class Picture(msgspec.Struct, frozen=True, kw_only=True, tag="picture"):
    """How the crew is doing."""

    status: FleetStatus
    sent: int
    history: int
    members: int
    done: bool
    """Whether all jobs are."""


Line = Seen | Picture
"""What a crew tells."""

_DECODER = msgspec.json.Decoder(Line)


def encode_line(value: msgspec.Struct) -> bytes:
    """A value as a line."""
    return msgspec.json.encode(value) + b"\n"


def decode_line(line: bytes) -> Line:
    """What a crew has told."""
    told: Line = _DECODER.decode(line)
    return told
