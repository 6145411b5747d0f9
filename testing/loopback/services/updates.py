"""What a client missed: updates.getState, getDifference, getChannelDifference."""

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.history import Event, Message
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import ChannelState, UserState
from telestage.testing.loopback.tl import now
from telestage.testing.loopback.updates import Updates

_POLL_SECONDS = 300


class UpdatesService:
    """Tells clients what happened since the pts they know.

    Args:
        page: Most events in one answer; more come in slices. Telegram's own figure is not published.
        too_long: Further behind than this, an account's difference is not given at all.
    """

    def __init__(self, peers: Peers, renderer: Renderer, updates: Updates, *, page: int, too_long: int) -> None:
        self._peers = peers
        self._renderer = renderer
        self._updates = updates
        self._page = page
        self._too_long = too_long

    @answers(functions.updates.GetStateRequest)
    def get_state(self, caller: Caller, request: functions.updates.GetStateRequest) -> TLObject:
        """Where the account is now."""
        return self._renderer.state(caller.user)

    @answers(functions.updates.GetDifferenceRequest)
    def get_difference(self, caller: Caller, request: functions.updates.GetDifferenceRequest) -> TLObject:
        """Private messages since `pts`, and which channels moved on since `date`.

        A slice ends with the date of its last event, and tells of the channels that moved up to then: by that date
        the client asks for the next one.
        """
        viewer = caller.user
        if not request.pts:
            raise RpcRefusal(400, "PERSISTENT_TIMESTAMP_EMPTY")
        if not 0 < request.pts <= viewer.log.pts:
            raise RpcRefusal(400, "PERSISTENT_TIMESTAMP_INVALID")
        if viewer.log.pts - request.pts > self._too_long:
            return types.updates.DifferenceTooLong(viewer.log.pts)
        events = viewer.log.after(request.pts, self._page)
        pts = events[-1].pts if events else viewer.log.pts
        last = pts == viewer.log.pts
        date = now() if last else events[-1].date
        moved = [
            channel
            for channel in viewer.channels.values()
            if channel.log.pts > 1
            and (last or channel.moved <= date)
            and (request.date is None or channel.moved >= request.date)
        ]
        if not events and not moved:
            return types.updates.DifferenceEmpty(now(), 0)
        messages, others = self._split(events, viewer, None)
        others += [types.UpdateChannelTooLong(channel.id, channel.log.pts) for channel in moved]
        users, chats = self._renderer.people(messages, viewer)
        mentioned = {message.chat for message in messages}
        chats += [self._renderer.channel(c, viewer) for c in moved if c.channel.marked_id not in mentioned]
        views = [self._renderer.message(message, viewer) for message in messages]
        kind = types.updates.Difference if last else types.updates.DifferenceSlice
        state = self._renderer.state(viewer, pts, date)
        return kind(views, [], others, chats, users, state)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module

    @answers(functions.updates.GetChannelDifferenceRequest)
    def get_channel_difference(
        self, caller: Caller, request: functions.updates.GetChannelDifferenceRequest
    ) -> TLObject:
        """What happened in one channel since `pts`; too long if that is more than `limit` steps ago."""
        viewer = caller.user
        channel = self._peers.channel(request.channel, caller.user)
        if not request.pts:
            raise RpcRefusal(400, "PERSISTENT_TIMESTAMP_EMPTY")
        if not 0 < request.pts <= channel.log.pts:
            raise RpcRefusal(400, "PERSISTENT_TIMESTAMP_INVALID")
        if not 0 < request.limit <= 100_000:
            raise RpcRefusal(400, "PERSISTENT_TIMESTAMP_INVALID" if request.limit < 0 else "LIMIT_INVALID")
        if channel.log.pts == request.pts:
            return types.updates.ChannelDifferenceEmpty(channel.log.pts, final=True, timeout=_POLL_SECONDS)
        if channel.log.pts - request.pts > request.limit:
            return self._too_far_behind(channel, viewer)
        events = channel.log.after(request.pts, self._page)
        messages, others = self._split(events, viewer, channel)
        users, chats = self._renderer.people(messages, viewer, channel)
        return types.updates.ChannelDifference(
            pts=events[-1].pts,
            new_messages=[self._renderer.message(message, viewer) for message in messages],
            other_updates=others,
            chats=chats,
            users=users,
            final=events[-1].pts == channel.log.pts,
            timeout=_POLL_SECONDS,
        )

    def _split(
        self, events: list[Event], viewer: UserState, channel: ChannelState | None
    ) -> tuple[list[Message], list[types.TypeUpdate]]:
        """New messages as they are now, and everything else that happened."""
        messages: list[Message] = []
        others: list[types.TypeUpdate] = []
        for event in events:
            if event.kind == "new":
                message = (channel.history if channel else viewer.box).get(event.ids[0])
                if message is not None:
                    messages.append(message)
            else:
                update = self._updates.of(event, viewer, channel)
                if update is not None:
                    others.append(update)
        return messages, others

    def _too_far_behind(self, channel: ChannelState, viewer: UserState) -> TLObject:
        latest = channel.history.latest
        dialog = self._renderer.dialog(channel, viewer)
        messages = [latest] if latest else []
        users, chats = self._renderer.people(messages, viewer, channel)
        views = [self._renderer.message(message, viewer) for message in messages]
        return types.updates.ChannelDifferenceTooLong(dialog, views, chats, users, final=True, timeout=_POLL_SECONDS)
