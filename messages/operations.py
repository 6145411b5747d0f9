"""What a session is asked to do: an operation is a value, complete in itself, that waits in a mailbox.

Nothing about a waiting operation lives elsewhere: its type, its arguments, its priority, when it
was queued, how long it may wait and run, and the id that its answer carries are all here (R-Q6).
"""

import enum
import secrets
import time
from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta, field

from telestage.messages.base import Message
from telestage.messages.checks import (
    INT32_MAX,
    INT64,
    SCALARS,
    Elapsed,
    Int64,
    Seconds,
    Text,
    check_flag,
    check_seconds,
    check_string,
    check_text,
    check_whole,
    invalid,
    settle_mapping,
    settle_member,
)

HISTORY_PAGE = 100
"""Messages in one page of a history at most: Telegram gives no more (R-Q7)."""

MEMBERS_PAGE = 200
"""Members in one page of a channel's members at most: Telegram gives no more (R-Q7)."""

Peer: TypeAlias = int | str | bytes
"""Whom a request is about: a marked id (as Telethon's `get_peer_id`), a username, phone number or
"me", or a TL-serialised `InputPeer`. Only the last needs no look-up, and usernames are scarce
ones (20 a minute)."""

Scalar: TypeAlias = bool | int | float | str | bytes | None
"""A single value of a request's options."""

if TYPE_CHECKING:
    _Peer = Peer
    _Options = Mapping[str, Scalar]
else:  # msgspec has no unions of str and bytes: it passes these through, and __post_init__ checks them
    _Peer = object
    _Options = Mapping[str, object]

MessageId: TypeAlias = Annotated[int, Meta(ge=0, le=INT32_MAX)]


class Kind(enum.StrEnum):
    """What an operation does; its priority, its timeout and its permit follow from it."""

    SENDING = "sending"
    SCRAPING = "scraping"
    MONITORING = "monitoring"
    OTHER = "other"


DEFAULT_PRIORITIES: Mapping[Kind, int] = MappingProxyType(
    {Kind.MONITORING: 10, Kind.SCRAPING: 5, Kind.SENDING: 1, Kind.OTHER: 0}
)
"""Higher runs first (R-Q3). The hazard: a send waits behind every scrape that is queued, but for ageing."""

DEFAULT_TIMEOUTS: Mapping[Kind, float] = MappingProxyType(
    {Kind.SCRAPING: 300.0, Kind.MONITORING: 3600.0, Kind.SENDING: 60.0, Kind.OTHER: 300.0}
)
"""Seconds an operation may run before it is cancelled (R-Q5). The hazard: one that hangs keeps its
session for that long."""

DEFAULT_QUEUE_TIMEOUT = 60.0
"""Seconds an operation may wait to be started; then it never is (R-Q4)."""


def _check_peer(message: "SendMessage | HistoryPage | MembersPage") -> None:
    peer: object = message.peer
    if isinstance(peer, str):
        check_text(message, "peer")
    elif isinstance(peer, bytes):
        if not peer or len(peer) % 4:
            raise invalid(message, "peer", "must be a TL-serialised InputPeer (a multiple of 4 bytes)")
    elif peer == 0:
        raise invalid(message, "peer", "must be an id other than 0")
    elif isinstance(peer, int) and not isinstance(peer, bool):
        check_whole(message, "peer", -INT64, INT64 - 1)
    else:
        raise invalid(message, "peer", "must be an id, a name, or a serialised InputPeer (int, str or bytes)")


# gc=False here and below: what they hold can't come back to them, so the garbage collector needn't look at them
class SendMessage(Message, frozen=True, kw_only=True, gc=False):
    """Send one text to a peer, at most once.

    `random_id` (signed 64-bit) is chosen before the first attempt and kept by every later one: Telegram
    takes a second message with it for the first (R-X5). `options` are further keyword arguments of
    Telethon's `client.send_message`: reply_to, silent, parse_mode, link_preview, ...
    """

    peer: _Peer
    text: str
    random_id: Int64
    options: _Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        peer: object = self.peer
        if (  # as for an `Operation`
            type(peer) is str
            and peer.strip()
            and type(self.text) is str
            and type(self.random_id) is int
            and -INT64 <= self.random_id < INT64
            and type(self.options) is dict
            and not self.options
        ):
            return
        _check_peer(self)
        check_string(self, "text")
        check_whole(self, "random_id", -INT64, INT64 - 1)
        settle_mapping(self, "options")
        if not all(isinstance(key, str) and isinstance(value, SCALARS) for key, value in self.options.items()):
            raise invalid(
                self,
                "options",
                "must have string keys and single values (None, bool, int, float, str, bytes)",
            )


