"""Who somebody is: users.*, contacts.resolveUsername, and being online."""

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.rendering import Renderer, peer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import State, UserState
from telestage.testing.loopback.tl import vector


class UsersService:
    """Answers questions about users."""

    def __init__(self, state: State, peers: Peers, renderer: Renderer) -> None:
        self._state = state
        self._peers = peers
        self._renderer = renderer

    @answers(functions.users.GetUsersRequest)
    def get_users(self, caller: Caller, request: functions.users.GetUsersRequest) -> TLObject:
        """The users, in the order asked for; userEmpty where the reference is wrong."""
        return vector(self._user_or_empty(reference, caller.user) for reference in request.id)

    @answers(functions.users.GetFullUserRequest)
    def get_full_user(self, caller: Caller, request: functions.users.GetFullUserRequest) -> TLObject:
        """One user with his profile."""
        viewer = caller.user
        user = self._peers.user(request.id, viewer)
        full = types.UserFull(
            id=user.id,
            settings=types.PeerSettings(),
            notify_settings=types.PeerNotifySettings(),
            common_chats_count=len(user.channels.keys() & viewer.channels.keys()),
        )
        return types.users.UserFull(full, chats=[], users=[self._renderer.user(user, viewer)])

    @answers(functions.contacts.ResolveUsernameRequest)
    def resolve_username(self, caller: Caller, request: functions.contacts.ResolveUsernameRequest) -> TLObject:
        """Whose the username is."""
        found = self._state.usernames.get(request.username.lower().removeprefix("@"))
        if found is None:
            raise RpcRefusal(400, "USERNAME_NOT_OCCUPIED")
        if isinstance(found, UserState):
            return types.contacts.ResolvedPeer(peer(found.id), [], [self._renderer.user(found, caller.user)])
        view = self._renderer.channel(found, caller.user)
        return types.contacts.ResolvedPeer(peer(found.channel.marked_id), [view], [])

    @answers(functions.contacts.GetContactsRequest)
    def get_contacts(self, caller: Caller, request: functions.contacts.GetContactsRequest) -> TLObject:
        """Nobody: this server keeps no contacts."""
        return types.contacts.Contacts(contacts=[], saved_count=0, users=[])

    @answers(functions.account.UpdateStatusRequest)
    def update_status(self, caller: Caller, request: functions.account.UpdateStatusRequest) -> bool:
        """Taken note of; nobody is told."""
        return True

    def _user_or_empty(self, reference: TLObject, viewer: UserState) -> types.TypeUser:
        user = self._peers.find_user(reference, viewer)
        if user is not None:
            return self._renderer.user(user, viewer)
        return types.UserEmpty(getattr(reference, "user_id", 0))
