"""The parts of the loopback server that need no client: histories, logs, plans, records, transports, keys."""

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telestage.testing
from telestage.testing import BadArgument, UnknownMethod
from telestage.testing.loopback import handshake, keys
from telestage.testing.loopback.errors import ProtocolViolation
from telestage.testing.loopback.history import EventLog, History, Message, Window
from telestage.testing.loopback.plan import Delay, Flood, Plan, Refuse, Rule, Silence
from telestage.testing.loopback.record import Calls, Record
from telestage.testing.loopback.tl import checked_method, method_names
from telestage.testing.loopback.transport import Abridged, Full, Intermediate, Transport, detect

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_public_names_are_sorted_complete_and_there() -> None:
    names = telestage.testing.__all__
    assert names == sorted(names)
    for name in names:
        assert getattr(telestage.testing, name).__name__ == name
    assert set(names) == {name for _, group in telestage.testing._HOMES.items() for name in group}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        telestage.testing.Nothing  # noqa: B018 - looking it up is the test


windows = st.builds(
    Window,
    offset_id=st.integers(0, 70),
    offset_date=st.none() | st.integers(-5, 70).map(lambda minute: EPOCH + timedelta(minutes=minute)),
    add_offset=st.integers(-70, 70),
    limit=st.integers(0, 100),
    max_id=st.integers(0, 70),
    min_id=st.integers(0, 70),
)


@given(count=st.integers(0, 60), deleted=st.sets(st.integers(1, 60)), window=windows)
def test_a_page_is_what_a_plain_list_would_give(count: int, deleted: set[int], window: Window) -> None:
    history = History()
    for id in range(1, count + 1):
        history.add(Message(id, -1, None, "", EPOCH + timedelta(minutes=id)))
    for id in deleted:
        assert history.remove(id) is (id <= count)
    newest_first = list(history)[::-1]
    if window.offset_id:
        start = sum(message.id >= window.offset_id for message in newest_first)
    elif window.offset_date is not None:
        start = sum(message.date >= window.offset_date for message in newest_first)
    else:
        start = 0
    places = range(start + window.add_offset, start + window.add_offset + window.limit)
    expected = [newest_first[place].id for place in places if 0 <= place < len(newest_first)]
    expected = [id for id in expected if id > window.min_id and (not window.max_id or id < window.max_id)]
    assert [message.id for message in history.page(window)] == expected
    assert len(history) == len(newest_first)


@given(steps=st.lists(st.integers(1, 5), max_size=30), known=st.integers(1, 100), limit=st.integers(0, 40))
def test_a_log_gives_what_came_after_a_pts(steps: list[int], known: int, limit: int) -> None:
    log = EventLog()
    events = [log.append("deleted", tuple(range(count))) for count in steps]
    assert log.pts == 1 + sum(steps)
    assert log.after(known, limit) == [event for event in events if event.pts > known][:limit]


def test_rules_are_used_up_in_the_order_they_were_planned() -> None:
    plan, send = Plan(), "messages.sendMessage"
    plan.add(Rule(Refuse(400, "FIRST"), send, None, 1))
    plan.add(Rule(Refuse(400, "SECOND"), None, 7, 2))
    fates = [plan.fate(7, 7, send, 0.0).refusal for _ in range(4)]
    assert [refusal and refusal.message for refusal in fates] == ["FIRST", "SECOND", "SECOND", None]


def test_a_flood_wait_binds_one_user_and_one_method_until_its_deadline() -> None:
    plan, send = Plan(), "messages.sendMessage"
    plan.add(Rule(Flood(10), send, None, 1))
    assert plan.fate(7, 7, send, 100.0).refusal.message == "FLOOD_WAIT_10"
    early = plan.fate(7, 7, send, 103.5)
    assert (early.refusal.message, early.early) == ("FLOOD_WAIT_7", True)
    assert plan.fate(8, 8, send, 103.5).refusal is None
    assert plan.fate(7, 7, "users.getUsers", 103.5).refusal is None
    assert plan.fate(7, 7, send, 109.9999).refusal.message == "FLOOD_WAIT_1"
    assert plan.fate(7, 7, send, 110.0).refusal is None


def test_latency_and_fate_are_independent() -> None:
    plan = Plan(latency=0.5)
    plan.add(Rule(Silence(executed=False), None, None, None))
    plan.add(Rule(Delay(0.1), None, None, 1))
    first, second = (plan.fate(7, 7, "users.getUsers", 0.0) for _ in range(2))
    assert (first.delay, first.answered, first.executed) == (0.1, False, False)
    assert second.delay == 0.5


