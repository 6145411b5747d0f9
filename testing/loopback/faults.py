"""The faults a test injects. Planned ones wait for the call they match; the others happen at once.

Every method checks all its arguments first: a wrong one raises `BadArgument` (or `UnknownMethod`, `UnknownPeer`)
and changes nothing.
"""

from telestage.testing.loopback.errors import BadArgument, RpcRefusal
from telestage.testing.loopback.network import Network
from telestage.testing.loopback.plan import Delay, Flood, Plan, Refuse, Rule, Silence, checked_count, checked_seconds
from telestage.testing.loopback.state import LoopbackChannel, LoopbackUser, State

_REVOKED = ("AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "SESSION_EXPIRED")


class Faults:
    """What goes wrong on a loopback server, on purpose.

    Where a method takes `user`, None means everybody; where it takes `method`, that is the schema's name, such as
    `messages.sendMessage`, and None, where allowed, every method. `count` is how many calls it hits, None: for ever.
    """

    def __init__(self, state: State, plan: Plan, network: Network) -> None:
        self._state = state
        self._plan = plan
        self._network = network

    def flood_wait(self, method: str, seconds: int, user: LoopbackUser | None = None, count: int | None = 1) -> None:
        """The next matching calls get 420 FLOOD_WAIT_`seconds`, and it is meant.

        Until the deadline further calls of that method by that user are refused with what remains of it, and are
        kept in `LoopbackTelegram.early_calls`. They do not count as hits.

        Args:
            method: Which method.
            seconds: How long, whole seconds from 1 on.
            user: Whose calls.
            count: How many waits to start.
        """
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 1:
            raise BadArgument(f"a flood wait lasts whole seconds from 1 on, not {seconds!r}")
        self._plan.add(Rule(Flood(seconds), method, self._id(user), count))

    def slow_mode(self, group: LoopbackChannel, seconds: int) -> None:
        """From now on a member may write to this group once in so many seconds: 420 SLOWMODE_WAIT_x else.

        Args:
            group: Where; its creator is free.
            seconds: Whole seconds; 0 ends it.
        """
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
            raise BadArgument(f"slow mode lasts whole seconds from 0 on, not {seconds!r}")
        state = self._state.channel(group)
        state.slow_seconds = seconds
        state.writes_next.clear()

    def error(
        self, method: str, code: int, message: str, user: LoopbackUser | None = None, count: int | None = 1
    ) -> None:
        """The next matching calls get the error `code` `message`, such as 400 PEER_FLOOD.

        Args:
            method: Which method.
            code: 303 to 599; its class is how clients sort errors.
            message: The name, upper case, as in Telegram's documentation.
            user: Whose calls.
            count: How many calls.
        """
        if not isinstance(code, int) or not 300 <= abs(code) <= 599:
            raise BadArgument(f"an RPC error's code lies between 300 and 599, unlike {code!r}")
        if not isinstance(message, str) or not message or message != message.upper() or " " in message:
            raise BadArgument(
                f"an RPC error's name is upper case without spaces, such as 'PEER_FLOOD', not {message!r}"
            )
        self._plan.add(Rule(Refuse(code, message), method, self._id(user), count))

    def latency(
        self,
        seconds: float,
        method: str | None = None,
        user: LoopbackUser | None = None,
        count: int | None = None,
    ) -> None:
        """Matching calls are run, and answered, `seconds` after they arrive. The newest such rule wins.

        Args:
            seconds: How long, from 0 on; 0 takes the server's own latency away.
            method: Which method.
            user: Whose calls.
            count: How many calls.
        """
        self._plan.add(Rule(Delay(checked_seconds(seconds)), method, self._id(user), count))

    def unanswered(
        self, method: str, user: LoopbackUser | None = None, count: int | None = 1, *, executed: bool = True
    ) -> None:
        """The next matching calls are acknowledged and never answered.

        Args:
            method: Which method.
            user: Whose calls.
            count: How many calls.
            executed: Do what they ask for: the answer alone is lost, so a client that tries again without the same
                random_id does it twice. False: the call itself is lost.
        """
        self._plan.add(Rule(Silence(executed), method, self._id(user), count))

    def lose_updates(self, user: LoopbackUser | None = None, count: int = 1) -> None:
        """The next `count` updates are not pushed: the pts moves on, and only getDifference tells.

        Args:
            user: Whose updates, on all his devices. None: a channel's next updates, for all its members.
            count: How many updates.
        """
        checked_count(count, endless=False)
        self._plan.lose_updates(self._id(user), count)

    def disconnect(self, user: LoopbackUser | None = None) -> int:
        """Cut TCP connections now, in the middle of whatever they carry; gives how many."""
        return self._network.cut(self._state.user(user) if user is not None else None)

    def refuse_connections(self) -> None:
        """Nobody can connect any more (connection refused). Connections there are stay: see `disconnect`."""
        self._network.refuse()

    def accept_connections(self) -> None:
        """Connecting works again."""
        self._network.accept()

    def revoke(self, user: LoopbackUser, message: str = "AUTH_KEY_UNREGISTERED") -> None:
        """The keys `user` has now are logged out from elsewhere: every further call gets 401.

        Args:
            user: Whose keys.
            message: AUTH_KEY_UNREGISTERED, SESSION_REVOKED or SESSION_EXPIRED.
        """
        if message not in _REVOKED:
            raise BadArgument(f"{message!r} does not mean revoked; one of {', '.join(_REVOKED)} does")
        self._end(user, RpcRefusal(401, message))

    def ban(self, user: LoopbackUser) -> None:
        """The account is banned: every further call gets 401 USER_DEACTIVATED_BAN, and nobody can log in."""
        state = self._state.user(user)
        state.banned = True
        state.listeners.clear()

    def duplicate_key(self, user: LoopbackUser) -> None:
        """The keys `user` has now were used from two places: every further call gets 406 AUTH_KEY_DUPLICATED."""
        self._end(user, RpcRefusal(406, "AUTH_KEY_DUPLICATED"))

    def forget_key(self, user: LoopbackUser) -> None:
        """The server loses the keys `user` has now: packets with them get the transport error -404."""
        for device in list(self._state.user(user).devices.values()):
            self._state.forget(device)

    def clear(self) -> None:
        """Nothing is planned any more, no flood wait holds, connecting works. What has ended stays ended."""
        self._plan.clear()
        self._network.accept()

    def _end(self, user: LoopbackUser, refusal: RpcRefusal) -> None:
        state = self._state.user(user)
        for device in state.devices.values():
            device.lasting_refusal = refusal
        state.listeners.clear()

    def _id(self, user: LoopbackUser | None) -> int | None:
        return None if user is None else self._state.user(user).id
