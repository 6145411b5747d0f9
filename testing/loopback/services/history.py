"""Reading messages: pages of a history, messages by id, and searching."""

from collections.abc import Iterable

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.history import History, Message, Window
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import ChannelState, UserState
from telestage.testing.loopback.tl import given

_LARGEST_PAGE = 100


class HistoryService:
    """messages.getHistory, getMessages and search, and their likes in channels."""

    def __init__(self, peers: Peers, renderer: Renderer) -> None:
        self._peers = peers
        self._renderer = renderer

    @answers(functions.messages.GetHistoryRequest)
    def get_history(self, caller: Caller, request: functions.messages.GetHistoryRequest) -> TLObject:
        """One page, newest first, at most 100 messages."""
        viewer, chat = caller.user, self._peers.chat(request.peer, caller.user)
        history = _history(chat, viewer)
        window = Window(
            request.offset_id,
            given(request.offset_date),
            request.add_offset,
            _limit(request.limit),
            request.max_id,
            request.min_id,
        )
        return self._answer(viewer, chat, history.page(window), len(history))

    @answers(functions.messages.SearchRequest)
    def search(self, caller: Caller, request: functions.messages.SearchRequest) -> TLObject:
        """The same, of the messages that contain `q` and are by `from_id`; of media filters none matches."""
        viewer, chat = caller.user, self._peers.chat(request.peer, caller.user)
        author = self._peers.user(request.from_id, viewer) if request.from_id is not None else None
        text, since, until = request.q.casefold(), given(request.min_date), given(request.max_date)
        found = History()
        for message in _history(chat, viewer):
            if (
                text in message.text.casefold()
                and isinstance(request.filter, types.InputMessagesFilterEmpty)
                and (author is None or message.sender == author.id)
                and (since is None or message.date > since)
                and (until is None or message.date < until)
            ):
                found.add(message)
        window = Window(
            request.offset_id, None, request.add_offset, _limit(request.limit), request.max_id, request.min_id
        )
        return self._answer(viewer, chat, found.page(window), len(found))

    @answers(functions.messages.GetMessagesRequest)
    def get_messages(self, caller: Caller, request: functions.messages.GetMessagesRequest) -> TLObject:
        """Private messages by id, messageEmpty for those that are not there."""
        viewer = caller.user
        found = {id: viewer.box.get(id) for id in _ids(request.id)}
        views, users, chats = self._views(found, viewer, None)
        return types.messages.Messages(messages=views, topics=[], chats=chats, users=users)

    @answers(functions.channels.GetMessagesRequest)
    def get_posts(self, caller: Caller, request: functions.channels.GetMessagesRequest) -> TLObject:
        """A channel's messages by id, messageEmpty for those that are not there."""
        viewer, channel = caller.user, self._peers.channel(request.channel, caller.user)
        found = {id: channel.history.get(id) for id in _ids(request.id)}
        views, users, chats = self._views(found, viewer, channel)
        return types.messages.ChannelMessages(
            pts=channel.log.pts, count=len(views), messages=views, topics=[], chats=chats, users=users
        )

    def _views(
        self, found: dict[int, Message | None], viewer: UserState, channel: ChannelState | None
    ) -> tuple[list[types.TypeMessage], list[types.TypeUser], list[types.TypeChat]]:
        views: list[types.TypeMessage] = [
            types.MessageEmpty(id, peer_id=None) if message is None else self._renderer.message(message, viewer)
            for id, message in found.items()
        ]
        return views, *self._renderer.people(filter(None, found.values()), viewer, channel)

    def _answer(self, viewer: UserState, chat: UserState | ChannelState, page: list[Message], count: int) -> TLObject:
        channel = chat if isinstance(chat, ChannelState) else None
        users, chats = self._renderer.people(page, viewer, channel)
        views = [self._renderer.message(message, viewer) for message in page]
        if channel is not None:
            return types.messages.ChannelMessages(
                pts=channel.log.pts, count=count, messages=views, topics=[], chats=chats, users=users
            )
        if len(page) == count:
            return types.messages.Messages(messages=views, topics=[], chats=chats, users=users)
        return types.messages.MessagesSlice(count=count, messages=views, topics=[], chats=chats, users=users)


def _history(chat: UserState | ChannelState, viewer: UserState) -> History:
    return chat.history if isinstance(chat, ChannelState) else viewer.history(chat.id)


def _limit(asked: int) -> int:
    return max(0, min(asked, _LARGEST_PAGE))


def _ids(references: Iterable[TLObject]) -> list[int]:
    ids = [reference.id for reference in references if isinstance(reference, types.InputMessageID)]
    if not ids:
        raise RpcRefusal(400, "MESSAGE_IDS_EMPTY")
    return ids[:_LARGEST_PAGE]
