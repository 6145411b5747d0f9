"""A message is valid from its construction on; a bad one is refused by type, field and rule (R-Q6, "bad input")."""

import math
import pickle
import time
from collections.abc import Callable
from types import MappingProxyType

import pytest

from telestage.messages import (
    DEFAULT_PRIORITIES,
    DEFAULT_TIMEOUTS,
    ControlCall,
    ControlFailure,
    FloodSeen,
    HistoryPage,
    InvalidMessage,
    Kind,
    MembersPage,
    Message,
    Operation,
    PermitGranted,
    PermitKindStatus,
    PermitRequest,
    PermitReturned,
    PermitStatus,
    RemoveSession,
    SendMessage,
    SessionChanged,
    SessionState,
)

SEND = SendMessage(peer="bob", text="hi", random_id=7)


def test_priorities_and_timeouts_are_those_of_the_requirements() -> None:
    """R-Q3, R-Q5."""
    assert DEFAULT_PRIORITIES == {Kind.MONITORING: 10, Kind.SCRAPING: 5, Kind.SENDING: 1, Kind.OTHER: 0}
    assert DEFAULT_TIMEOUTS == {Kind.SCRAPING: 300, Kind.MONITORING: 3600, Kind.SENDING: 60, Kind.OTHER: 300}


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (SEND, Kind.SENDING),
        (HistoryPage(peer=-1001), Kind.SCRAPING),
        (MembersPage(peer=b"peer"), Kind.SCRAPING),
    ],
)
def test_an_operation_takes_the_defaults_of_its_requests_kind(request_: Message, kind: Kind) -> None:
    """R-Q3, R-Q4, R-Q5, R-Q6."""
    before = time.time()
    operation = Operation.of(request_)
    assert operation.kind is kind
    assert operation.priority == DEFAULT_PRIORITIES[kind]
    assert operation.timeout == DEFAULT_TIMEOUTS[kind]
    assert operation.queue_timeout == 60
    assert before <= operation.queued_at <= time.time()


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_said_by_the_caller_brings_its_own_defaults(kind: Kind) -> None:
    operation = Operation.of(SEND, kind=kind)
    assert (operation.priority, operation.timeout) == (DEFAULT_PRIORITIES[kind], DEFAULT_TIMEOUTS[kind])


def test_an_operation_keeps_what_its_caller_says() -> None:
    operation = Operation.of(
        SEND,
        kind=Kind.OTHER,
        priority=-3,
        timeout=2.5,
        queue_timeout=1.5,
        queued_at=3.5,
        correlation_id="mine",
    )
    assert operation == Operation(
        kind=Kind.OTHER,
        request=SEND,
        priority=-3,
        timeout=2.5,
        correlation_id="mine",
        queued_at=3.5,
        queue_timeout=1.5,
    )


def test_operations_have_correlation_ids_of_their_own() -> None:
    assert len({Operation.of(SEND).correlation_id for _ in range(100)}) == 100


def test_an_enums_value_becomes_its_member() -> None:
    assert Operation.of(SEND, kind="other").kind is Kind.OTHER
    assert Operation.of(SEND, kind="other").timeout == 300
    assert SessionChanged(session="a", state="dead").state is SessionState.DEAD


def test_another_mapping_becomes_a_dict() -> None:
    """What is accepted can be encoded, and msgspec encodes dicts only."""
    call = ControlCall(id=1, method="status", arguments=MappingProxyType({"a": 1}))
    assert type(call.arguments) is dict


def test_a_message_can_not_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        SEND.text = "other"


