"""From the references clients send to the users and channels they mean, access hashes checked.

A reference that does not fit is refused as Telegram refuses it: PEER_ID_INVALID, USER_ID_INVALID, CHANNEL_INVALID.
"""

from telethon.tl import types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.state import CHANNEL_MARK, ChannelState, State, UserState


class Peers:
    """Looks references up in `state`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def user(self, reference: TLObject, viewer: UserState) -> UserState:
        """The user meant by an InputUser or InputPeer.

        Raises:
            RpcRefusal: USER_ID_INVALID.
        """
        found = self.find_user(reference, viewer)
        if found is None:
            raise RpcRefusal(400, "USER_ID_INVALID")
        return found

    def find_user(self, reference: TLObject, viewer: UserState) -> UserState | None:
        """The same, or None where there is no such user or the access hash is wrong."""
        match reference:
            case types.InputUserSelf() | types.InputPeerSelf():
                return viewer
            case types.InputUser() | types.InputPeerUser():
                user = self._state.users.get(reference.user_id)
                if user is viewer or (
                    user is not None and self._state.access_hash(user.user, viewer) == reference.access_hash
                ):
                    return user
        return None

    def channel(self, reference: TLObject, viewer: UserState) -> ChannelState:
        """The channel meant by an InputChannel or InputPeer.

        Raises:
            RpcRefusal: CHANNEL_INVALID.
        """
        if isinstance(reference, types.InputChannel | types.InputPeerChannel):
            channel = self._state.channels.get(reference.channel_id)
            if channel is not None and self._state.access_hash(channel.channel, viewer) == reference.access_hash:
                return channel
        raise RpcRefusal(400, "CHANNEL_INVALID")

    def known_channel(self, marked_id: int) -> ChannelState:
        """A channel by marked id, from our own books."""
        return self._state.channels[CHANNEL_MARK - marked_id]

    def chat(self, reference: TLObject, viewer: UserState) -> UserState | ChannelState:
        """The user or channel meant by an InputPeer.

        Raises:
            RpcRefusal: CHANNEL_INVALID, or PEER_ID_INVALID for anything else.
        """
        if isinstance(reference, types.InputPeerChannel | types.InputChannel):
            return self.channel(reference, viewer)
        user = self.find_user(reference, viewer)
        if user is None:
            raise RpcRefusal(400, "PEER_ID_INVALID")
        return user
