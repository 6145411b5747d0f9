"""Channels themselves: what they are, who is in them, joining and leaving."""

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.rendering import ALL_RIGHTS, Renderer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import ChannelState, State, UserState
from telestage.testing.loopback.updates import Updates

_LARGEST_PAGE = 200
_MOST_LISTED = 10_000
_MOST_LISTED_OF_BROADCAST = 200


class ChannelsService:
    """channels.* calls that concern no message."""

    def __init__(self, state: State, peers: Peers, renderer: Renderer, updates: Updates) -> None:
        self._state = state
        self._peers = peers
        self._renderer = renderer
        self._updates = updates

    @answers(functions.channels.GetChannelsRequest)
    def get_channels(self, caller: Caller, request: functions.channels.GetChannelsRequest) -> TLObject:
        """The channels, in the order asked for."""
        viewer = caller.user
        return types.messages.Chats(
            [self._renderer.channel(self._peers.channel(id, caller.user), viewer) for id in request.id]
        )

    @answers(functions.channels.GetFullChannelRequest)
    def get_full_channel(self, caller: Caller, request: functions.channels.GetFullChannelRequest) -> TLObject:
        """One channel with its numbers."""
        viewer, channel = caller.user, self._peers.channel(request.channel, caller.user)
        dialog = self._renderer.dialog(channel, viewer)
        full = types.ChannelFull(
            id=channel.id,
            about="",
            read_inbox_max_id=dialog.read_inbox_max_id,
            read_outbox_max_id=0,
            unread_count=dialog.unread_count,
            chat_photo=types.PhotoEmpty(0),
            notify_settings=types.PeerNotifySettings(),
            bot_info=[],
            pts=channel.log.pts,
            can_view_participants=_may_list(channel, viewer),
            participants_hidden=channel.hidden_members,
            participants_count=len(channel.members),
        )
        return types.messages.ChatFull(full, chats=[self._renderer.channel(channel, viewer)], users=[])

    @answers(functions.channels.GetParticipantsRequest)
    def get_participants(self, caller: Caller, request: functions.channels.GetParticipantsRequest) -> TLObject:
        """One page of members: at most 200, and of all at most 10,000, or 200 of a broadcast channel."""
        viewer, channel = caller.user, self._peers.channel(request.channel, caller.user)
        if not _may_list(channel, viewer):
            raise RpcRefusal(400, "CHAT_ADMIN_REQUIRED")
        members = self._matching(channel, request.filter)
        most = _MOST_LISTED if channel.channel.megagroup else _MOST_LISTED_OF_BROADCAST
        start = max(request.offset, 0)
        page = members[:most][start : start + max(0, min(request.limit, _LARGEST_PAGE))]
        return types.channels.ChannelParticipants(
            count=len(members),
            participants=[_participant(channel, id) for id in page],
            chats=[self._renderer.channel(channel, viewer)],
            users=self._renderer.users(page, viewer),
        )

    @answers(functions.channels.GetParticipantRequest)
    def get_participant(self, caller: Caller, request: functions.channels.GetParticipantRequest) -> TLObject:
        """One member."""
        viewer, channel = caller.user, self._peers.channel(request.channel, caller.user)
        user = self._peers.user(request.participant, viewer)
        if user.id not in channel.members:
            raise RpcRefusal(400, "USER_NOT_PARTICIPANT")
        return types.channels.ChannelParticipant(
            _participant(channel, user.id),
            chats=[self._renderer.channel(channel, viewer)],
            users=[self._renderer.user(user, viewer)],
        )

    @answers(functions.channels.JoinChannelRequest)
    def join_channel(self, caller: Caller, request: functions.channels.JoinChannelRequest) -> TLObject:
        """Become a member."""
        user, channel = caller.user, self._peers.channel(request.channel, caller.user)
        if user.id in channel.members:
            raise RpcRefusal(400, "USER_ALREADY_PARTICIPANT")
        self._state.join(channel, [user])
        return self._changed(caller, channel)

    @answers(functions.channels.LeaveChannelRequest)
    def leave_channel(self, caller: Caller, request: functions.channels.LeaveChannelRequest) -> TLObject:
        """Be a member no more."""
        user, channel = caller.user, self._peers.channel(request.channel, caller.user)
        if user.id not in channel.members:
            raise RpcRefusal(400, "USER_NOT_PARTICIPANT")
        self._state.leave(channel, user)
        return self._changed(caller, channel)

    def _changed(self, caller: Caller, channel: ChannelState) -> TLObject:
        user = caller.user

        def make() -> TLObject:
            return self._updates.bundle([types.UpdateChannel(channel.id)], user, (), channel)

        self._updates.to_user(user, make, caller.session)
        return make()

    def _matching(self, channel: ChannelState, wanted: TLObject) -> list[int]:
        match wanted:
            case types.ChannelParticipantsRecent():
                return list(channel.members)
            case types.ChannelParticipantsSearch():
                text = wanted.q.casefold()
                return [id for id in channel.members if not text or self._named(id, text)]
            case types.ChannelParticipantsAdmins():
                return [channel.creator] if channel.creator in channel.members and channel.creator else []
        return []  # nobody is banned, kicked, a bot or a contact here

    def _named(self, user_id: int, text: str) -> bool:
        user = self._state.users[user_id].user
        return text in user.first_name.casefold() or text in (user.username or "").casefold()


def _may_list(channel: ChannelState, viewer: UserState) -> bool:
    return viewer.id == channel.creator or (channel.channel.megagroup and not channel.hidden_members)


def _participant(channel: ChannelState, user_id: int) -> types.TypeChannelParticipant:
    if user_id == channel.creator:
        return types.ChannelParticipantCreator(user_id, ALL_RIGHTS)
    return types.ChannelParticipant(user_id, channel.members[user_id])