def refused(text: str, make: Callable[[], object]) -> object:
    return pytest.param(make, text, id=text.partition(" must")[0] + ": " + text.rpartition("not ")[2])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        refused("HistoryPage.limit must be an integer from 1 to 100, not 0", lambda: HistoryPage(peer=1, limit=0)),
        refused("limit must be an integer from 1 to 100, not 101", lambda: HistoryPage(peer=1, limit=101)),
        refused("limit must be an integer from 1 to 100, not True", lambda: HistoryPage(peer=1, limit=True)),
        refused("limit must be an integer from 1 to 100, not 2.0", lambda: HistoryPage(peer=1, limit=2.0)),
        refused("offset_id must be an integer from 0 to 2147483647, not -1", lambda: HistoryPage(peer=1, offset_id=-1)),
        refused("min_id must be an integer from 0 to 2147483647, not -1", lambda: HistoryPage(peer=1, min_id=-1)),
        refused("max_id must be an integer from 0 to", lambda: HistoryPage(peer=1, max_id=2**31)),
        refused("search must be a string, not 5", lambda: HistoryPage(peer=1, search=5)),
        refused("reverse must be True or False, not 'no'", lambda: HistoryPage(peer=1, reverse="no")),
        refused("MembersPage.limit must be an integer from 1 to 200, not 201", lambda: MembersPage(peer=1, limit=201)),
        refused("offset must be an integer from 0", lambda: MembersPage(peer=1, offset=-1)),
        refused("search must be a string, not None", lambda: MembersPage(peer=1, search=None)),
        refused("MembersPage.peer must be an id, a name", lambda: MembersPage(peer=None)),
        refused("peer must be an id, a name", lambda: HistoryPage(peer=True)),
        refused("peer must be an id, a name", lambda: HistoryPage(peer=1.5)),
        refused("peer must be an id other than 0, not 0", lambda: HistoryPage(peer=0)),
        refused("peer must be an integer from -9223372036854775808", lambda: HistoryPage(peer=2**63)),
        refused("peer must be a string that is not empty, not '  '", lambda: HistoryPage(peer="  ")),
        refused("peer must be a TL-serialised InputPeer", lambda: HistoryPage(peer=b"")),
        refused("peer must be a TL-serialised InputPeer", lambda: HistoryPage(peer=b"12345")),
        refused("SendMessage.text must be a string, not b'x'", lambda: SendMessage(peer=1, text=b"x", random_id=1)),
        refused("random_id must be an integer from", lambda: SendMessage(peer=1, text="x", random_id=2**63)),
        refused("options must be a dict", lambda: SendMessage(peer=1, text="x", random_id=1, options=[])),
        refused(
            "options must have string keys and single values",
            lambda: SendMessage(peer=1, text="x", random_id=1, options={"buttons": []}),
        ),
        refused(
            "options must have string keys and single values",
            lambda: SendMessage(peer=1, text="x", random_id=1, options={1: 2}),
        ),
        refused("Operation.kind must be one of Kind ('sending', ", lambda: Operation.of(SEND, kind="sleeping")),
        refused("request must be a SendMessage, HistoryPage or", lambda: Operation.of("send")),
        refused("priority must be an integer from", lambda: Operation.of(SEND, priority="high")),
        refused("timeout must be a finite number of seconds above 0, not 0", lambda: Operation.of(SEND, timeout=0)),
        refused("timeout must be a finite", lambda: Operation.of(SEND, timeout=math.inf)),
        refused("timeout must be a finite", lambda: Operation.of(SEND, timeout="5")),
        refused("timeout must be a finite", lambda: Operation.of(SEND, timeout=True)),
        refused("queue_timeout must be a finite", lambda: Operation.of(SEND, queue_timeout=math.nan)),
        refused(
            "queued_at must be a finite number of seconds from 0, not -1", lambda: Operation.of(SEND, queued_at=-1)
        ),
        refused("correlation_id must be a string that is not empty", lambda: Operation.of(SEND, correlation_id="")),
        refused(
            "PermitRequest.session must be a string that is not empty, not ''",
            lambda: PermitRequest(operation_id="a", session="", kind="sending", priority=1),
        ),
        refused(
            "priority must be an integer",
            lambda: PermitRequest(operation_id="a", session="b", kind="sending", priority=0.5),
        ),
        refused("waited must be a finite number", lambda: PermitGranted(operation_id="a", kind="b", waited=-0.1)),
        refused("PermitReturned.operation_id must be", lambda: PermitReturned(operation_id=None)),
        refused("state must be one of SessionState ('new', ", lambda: SessionChanged(session="a", state="asleep")),
        refused("reason must be a string, not 5", lambda: SessionChanged(session="a", state="dead", reason=5)),
        refused("RemoveSession.timeout must be a finite", lambda: RemoveSession(session="a", timeout=0)),
        refused("until must be a finite", lambda: FloodSeen(session="a", kind="b", method="c", until=math.nan)),
        refused("ControlCall.id must be an integer from 0", lambda: ControlCall(id=-1, method="status")),
        refused("method must be a string that is not empty", lambda: ControlCall(id=1, method="")),
        refused("arguments must be a dict with string keys, not 5", lambda: ControlCall(id=1, method="m", arguments=5)),
        refused("ControlFailure.error must be", lambda: ControlFailure(id=1, error="")),
        refused("message must be a string", lambda: ControlFailure(id=1, error="ValueError", message=None)),
    ],
)
def test_a_bad_value_is_refused_with_its_type_field_and_rule(make: Callable[[], object], text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        make()
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{caught.value.owner}.{caught.value.field} must ")


def test_an_error_shows_a_huge_value_cut_short() -> None:
    with pytest.raises(InvalidMessage) as caught:
        HistoryPage(peer=1, search=b"x" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_an_invalid_message_is_a_value_error_and_survives_pickling() -> None:
    """It may have to cross a process boundary in a reply."""
    with pytest.raises(ValueError, match="limit") as caught:
        HistoryPage(peer=1, limit=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (InvalidMessage, str(caught.value))


def test_permit_totals_are_those_of_all_operations_together() -> None:
    """R-G6: the kinds' peaks come at different times, so the total's isn't their sum."""
    total = PermitKindStatus(kind="operations", limit=50, granted=9, returned=8, peak=3)
    scraping = PermitKindStatus(kind="scraping", limit=5, granted=5, returned=5, peak=2)
    status = PermitStatus(total=total, kinds={"scraping": scraping})
    assert (status.granted, status.returned, status.peak) == (9, 8, 3)
