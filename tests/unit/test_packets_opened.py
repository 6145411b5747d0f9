"""Packets that come whole are taken in the step in which they come; all are handled once and in order."""

import asyncio
import itertools
import logging
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telethon.errors import InvalidChecksumError
from telethon.network import ConnectionTcpFull
from telethon.network.connection.tcpfull import FullPacketCodec

from telestage.actors.telegram.transport import direct

LOGGERS = defaultdict(lambda: logging.getLogger("telethon"))


def link(take=None):
    """A connection as it is once it is connected, but for the socket: what comes is fed to its reader."""
    made = direct(ConnectionTcpFull)("127.0.0.1", 1, 2, loggers=LOGGERS)
    made._reader = asyncio.StreamReader()
    made._codec = FullPacketCodec(made)
    made._connected = True
    made.take = take
    if take is not None:
        made._reader.feed_data = made._came
    return made


def packets(bodies):
    codec = FullPacketCodec(None)
    return [codec.encode_packet(body) for body in bodies]


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


@given(
    bodies=st.lists(st.binary(min_size=4, max_size=40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    refused=st.sets(st.integers(0, 7)),
    rests=st.lists(st.booleans(), min_size=9, max_size=9),
)
@settings(deadline=None)
def test_packets_are_handled_once_and_in_order_however_they_come(bodies, cuts, refused, rests):
    """R-M5: in pieces, several at once, taken or left to the task that reads."""

    async def run():
        got, taken, offered = [], [], []

        def take(packet):
            offered.append(packet)
            if len(offered) - 1 in refused:
                return False
            got.append(packet)
            taken.append(packet)
            return True

        made = link(take)

        async def read():
            while True:
                got.append(await made.recv())

        reading = asyncio.ensure_future(read())
        await settle()
        stream = b"".join(packets(bodies))
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for number, (begin, end) in enumerate(itertools.pairwise(edges)):
            if begin < end:
                made._reader.feed_data(stream[begin:end])
            if rests[number % len(rests)]:
                await settle()
        await settle()
        reading.cancel()
        await asyncio.wait([reading])
        assert got == bodies
        assert made.heard

    asyncio.run(run())


async def test_a_whole_packet_is_taken_in_the_step_in_which_it_comes_and_wakes_no_task():
    """Several at once, too; what is left of the last is read as usual."""
    taken = []
    made = link(lambda packet: taken.append(packet) is None)
    reading = asyncio.ensure_future(made.recv())
    await settle()
    waiter = made._reader._waiter
    first, second, third = packets([b"first...", b"second..", b"third..."])
    made._reader.feed_data(first)
    assert taken == [b"first..."]
    made._reader.feed_data(second + third[:10])
    assert taken == [b"first...", b"second.."]
    assert waiter.done()  # by the piece
    made._reader.feed_data(third[10:])
    assert await reading == b"third..."
    assert len(taken) == 2


async def test_a_packet_that_comes_before_anybody_reads_is_read_as_usual():
    """As in the handshake, and while what is read belongs to somebody else."""
    taken = []
    made = link(lambda packet: taken.append(packet) is None)
    made._reader.feed_data(packets([b"first..."])[0])
    assert await made.recv() == b"first..."
    assert not taken


async def test_a_packet_overtakes_none_that_was_left_to_be_read():
    """R-M5: whoever reads has been woken for it, but hasn't run yet."""
    got = []
    made = link(lambda packet: packet != b"first..." and got.append(packet) is None)
    reading = asyncio.ensure_future(made.recv())
    await settle()
    first, second = packets([b"first...", b"second.."])
    made._reader.feed_data(first)
    made._reader.feed_data(second)
    assert await reading == b"first..."
    assert await made.recv() == b"second.."
    assert not got


@pytest.mark.parametrize("together", [False, True])
async def test_a_packet_within_a_packet_is_none(together):
    """A piece that looks like a packet, as what was sent may contain anything."""
    taken = []
    made = link(lambda packet: packet != b"first..." and taken.append(packet) is None)
    first, inner = packets([b"first...", b"inner..."])
    outer = packets([inner])[0]

    async def read():
        return [await made.recv(), await made.recv()]

    reading = asyncio.ensure_future(read())
    await settle()
    if together:
        made._reader.feed_data(first + outer[:8])
    else:
        made._reader.feed_data(first)
        await settle()
        made._reader.feed_data(outer[:8])
    await settle()
    made._reader.feed_data(outer[8:])
    assert await reading == [b"first...", inner]
    assert not taken


async def test_nothing_is_taken_once_whoever_read_has_gone():
    """A reader that was cancelled, as at a disconnect, doesn't read any more."""
    taken = []
    made = link(lambda packet: taken.append(packet) is None)
    reading = asyncio.ensure_future(made.recv())
    await settle()
    reading.cancel()
    await asyncio.wait([reading])
    made._reader.feed_data(packets([b"first..."])[0])
    assert not taken


@pytest.mark.parametrize("length", [-1, 0, 5])
async def test_what_is_no_packet_is_refused_by_telethon(length):
    """Its codec says what is wrong, as ever."""
    taken = []
    made = link(lambda packet: taken.append(packet) is None)
    reading = asyncio.ensure_future(made.recv())
    await settle()
    made._reader.feed_data(length.to_bytes(4, "little", signed=True) + b"\xff" * 20)
    await asyncio.wait([reading])
    assert reading.exception() is not None  # which one is Telethon's business
    assert not taken


async def test_a_packet_with_a_wrong_checksum_is_refused():
    """As ever."""
    taken = []
    made = link(lambda packet: taken.append(packet) is None)
    reading = asyncio.ensure_future(made.recv())
    await settle()
    [packet] = packets([b"first..."])
    made._reader.feed_data(packet[:-1] + bytes([packet[-1] ^ 1]))
    with pytest.raises(InvalidChecksumError):
        await reading
    assert not taken
