"""What users, channels and messages look like to one reader, as TL objects.

Most readers see the same; the bytes they share are made once and kept. Only the writer of a message, a user
looking at himself, and a channel's creator or outsiders see something of their own.
"""

from collections.abc import Iterable
from datetime import datetime

from telethon.tl import types

from telestage.testing.loopback.history import Message
from telestage.testing.loopback.state import CHANNEL_MARK, ChannelState, State, UserState
from telestage.testing.loopback.tl import encoded, now


class Renderer:
    """Makes TL objects of what `state` holds."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._users: dict[int, types.User] = {}

    def user(self, user: UserState, viewer: UserState) -> types.TypeUser:
        """`user` as `viewer` sees him; only to himself does he show his phone."""
        if user is viewer:
            return _user(user, self._state.access_hash(user.user, viewer), is_self=True)
        known = self._users.get(user.id)
        if known is None:
            known = encoded(_user(user, self._state.access_hash(user.user, viewer), is_self=False))
            if not self._state.hashes_per_account:
                self._users[user.id] = known
        return known

    def channel(self, channel: ChannelState, viewer: UserState) -> types.TypeChat:
        """`channel` as `viewer` sees it."""
        value = channel.channel
        creator = channel.creator == viewer.id
        return types.Channel(
            id=value.id,
            title=value.title,
            photo=types.ChatPhotoEmpty(),
            date=channel.created,
            creator=creator,
            left=viewer.id not in channel.members,
            broadcast=not value.megagroup,
            megagroup=value.megagroup,
            access_hash=self._state.access_hash(value, viewer),
            username=value.username,
            admin_rights=ALL_RIGHTS if creator else None,
            default_banned_rights=_NO_BANS if value.megagroup else None,
            participants_count=len(channel.members),
        )

    def message(self, message: Message, viewer: UserState) -> types.TypeMessage:
        """`message` as `viewer` sees it."""
        out = message.out or message.author == viewer.id
        if message.chat > 0 or out:
            return _message(message, out=out)
        if message.encoded is None:
            message.encoded = encoded(_message(message, out=False))
        return message.encoded

    def dialog(self, chat: UserState | ChannelState, viewer: UserState) -> types.Dialog:
        """The line of `chat` in the list of `viewer`'s chats."""
        if isinstance(chat, ChannelState):
            marked, history, pts = chat.channel.marked_id, chat.history, chat.log.pts
        else:
            marked, history, pts = chat.id, viewer.history(chat.id), None
        latest, read = history.latest, viewer.read.get(marked, 0)
        return types.Dialog(
            peer=peer(marked),
            top_message=latest.id if latest else 0,
            read_inbox_max_id=read,
            read_outbox_max_id=0,
            unread_count=history.unread(read),
            unread_mentions_count=0,
            unread_reactions_count=0,
            unread_poll_votes_count=0,
            notify_settings=types.PeerNotifySettings(),
            pts=pts,
        )

    def state(self, user: UserState, pts: int | None = None, date: datetime | None = None) -> types.updates.State:
        """Where the account of `user` is, or was at `pts`, on that date."""
        unread = sum(history.unread(user.read.get(peer_id, 0)) for peer_id, history in user.histories.items())
        return types.updates.State(
            pts if pts is not None else user.log.pts, 0, date or now(), seq=0, unread_count=unread
        )

    def people(
        self, messages: Iterable[Message], viewer: UserState, channel: ChannelState | None = None
    ) -> tuple[list[types.TypeUser], list[types.TypeChat]]:
        """The users and chats that occur in `messages`, without which clients cannot read them."""
        ids: dict[int, None] = {channel.channel.marked_id: None} if channel else {}
        for message in messages:
            ids[message.chat] = None
            if message.sender is not None:
                ids[message.sender] = None
            if message.forwarded is not None:
                ids[message.forwarded.chat if message.forwarded.sender is None else message.forwarded.sender] = None
        return self.users((id for id in ids if id > 0), viewer), self.channels((id for id in ids if id < 0), viewer)

    def users(self, ids: Iterable[int], viewer: UserState) -> list[types.TypeUser]:
        """Users by id."""
        return [self.user(self._state.users[id], viewer) for id in ids]

    def channels(self, marked_ids: Iterable[int], viewer: UserState) -> list[types.TypeChat]:
        """Channels by marked id."""
        return [self.channel(self._state.channels[CHANNEL_MARK - id], viewer) for id in marked_ids]


def peer(marked_id: int) -> types.PeerUser | types.PeerChannel:
    """A marked id as TL writes it."""
    return types.PeerUser(marked_id) if marked_id > 0 else types.PeerChannel(CHANNEL_MARK - marked_id)


def _user(user: UserState, access_hash: int, *, is_self: bool) -> types.User:
    value = user.user
    return types.User(
        id=value.id,
        is_self=is_self,
        access_hash=access_hash,
        first_name=value.first_name,
        username=value.username,
        phone=value.phone if is_self else None,
        status=types.UserStatusRecently(),
    )


def _message(message: Message, *, out: bool) -> types.Message:
    broadcast = message.chat < 0 and message.sender is None
    return types.Message(
        id=message.id,
        peer_id=peer(message.chat),
        date=message.date,
        message=message.text,
        out=out,
        post=broadcast,
        from_id=None if message.sender is None else types.PeerUser(message.sender),
        entities=message.entities,
        reply_to=types.MessageReplyHeader(reply_to_msg_id=message.reply_to) if message.reply_to else None,
        edit_date=message.edited,
        views=1 if broadcast else None,
        forwards=0 if broadcast else None,
        fwd_from=_forward(message),
    )


def _forward(message: Message) -> types.MessageFwdHeader | None:
    origin = message.forwarded
    if origin is None:
        return None
    if origin.sender is None:
        return types.MessageFwdHeader(origin.date, from_id=peer(origin.chat), channel_post=origin.message_id)
    return types.MessageFwdHeader(origin.date, from_id=types.PeerUser(origin.sender))


ALL_RIGHTS = types.ChatAdminRights(
    change_info=True,
    post_messages=True,
    edit_messages=True,
    delete_messages=True,
    ban_users=True,
    invite_users=True,
    pin_messages=True,
    add_admins=True,
    other=True,
)
_NO_BANS = types.ChatBannedRights(until_date=None)
