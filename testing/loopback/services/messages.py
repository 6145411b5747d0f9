"""Writing, forwarding, editing, deleting and reading messages, in private and in channels."""

import math
from datetime import datetime

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.history import Event, Message, Origin
from telestage.testing.loopback.messaging import Content, Messaging
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.record import Delivery, Record
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import ChannelState, Sent, UserState
from telestage.testing.loopback.updates import Updates

_LONGEST = 4096  # characters, Telegram's limit
_MOST_FORWARDED = 100


class MessagesService:
    """messages.* and channels.* calls that change messages."""

    def __init__(self, messaging: Messaging, peers: Peers, updates: Updates, record: Record) -> None:
        self._messaging = messaging
        self._peers = peers
        self._updates = updates
        self._record = record

    @answers(functions.messages.SendMessageRequest)
    def send_message(self, caller: Caller, request: functions.messages.SendMessageRequest) -> TLObject:
        """Write once for each random_id; a repetition gets the first message again."""
        sender, chat = caller.user, self._peers.chat(request.peer, caller.user)
        _check_for_now(request.schedule_date)
        content = Content(_checked_text(request.message), _entities(request.entities), _reply(request.reply_to))
        message, sent = self._write(caller, chat, content, request.random_id)
        if isinstance(chat, UserState) and chat is not sender:
            return types.UpdateShortSentMessage(
                message.id, sent.pts, 1, message.date, out=True, entities=content.entities
            )
        return self._outcome(caller.user, chat, [(request.random_id, message, sent)])

    @answers(functions.messages.ForwardMessagesRequest)
    def forward_messages(self, caller: Caller, request: functions.messages.ForwardMessagesRequest) -> TLObject:
        """Write copies of messages that name where they come from."""
        sender = caller.user
        source, chat = self._peers.chat(request.from_peer, sender), self._peers.chat(request.to_peer, sender)
        _check_for_now(request.schedule_date)
        if not request.id or len(request.id) != len(request.random_id) or len(request.id) > _MOST_FORWARDED:
            raise RpcRefusal(400, "MESSAGE_IDS_EMPTY" if not request.id else "RANDOM_ID_INVALID")
        done: list[tuple[int, Message, Sent]] = []
        for message_id, random_id in zip(request.id, request.random_id, strict=True):
            message = _find(source, sender, message_id)
            if message is None:
                continue
            origin = message.forwarded or Origin(message.chat, message.id, message.sender, message.date)
            content = Content(message.text, message.entities, forwarded=None if request.drop_author else origin)
            done.append((random_id, *self._write(caller, chat, content, random_id)))
        if not done:
            raise RpcRefusal(400, "MESSAGE_ID_INVALID")
        return self._outcome(sender, chat, done)

    @answers(functions.messages.EditMessageRequest)
    def edit_message(self, caller: Caller, request: functions.messages.EditMessageRequest) -> TLObject:
        """Change the text of a message of one's own, or as the channel's creator."""
        editor, chat = caller.user, self._peers.chat(request.peer, caller.user)
        message = _find(chat, editor, request.id)
        if message is None:
            raise RpcRefusal(400, "MESSAGE_ID_INVALID")
        content = Content(_checked_text(request.message or ""), _entities(request.entities))
        if (message.text, message.entities) == (content.text, content.entities):
            raise RpcRefusal(400, "MESSAGE_NOT_MODIFIED")
        if isinstance(chat, ChannelState):
            if editor.id not in (message.sender, chat.creator):
                raise RpcRefusal(403, "MESSAGE_AUTHOR_REQUIRED")
            event = self._messaging.edit_post(chat, message, content, caller.session)
            return self._bundle(editor, chat, event, message)
        if not message.out:
            raise RpcRefusal(403, "MESSAGE_AUTHOR_REQUIRED")
        return self._bundle(editor, chat, self._messaging.edit(editor, message, content, caller.session), message)

    @answers(functions.messages.DeleteMessagesRequest)
    def delete_messages(self, caller: Caller, request: functions.messages.DeleteMessagesRequest) -> TLObject:
        """Delete private messages; with `revoke` for both sides."""
        gone = self._messaging.delete(caller.user, request.id, revoke=bool(request.revoke), origin=caller.session)
        return types.messages.AffectedMessages(caller.user.log.pts, gone)

    @answers(functions.channels.DeleteMessagesRequest)
    def delete_posts(self, caller: Caller, request: functions.channels.DeleteMessagesRequest) -> TLObject:
        """Delete a channel's messages: one's own, or any as its creator."""
        channel = self._peers.channel(request.channel, caller.user)
        found = [message for id in request.id if (message := channel.history.get(id)) is not None]
        if any(caller.user.id not in (message.sender, channel.creator) for message in found):
            raise RpcRefusal(403, "MESSAGE_DELETE_FORBIDDEN")
        gone = self._messaging.delete_posts(channel, request.id, caller.session)
        # The pts is the channel's, as Telegram has it. Telethon takes it for the account's and then asks for a
        # difference it does not need.
        return types.messages.AffectedMessages(channel.log.pts, gone)

    @answers(functions.messages.ReadHistoryRequest)
    def read_history(self, caller: Caller, request: functions.messages.ReadHistoryRequest) -> TLObject:
        """Mark a private chat as read."""
        reader, other = caller.user, self._peers.user(request.peer, caller.user)
        moved = self._messaging.read(reader, other, request.max_id, caller.session)
        return types.messages.AffectedMessages(reader.log.pts, moved)

    @answers(functions.channels.ReadHistoryRequest)
    def read_posts(self, caller: Caller, request: functions.channels.ReadHistoryRequest) -> bool:
        """Mark a channel as read."""
        channel = self._peers.channel(request.channel, caller.user)
        return self._messaging.read_posts(caller.user, channel, request.max_id, caller.session)

    @answers(functions.messages.SetTypingRequest)
    def set_typing(self, caller: Caller, request: functions.messages.SetTypingRequest) -> bool:
        """Taken note of; nobody is told."""
        self._peers.chat(request.peer, caller.user)
        return True

    def _write(
        self, caller: Caller, chat: UserState | ChannelState, content: Content, random_id: int
    ) -> tuple[Message, Sent]:
        """Write unless this random_id is known; gives the message and what its random_id became."""
        sender = caller.user
        known = sender.sent.get(random_id)
        if known is not None:
            self._record.repeats += 1
            message = self._again(sender, known)
            if message is None:
                raise RpcRefusal(500, "RANDOM_ID_DUPLICATE")
            return message, known
        if isinstance(chat, ChannelState):
            _check_may_write(chat, sender)
            _check_slow_mode(chat, sender, self._record.clock())
            message, event = self._messaging.post(chat, sender, content, caller.session)
        else:
            message, event = self._messaging.send(sender, chat, content, caller.session)
        sent = sender.sent[random_id] = Sent(message.chat, message.id, event.pts)
        self._record.deliveries.append(
            Delivery(random_id, sender.id, message.chat, message.id, content.text, self._record.clock())
        )
        return message, sent

    def _again(self, sender: UserState, known: Sent) -> Message | None:
        if known.chat > 0:
            return sender.box.get(known.message_id)
        return self._peers.known_channel(known.chat).history.get(known.message_id)

    def _outcome(
        self, viewer: UserState, chat: UserState | ChannelState, done: list[tuple[int, Message, Sent]]
    ) -> TLObject:
        channel = chat if isinstance(chat, ChannelState) else None
        updates: list[types.TypeUpdate] = [
            types.UpdateMessageID(message.id, random_id) for random_id, message, _ in done
        ]
        updates += [self._updates.new(message, sent.pts, viewer) for _, message, sent in done]
        return self._updates.bundle(updates, viewer, [message for _, message, _ in done], channel)

    def _bundle(self, viewer: UserState, chat: UserState | ChannelState, event: Event, message: Message) -> TLObject:
        channel = chat if isinstance(chat, ChannelState) else None
        update = self._updates.of(event, viewer, channel)
        return self._updates.bundle([update] if update is not None else [], viewer, [message], channel)


