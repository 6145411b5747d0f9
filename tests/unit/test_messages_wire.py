"""A WireError says what is wrong and where; the registry is closed; a reader ends with its first error."""

import datetime
import enum
import pickle
import sys
import types
from collections.abc import Iterator

import msgpack
import msgspec
import pytest

from telestage.messages import (
    REGISTRY,
    ControlCall,
    ControlReply,
    Event,
    FrameReader,
    HistoryPage,
    Message,
    Operation,
    PauseSession,
    PermitReturned,
    SendMessage,
    WireError,
    decode,
    encode,
    events,
)
from telestage.messages.opendata import MAX_DEPTH
from telestage.messages.registry import closed_registry

RETURNED = PermitReturned(operation_id="1")
FRAME = encode(RETURNED)


def frame_of(content: object) -> bytes:
    return msgpack.packb(msgspec.msgpack.encode(content))


def builtins(message: Message) -> dict[str, object]:
    return msgspec.to_builtins(message, builtin_types=(bytes,))


def operation_with(**request: object) -> bytes:
    fields = builtins(Operation.of(HistoryPage(peer="bob")))
    return frame_of(fields | {"request": {**fields["request"], **request}})


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_frame_is_one_bin_object_with_a_tagged_map() -> None:
    """The wire form as documented: another implementation can rely on it."""
    assert msgpack.unpackb(msgpack.unpackb(FRAME)) == {"@type": "PermitReturned", "operation_id": "1"}
    assert FRAME[0] == 0xC4