class HistoryPage(Message, frozen=True, kw_only=True, gc=False):
    """Read one page of a peer's messages: newest first, or oldest first with `reverse`.

    `limit` is 1 to 100 messages. `offset_id`, `min_id` and `max_id` are message ids, all exclusive; 0 is
    no bound. `search` keeps the messages with that text.
    """

    peer: _Peer
    offset_id: MessageId = 0
    limit: Annotated[int, Meta(ge=1, le=HISTORY_PAGE)] = HISTORY_PAGE
    min_id: MessageId = 0
    max_id: MessageId = 0
    reverse: bool = False
    search: str | None = None

    def __post_init__(self) -> None:
        _check_peer(self)
        check_whole(self, "limit", 1, HISTORY_PAGE)
        for name in ("offset_id", "min_id", "max_id"):
            check_whole(self, name, 0, INT32_MAX)
        check_flag(self, "reverse")
        if self.search is not None:
            check_string(self, "search")


class MembersPage(Message, frozen=True, kw_only=True, gc=False):
    """Read one page of a channel's or group's members.

    `limit` is 1 to 200 members, `offset` how many come before the page. `search` keeps members whose
    name begins with it; empty keeps all.
    """

    peer: _Peer
    offset: Annotated[int, Meta(ge=0, le=INT32_MAX)] = 0
    limit: Annotated[int, Meta(ge=1, le=MEMBERS_PAGE)] = MEMBERS_PAGE
    search: str = ""

    def __post_init__(self) -> None:
        _check_peer(self)
        check_whole(self, "offset", 0, INT32_MAX)
        check_whole(self, "limit", 1, MEMBERS_PAGE)
        check_string(self, "search")


Request: TypeAlias = SendMessage | HistoryPage | MembersPage
"""What an operation that travels can ask for."""


class Operation(Message, frozen=True, kw_only=True, gc=False):
    """A request with all that the queue must know about it (R-Q6). `Operation.of` fills in the defaults.

    Higher `priority` runs first. `queued_at` is in unix seconds. `queue_timeout` and `timeout` are
    seconds above zero and finite: how long it may wait, and then how long it may run.
    """

    kind: Kind
    request: Request
    priority: Int64
    timeout: Seconds
    correlation_id: Text
    queued_at: Elapsed
    queue_timeout: Seconds = DEFAULT_QUEUE_TIMEOUT

    def __post_init__(self) -> None:
        if (  # what nearly every operation is, at a fifth of the price of the checks that say what is wrong
            type(self.kind) is Kind
            and type(self.request) is SendMessage
            and type(self.priority) is int
            and -INT64 <= self.priority < INT64
            and type(self.timeout) is type(self.queue_timeout) is type(self.queued_at) is float
            and 0.0 < self.timeout < inf
            and 0.0 < self.queue_timeout < inf
            and 0.0 <= self.queued_at < inf
            and type(self.correlation_id) is str
            and self.correlation_id.strip()
        ):
            return
        settle_member(self, "kind", Kind)
        if not isinstance(self.request, Request):
            raise invalid(self, "request", "must be a SendMessage, HistoryPage or MembersPage")
        check_whole(self, "priority", -INT64, INT64 - 1)
        check_seconds(self, "timeout", zero=False)
        check_seconds(self, "queue_timeout", zero=False)
        check_seconds(self, "queued_at", zero=True)
        check_text(self, "correlation_id")

    @classmethod
    def of(
        cls,
        request: Request,
        *,
        kind: Kind | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        queue_timeout: float = DEFAULT_QUEUE_TIMEOUT,
        queued_at: float | None = None,
        correlation_id: str | None = None,
    ) -> "Operation":
        """Return the operation for a request, with the defaults of its kind for all that is left out.

        Args:
            request: What to do.
            kind: Default: sending for a SendMessage, scraping for a page.
            priority: Default: the kind's in `DEFAULT_PRIORITIES`.
            timeout: Seconds it may run. Default: the kind's in `DEFAULT_TIMEOUTS`.
            queue_timeout: Seconds it may wait for its turn.
            queued_at: Unix seconds. Default: now.
            correlation_id: Default: a new random one.

        Raises:
            InvalidMessage: A value is not one that an operation may have.
        """
        if kind is None:
            kind = Kind.SENDING if isinstance(request, SendMessage) else Kind.SCRAPING
        return cls(
            kind=kind,
            request=request,
            priority=DEFAULT_PRIORITIES.get(kind, 0) if priority is None else priority,
            timeout=DEFAULT_TIMEOUTS.get(kind, 0.0) if timeout is None else timeout,
            correlation_id=secrets.token_hex(16) if correlation_id is None else correlation_id,
            queued_at=time.time() if queued_at is None else queued_at,
            queue_timeout=queue_timeout,
        )