def _find(chat: UserState | ChannelState, viewer: UserState, message_id: int) -> Message | None:
    if isinstance(chat, ChannelState):
        return chat.history.get(message_id)
    return viewer.history(chat.id).get(message_id)


def _check_may_write(channel: ChannelState, sender: UserState) -> None:
    """A group is written by its members, a broadcast channel by its creator."""
    if sender.id not in (channel.members if channel.channel.megagroup else (channel.creator,)):
        raise RpcRefusal(403, "CHAT_WRITE_FORBIDDEN")


def _check_slow_mode(channel: ChannelState, sender: UserState, moment: float) -> None:
    if not channel.slow_seconds or sender.id == channel.creator:
        return
    left = channel.writes_next.get(sender.id, 0.0) - moment
    if left > 0:
        raise RpcRefusal(420, f"SLOWMODE_WAIT_{math.ceil(left)}")
    channel.writes_next[sender.id] = moment + channel.slow_seconds


def _check_for_now(schedule_date: datetime | None) -> None:
    """Scheduled messages are not served; to send them at once would be worse than to refuse."""
    if schedule_date is not None:
        raise RpcRefusal(400, "SCHEDULE_DATE_INVALID")


def _checked_text(text: str) -> str:
    if not text:
        raise RpcRefusal(400, "MESSAGE_EMPTY")
    if len(text) > _LONGEST:
        raise RpcRefusal(400, "MESSAGE_TOO_LONG")
    return text


def _reply(reply_to: object) -> int | None:
    return reply_to.reply_to_msg_id if isinstance(reply_to, types.InputReplyToMessage) else None


def _entities(entities: list[types.TypeMessageEntity] | None) -> list[types.TypeMessageEntity] | None:
    """The formatting as readers get it: a mention names its user without the sender's reference to him."""
    if not entities:
        return None
    return [
        _mention(entity) if isinstance(entity, types.InputMessageEntityMentionName) else entity for entity in entities
    ]


def _mention(entity: types.InputMessageEntityMentionName) -> types.TypeMessageEntity:
    return types.MessageEntityMentionName(entity.offset, entity.length, getattr(entity.user_id, "user_id", 0))
