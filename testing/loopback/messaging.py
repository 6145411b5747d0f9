"""What can happen to messages: written, edited, deleted, read. Each step changes the histories, moves the pts
of everybody concerned, and pushes the update that says so.

A channel has one history and one pts for all. Of a private message each side has a copy of its own, with its own
id and its own pts, as Telegram has it. Only `backfill` tells nobody.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from telethon.tl import types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.history import Event, Message, Origin
from telestage.testing.loopback.rendering import peer
from telestage.testing.loopback.session import Session
from telestage.testing.loopback.state import ChannelState, State, UserState
from telestage.testing.loopback.tl import now
from telestage.testing.loopback.updates import Updates


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says."""

    text: str
    entities: list[types.TypeMessageEntity] | None = None
    reply_to: int | None = None
    forwarded: Origin | None = None


class Messaging:
    """The one place where messages change."""

    def __init__(self, state: State, updates: Updates) -> None:
        self._state = state
        self._updates = updates

    def backfill(self, channel: ChannelState, count: int, text: str) -> None:
        """Give a channel a past that nobody is told of; its pts stays where it is."""
        senders: Sequence[int | None] = list(channel.members) if channel.channel.megagroup else []
        moment, step = now(), timedelta(minutes=0 if len(channel.history) else 1)
        for index in range(count):
            channel.history.add(
                Message(
                    id=channel.next_id,
                    chat=channel.channel.marked_id,
                    sender=senders[index % len(senders)] if senders else None,
                    text=text.format(n=channel.next_id),
                    date=moment - step * (count - index),
                )
            )
            channel.next_id += 1

    def post(
        self, channel: ChannelState, author: UserState | None, content: Content, origin: Session | None = None
    ) -> tuple[Message, Event]:
        """Write into a channel; with no author, and in a broadcast channel, the channel itself speaks."""
        message = Message(
            id=channel.next_id,
            chat=channel.channel.marked_id,
            sender=author.id if author and channel.channel.megagroup else None,
            author=author.id if author else None,
            text=content.text,
            date=now(),
            entities=content.entities,
            reply_to=content.reply_to,
            forwarded=content.forwarded,
        )
        channel.next_id += 1
        channel.history.add(message)
        if author is not None:
            author.read[message.chat] = message.id
        event = channel.log.append("new", (message.id,))
        self._tell_members(channel, event, message, origin)
        return message, event

    def send(
        self, sender: UserState, recipient: UserState, content: Content, origin: Session | None = None
    ) -> tuple[Message, Event]:
        """Write to a user; gives the sender's copy. To oneself there is one copy only."""
        copy = self._store(sender, recipient.id, sender, content, out=True)
        event = sender.log.append("new", (copy.id,))
        self._tell(sender, event, copy, origin)
        if recipient is not sender:
            arrived = self._store(recipient, sender.id, sender, content, out=False)
            copy.twin, arrived.twin = (recipient.id, arrived.id), (sender.id, copy.id)
            self._tell(recipient, recipient.log.append("new", (arrived.id,)), arrived)
        return copy, event

    def edit_post(
        self, channel: ChannelState, message: Message, content: Content, origin: Session | None = None
    ) -> Event:
        """Change what a channel's message says."""
        _rewrite(message, content)
        event = channel.log.append("edited", (message.id,))
        self._tell_members(channel, event, message, origin)
        return event

    def edit(self, owner: UserState, message: Message, content: Content, origin: Session | None = None) -> Event:
        """Change what a private message says, on both sides; gives the event on the side of `owner`."""
        _rewrite(message, content)
        event = owner.log.append("edited", (message.id,))
        self._tell(owner, event, message, origin)
        if message.twin is not None:
            other = self._state.users[message.twin[0]]
            twin = other.box.get(message.twin[1])
            if twin is not None:
                _rewrite(twin, content)
                self._tell(other, other.log.append("edited", (twin.id,)), twin)
        return event

    def delete_posts(self, channel: ChannelState, ids: Collection[int], origin: Session | None = None) -> int:
        """Delete messages of a channel; gives how many there were."""
        gone = tuple(id for id in ids if channel.history.remove(id))
        if gone:
            event = channel.log.append("deleted", gone)
            channel.moved = now()
            update = types.UpdateDeleteChannelMessages(channel.id, list(gone), event.pts, event.count)
            self._updates.to_members(
                channel, lambda viewer: self._updates.bundle([update], viewer, (), channel), {channel.creator}, origin
            )
        return len(gone)

    def delete(self, owner: UserState, ids: Collection[int], *, revoke: bool, origin: Session | None = None) -> int:
        """Delete private messages of `owner` and, with `revoke`, the other sides' copies; gives how many."""
        gone = [message for id in ids if (message := owner.box.pop(id, None)) is not None]
        theirs: dict[int, list[int]] = {}
        for message in gone:
            owner.history(message.chat).remove(message.id)
            if revoke and message.twin is not None:
                theirs.setdefault(message.twin[0], []).append(message.twin[1])
        if gone:
            self._tell_deleted(owner, tuple(message.id for message in gone), origin)
        for user_id, twins in theirs.items():
            self.delete(self._state.users[user_id], twins, revoke=False)
        return len(gone)

    def read(self, reader: UserState, other: UserState, max_id: int, origin: Session | None = None) -> int:
        """`reader` has seen what `other` wrote, up to `max_id` (0: all); gives how far the reader's pts moved."""
        history = reader.history(other.id)
        latest = history.latest
        if latest is None:
            return 0
        seen = min(max_id, latest.id) if max_id else latest.id
        before = reader.read.get(other.id, 0)
        if seen <= before:
            return 0
        reader.read[other.id] = seen
        unread = history.unread(seen)
        event = reader.log.append_update(
            lambda pts: types.UpdateReadHistoryInbox(peer(other.id), seen, unread, pts, pts_count=1)
        )
        self._tell(reader, event, None, origin)
        twins = [m.twin[1] for m in history if before < m.id <= seen and not m.out and m.twin is not None]
        if twins and other is not reader:
            shown = other.log.append_update(
                lambda pts: types.UpdateReadHistoryOutbox(peer(reader.id), max(twins), pts, pts_count=1)
            )
            self._tell(other, shown, None)
        return 1

    def read_posts(self, reader: UserState, channel: ChannelState, max_id: int, origin: Session | None = None) -> bool:
        """`reader` has seen a channel's messages up to `max_id` (0: all); False if that is no news."""
        marked, latest = channel.channel.marked_id, channel.history.latest
        seen = min(max_id, latest.id) if max_id and latest else latest.id if latest else 0
        if seen <= reader.read.get(marked, 0):
            return False
        reader.read[marked] = seen
        unread = channel.history.unread(seen)
        update = types.UpdateReadChannelInbox(channel.id, seen, unread, channel.log.pts)
        self._updates.to_user(reader, lambda: self._updates.bundle([update], reader, (), channel), origin)
        return True

    def _store(self, owner: UserState, chat: int, sender: UserState, content: Content, *, out: bool) -> Message:
        message = Message(
            id=owner.next_id,
            chat=chat,
            sender=sender.id,
            text=content.text,
            date=now(),
            out=out,
            entities=content.entities,
            reply_to=self._reply_for(owner, content.reply_to, out=out, sender=sender),
            forwarded=content.forwarded,
        )
        owner.next_id += 1
        owner.box[message.id] = message
        owner.history(chat).add(message)
        return message

    @staticmethod
    def _reply_for(owner: UserState, reply_to: int | None, *, out: bool, sender: UserState) -> int | None:
        """A reply names the message by its sender's id; the other side knows it by its own."""
        if reply_to is None or out:
            return reply_to
        answered = sender.box.get(reply_to)
        return answered.twin[1] if answered is not None and answered.twin and answered.twin[0] == owner.id else None

    def _tell(self, user: UserState, event: Event, message: Message | None, origin: Session | None = None) -> None:
        messages = () if message is None else (message,)

        def make() -> TLObject:
            update = self._updates.of(event, user, None)
            return self._updates.bundle([update] if update is not None else [], user, messages)

        self._updates.to_user(user, make, origin)

    def _tell_deleted(self, user: UserState, ids: tuple[int, ...], origin: Session | None) -> None:
        self._tell(user, user.log.append("deleted", ids), None, origin)

    def _tell_members(self, channel: ChannelState, event: Event, message: Message, origin: Session | None) -> None:
        channel.moved = message.edited or message.date

        def make(viewer: UserState) -> TLObject:
            update = self._updates.of(event, viewer, channel)
            return self._updates.bundle([update] if update is not None else [], viewer, (message,), channel)

        self._updates.to_members(channel, make, {message.author, channel.creator}, origin)


def _rewrite(message: Message, content: Content) -> None:
    message.text = content.text
    message.entities = content.entities
    message.edited = now()
    message.encoded = None
