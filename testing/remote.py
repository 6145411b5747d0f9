"""`LoopbackProcess`: a `LoopbackTelegram` in a process of its own, with the same methods, awaited.

For demonstrations and for measuring: clients and server do not share a processor's time. The process ends with
the context, and, because it lives on the other end of a pipe, also with its owner, however that dies.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self, TypeVar, cast

import msgspec
from telethon.sessions.string import StringSession

from telestage.messages import ControlCall, ControlFailure, ControlReply
from telestage.messages.wire import FrameReader, encode
from telestage.testing.loopback import errors
from telestage.testing.loopback.control import MAX_FRAME, Address
from telestage.testing.loopback.keys import trust
from telestage.testing.loopback.record import Delivery
from telestage.testing.loopback.state import LoopbackChannel, LoopbackUser, session_string
from telestage.testing.loopback.status import LoopbackStatus

T = TypeVar("T")
Chat = LoopbackUser | LoopbackChannel

_READ = 64 * 1024
_PAGE = 1_000
_ENDING = 10.0  # seconds a process gets to end by itself


class ControlPipe:
    """Calls over the pipe to a server's process: any number at once, each answered by its id."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._ids = itertools.count()

    async def open(self, *arguments: str) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "telestage.testing.loopback",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # an interrupt from the terminal is for its owner, who then ends it
        )
        self._reading = asyncio.create_task(self._read(self._process), name="loopback process: replies")

    async def close(self) -> None:
        """End the process: by the end of its input, or, if it will not, by killing it."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDING):
                    await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            if self._reading is not None:
                await self._reading

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def call(self, name: str, /, **arguments: object) -> object:
        """Call the method `name` over there.

        Raises:
            LoopbackError: It failed, with the error it failed with where that is one of ours.
            NotRunning: The process is not there, or went away.
        """
        if self._process is None or self._reading is None or self._reading.done():
            raise errors.NotRunning("the server's process is not running: use `async with`, or await start()")
        assert self._process.stdin is not None
        encoded = {argument: _encoded(value) for argument, value in arguments.items()}
        call = ControlCall(id=next(self._ids), method=name, arguments=encoded)
        answer = self._waiting[call.id] = asyncio.get_running_loop().create_future()
        try:
            self._process.stdin.write(encode(call, max_frame=MAX_FRAME))
            return await answer
        finally:
            del self._waiting[call.id]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        frames = FrameReader(max_frame=MAX_FRAME)
        try:
            while data := await process.stdout.read(_READ):
                for message in frames.feed(data):
                    self._settle(message)
        finally:
            gone = errors.NotRunning("the server's process has ended")
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(gone)

    def _settle(self, message: object) -> None:
        if not isinstance(message, ControlReply | ControlFailure):
            return
        waiting = self._waiting.get(message.id)
        if waiting is None or waiting.done():
            return
        if isinstance(message, ControlReply):
            waiting.set_result(message.result)
        else:
            kind = getattr(errors, message.error, None)
            ours = isinstance(kind, type) and issubclass(kind, errors.LoopbackError)
            if ours and kind is not errors.RpcRefusal:
                waiting.set_exception(cast("type[errors.LoopbackError]", kind)(message.message))
            else:
                waiting.set_exception(errors.LoopbackError(f"{message.error}: {message.message}"))


class RemoteFaults:
    """`Faults` of a server in another process: the same methods, awaited. See there."""

    def __init__(self, pipe: ControlPipe) -> None:
        self._pipe = pipe

    async def flood_wait(
        self, method: str, seconds: int, user: LoopbackUser | None = None, count: int | None = 1
    ) -> None:
        """See `Faults.flood_wait`."""
        await self._pipe.call("faults.flood_wait", method=method, seconds=seconds, user=user, count=count)

    async def error(
        self, method: str, code: int, message: str, user: LoopbackUser | None = None, count: int | None = 1
    ) -> None:
        """See `Faults.error`."""
        await self._pipe.call("faults.error", method=method, code=code, message=message, user=user, count=count)

    async def latency(
        self,
        seconds: float,
        method: str | None = None,
        user: LoopbackUser | None = None,
        count: int | None = None,
    ) -> None:
        """See `Faults.latency`."""
        await self._pipe.call("faults.latency", seconds=seconds, method=method, user=user, count=count)

    async def unanswered(
        self, method: str, user: LoopbackUser | None = None, count: int | None = 1, *, executed: bool = True
    ) -> None:
        """See `Faults.unanswered`."""
        await self._pipe.call("faults.unanswered", method=method, user=user, count=count, executed=executed)

    async def lose_updates(self, user: LoopbackUser | None = None, count: int = 1) -> None:
        """See `Faults.lose_updates`."""
        await self._pipe.call("faults.lose_updates", user=user, count=count)

    async def disconnect(self, user: LoopbackUser | None = None) -> int:
        """See `Faults.disconnect`."""
        return msgspec.convert(await self._pipe.call("faults.disconnect", user=user), int)

    async def refuse_connections(self) -> None:
        """See `Faults.refuse_connections`."""
        await self._pipe.call("faults.refuse_connections")

    async def accept_connections(self) -> None:
        """See `Faults.accept_connections`."""
        await self._pipe.call("faults.accept_connections")

    async def revoke(self, user: LoopbackUser, message: str = "AUTH_KEY_UNREGISTERED") -> None:
        """See `Faults.revoke`."""
        await self._pipe.call("faults.revoke", user=user, message=message)

    async def slow_mode(self, group: LoopbackChannel, seconds: int) -> None:
        """See `Faults.slow_mode`."""
        await self._pipe.call("faults.slow_mode", group=group, seconds=seconds)

    async def ban(self, user: LoopbackUser) -> None:
        """See `Faults.ban`."""
        await self._pipe.call("faults.ban", user=user)

    async def duplicate_key(self, user: LoopbackUser) -> None:
        """See `Faults.duplicate_key`."""
        await self._pipe.call("faults.duplicate_key", user=user)

    async def forget_key(self, user: LoopbackUser) -> None:
        """See `Faults.forget_key`."""
        await self._pipe.call("faults.forget_key", user=user)

    async def clear(self) -> None:
        """See `Faults.clear`."""
        await self._pipe.call("faults.clear")


class LoopbackProcess:
    """A Telegram server in a process of its own; clients of this process trust its key while it is open.

        async with LoopbackProcess() as telegram:
            alice = await telegram.add_user("alice")

    Args:
        port: See `LoopbackTelegram`.
        host: See `LoopbackTelegram`.
        latency: See `LoopbackTelegram`.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1", latency: float = 0.0) -> None:
        self.host = host
        self.port = port
        self.public_key = ""
        self._latency = latency
        self._pipe = ControlPipe()
        self.faults = RemoteFaults(self._pipe)
        self._cleanup = ExitStack()

    async def start(self) -> Self:
        """Start the process and wait until it serves.

        Raises:
            LoopbackError: It could not: an argument makes no sense, or the port is taken.
        """
        await self._pipe.open(f"--port={self.port}", f"--host={self.host}", f"--latency={self._latency}")
        try:
            address = await self._call(Address, "address")
        except BaseException:
            await self._pipe.close()
            raise
        self.port, self.public_key = address.port, address.public_key
        self._cleanup.enter_context(trust(self.public_key))
        return self

    async def close(self) -> None:
        """End the process."""
        self._cleanup.close()
        await self._pipe.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The process's id, while it runs."""
        return self._pipe.pid

    async def add_user(
        self, username: str | None, phone: str | None = None, first_name: str | None = None
    ) -> LoopbackUser:
        """See `LoopbackTelegram.add_user`."""
        return (await self._call(list[LoopbackUser], "add_users", users=[[username, phone, first_name]]))[0]

    async def add_users(self, usernames: Iterable[str | None]) -> list[LoopbackUser]:
        """Many at once, in one call."""
        fields = [[username, None, None] for username in usernames]
        return await self._call(list[LoopbackUser], "add_users", users=fields)

    async def add_session(self, user: LoopbackUser) -> StringSession:
        """See `LoopbackTelegram.add_session`."""
        return (await self.add_sessions(user, 1))[0]

    async def add_sessions(self, user: LoopbackUser, count: int) -> list[StringSession]:
        """Many devices of one user, in one call."""
        return [StringSession(saved) for saved in await self._call(list[str], "add_session", user=user, count=count)]

    async def blank_session(self) -> StringSession:
        """See `LoopbackTelegram.blank_session`."""
        return StringSession(session_string(self.host, self.port, None))

    async def login_code(self, phone: str) -> str:
        """See `LoopbackTelegram.login_code`."""
        return await self._call(str, "login_code", phone=phone)

    async def add_channel(
        self,
        username: str,
        members: Iterable[LoopbackUser] = (),
        megagroup: bool = False,
        creator: LoopbackUser | None = None,
        hidden_members: bool = False,
    ) -> LoopbackChannel:
        """See `LoopbackTelegram.add_channel`."""
        return await self._call(
            LoopbackChannel,
            "add_channel",
            username=username,
            members=list(members),
            megagroup=megagroup,
            creator=creator,
            hidden_members=hidden_members,
        )

    async def add_members(self, channel: LoopbackChannel, users: Iterable[LoopbackUser]) -> None:
        """See `LoopbackTelegram.add_members`."""
        await self._pipe.call("add_members", channel=channel, users=list(users))

    async def fill_history(self, channel: LoopbackChannel, count: int, text: str = "message {n}") -> None:
        """See `LoopbackTelegram.fill_history`."""
        await self._pipe.call("fill_history", channel=channel, count=count, text=text)

    async def post(self, chat: Chat, text: str, sender: LoopbackUser | None = None, to: Chat | None = None) -> int:
        """See `LoopbackTelegram.post`."""
        return await self._call(int, "post", chat=chat, text=text, sender=sender, to=to)

    async def edit(self, chat: Chat, message_id: int, text: str) -> None:
        """See `LoopbackTelegram.edit`."""
        await self._pipe.call("edit", chat=chat, message_id=message_id, text=text)

    async def delete(self, chat: Chat, message_ids: Iterable[int]) -> None:
        """See `LoopbackTelegram.delete`."""
        await self._pipe.call("delete", chat=chat, message_ids=list(message_ids))

    async def delivered(self, to: Chat | None = None, sender: LoopbackUser | None = None) -> list[Delivery]:
        """See `LoopbackTelegram.delivered`; fetched in pages."""
        found: list[Delivery] = []
        while True:
            page = await self._call(list[Delivery], "deliveries", to=to, sender=sender, start=len(found), limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found

    async def delivered_count(self, to: Chat | None = None, sender: LoopbackUser | None = None) -> int:
        """How many `delivered` would give."""
        return await self._call(int, "delivered_count", to=to, sender=sender)

    async def calls(self, user: LoopbackUser | None = None) -> dict[str, dict[str, int]]:
        """How many of the calls still kept there are of each method, by outcome."""
        return await self._call(dict[str, dict[str, int]], "calls", user=user)

    async def peak_in_flight(self, user: LoopbackUser | None = None, ignore: Iterable[str] = ()) -> int:
        """See `LoopbackTelegram.peak_in_flight`."""
        return await self._call(int, "peak_in_flight", user=user, ignore=list(ignore))

    async def connections(self, user: LoopbackUser | None = None) -> int:
        """See `LoopbackTelegram.connections`."""
        return await self._call(int, "connections", user=user)

    async def status(self) -> LoopbackStatus:
        """See `LoopbackTelegram.status`."""
        return await self._call(LoopbackStatus, "status")

    async def _call(self, kind: type[T], name: str, /, **arguments: object) -> T:
        return msgspec.convert(await self._pipe.call(name, **arguments), kind)


def _encoded(value: object) -> object:
    match value:
        case LoopbackUser():
            return {"user": value.id, "access_hash": value.access_hash}
        case LoopbackChannel():
            return {"channel": value.id, "access_hash": value.access_hash}
        case list():
            return [_encoded(item) for item in value]
    return value
