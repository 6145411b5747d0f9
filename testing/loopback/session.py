"""One MTProto session of one device: its message ids, its answers, its acknowledgements.

Every message goes out with an id higher than all before it: answers end in 1 modulo 4, everything else in 3. What
becomes ready within one turn of the loop leaves in one packet. A call that arrives twice is run once; its answer
is kept until the client acknowledges it, and repeated.
(https://core.telegram.org/mtproto/service_messages)
"""

import asyncio
import logging
import os
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Protocol

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject, TLRequest

from telestage.testing.loopback.envelope import Inbound, Letter, container, rpc_result, seal, unpack
from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.state import Device
from telestage.testing.loopback.tl import now

_log = logging.getLogger("telestage.testing.loopback")

_REMEMBERED = 512  # calls whose repetition is noticed; Telegram asks clients to remember 300 messages or more
_MOST_IN_CONTAINER = 100
_LARGEST_CONTAINER = 64 * 1024  # Telethon copies the rest of a container for each answer in it
_OLDEST, _NEWEST = 300, 30  # seconds that a client's clock may be behind or ahead
_PENDING, _HEARD = b"pending", b"heard"  # in place of an answer: not there yet; acknowledged, so dropped


class Link(Protocol):
    """The connection a session talks through now."""

    def send(self, packet: bytes) -> None:
        """Put one packet on the wire."""

    def close_after(self, seconds: float) -> None:
        """Close in so many seconds, unless told again before."""

    def forget_key(self) -> None:
        """The authorization key is destroyed: close."""


