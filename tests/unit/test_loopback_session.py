"""The message layer, spoken to byte by byte: salts, ids, containers, gzip, repetitions, and nonsense."""

import asyncio
import gzip
import struct
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telethon.extensions import BinaryReader
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import functions, types
from telethon.tl.core import GzipPacked, MessageContainer, RpcResult
from telethon.tl.tlobject import TLObject

from telestage.testing import LoopbackTelegram
from telestage.testing.leaks import LoopSnapshot
from telestage.testing.loopback import session


class RawClient:
    """A client that sends exactly what it is told, over the intermediate transport."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, telethon_session) -> None:
        self.reader, self.writer = reader, writer
        self.state = MTProtoState(telethon_session.auth_key, loggers=_Loggers())
        self.ids: list[int] = []
        self._waiting: list[TLObject] = []
        self._last = 0

    @classmethod
    async def connect(cls, telethon_session) -> "RawClient":
        reader, writer = await asyncio.open_connection(telethon_session.server_address, telethon_session.port)
        writer.write(b"\xee" * 4)
        return cls(reader, writer, telethon_session)

    def new_id(self) -> int:
        self._last = max(int(time.time() * 2**32) & ~3, self._last + 4)
        return self._last

    def send(self, body: bytes, message_id: int | None = None, sequence: int = 1) -> int:
        message_id = message_id if message_id is not None else self.new_id()
        self.write(self.state.encrypt_message_data(struct.pack("<qii", message_id, sequence, len(body)) + body))
        return message_id

    def write(self, packet: bytes) -> None:
        self.writer.write(struct.pack("<i", len(packet)) + packet)

    async def packet(self) -> bytes:
        async with asyncio.timeout(5):
            (length,) = struct.unpack("<i", await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def receive(self) -> list[TLObject]:
        """The messages of the next packet, containers opened."""
        message = self.state.decrypt_message_data(await self.packet())
        messages = message.obj.messages if isinstance(message.obj, MessageContainer) else [message]
        self.ids += [message.msg_id for message in messages]
        if isinstance(message.obj, MessageContainer):
            self.ids.append(message.msg_id)
        return [message.obj for message in messages]

    async def find(self, kind: type) -> TLObject:
        """The next message of a type, whatever comes before it."""
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if isinstance(message, kind):
                    return message
            self._waiting += await self.receive()

    async def greet(self) -> None:
        """Learn the salt."""
        self.send(bytes(functions.PingRequest(1)))
        self.state.salt = (await self.find(types.BadServerSalt)).new_server_salt
        self.send(bytes(functions.PingRequest(1)))
        await self.find(types.Pong)

    async def ended(self) -> bool:
        async with asyncio.timeout(5):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


class _Loggers(dict):
    def __missing__(self, key: str):
        import logging

        return logging.getLogger("test")


def result(answer: TLObject) -> TLObject:
    assert isinstance(answer, RpcResult)
    return BinaryReader(answer.body).tgread_object() if answer.error is None else answer.error


@pytest.fixture
async def telegram() -> AsyncIterator[LoopbackTelegram]:
    async with LoopbackTelegram() as telegram:
        yield telegram


@pytest.fixture
async def alice(telegram):
    return telegram.add_user("alice")


@pytest.fixture
async def raw(alice) -> AsyncIterator[RawClient]:
    raw = await RawClient.connect(alice.session)
    yield raw
    raw.writer.close()
    await asyncio.gather(raw.writer.wait_closed(), return_exceptions=True)


GET_ME = bytes(functions.users.GetUsersRequest([types.InputUserSelf()]))


async def test_a_wrong_salt_is_corrected_and_the_message_not_run(telegram, raw) -> None:
    sent = raw.send(GET_ME)
    (answer,) = await raw.receive()
    assert isinstance(answer, types.BadServerSalt)
    assert (answer.bad_msg_id, answer.error_code) == (sent, 48)
    assert len(telegram.calls) == 0
    raw.state.salt = answer.new_server_salt
    again = raw.send(GET_ME)
    created, answer = await raw.receive()
    assert isinstance(created, types.NewSessionCreated)
    assert (created.first_msg_id, created.server_salt) == (again, raw.state.salt)
    assert answer.req_msg_id == again
    raw.send(GET_ME)
    assert [type(message) for message in await raw.receive()] == [RpcResult], "a session is created once"


async def test_message_ids_out_of_their_time_are_refused(telegram, raw) -> None:
    await raw.greet()
    now = int(time.time())
    for message_id, code in (((now - 400) << 32, 16), ((now + 100) << 32, 17), ((now << 32) + 1, 18)):
        raw.send(GET_ME, message_id)
        (answer,) = await raw.receive()
        assert (answer.bad_msg_id, answer.error_code) == (message_id, code)
    assert len(telegram.calls) == 0


async def test_server_ids_grow_and_tell_answers_from_pushes(telegram, alice, raw) -> None:
    await raw.greet()
    raw.ids.clear()
    raw.send(GET_ME)
    await raw.receive()
    for number in range(5):
        telegram.post(alice, f"{number}")
        raw.send(GET_ME)
        await raw.find(RpcResult)
    assert raw.ids == sorted(set(raw.ids))
    assert raw.ids[0] % 4 == 1
    assert {id % 4 for id in raw.ids} == {1, 3}


async def test_server_ids_grow_while_the_clock_stands_still(telegram, alice, raw, monkeypatch) -> None:
    await raw.greet()
    raw.ids.clear()
    moment = time.time()
    monkeypatch.setattr(session, "time", SimpleNamespace(time=lambda: moment))
    for number in range(5):
        raw.send(GET_ME)
        telegram.post(alice, f"{number}")
        await raw.find(RpcResult)
    assert raw.ids == sorted(set(raw.ids))


async def test_a_repeated_call_is_run_once_and_answered_again(telegram, raw) -> None:
    await raw.greet()
    peer = types.InputPeerSelf()
    body = bytes(functions.messages.SendMessageRequest(peer, "once", random_id=5))
    sent = raw.send(body)
    first = await raw.find(RpcResult)
    raw.send(body, sent)
    second = await raw.find(RpcResult)
    assert first.req_msg_id == second.req_msg_id == sent
    assert result(first) == result(second)
    assert len(telegram.calls) == 1
    assert telegram.repeats == 0
    raw.send(bytes(types.MsgsAck(raw.ids)), sequence=2)
    raw.send(body, sent)
    assert (await raw.find(types.MsgsAck)).msg_ids == [sent], "an acknowledged answer is not kept"
    assert len(telegram.calls) == 1


async def test_a_call_repeated_while_it_runs_is_acknowledged(telegram, raw) -> None:
    await raw.greet()
    telegram.faults.latency(0.1)
    sent = raw.send(GET_ME)
    assert (await raw.find(types.MsgsAck)).msg_ids == [sent]
    raw.send(GET_ME, sent)
    assert (await raw.find(types.MsgsAck)).msg_ids == [sent]
    assert (await raw.find(RpcResult)).req_msg_id == sent
    assert len(telegram.calls) == 1


async def test_containers_and_gzip_are_taken_apart(telegram, alice, raw) -> None:
    await raw.greet()
    ids = [raw.new_id() for _ in range(4)]
    unreadable = GET_ME + bytes(12)  # rubbish behind an object belongs to its own message alone
    bodies = [GET_ME, bytes(GzipPacked(GET_ME)), unreadable, bytes(functions.PingRequest(9))]
    inner = b"".join(struct.pack("<qii", id, 1, len(body)) + body for id, body in zip(ids, bodies, strict=True))
    body = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, 4) + inner
    raw.send(body, sequence=2)
    messages = await raw.receive()
    answers = [message for message in messages if isinstance(message, RpcResult)]
    assert [answer.req_msg_id for answer in answers] == ids[:3]
    assert all(result(answer)[0].id == alice.id for answer in answers)
    assert next(message for message in messages if isinstance(message, types.Pong)).ping_id == 9
    assert telegram.peak_in_flight() == 3, "what comes in one packet is in flight together"
    packed = struct.pack("<Iiqii", MessageContainer.CONSTRUCTOR_ID, 1, raw.new_id(), 1, len(GET_ME)) + GET_ME
    raw.send(bytes(GzipPacked(packed)), sequence=2)
    assert result(await raw.find(RpcResult))[0].id == alice.id


async def test_long_answers_are_packed_and_many_answers_split(telegram, alice, raw) -> None:
    group = telegram.add_channel("group", [alice], megagroup=True)
    telegram.fill_history(group, 100, "x" * 1000)
    await raw.greet()
    peer = types.InputPeerChannel(group.id, group.access_hash)
    sent = raw.send(bytes(functions.messages.GetHistoryRequest(peer, 0, None, 0, 100, 0, 0, 0)))
    packet = await raw.packet()
    assert len(packet) < 10_000, "100 kB of text travel packed"
    answer = raw.state.decrypt_message_data(packet).obj
    assert answer.req_msg_id == sent
    assert len(result(answer).messages) == 100
    for number in range(250):
        telegram.post(group, f"{number}")
    sizes = [len(await raw.receive()) for _ in range(3)]
    assert sizes == [100, 100, 50]


async def test_service_calls_are_answered(telegram, alice, raw) -> None:
    await raw.greet()
    ping = raw.send(bytes(functions.PingDelayDisconnectRequest(5, 60)))
    assert (await raw.find(types.Pong)).msg_id == ping
    asked = raw.send(bytes(functions.GetFutureSaltsRequest(1)))
    salts = await raw.find(types.FutureSalts)
    assert (salts.req_msg_id, salts.salts[0].salt) == (asked, raw.state.salt)
    raw.send(bytes(functions.DestroySessionRequest(12345)))
    assert (await raw.find(types.DestroySessionNone)).session_id == 12345
    call = raw.send(GET_ME)
    await raw.find(RpcResult)
    raw.send(bytes(types.MsgsStateReq([call, 4])))
    assert (await raw.find(types.MsgsStateInfo)).info == "\x04\x01"
    dropped = raw.send(bytes(functions.RpcDropAnswerRequest(call)))
    assert (await raw.find(RpcResult)).req_msg_id == dropped
    raw.send(bytes(functions.PingDelayDisconnectRequest(5, 0)))
    assert isinstance((await raw.receive())[0], types.Pong)
    assert await raw.ended()


async def test_a_closed_connection_leaves_no_timer(telegram, raw) -> None:
    """R-T4."""
    await raw.greet()
    before = LoopSnapshot.take()
    raw.send(bytes(functions.PingDelayDisconnectRequest(1, 60)))
    await raw.find(types.Pong)
    telegram.faults.disconnect()
    assert await raw.ended()
    raw.writer.close()
    await asyncio.gather(raw.writer.wait_closed(), return_exceptions=True)
    assert await before.left_behind() == []


async def test_a_session_that_logged_out_hears_no_more_updates(telegram, alice, raw) -> None:
    await raw.greet()
    raw.send(GET_ME)
    await raw.find(RpcResult)
    telegram.post(alice, "heard")
    await raw.find(types.Updates)
    raw.send(bytes(functions.auth.LogOutRequest()))
    await raw.find(RpcResult)
    telegram.post(alice, "not heard")
    raw.send(bytes(functions.PingRequest(3)))
    assert [type(message) for message in await raw.receive()] == [types.Pong]


async def test_another_session_of_the_key_can_be_destroyed(alice, raw) -> None:
    await raw.greet()
    other = await RawClient.connect(alice.session)
    await other.greet()
    raw.send(bytes(functions.DestroySessionRequest(other.state.id)))
    assert (await raw.find(types.DestroySessionOk)).session_id == other.state.id
    other.writer.close()
    await other.writer.wait_closed()


async def test_a_destroyed_key_is_unknown_afterwards(telegram, alice, raw) -> None:
    await raw.greet()
    raw.send(bytes(functions.DestroyAuthKeyRequest()))
    await raw.find(types.DestroyAuthKeyOk)
    assert await raw.ended()
    again = await RawClient.connect(alice.session)
    again.send(GET_ME)
    assert await again.packet() == struct.pack("<i", -404)
    assert await again.ended()
    again.writer.close()


async def test_calls_sent_after_another_wait_for_it(telegram, raw) -> None:
    await raw.greet()
    telegram.faults.latency(0.1, method="messages.sendMessage", count=1)
    me = types.InputPeerSelf()
    first = raw.send(bytes(functions.messages.SendMessageRequest(me, "first", random_id=1)))
    after = functions.InvokeAfterMsgRequest(first, functions.messages.SendMessageRequest(me, "second", random_id=2))
    second = raw.send(bytes(after))
    third = raw.send(bytes(functions.InvokeAfterMsgsRequest([first, second], functions.PingRequest(1))))
    answers = [(await raw.find(RpcResult)).req_msg_id for _ in range(2)]
    assert answers == [first, second]
    assert [delivery.text for delivery in telegram.delivered()] == ["first", "second"]
    assert (await raw.find(RpcResult)).req_msg_id == third


async def test_a_session_lives_on_over_a_new_connection(telegram, alice, raw) -> None:
    await raw.greet()
    sent = raw.send(GET_ME)
    first = await raw.find(RpcResult)
    raw.writer.transport.abort()
    again = await RawClient.connect(alice.session)
    again.state = raw.state
    again.send(GET_ME, sent)
    assert result(await again.find(RpcResult)) == result(first)
    assert len(telegram.calls) == 1
    assert telegram.status().sessions == 1
    again.writer.close()
    await again.writer.wait_closed()


NONSENSE = {
    "a contained message": struct.pack("<IiqiiI", 0x73F1F8DC, 1, 4, 0, 8, 0x73F1F8DC) + bytes(4),
    "a container of 5000": struct.pack("<Ii", 0x73F1F8DC, 5000),
    "a contained message of 400": struct.pack("<Iiqii", 0x73F1F8DC, 2, 4, 0, 400),
    "a container that ends too early": struct.pack("<Iiqii", 0x73F1F8DC, 2, 4, 0, 12) + bytes(functions.PingRequest(1)),
    "unreadable TL object": struct.pack("<I", 0x12345678) + bytes(8),
    "cannot be unpacked": struct.pack("<I", 0x3072CFA1) + b"\x04abcd\0\0\0",
    "cut short, or over": struct.pack("<I", 0x3072CFA1) + TLObject.serialize_bytes(gzip.compress(bytes(20_000_000))),
    "gzip inside gzip": bytes(GzipPacked(bytes(GzipPacked(GET_ME)))),
}


@pytest.mark.parametrize("says", NONSENSE)
async def test_nonsense_in_an_envelope_closes_that_connection_and_is_logged(telegram, alice, raw, says, caplog) -> None:
    await raw.greet()
    raw.send(NONSENSE[says])
    assert await raw.ended()
    assert "connection closed" in caplog.text
    assert says in caplog.text
    assert "Traceback" not in caplog.text
    other = await RawClient.connect(alice.session)
    await other.greet()
    other.writer.close()
    await other.writer.wait_closed()


@pytest.mark.parametrize("change", ["flip", "cut", "foreign"])
async def test_a_packet_that_was_tampered_with_closes_the_connection(telegram, raw, change, caplog) -> None:
    packet = bytearray(raw.state.encrypt_message_data(struct.pack("<qii", raw.new_id(), 1, len(GET_ME)) + GET_ME))
    if change == "flip":
        packet[60] ^= 1
    elif change == "cut":
        del packet[-16:]
    else:
        packet[8:24] = bytes(16)
    raw.write(bytes(packet))
    assert await raw.ended()
    assert "msg_key" in caplog.text
    assert len(telegram.calls) == 0


HEADS = st.sampled_from([b"", b"\xef", b"\xee" * 4, b"\xdd" * 4, struct.pack("<ii", 40, 0), b"\x01" * 64, bytes(8)])


@given(head=HEADS, chunks=st.lists(st.binary(max_size=300), max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_random_bytes_never_hurt_the_server(caplog, head: bytes, chunks: list[bytes]) -> None:
    """Whatever strangers send, the connection may go, the server stays."""
    caplog.clear()
    async with LoopbackTelegram() as telegram:
        alice = telegram.add_user("alice")
        _, writer = await asyncio.open_connection(telegram.host, telegram.port)
        try:
            for chunk in (head, *chunks):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        raw = await RawClient.connect(alice.session)
        await raw.greet()
        raw.writer.close()
        await raw.writer.wait_closed()
    assert "error of the loopback server itself" not in caplog.text


@given(body=st.binary(min_size=4, max_size=400).map(lambda data: data[: len(data) // 4 * 4]), data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_random_objects_in_a_good_envelope_never_hurt_the_server(caplog, body: bytes, data) -> None:
    from telethon.tl.alltlobjects import tlobjects

    caplog.clear()
    constructor = data.draw(st.sampled_from(sorted(tlobjects)))
    async with LoopbackTelegram() as telegram:
        raw = await RawClient.connect(telegram.add_user("alice").session)
        await raw.greet()
        raw.send(struct.pack("<I", constructor) + body)
        raw.send(bytes(functions.PingRequest(2)))
        try:
            await raw.find(types.Pong)
        except (asyncio.IncompleteReadError, ConnectionError):
            assert "connection closed" in caplog.text
        raw.writer.close()
        await asyncio.gather(raw.writer.wait_closed(), return_exceptions=True)
    assert "error of the loopback server itself" not in caplog.text
