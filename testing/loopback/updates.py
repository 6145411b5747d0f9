"""Pushing updates: to every session that listens and is affected, and to no other.

What is pushed is made and encoded once for all who see the same; it carries the users and chats it mentions, and
seq 0, so that clients judge it by its pts alone.
"""

from collections.abc import Callable, Collection, Iterable

from telethon.tl import types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.history import Event, Message
from telestage.testing.loopback.plan import Plan
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.session import Session
from telestage.testing.loopback.state import ChannelState, State, UserState
from telestage.testing.loopback.tl import now


class Updates:
    """Makes updates and pushes them."""

    def __init__(self, state: State, renderer: Renderer, plan: Plan) -> None:
        self._state = state
        self._renderer = renderer
        self._plan = plan

    def bundle(
        self,
        updates: list[types.TypeUpdate],
        viewer: UserState,
        messages: Iterable[Message] = (),
        channel: ChannelState | None = None,
    ) -> types.Updates:
        """`updates` with whom and what `messages` and `channel` mention, as `viewer` sees them."""
        users, chats = self._renderer.people(messages, viewer, channel)
        return types.Updates(updates=updates, users=users, chats=chats, date=now(), seq=0)

    def of(self, event: Event, viewer: UserState, channel: ChannelState | None) -> types.TypeUpdate | None:
        """The update that tells of `event`; None where a later deletion has made it void."""
        if event.kind == "other":
            return event.update
        if event.kind == "deleted":
            ids = list(event.ids)
            if channel is not None:
                return types.UpdateDeleteChannelMessages(channel.id, ids, event.pts, event.count)
            return types.UpdateDeleteMessages(ids, event.pts, event.count)
        message = channel.history.get(event.ids[0]) if channel is not None else viewer.box.get(event.ids[0])
        if message is None:
            return None
        if event.kind == "new":
            return self.new(message, event.pts, viewer)
        edit = types.UpdateEditMessage if channel is None else types.UpdateEditChannelMessage
        return edit(self._renderer.message(message, viewer), event.pts, event.count)

    def new(self, message: Message, pts: int, viewer: UserState) -> types.TypeUpdate:
        """The update that brings `message`."""
        kind = types.UpdateNewMessage if message.chat > 0 else types.UpdateNewChannelMessage
        return kind(self._renderer.message(message, viewer), pts, 1)

    def to_user(self, user: UserState, make: Callable[[], TLObject], origin: Session | None = None) -> None:
        """Push to the sessions of `user`, but not to `origin`, whose call is answered with it."""
        if not user.listeners or self._plan.loses_update(user.id):
            return
        body: bytes | None = None
        for session in user.listeners:
            if session is not origin:
                body = bytes(make()) if body is None else body
                session.push(body)

    def to_members(
        self,
        channel: ChannelState,
        make: Callable[[UserState], TLObject],
        special: Collection[int | None],
        origin: Session | None = None,
    ) -> None:
        """Push to the listening members of `channel`; `special` users get their own view, the rest share one."""
        if self._plan.loses_update(None):
            return
        shared: bytes | None = None
        for user in self._listening(channel):
            if self._plan.loses_update(user.id):
                continue
            if user.id in special or self._state.hashes_per_account:
                body = bytes(make(user))
            else:
                body = shared = bytes(make(user)) if shared is None else shared
            for session in user.listeners:
                if session is not origin:
                    session.push(body)

    def _listening(self, channel: ChannelState) -> list[UserState]:
        users = self._state.users
        return [users[id] for id in channel.members if users[id].listeners]