class Session:
    """The server's end of a client's session."""

    def __init__(self, device: Device, session_id: int) -> None:
        self.device = device
        self.id = session_id
        self.link: Link | None = None
        self._loop = asyncio.get_running_loop()
        self._last_id = 0
        self._sequence = 0
        self._created = False
        self._answers: OrderedDict[int, bytes] = OrderedDict()
        self._answered_by: dict[int, int] = {}
        self._outbox: list[tuple[int, int, bytes]] = []
        self._flushing = False

    def attach(self, link: Link) -> None:
        """From now on this session talks through `link`."""
        self.link = link

    def detach(self, link: Link) -> None:
        """`link` is gone: nothing is pushed until the client is heard of again."""
        if self.link is link:
            self.link = None
            self._outbox.clear()
            if self.device.user is not None:
                self.device.user.listeners.pop(self, None)

    def listen(self) -> None:
        """Push this user's updates to this session, as long as it is connected."""
        if self.link is not None and self.device.user is not None:
            self.device.user.listeners[self] = None

    def receive(self, letter: Letter) -> list[tuple[int, TLRequest]]:
        """Take in a letter; gives the calls in it (message id, request) that are to be run.

        Raises:
            ProtocolViolation: It cannot be taken apart.
        """
        if letter.salt != self.device.salt:
            self._say(types.BadServerSalt(letter.message_id, letter.sequence, 48, self.device.salt), content=False)
            return []
        if problem := _clock_problem(letter.message_id):
            self._say(types.BadMsgNotification(letter.message_id, letter.sequence, problem), content=False)
            return []
        if not self._created:
            self._created = True
            unique = int.from_bytes(os.urandom(8), "little", signed=True)
            self._say(types.NewSessionCreated(letter.message_id, unique, self.device.salt))
        calls: list[tuple[int, TLRequest]] = []
        for message in unpack(letter.message_id, letter.sequence, letter.body):
            if not self._serve(message):
                calls += self._admit(message)
        return calls

    def push(self, body: bytes) -> None:
        """Send an update."""
        self._send(body)

    def acknowledge(self, message_id: int) -> None:
        """Tell the client that a call arrived whose answer will take a while, or never come."""
        self._say(types.MsgsAck([message_id]), content=False)

    def answer(self, message_id: int, result: bytes) -> None:
        """Answer a call; a repetition gets the same answer."""
        body = rpc_result(message_id, result)
        if message_id in self._answers:
            self._answers[message_id] = body
        self._reply(message_id, body)

    def refuse(self, message_id: int, refusal: RpcRefusal) -> None:
        """Answer a call with an error."""
        self.answer(message_id, bytes(types.RpcError(refusal.code, refusal.message)))

    def _admit(self, message: Inbound) -> list[tuple[int, TLRequest]]:
        kept = self._answers.get(message.message_id)
        if kept is None:
            if not isinstance(message.body, TLRequest):
                _log.warning("session %d: %s is no call; ignored", self.id, type(message.body).__name__)
                return []
            self._answers[message.message_id] = _PENDING
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
            return [(message.message_id, message.body)]
        if kept is _PENDING or kept is _HEARD:
            self.acknowledge(message.message_id)
        else:
            self._reply(message.message_id, kept)
        return []

    def _serve(self, message: Inbound) -> bool:
        """Handle what belongs to the message layer itself; False for anything else."""
        match message.body:
            case types.MsgsAck():
                for message_id in message.body.msg_ids:
                    call = self._answered_by.pop(message_id, None)
                    if call is not None and call in self._answers:
                        self._answers[call] = _HEARD
            case functions.PingRequest():
                self._say(types.Pong(message.message_id, message.body.ping_id), answer=True)
            case functions.PingDelayDisconnectRequest():
                self._say(types.Pong(message.message_id, message.body.ping_id), answer=True)
                if self.link is not None:
                    self.link.close_after(message.body.disconnect_delay)
            case functions.GetFutureSaltsRequest():
                self._say(self._future_salts(message.message_id), answer=True)
            case functions.DestroySessionRequest():
                doomed = message.body.session_id
                known = doomed != self.id and self.device.sessions.pop(doomed, None) is not None
                reply = types.DestroySessionOk if known else types.DestroySessionNone
                self._say(reply(doomed), answer=True)
            case functions.DestroyAuthKeyRequest():
                self._say(types.DestroyAuthKeyOk(), answer=True)
                self._flush()
                if self.link is not None:
                    self.link.forget_key()
            case functions.RpcDropAnswerRequest():
                self._send(rpc_result(message.message_id, bytes(types.RpcAnswerUnknown())), answer=True)
            case types.MsgsStateReq():
                info = "".join(chr(4 if id in self._answers else 1) for id in message.body.msg_ids)
                self._say(types.MsgsStateInfo(message.message_id, info), answer=True)
            case types.MsgResendReq() | types.MsgsStateInfo() | types.MsgsAllInfo() | types.HttpWait():
                pass
            case _:
                return False
        return True

    def _future_salts(self, message_id: int) -> TLObject:
        since, until = now(), now() + timedelta(days=1)
        salts = [types.FutureSalt(since, until, self.device.salt)]
        return types.FutureSalts(message_id, int(since.timestamp()), salts)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module

    def _reply(self, call: int, body: bytes) -> None:
        self._answered_by[self._send(body, answer=True)] = call
        while len(self._answered_by) > _REMEMBERED:
            del self._answered_by[next(iter(self._answered_by))]

    def _say(self, value: TLObject, *, answer: bool = False, content: bool = True) -> None:
        self._send(bytes(value), answer=answer, content=content)

    def _send(self, body: bytes, *, answer: bool = False, content: bool = True) -> int:
        message_id = self._next_id(1 if answer else 3)
        if self.link is not None:
            self._outbox.append((message_id, self._next_sequence(content=content), body))
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return message_id

    def _flush(self) -> None:
        self._flushing = False
        batch: list[tuple[int, int, bytes]] = []
        size = 0
        for message in self._outbox:
            if batch and (size + len(message[2]) > _LARGEST_CONTAINER or len(batch) == _MOST_IN_CONTAINER):
                self._dispatch(batch)
                batch, size = [], 0
            batch.append(message)
            size += len(message[2])
        if batch:
            self._dispatch(batch)
        self._outbox.clear()

    def _dispatch(self, batch: list[tuple[int, int, bytes]]) -> None:
        if self.link is None:
            return
        if len(batch) == 1:
            message_id, sequence, body = batch[0]
        else:
            message_id, sequence, body = self._next_id(3), self._next_sequence(content=False), container(batch)
        letter = Letter(self.device.salt, self.id, message_id, sequence, body)
        self.link.send(seal(self.device.key_id, self.device.key, letter))

    def _next_id(self, remainder: int) -> int:
        moment = int(time.time() * 2**32) & ~3
        self._last_id = max(moment, self._last_id // 4 * 4 + 4) + remainder
        return self._last_id

    def _next_sequence(self, *, content: bool) -> int:
        sequence = self._sequence * 2 + content
        self._sequence += content
        return sequence


def _clock_problem(message_id: int) -> int | None:
    """The bad_msg_notification code for a message id that cannot be of now."""
    if message_id % 4:
        return 18
    age = time.time() - (message_id >> 32)
    if age > _OLDEST:
        return 16
    return 17 if age < -_NEWEST else None