intervals = st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=40)


@given(steps=intervals)
def test_the_peak_is_the_most_calls_open_at_once(steps: list[tuple[int, bool]]) -> None:
    """R-Q1 and R-G1 are proven by this number, so it is checked against plain counting."""
    record = Record(1000)
    running: dict[int, list] = {1: [], 2: [], 3: []}
    highest = {1: 0, 2: 0, 3: 0}
    together = 0
    for user, begins in steps:
        if begins:
            running[user].append(record.open(user, 0, "messages.sendMessage"))
        elif running[user]:
            record.close(running[user].pop(), "ok")
        record.close(record.open(user, 0, "updates.getDifference"), "ok")
        highest[user] = max(highest[user], len(running[user]))
        together = max(together, sum(map(len, running.values())))
    for user, most in highest.items():
        assert record.peak_in_flight(user, ()) == most
    assert record.peak_in_flight(None, ()) == together
    assert record.peak_in_flight(None, {"messages.sendMessage"}) == 0


def test_a_call_is_closed_once() -> None:
    record = Record(10)
    call = record.open(1, 0, "messages.sendMessage")
    record.close(call, "disconnected")
    record.close(call, "ok")
    assert [call.outcome for call in record.calls] == ["disconnected"]


def test_calls_are_a_live_sequence() -> None:
    record = Record(3)
    calls = Calls(record.calls)
    for outcome in "abcd":
        record.close(record.open(1, 0, "ping"), outcome)
    assert [call.outcome for call in calls] == ["b", "c", "d"]
    assert (len(calls), calls[-1].outcome, repr(calls)) == (3, "d", "<3 calls>")
    assert [call.outcome for call in calls[1:]] == ["c", "d"]
    with pytest.raises(IndexError):
        calls[3]


packets = st.lists(st.binary(min_size=1, max_size=200).map(lambda data: data.ljust((len(data) + 3) // 4 * 4, b"\0")))


@pytest.mark.parametrize("make", [Abridged, Intermediate, Full])
@given(sent=packets, cuts=st.lists(st.integers(1, 50)))
def test_packets_survive_however_the_stream_is_cut(make: type[Transport], sent: list[bytes], cuts: list[int]) -> None:
    sender, receiver = make(), make()
    stream = b"".join(map(sender.frame, sent))
    received: list[bytes] = []
    for cut in cuts:
        received += receiver.receive(stream[:cut])
        stream = stream[cut:]
    received += receiver.receive(stream)
    assert received == sent


def test_a_transport_is_told_by_its_first_bytes() -> None:
    assert isinstance(detect(b"\xef")[0], Abridged)
    assert isinstance(detect(b"\xee" * 8)[0], Intermediate)
    assert isinstance(detect(struct.pack("<ii", 40, 0))[0], Full)
    assert detect(b"\xee\xee") is None
    assert detect(b"\x01" * 63) is None
    with pytest.raises(ProtocolViolation, match="unknown tag"):
        detect(b"\x01" * 64)


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (struct.pack("<iii", 16, 1, 0), "packet 1 where 0 was due"),
        (struct.pack("<iiii", 16, 0, 5, 0), "checksum"),
        (struct.pack("<iii", 8, 0, 0), "length 8"),
        (struct.pack("<iii", -5, 0, 0), "-5 bytes"),
        (struct.pack("<iii", 2**30, 0, 0), f"{2**30} bytes"),
    ],
)
def test_a_broken_stream_is_no_transport(stream: bytes, says: str) -> None:
    with pytest.raises(ProtocolViolation, match=says):
        Full().receive(stream)


def test_the_group_of_the_handshake_is_a_safe_prime() -> None:
    prime, half = handshake.PRIME, (handshake.PRIME - 1) // 2
    assert prime.bit_length() == 2048
    for base in (2, 3, 5, 7):
        assert pow(base, prime - 1, prime) == pow(base, half - 1, half) == 1
    assert prime % 3 == 2, "what makes 3 a generator of the right subgroup"


def test_what_is_not_encrypted_to_our_key_is_not_opened() -> None:
    assert keys.decrypt(b"short") is None
    assert keys.decrypt(b"\xff" * 256) is None


def test_methods_are_known_by_the_schemas_names() -> None:
    names = method_names()
    assert {"messages.sendMessage", "users.getUsers", "invokeWithLayer", "auth.sendCode", "ping"} <= names
    assert len(names) > 500
    with pytest.raises(UnknownMethod, match=r"did you mean channels\.getParticipants"):
        checked_method("channels.getParticipant_s")
    assert issubclass(UnknownMethod, BadArgument)
