"""One TCP connection: bytes to packets, packets to the handshake or to a session.

Whatever arrives, the server lives: bytes that are no MTProto are logged as a warning and close this connection.
A known key leads to its device; an unknown one is answered with the bare packet -404, as Telegram does.
"""

import asyncio
import logging
import struct
import time
from typing import Protocol, cast

from telethon.tl.tlobject import TLRequest

from telestage.testing.loopback.envelope import unseal
from telestage.testing.loopback.errors import ProtocolViolation
from telestage.testing.loopback.handshake import Handshake
from telestage.testing.loopback.record import OpenUse, Record
from telestage.testing.loopback.session import Session
from telestage.testing.loopback.state import Device, State
from telestage.testing.loopback.transport import Transport, detect

_log = logging.getLogger("telestage.testing.loopback")

_KEY_UNKNOWN = struct.pack("<i", -404)
_SESSIONS_PER_KEY = 16  # a reconnecting client starts a new session each time; the oldest are dropped


Arrival = tuple[Session, int, TLRequest]
"""A call: through which session, its message id, and the request."""


class Listener(Protocol):
    """Who runs the calls, and wants to know of connections."""

    def opened(self, connection: "Connection") -> None:
        """A client connected."""

    def closed(self, connection: "Connection") -> None:
        """A client is gone."""

    def received(self, arrivals: list[Arrival]) -> None:
        """Calls arrived, all at the same moment, in this order."""


class Connection(asyncio.Protocol):
    """The server's end of one TCP connection."""

    def __init__(self, state: State, listener: Listener, record: Record) -> None:
        self.device: Device | None = None
        self._record = record
        self._address = ""
        self._use: OpenUse | None = None
        self._state = state
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._tcp: asyncio.Transport | None = None
        self._opening = bytearray()
        self._transport: Transport | None = None
        self._handshake = Handshake()
        self._sessions: dict[int, Session] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._last_plain_id = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._tcp = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        arrivals: list[Arrival] = []
        try:
            for packet in self._packets(data):
                arrivals += self._receive(packet)
        except ProtocolViolation as violation:
            _log.warning("connection closed: %s", violation)
            self.cut()
        except Exception:
            _log.exception("connection closed by an error of the loopback server itself")
            self.cut()
        if arrivals:
            self._listener.received(arrivals)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._tcp = None
        if self._deadline is not None:
            self._deadline.cancel()
        for session in self._sessions.values():
            session.detach(self)
        self._listener.closed(self)

    # Link

    def send(self, packet: bytes) -> None:
        """Put one packet on the wire."""
        if self._tcp is not None and self._transport is not None and not self._tcp.is_closing():
            self._tcp.write(self._transport.frame(packet))

    def close_after(self, seconds: float) -> None:
        """Close in so many seconds, unless told again before."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(max(seconds, 0), self.close)

    def forget_key(self) -> None:
        """The authorization key is destroyed: close."""
        if self.device is not None:
            self._state.forget(self.device)
        self.close()

    def close(self) -> None:
        """Close once everything written has left."""
        if self._tcp is not None:
            self._tcp.close()

    def cut(self) -> None:
        """Close now, as a broken network does."""
        if self._tcp is not None:
            self._tcp.abort()

    @property
    def sessions(self) -> list[Session]:
        """The sessions that spoke through this connection."""
        return list(self._sessions.values())

    def _packets(self, data: bytes) -> list[bytes]:
        if self._transport is not None:
            return self._transport.receive(data)
        self._opening += data
        found = detect(bytes(self._opening))
        if found is None:
            return []
        self._transport, announcement = found
        rest = bytes(self._opening[announcement:])
        self._opening.clear()
        return self._transport.receive(rest)

    def _receive(self, packet: bytes) -> list[Arrival]:
        if self._tcp is None or self._tcp.is_closing():
            return []
        if len(packet) < 24:
            raise ProtocolViolation(f"a packet of {len(packet)} bytes")
        if packet.startswith(bytes(8)):
            self._shake_hands(packet)
            return []
        device = self._state.devices.get(int.from_bytes(packet[:8], "little"))
        if device is None:
            _log.info("a client uses a key this server does not know")
            self.send(_KEY_UNKNOWN)
            self.close()
            return []
        letter = unseal(device.key, packet)
        self.device = device
        if self._use is None or self._use.auth_key_id != device.id:
            self._use = self._record.used(device.id, self._address)
        else:
            self._use.last = self._record.clock()
        session = self._session(device, letter.session_id)
        return [(session, message_id, request) for message_id, request in session.receive(letter)]

    def _session(self, device: Device, session_id: int) -> Session:
        session = device.sessions.get(session_id)
        if session is None:
            session = device.sessions[session_id] = Session(device, session_id)
            while len(device.sessions) > _SESSIONS_PER_KEY:
                self._drop_oldest(device)
        if session.link is not self:
            session.attach(self)
            self._sessions[session_id] = session
        return session

    @staticmethod
    def _drop_oldest(device: Device) -> None:
        oldest = next((id for id, session in device.sessions.items() if session.link is None), None)
        device.sessions.pop(oldest if oldest is not None else next(iter(device.sessions)))

    def _shake_hands(self, packet: bytes) -> None:
        (length,) = struct.unpack_from("<i", packet, 16)
        if length < 4 or len(packet) < 20 + length:
            raise ProtocolViolation(f"a plain message of {length} bytes in a packet of {len(packet)}")
        body = bytes(self._handshake.answer(packet[20 : 20 + length]))
        if self._handshake.key is not None:
            self._state.add_device(self._handshake.key)
            self._handshake = Handshake()
        self._last_plain_id = max(int(time.time() * 2**32) & ~3, self._last_plain_id + 3) + 1
        self.send(struct.pack("<qqi", 0, self._last_plain_id, len(body)) + body)
