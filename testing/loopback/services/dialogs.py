"""The list of a user's chats."""

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.history import Message
from telestage.testing.loopback.peers import Peers
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import ChannelState, State, UserState
from telestage.testing.loopback.tl import given

_LARGEST_PAGE = 100


class DialogsService:
    """messages.getDialogs and getPeerDialogs."""

    def __init__(self, state: State, peers: Peers, renderer: Renderer) -> None:
        self._state = state
        self._peers = peers
        self._renderer = renderer

    @answers(functions.messages.GetDialogsRequest)
    def get_dialogs(self, caller: Caller, request: functions.messages.GetDialogsRequest) -> TLObject:
        """One page of chats, those with the newest message first, at most 100."""
        viewer = caller.user
        everything = sorted(self._chats(viewer), key=lambda chat: _rank(chat, viewer), reverse=True)
        rest = everything
        if not isinstance(request.offset_peer, types.InputPeerEmpty):
            last = _rank(self._peers.chat(request.offset_peer, viewer), viewer)
            rest = [chat for chat in everything if _rank(chat, viewer) < last]
        elif (bound := given(request.offset_date)) is not None:
            rest = [chat for chat in everything if _rank(chat, viewer)[0] < bound.timestamp()]
        page = rest[: max(0, min(request.limit, _LARGEST_PAGE))]
        dialogs, messages, chats, users = self._lines(page, viewer)
        if len(page) == len(everything):
            return types.messages.Dialogs(dialogs, messages, chats, users)
        return types.messages.DialogsSlice(len(everything), dialogs, messages, chats, users)

    @answers(functions.messages.GetPeerDialogsRequest)
    def get_peer_dialogs(self, caller: Caller, request: functions.messages.GetPeerDialogsRequest) -> TLObject:
        """The lines of certain chats."""
        viewer = caller.user
        wanted = [self._peers.chat(r.peer, viewer) for r in request.peers if isinstance(r, types.InputDialogPeer)]
        state = self._renderer.state(viewer)
        return types.messages.PeerDialogs(*self._lines(wanted, viewer), state)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module

    def _chats(self, viewer: UserState) -> list[UserState | ChannelState]:
        private = [self._state.users[id] for id, history in viewer.histories.items() if len(history)]
        return [*private, *viewer.channels.values()]

    def _lines(
        self, chats: list[UserState | ChannelState], viewer: UserState
    ) -> tuple[list[types.TypeDialog], list[types.TypeMessage], list[types.TypeChat], list[types.TypeUser]]:
        tops = [top for chat in chats if (top := _top(chat, viewer)) is not None]
        users, channels = self._renderer.people(tops, viewer)
        mentioned = {top.chat for top in tops}
        empty = [chat for chat in chats if isinstance(chat, ChannelState) and chat.channel.marked_id not in mentioned]
        channels += [self._renderer.channel(channel, viewer) for channel in empty]
        views = [self._renderer.message(top, viewer) for top in tops]
        dialogs: list[types.TypeDialog] = [self._renderer.dialog(chat, viewer) for chat in chats]
        return dialogs, views, channels, users


def _top(chat: UserState | ChannelState, viewer: UserState) -> Message | None:
    return chat.history.latest if isinstance(chat, ChannelState) else viewer.history(chat.id).latest


def _rank(chat: UserState | ChannelState, viewer: UserState) -> tuple[float, int]:
    """What the list is ordered by: the newest message's date, then the id, so that pages never overlap."""
    top = _top(chat, viewer)
    if top is not None:
        return top.date.timestamp(), chat.id
    return (chat.created.timestamp() if isinstance(chat, ChannelState) else 0.0), chat.id
