"""`LoopbackTelegram`: a Telegram server on the loopback interface, for real clients.

Real TCP, the real handshake and encryption, Telethon's own TL objects. It runs on the asyncio loop it is started
on; all its methods are called there. It has no thread and, but for opening its port, no task; when it is closed,
nothing of it is left.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from telethon.sessions.string import StringSession

from telestage.testing.loopback import keys
from telestage.testing.loopback.dispatcher import Dispatcher
from telestage.testing.loopback.errors import BadArgument, NotRunning, UnknownPeer
from telestage.testing.loopback.faults import Faults
from telestage.testing.loopback.history import Message
from telestage.testing.loopback.messaging import Content, Messaging
from telestage.testing.loopback.network import Network, check_address
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.plan import Plan, checked_seconds
from telestage.testing.loopback.record import Call, Calls, Delivery, Record, Use
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.services.auth import AuthService
from telestage.testing.loopback.services.channels import ChannelsService
from telestage.testing.loopback.services.dialogs import DialogsService
from telestage.testing.loopback.services.help import HelpService
from telestage.testing.loopback.services.history import HistoryService
from telestage.testing.loopback.services.messages import MessagesService
from telestage.testing.loopback.services.updates import UpdatesService
from telestage.testing.loopback.services.users import UsersService
from telestage.testing.loopback.state import (
    ChannelState,
    LoopbackChannel,
    LoopbackUser,
    State,
    UserState,
    checked_phone,
)
from telestage.testing.loopback.status import LoopbackStatus
from telestage.testing.loopback.tl import checked_method
from telestage.testing.loopback.updates import Updates


class LoopbackTelegram:
    """A Telegram server for tests, demonstrations and benchmarks.

        async with LoopbackTelegram() as telegram:
            alice = telegram.add_user("alice")
            client = TelegramClient(alice.session, 1, "any")

    While it is open, clients of this process trust its key; when it closes, Telethon is as it was.

    Args:
        port: Where to listen; 0 lets the system choose.
        host: A loopback address.
        latency: Seconds before each call is run and answered.
        calls_kept: How many finished calls `calls` remembers.
        difference_page: Most events in one answer to updates.getDifference and getChannelDifference.
        difference_limit: An account further behind than so many events gets differenceTooLong.
        data_centres: Further data centres that clients are told of, by number, and the port of each on this host; 0 is
            this server's own. Number 2 is this one.
        hashes_per_account: Each account has an access hash of its own for each user and channel, as on Telegram, and is
            refused with another's. Default: one for all, so that what is the same for all is encoded once.

    Raises:
        BadArgument: An argument makes no sense.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        latency: float = 0.0,
        *,
        calls_kept: int = 100_000,
        difference_page: int = 100,
        difference_limit: int = 10_000,
        data_centres: Mapping[int, int] | None = None,
        hashes_per_account: bool = False,
    ) -> None:
        check_address(host, port)
        if difference_page < 1 or difference_limit < 1:
            raise BadArgument("difference_page and difference_limit are at least 1")
        self.host = host
        self.port = port
        self._plan = Plan(checked_seconds(latency))
        self._record = Record(calls_kept)
        self._difference_page = difference_page
        self._difference_limit = difference_limit
        self._state = State(hashes_per_account=hashes_per_account, centres=data_centres)
        self._network: Network | None = None
        self._cleanup = ExitStack()

    async def start(self) -> Self:
        """Listen. May be called once.

        Raises:
            NotRunning: It was started before.
            OSError: The port is taken.
        """
        if self._network is not None:
            raise NotRunning("a LoopbackTelegram is started once; make a new one")
        renderer, peers = Renderer(self._state), Peers(self._state)
        updates = Updates(self._state, renderer, self._plan)
        self._messaging = Messaging(self._state, updates)
        services = (
            AuthService(self._state, renderer),
            UsersService(self._state, peers, renderer),
            HelpService(self._state),
            MessagesService(self._messaging, peers, updates, self._record),
            HistoryService(peers, renderer),
            DialogsService(self._state, peers, renderer),
            ChannelsService(self._state, peers, renderer, updates),
            UpdatesService(peers, renderer, updates, page=self._difference_page, too_long=self._difference_limit),
        )
        self._dispatcher = Dispatcher(services, self._plan, self._record)
        network = Network(self._state, self._dispatcher, self._record)
        self.port = await network.start(self.host, self.port)
        self._network = network
        self._state.host, self._state.port = self.host, self.port
        self._faults = Faults(self._state, self._plan, network)
        self._cleanup.enter_context(keys.trust(self.public_key))
        return self

    async def close(self) -> None:
        """Cut every connection and stop listening; doing it twice is harmless. What was recorded stays."""
        if self._network is None:
            return
        self._dispatcher.close()
        try:
            await self._network.close()
        finally:
            self._cleanup.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def public_key(self) -> str:
        """The server's RSA key, PEM (PKCS#1)."""
        return keys.public_key()

    def trust(self) -> AbstractContextManager[None]:
        """Inside this context clients of the process trust the server's key. Only needed before it is started."""
        return keys.trust(self.public_key)

    @property
    def faults(self) -> Faults:
        """Where faults are injected.

        Raises:
            NotRunning: The server is not started.
        """
        self._running()
        return self._faults

    # People and places

    def add_user(self, username: str | None, phone: str | None = None, first_name: str | None = None) -> LoopbackUser:
        """A new account with one device.

        Args:
            username: 3 to 32 letters, digits and underscores; None for an account without.
            phone: 5 to 16 digits; by default one is made up.
            first_name: By default the username.

        Raises:
            BadArgument: The username or the phone is malformed or taken.
        """
        self._running()
        return self._state.add_user(username, phone, first_name).user

    def add_session(self, user: LoopbackUser) -> StringSession:
        """A further device of `user`: another authorization key, logged in."""
        self._running()
        state = self._state.user(user)
        device = self._state.add_device()
        self._state.log_in(device, state)
        return self._state.session_of(device)

    def blank_session(self) -> StringSession:
        """A session that leads here and has no key yet: its client goes through the whole handshake."""
        self._running()
        return self._state.session_of(None)

    def login_code(self, phone: str) -> str:
        """The code last sent to `phone`.

        Raises:
            UnknownPeer: None is outstanding.
        """
        code = self._state.codes.get(checked_phone(phone))
        if code is None:
            raise UnknownPeer(f"no login code is outstanding for {phone!r}; a client asks for one with auth.sendCode")
        return code.code

    def add_channel(
        self,
        username: str,
        members: Iterable[LoopbackUser] = (),
        megagroup: bool = False,
        creator: LoopbackUser | None = None,
        hidden_members: bool = False,
    ) -> LoopbackChannel:
        """A new public channel. Everybody may read it; updates go to its members.

        Args:
            username: As for `add_user`; also its title.
            members: Who is in it.
            megagroup: A group: members may write, and list each other. Otherwise a broadcast channel: only its
                creator may.
            creator: Its only administrator, and first member.
            hidden_members: Only the creator may list the members of this group.

        Raises:
            BadArgument: The username is malformed or taken.
            UnknownPeer: A member is of another server.
        """
        self._running()
        states = [self._state.user(member) for member in members]
        owner = self._state.user(creator) if creator is not None else None
        return self._state.add_channel(username, states, owner, megagroup=megagroup, hidden=hidden_members).channel

    def add_members(self, channel: LoopbackChannel, users: Iterable[LoopbackUser]) -> None:
        """Make `users` members, without a word to anybody."""
        state = self._state.channel(channel)
        self._state.join(state, [self._state.user(user) for user in users])

    # Messages

    def fill_history(self, channel: LoopbackChannel, count: int, text: str = "message {n}") -> None:
        """Give `channel` a past: `count` messages, one a minute up to now, of which no client is told.

        Where there are messages already, the new ones follow them and are all of this moment. In a group its
        members take turns; its pts does not move.

        Args:
            channel: Where.
            count: How many; 50,000 take a fraction of a second.
            text: What they say; {n} is the message's id.
        """
        state = self._state.channel(channel)
        if not isinstance(count, int) or count < 0:
            raise BadArgument(f"count must be a whole number from 0 on, not {count!r}")
        try:
            text.format(n=1)
        except (KeyError, IndexError, ValueError) as error:
            raise BadArgument(f"{text!r} is no template; {{n}} is the only field: {error}") from error
        self._messaging.backfill(state, count, text)

    def post(
        self,
        chat: LoopbackUser | LoopbackChannel,
        text: str,
        sender: LoopbackUser | None = None,
        to: LoopbackUser | LoopbackChannel | None = None,
    ) -> int:
        """Write a message without a client; it is pushed to every affected session. Gives its id.

        Args:
            chat: Where: a channel, or the user who receives it.
            text: What it says.
            sender: Who wrote it. By default a channel speaks for itself, and a user hears from Telegram's own
                account (777000).
            to: Reads better at times: `post(alice, text, to=bob)` is `post(bob, text, sender=alice)`.

        Returns:
            The message's id in the channel, or in the box of the user who receives it.
        """
        self._running()
        if to is not None:
            if sender is not None or not isinstance(chat, LoopbackUser):
                raise BadArgument("with to=, the first argument is the user who writes, and there is no sender=")
            return self.post(to, text, sender=chat)
        if not text:
            raise BadArgument("a message says something; text is empty")
        author = self._state.user(sender) if sender is not None else None
        if isinstance(chat, LoopbackChannel):
            return self._messaging.post(self._state.channel(chat), author, Content(text))[0].id
        recipient = self._state.user(chat)
        message, _ = self._messaging.send(author or self._state.service, recipient, Content(text))
        return message.twin[1] if message.twin is not None else message.id

    def edit(self, chat: LoopbackUser | LoopbackChannel, message_id: int, text: str) -> None:
        """Change what a message says, as its author would.

        Args:
            chat: The channel, or the user in whose box the message has that id.
            message_id: Which.
            text: What it says from now on.

        Raises:
            UnknownPeer: There is no such message.
        """
        if isinstance(chat, LoopbackChannel):
            channel = self._state.channel(chat)
            self._messaging.edit_post(channel, _existing(channel.history.get(message_id), message_id), Content(text))
        else:
            user = self._state.user(chat)
            self._messaging.edit(user, _existing(user.box.get(message_id), message_id), Content(text))

    def delete(self, chat: LoopbackUser | LoopbackChannel, message_ids: Iterable[int]) -> None:
        """Delete messages for everybody.

        Args:
            chat: The channel, or the user in whose box the messages have those ids.
            message_ids: Which.

        Raises:
            UnknownPeer: One of them does not exist; none was deleted.
        """
        ids = list(message_ids)
        state: UserState | ChannelState
        if isinstance(chat, LoopbackChannel):
            state = self._state.channel(chat)
            for id in ids:
                _existing(state.history.get(id), id)
            self._messaging.delete_posts(state, ids)
        else:
            state = self._state.user(chat)
            for id in ids:
                _existing(state.box.get(id), id)
            self._messaging.delete(state, ids, revoke=True)

    # What happened

    def delivered(
        self, to: LoopbackUser | LoopbackChannel | None = None, sender: LoopbackUser | None = None
    ) -> list[Delivery]:
        """What clients sent and the server accepted, each message once, in order.

        Args:
            to: To whom; None: to anybody.
            sender: From whom; None: from anybody.
        """
        peer = to.marked_id if isinstance(to, LoopbackChannel) else to.id if to is not None else None
        return self._record.delivered(None if peer is None else (peer,), sender.id if sender is not None else None)

    @property
    def repeats(self) -> int:
        """How often a message was sent again with a random_id already known; it was not delivered again."""
        return self._record.repeats

    @property
    def calls(self) -> Sequence[Call]:
        """Finished calls, oldest first; of very many, the last `calls_kept`."""
        return Calls(self._record.calls)

    @property
    def early_calls(self) -> Sequence[Call]:
        """Calls that were made before the deadline of the flood wait they were given."""
        return Calls(self._record.early_calls)

    def uses(self, session: StringSession | None = None) -> list[Use]:
        """When the key of `session` (None: any key) was used from which address: a connection each, oldest first."""
        key = None if session is None else getattr(session.auth_key, "key_id", None)
        return self._record.uses(None if key is None else key % 2**64)

    def peak_in_flight(self, user: LoopbackUser | None = None, ignore: Iterable[str] = ()) -> int:
        """The most calls that were received and not yet answered at one moment.

        Not counted are auth.*, help.getConfig and the calls that fetch updates; pings are no calls.

        Args:
            user: Of whom; None: of everybody together.
            ignore: Methods not to count either.
        """
        user_id = self._state.user(user).id if user is not None else None
        return self._record.peak_in_flight(user_id, frozenset(checked_method(name) for name in ignore))

    def connections(self, user: LoopbackUser | None = None) -> int:
        """TCP connections open now: those of `user`, or (None) all."""
        return len(self._running().of(self._state.user(user) if user is not None else None))

    def status(self) -> LoopbackStatus:
        """How the server is doing."""
        connections = list(self._network.connections) if self._network is not None else []
        return LoopbackStatus(
            connections=len(connections),
            sessions=sum(session.link is connection for connection in connections for session in connection.sessions),
            users=len(self._state.users) - 1,
            calls=self._record.total_calls,
            deliveries=len(self._record.deliveries),
            repeats=self._record.repeats,
            floods=self._record.floods,
            early_calls=len(self._record.early_calls),
            disconnects=self._network.cut_connections if self._network is not None else 0,
        )

    def _running(self) -> Network:
        if self._network is None:
            raise NotRunning("the LoopbackTelegram is not started: use `async with`, or await start()")
        return self._network


def _existing(message: Message | None, message_id: int) -> Message:
    if message is None:
        raise UnknownPeer(f"there is no message {message_id!r} there")
    return message