@pytest.mark.parametrize(
    ("frame", "path", "text"),
    [
        (operation_with(limit=500), "$.request.limit", "Expected `int` <= 100"),
        (operation_with(limit="9"), "$.request.limit", "Expected `int`, got `str`"),
        (operation_with(peer=0), "$.request.peer", "HistoryPage.peer must be an id other than 0, not 0"),
        (operation_with(limit_=5), "$.request", "Object contains unknown field `limit_`"),
        (operation_with(**{"@type": "PermitReturned"}), "$.request.@type", "Invalid value 'PermitReturned'"),
        (frame_of({"@type": "Sesame"}), "$.@type", "Invalid value 'Sesame'"),
        (frame_of({"operation_id": "1"}), None, "missing required field `@type`"),
        (frame_of({"@type": "PermitReturned"}), None, "missing required field `operation_id`"),
        (frame_of({"@type": "PermitReturned", "operation_id": " "}), "$.operation_id", "not empty"),
        (frame_of([1, 2]), None, "Expected `object`, got `array`"),
        (frame_of({"@type": "ControlReply", "id": 1, "result": {"a": [{5: 6}]}}), "$.result['a'][0]", "keys must be"),
        (frame_of({"@type": "ControlCall", "id": 1, "method": "m", "arguments": {1: 2}}), "$.arguments", "as a key"),
        (
            frame_of({"@type": "ControlReply", "id": 1, "result": [datetime.datetime.now(datetime.UTC)]}),
            "$.result[0]",
            "(datetime)",
        ),
        (
            frame_of({"@type": "ControlReply", "id": 1, "result": msgspec.msgpack.Ext(5, b"x")}),
            "$.result",
            "(Ext)",
        ),
        (
            frame_of({"@type": "ControlReply", "id": 1, "result": nested(MAX_DEPTH + 1)}),
            "$.result" + "[0]" * MAX_DEPTH,
            f"at most {MAX_DEPTH} deep",
        ),
        (frame_of({"@type": "ControlReply", "id": 1, "result": nested(900)}), None, "deep"),
        (msgpack.packb(b"\x83\xa5@type\xacControlReply\xa2id\x01\xa6result" + b"\x91" * 500_000), None, "too deep"),
        (msgpack.packb(b"\x83\xa5@type\xacControlReply\xa2id\x01\xa6result\xa1\xff"), None, "utf-8"),
        (msgpack.packb(b""), None, "truncated"),
        (msgpack.packb(b"\xc1"), None, "malformed"),
        (msgpack.packb(msgspec.msgpack.encode(RETURNED) + b"\x00"), None, "trailing characters"),
        (FRAME + FRAME, None, f"must be exactly one frame, and {len(FRAME)} bytes follow it"),
        (b"", None, "one bin object of at most 1048576 bytes"),
        (FRAME[:-1], None, "one bin object of at most 1048576 bytes"),
        (b"\xc1", None, "one bin object"),
        (b"GET / HTTP/1.1\r\n", None, "must be a bin object, not 71"),
        (b"\x05", None, "must be a bin object, not 5"),
        (b"\xc0", None, "must be a bin object, not None"),
        (b"\xa0", None, "must be a bin object, not ''"),
        (b"\x80", None, "must be a bin object, not {}"),
        (b"\x90", None, "must be a bin object, not []"),
        (b"\xa5hello", None, "max_str_len"),
        (b"\x81\xa1a\x01", None, "max_map_len"),
        (b"\xdd\xff\xff\xff\xff", None, "max_array_len"),
        (b"\xd4\x01\x01", None, "max_ext_len"),
        (b"\xc6\xff\xff\xff\xff", None, "one bin object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_says_what_and_where(frame: bytes, path: str | None, text: str) -> None:
    with pytest.raises(WireError) as caught:
        decode(frame)
    assert text in str(caught.value)
    assert str(caught.value).startswith("frame at byte 0: ")
    assert caught.value.offset == 0
    if path is not None:
        assert caught.value.path == path
        assert str(caught.value).endswith(f" (at {path})")


def test_an_error_text_is_short_whatever_the_frame_says() -> None:
    with pytest.raises(WireError) as caught:
        decode(frame_of({"@type": "x" * 500_000}))
    assert len(str(caught.value)) < 500


class Unregistered(Message, frozen=True, kw_only=True):
    name: str


class Impostor(PermitReturned, frozen=True, kw_only=True, tag="PermitReturned"):
    """Has a registered type's tag and fields, and is another type all the same."""


Impostor.__name__ = "PermitReturned"


class Colour(enum.StrEnum):
    RED = "red"


class Odd(str):
    """A string that msgspec doesn't know."""


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("message", "path", "text"),
    [
        (Unregistered(name="a"), None, "must be a message of a registered type, not Unregistered"),
        (Impostor(operation_id="1"), None, "must be a message of a registered type"),
        ({"@type": "PermitReturned"}, None, "must be a message of a registered type"),
        (None, None, "must be a message of a registered type, not None"),
        (ControlReply(id=1, result=(1, 2)), "$.result", "not (1, 2) (tuple)"),
        (ControlReply(id=1, result={"a": {1}}), "$.result['a']", "not {1} (set)"),
        (ControlReply(id=1, result=RETURNED), "$.result", "(PermitReturned)"),
        (ControlReply(id=1, result=[2**64]), "$.result[0]", "must fit 64 bits"),
        (ControlReply(id=1, result=-(2**63) - 1), "$.result", "must fit 64 bits"),
        (ControlReply(id=1, result={1: 2}), "$.result", "keys must be strings, not 1"),
        (ControlReply(id=1, result=Odd("x")), "$.result", "(Odd)"),
        (ControlReply(id=1, result=CYCLE), "$.result" + "[0]" * MAX_DEPTH, f"at most {MAX_DEPTH} deep"),
        (ControlCall(id=1, method="m", arguments={"a": object()}), "$.arguments['a']", "(object)"),
        (
            Operation.of(SendMessage(peer=1, text="x", random_id=1, options={"reply_to": 2**70})),
            "$.request.options['reply_to']",
            "must fit 64 bits",
        ),
        (Event("a", "b", data={"text": "\ud800"}), None, "surrogates not allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_travel_is_refused_before_it_is_sent(message: object, path: str | None, text: str) -> None:
    with pytest.raises(WireError) as caught:
        encode(message)
    assert text in str(caught.value)
    assert (caught.value.offset, caught.value.path) == (None, path)


def test_enum_members_travel_as_their_values() -> None:
    assert decode(encode(ControlReply(id=1, result=[Colour.RED]))) == ControlReply(id=1, result=["red"])


def test_the_deepest_data_that_is_allowed_travels() -> None:
    reply = ControlReply(id=1, result=nested(MAX_DEPTH))
    assert decode(encode(reply)) == reply


def test_decode_refuses_what_is_no_bytes() -> None:
    with pytest.raises(WireError, match="must be bytes, not 'frame'"):
        decode("frame")


def test_a_wire_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(WireError("odd", 5, "$.a")))
    assert (str(error), error.offset, error.path) == ("frame at byte 5: odd (at $.a)", 5, "$.a")


def test_an_endless_frame_is_refused_at_the_cap() -> None:
    """A peer that announces 4 GB gets no more than the cap's worth of our memory."""
    reader = FrameReader(max_frame=100_000)
    taken = 0

    def endless() -> Iterator[bytes]:
        yield b"\xc6\xff\xff\xff\xff"
        while True:
            yield b"x" * 10_000

    def read() -> None:
        nonlocal taken
        for chunk in endless():
            taken += len(chunk)
            assert list(reader.feed(chunk)) == []

    with pytest.raises(WireError, match="one bin object of at most 100000 bytes") as caught:
        read()
    assert caught.value.offset == 0
    assert taken < 200_000


def test_one_chunk_may_hold_far_more_than_one_frame_may() -> None:
    reader = FrameReader(max_frame=100)
    count = 5_000_000 // len(FRAME)
    assert sum(1 for _ in reader.feed(FRAME * count)) == count


def test_messages_before_a_bad_frame_are_yielded_first() -> None:
    reader = FrameReader()
    messages = reader.feed(FRAME + FRAME + b"\x05" + FRAME)
    assert (next(messages), next(messages)) == (RETURNED, RETURNED)
    with pytest.raises(WireError) as caught:
        next(messages)
    assert str(caught.value) == f"frame at byte {2 * len(FRAME)}: must be a bin object, not 5"


def test_after_an_error_a_reader_is_closed_and_says_why() -> None:
    reader = FrameReader()
    with pytest.raises(WireError):
        list(reader.feed(b"\x05"))
    assert reader.closed
    for refused in (lambda: reader.feed(FRAME), reader.end):
        with pytest.raises(WireError, match="reader is closed: frame at byte 0: must be a bin object, not 5"):
            refused()


def test_a_closed_reader_keeps_nothing_of_its_stream() -> None:
    """Its owner may hold on to it for the reason of its end."""
    reader = FrameReader()
    chunk = b"\x05" + bytes(200_000)
    before = sys.getrefcount(chunk)
    with pytest.raises(WireError):
        list(reader.feed(chunk))
    assert sys.getrefcount(chunk) == before


def test_an_error_closes_iterators_of_earlier_feeds_too() -> None:
    reader = FrameReader()
    early = reader.feed(FRAME + FRAME)
    late = reader.feed(b"\x05")
    assert (next(early), next(late)) == (RETURNED, RETURNED)
    with pytest.raises(WireError, match="not 5"):
        next(late)
    with pytest.raises(WireError, match="closed"):
        next(early)


def test_an_abandoned_iterators_messages_come_first_from_the_next_feed() -> None:
    reader = FrameReader()
    first, second, third = (PauseSession(session=name) for name in "abc")
    assert next(reader.feed(encode(first) + encode(second))) == first
    assert list(reader.feed(encode(third))) == [second, third]


def test_a_chunk_may_be_changed_by_its_owner_after_it_was_fed() -> None:
    """A buffer that is read into again and again."""
    reader = FrameReader()
    buffer = bytearray(FRAME)
    messages = reader.feed(buffer)
    buffer[:] = bytes(len(buffer))
    assert list(messages) == [RETURNED]


def test_a_stream_that_ends_within_a_frame_is_an_error() -> None:
    reader = FrameReader()
    assert list(reader.feed(FRAME + FRAME[:7])) == [RETURNED]
    with pytest.raises(WireError, match="ended 7 bytes into it") as caught:
        reader.end()
    assert caught.value.offset == len(FRAME)
    assert reader.closed


def test_a_stream_that_ends_between_frames_is_closed() -> None:
    reader = FrameReader()
    assert list(reader.feed(memoryview(FRAME))) == [RETURNED]
    reader.end()
    with pytest.raises(WireError, match="its stream has ended"):
        reader.feed(FRAME)


@pytest.mark.parametrize("cap", [0, -1])
def test_a_cap_must_be_above_zero(cap: int) -> None:
    with pytest.raises(ValueError, match="max_frame must be above 0 bytes"):
        FrameReader(cap)


def test_the_registry_can_not_be_changed() -> None:
    with pytest.raises(TypeError):
        REGISTRY["Unregistered"] = Unregistered
    assert "Unregistered" not in REGISTRY


def test_two_types_of_one_tag_are_refused_at_import() -> None:
    module = types.ModuleType("other")
    other = types.new_class("Event", (Message,), {"frozen": True}, lambda body: body.update(__module__="other"))
    module.Event = other
    with pytest.raises(TypeError, match="both define a message 'Event'"):
        closed_registry((events, module))
