"""The wire brings back every message it takes, and nothing but messages or a WireError from any bytes."""

import time
from itertools import pairwise

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from telestage.messages import REGISTRY, FloodStatus, FrameReader, Message, WireError, decode, encode
from telestage.messages.base import TAG_FIELD

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALAR = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | TEXT | st.binary(max_size=20)
VALUE = st.recursive(
    SCALAR | st.integers(0, 2**64 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
# What a field may hold where its annotation alone doesn't say so.
NARROWER = {
    "peer": (
        INT64.filter(bool) | TEXT.filter(str.strip) | st.binary(min_size=1, max_size=5).map(lambda piece: piece * 4)
    ),
    "options": st.dictionaries(TEXT, SCALAR, max_size=3),
    "timestamp": st.floats(0, time.time()),
}


def values(kind: inspect.Type) -> st.SearchStrategy[object]:
    """Every value that a field's type admits; a new message type needs no test of its own."""
    match kind:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, 2**64 - 1 if high is None else high)
        case inspect.FloatType(gt=above, ge=low):
            bounded = above is not None or low is not None
            return st.floats(
                above if above is not None else low,
                exclude_min=above is not None,
                allow_nan=False,
                allow_infinity=not bounded,
            )
        case inspect.StrType(min_length=least):
            return TEXT.filter(str.strip) if least else TEXT
        case inspect.BytesType():
            return st.binary(max_size=20)
        case inspect.EnumType(cls=members):
            return st.sampled_from(list(members))
        case inspect.UnionType(types=choices):
            return st.one_of(*map(values, choices))
        case inspect.ListType(item_type=inner):
            return st.lists(values(inner), max_size=3)
        case inspect.DictType(key_type=key, value_type=inner):
            return st.dictionaries(values(key), values(inner), max_size=3)
        case inspect.CustomType(cls=custom) if custom is object:
            return VALUE
        case inspect.StructType(cls=message_type):
            return messages(message_type)
    raise AssertionError(f"no strategy for {kind}")


def messages(message_type: type) -> st.SearchStrategy[Message]:
    info = inspect.type_info(message_type)
    assert isinstance(info, inspect.StructType)
    fields = {
        each.name: values(each.type)
        if each.name not in NARROWER or message_type is FloodStatus
        else NARROWER[each.name]
        for each in info.fields  # a flood's peer is an id, as its annotation says
    }
    return st.builds(message_type, **fields)


ANY_MESSAGE = st.one_of(*map(messages, REGISTRY.values()))


def frame_of(content: object) -> bytes:
    """A sound frame around whatever content, so that a test reaches past the framing."""
    return msgpack.packb(content if isinstance(content, bytes) else msgspec.msgpack.encode(content))


def read_all(chunks: list[bytes], reader: FrameReader) -> tuple[list[Message], WireError | None]:
    """What a reader makes of a stream: its messages, and the error that ended it. Nothing else may escape."""
    found: list[Message] = []
    try:
        for chunk in chunks:
            found.extend(reader.feed(chunk))
        reader.end()
    except WireError as error:
        return found, error
    return found, None


def assert_sound(message: Message) -> None:
    assert REGISTRY[type(message).__name__] is type(message)
    try:
        again = decode(encode(message))
    except WireError as error:
        raise AssertionError(f"{message!r} came out of the wire and can't go back") from error
    # By repr, in which a NaN is equal to itself.
    assert repr(again) == repr(message)


def assert_only_messages_or_error(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    chunks = [stream[start:stop] for start, stop in pairwise(edges)]
    found, error = read_all(chunks, FrameReader(max_frame=4096))
    for message in found:
        assert_sound(message)
    # However it is cut, the stream means the same.
    whole, whole_error = read_all([stream], FrameReader(max_frame=4096))
    assert list(map(type, whole)) == list(map(type, found))
    assert (whole_error is None) == (error is None)
    try:
        assert_sound(decode(stream, max_frame=4096))
        assert len(found) == 1
    except WireError:
        assert len(found) != 1 or error is not None


@pytest.mark.parametrize("tag", sorted(REGISTRY))
@settings(max_examples=30)
@given(data=st.data())
def test_every_registered_type_comes_back_equal(tag: str, data: st.DataObject) -> None:
    message = data.draw(messages(REGISTRY[tag]))
    again = decode(encode(message))
    assert again == message
    assert type(again) is type(message)


@given(sent=st.lists(ANY_MESSAGE, max_size=5), cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_a_stream_of_messages_is_read_in_order_however_it_is_cut(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    reader = FrameReader()
    found, error = read_all([stream[start:stop] for start, stop in pairwise(edges)], reader)
    assert (found, error) == (sent, None)
    assert reader.offset == len(stream)


@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_random_bytes_are_a_wire_error(stream: bytes, cuts: list[int]) -> None:
    assert_only_messages_or_error(stream, cuts)


@given(content=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_random_bytes_in_a_sound_frame_are_a_wire_error(content: bytes, cuts: list[int]) -> None:
    assert_only_messages_or_error(frame_of(content), cuts)


@settings(max_examples=300)
@given(message=ANY_MESSAGE, data=st.data())
def test_a_mutated_frame_is_a_wire_error_or_another_valid_message(message: Message, data: st.DataObject) -> None:
    inside = data.draw(st.booleans(), label="mutate the content, in a sound frame")
    frame = encode(message)
    mutated = bytearray(msgpack.unpackb(frame) if inside else frame)
    for _ in range(data.draw(st.integers(1, 4), label="mutations")):
        at = data.draw(st.integers(0, len(mutated)), label="at")
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut"]), label="how"):
            case "set" if at < len(mutated):
                mutated[at] = data.draw(st.integers(0, 255), label="byte")
            case "insert":
                mutated[at:at] = data.draw(st.binary(max_size=6), label="bytes")
            case "delete":
                del mutated[at : at + 1]
            case _:
                del mutated[at:]
    stream = frame_of(bytes(mutated)) if inside else bytes(mutated)
    assert_only_messages_or_error(stream, data.draw(st.lists(st.integers(0, 500), max_size=4), label="cuts"))


@settings(max_examples=300)
@given(data=st.data())
def test_a_message_with_any_values_in_its_fields_is_a_wire_error_or_valid(data: st.DataObject) -> None:
    tag = data.draw(st.sampled_from(sorted(REGISTRY)))
    message = data.draw(messages(REGISTRY[tag]))
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    anything = VALUE | st.floats() | st.datetimes().map(lambda moment: moment.replace(tzinfo=None))
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2), label="fields"):
        fields[name] = data.draw(st.lists(anything, max_size=2) | anything, label=name)
    assert_only_messages_or_error(frame_of({TAG_FIELD: tag, **fields}), [])


@given(message=ANY_MESSAGE, data=st.data())
def test_a_truncated_frame_is_no_message(message: Message, data: st.DataObject) -> None:
    frame = encode(message)
    short = frame[: data.draw(st.integers(0, len(frame) - 1))]
    with pytest.raises(WireError, match="at byte 0"):
        decode(short)
    found, error = read_all([short], FrameReader())
    assert found == []
    assert (error is None) == (short == b"")


@given(before=st.lists(ANY_MESSAGE, max_size=3), junk=st.binary(min_size=1, max_size=10))
def test_an_error_names_the_byte_its_frame_begins_at_and_loses_no_message_before(
    before: list[Message], junk: bytes
) -> None:
    good = b"".join(map(encode, before))
    reader = FrameReader()
    found, error = read_all([good + b"\xc1" + junk], reader)
    assert found == before
    assert error is not None
    assert error.offset == len(good)
    assert reader.closed
    with pytest.raises(WireError, match="closed"):
        reader.feed(b"")


@given(message=ANY_MESSAGE)
def test_the_cap_is_exact_on_both_ends(message: Message) -> None:
    size = len(msgspec.msgpack.encode(message))
    frame = encode(message, max_frame=size)
    assert decode(frame, max_frame=size) == message
    assert read_all([frame], FrameReader(size)) == ([message], None)
    with pytest.raises(WireError, match=f"{size} bytes is over the cap of {size - 1}"):
        encode(message, max_frame=size - 1)
    with pytest.raises(WireError, match=f"at most {size - 1} bytes"):
        decode(frame, max_frame=size - 1)
    found, error = read_all([frame], FrameReader(size - 1))
    assert found == []
    assert error is not None
    assert f"at most {size - 1} bytes" in str(error)
