"""The listening port and the connections through it.

The port stays this server's while it runs: when connections are refused, nobody listens, but the port is still
bound, so that no other program, nor a client's own outgoing connection, takes it.
"""

import asyncio
import ipaddress
import socket
import sys

from telestage.testing.loopback.connection import Arrival, Connection
from telestage.testing.loopback.dispatcher import Dispatcher
from telestage.testing.loopback.errors import BadArgument
from telestage.testing.loopback.record import Record
from telestage.testing.loopback.state import State, UserState

_BACKLOG = 1024
_ACCEPTING = 3  # turns of the loop after which whatever it had accepted has become a connection


class Network:
    """All TCP of one server."""

    def __init__(self, state: State, dispatcher: Dispatcher, record: Record) -> None:
        self.connections: dict[Connection, None] = {}
        self.cut_connections = 0
        self._state = state
        self._dispatcher = dispatcher
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._reserved: socket.socket | None = None
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port.

        Raises:
            OSError: The port is taken.
        """
        bound = _bind(host, port)
        self._address: tuple[str, int] = (host, bound.getsockname()[1])
        if sys.platform == "linux":  # elsewhere two sockets cannot be bound to one address
            self._reserved = bound
            bound = _bind(*self._address)
        self._listen(bound)
        assert self._opening is not None
        await self._opening
        return self._address[1]

    async def close(self) -> None:
        """Listen no more, cut every connection, and wait until they are gone."""
        self.refuse()
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.cut()
        await self._all_gone.wait()

    def refuse(self) -> None:
        """Nobody gets through to the port any more; connections there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._opening is not None:
            self._opening.cancel()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def accept(self) -> None:
        """Listen again, from this very moment on."""
        if self._listening is None:
            self._listen(_bind(*self._address))

    def cut(self, user: UserState | None) -> int:
        """Break the connections of `user`, or (None) all; gives how many."""
        doomed = self.of(user)
        for connection in doomed:
            connection.cut()
        self.cut_connections += len(doomed)
        return len(doomed)

    def of(self, user: UserState | None) -> list[Connection]:
        """The connections of `user`, or (None) all."""
        return [c for c in self.connections if user is None or (c.device is not None and c.device.user is user)]

    # Listener

    def opened(self, connection: Connection) -> None:
        """See `Listener`."""
        self.connections[connection] = None
        self._all_gone.clear()

    def closed(self, connection: Connection) -> None:
        """See `Listener`."""
        del self.connections[connection]
        for session in connection.sessions:
            if session.link is None:  # else it has moved on to another connection
                self._dispatcher.abandon(session)
        if not self.connections:
            self._all_gone.set()

    def received(self, arrivals: list[Arrival]) -> None:
        """See `Listener`."""
        self._dispatcher.received(arrivals)

    def _listen(self, bound: socket.socket) -> None:
        bound.listen(_BACKLOG)  # the system accepts from here on; serving what it accepted follows
        self._listening = bound
        self._opening = self._loop.create_task(self._serve(bound), name="loopback telegram: open port")

    async def _serve(self, bound: socket.socket) -> None:
        self._server = await self._loop.create_server(self._connection, sock=bound, backlog=_BACKLOG)

    def _connection(self) -> Connection:
        return Connection(self._state, self, self._record)


def check_address(host: str, port: int) -> None:
    """Refuse what is no loopback address, or no port.

    Raises:
        BadArgument: It is not.
    """
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise BadArgument(f"a port lies between 0 and 65535, unlike {port!r}")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise BadArgument(f"{host!r} is no loopback address; this server is not for networks")


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound
