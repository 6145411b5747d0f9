"""Telethon's message box, which orders updates and finds gaps, without its losses.

Telethon's own drops what a difference tells besides new messages: edits, deletions, reads. Here a difference becomes
what would have been pushed, in order of pts. It makes no difference between the messages in which their creation is
told and those steps of the pts: Telegram gives new messages without it. They are put at the earliest step that no
other update takes, so that a message always comes before its edits; where messages were written and deleted within one
difference, of which it says nothing, others may come a little early.

It overrides methods of Telethon's that aren't documented; tests/integration/test_client.py fails when one changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from telethon._updates import messagebox
from telethon._updates.messagebox import ENTRY_ACCOUNT, ENTRY_SECRET, MessageBox, PtsInfo
from telethon._updates.session import ChannelState, SessionState
from telethon.tl import types
from telethon.tl.tlobject import TLObject

from telestage.actors.telegram.checkpoint import (
    ACCOUNT,
    Account,
    Channel,
    Checkpoint,
    Mark,
    Position,
    Received,
    Recent,
)
from telestage.actors.telegram.updatequeue import WAKE

__all__ = ["Behind", "Learned", "UpdateBox", "in_order", "mark_of", "messages_of"]

_NEW = (types.UpdateNewMessage, types.UpdateNewChannelMessage)
_SHORT = (types.UpdateShortMessage, types.UpdateShortChatMessage)
_EDITED = (types.UpdateEditMessage, types.UpdateEditChannelMessage)
_DELETED = (types.UpdateDeleteMessages, types.UpdateDeleteChannelMessages)
_NOTHING = Recent()
_CONTAINERS = (types.Updates, types.UpdatesCombined)
_PtsInfo: Any = PtsInfo
_box: Any = messagebox


class Learned:
    """A channel stands at this pts. It goes by the queue of updates, so that none that came before is skipped."""

    def __init__(self, channel: int, pts: int) -> None:
        self.channel = channel
        self.pts = pts


class Behind:
    """The difference of this entry is to be fetched, again. Goes by the queue of updates, too."""

    def __init__(self, entry: object) -> None:
        self.entry = entry


def in_order(before: int, messages: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """What happened after the pts `before`: `messages`, which have no pts, sorted in between `others`, which have."""
    waiting = deque(sorted(messages, key=_message_id))
    result: list[Any] = []
    pts = before
    for update in sorted(others, key=_pts):
        room = update.pts - (getattr(update, "pts_count", None) or 0) - pts
        result.extend(waiting.popleft() for _ in range(min(room, len(waiting))))
        result.append(update)
        pts = max(pts, update.pts)
    result.extend(waiting)
    return result


def mark_of(update: Any) -> Mark | None:
    """What an update is known by, pushed or fetched; None if it comes without a pts."""
    if isinstance(update, _NEW):
        channel = getattr(getattr(update.message, "peer_id", None), "channel_id", None)
        return (channel or ACCOUNT, True, update.message.id)
    if isinstance(update, _SHORT):
        return (ACCOUNT, True, update.id)
    info = _PtsInfo.from_update(update)
    if info is None or info.entry is ENTRY_SECRET:
        return None
    return (ACCOUNT if info.entry is ENTRY_ACCOUNT else info.entry, False, info.pts)


def messages_of(update: Any) -> tuple[frozenset[int], bool]:
    """The ids of the messages that an update concerns, and whether it tells their deletion."""
    if isinstance(update, _DELETED):
        return frozenset(update.messages), True
    if isinstance(update, (*_NEW, *_EDITED)):
        return frozenset((update.message.id,)), False
    return frozenset(), False


class UpdateBox(MessageBox):
    """The message box of a session's client.

    Args:
        log: Telethon's.
        checkpoint: Of the session: where to begin, if another client was left there.
        put: Puts something into the client's queue of updates.
    """

    def __init__(self, log: object, checkpoint: Checkpoint, put: Callable[[object], None]) -> None:
        super().__init__(log)
        self.map: dict[Any, Any]
        self.getting_diff_for: set[Any]
        self.last_ids: dict[int, int] = {}
        self.recent: dict[int, Recent] = {}
        self.looked: set[int] = set()  # where it is too far behind, and the last messages known have been looked at
        self._checkpoint = checkpoint
        self._put = put
        self._touched: set[int] = set()
        self._date: Any = None  # the account's, of when nothing was to be fetched
        self._put_off: set[int] = set()  # channels whose difference Telegram can't give now

    # -- where it stands -----------------------------------------------------------------------------

    def load(self, session_state: Any, channel_states: Any) -> None:
        """Begins where the client before was left in this process, else with what is stored: whichever is further.

        Neither the session nor the fleet's store says more than what every monitor was done with.
        """
        received, stored = self._checkpoint.received, self._checkpoint.stored
        if received is not None:
            account = received.account
            date = int(account.date.timestamp())
            session_state = SessionState(0, 0, False, account.pts, account.qts, date, account.seq, None)
            channel_states = [ChannelState(id, channel.pts) for id, channel in received.channels.items()]
            self.last_ids = dict(received.last_ids)
            self.recent = dict(received.recent)
        elif stored is not None:
            account = stored.account
            if account.pts >= session_state.pts:
                date = int(account.date.timestamp())
                session_state = SessionState(0, 0, False, account.pts, account.qts, date, account.seq, None)
            stands = {state.channel_id: state.pts for state in channel_states}
            for id, channel in stored.channels.items():
                stands[id] = max(channel.pts, stands.get(id, 0))
            channel_states = [ChannelState(id, pts) for id, pts in stands.items()]
            for id, last in stored.last_ids.items():
                self.last_ids[id] = max(last, self.last_ids.get(id, 0))
                if self.last_ids[id] == last:
                    self.recent[id] = stored.recent.get(id, _NOTHING)
        super().load(session_state, channel_states)  # type: ignore[no-untyped-call]  # Telethon's
        if ENTRY_ACCOUNT in self.map:
            self._date = self.date
        self._checkpoint.base(self._position(id for id in self.map if isinstance(id, int)))

    def position(self) -> Position:
        """Where the account stands now, and the channels that moved since this was asked last."""
        touched, self._touched = self._touched, set()
        return self._position(touched)

    def received(self, hashes: dict[int, Any]) -> Received | None:
        """Where it stands, for another client; None if it never knew."""
        position = self._position(id for id in self.map if isinstance(id, int))
        if position.account is None:
            return None
        known = {id: hashes[id] for id in position.channels if id in hashes}
        return Received(position.account, position.channels, dict(self.last_ids), known, dict(self.recent))

    def _position(self, ids: Iterable[int]) -> Position:
        known = self.map
        account = None
        if ENTRY_ACCOUNT in known:
            qts = known[ENTRY_SECRET].pts if ENTRY_SECRET in known else 0
            # by its date Telegram tells which channels moved: one that isn't fetched by a kill is to be told again
            if self._date is None or not (self.getting_diff_for or self.possible_gaps or self._put_off):
                self._date = self.date
            date = self._date
            last, recent = self.last_ids.get(ACCOUNT, 0), self.recent.get(ACCOUNT, _NOTHING)
            account = Account(known[ENTRY_ACCOUNT].pts, qts, date, self.seq, last, recent)
        return Position(account, {id: self._channel(id, known[id].pts) for id in ids if id in known})

    def _channel(self, id: int, pts: int) -> Channel:
        return Channel(pts, self.last_ids.get(id, 0), self.recent.get(id, _NOTHING))

    # -- what is pushed ------------------------------------------------------------------------------

    def try_set_channel_state(self, id: int, pts: int) -> None:
        """Learns where a channel stands, unless it is known by then."""
        if id not in self.map:
            self._put(Learned(id, pts))

    def process_updates(self, updates: Any, chat_hashes: Any, result: list[Any]) -> Any:
        """Telethon's own, and takes a `Learned`, `Behind` or `WAKE`. An empty bundle is no update."""
        if updates is WAKE:
            return (), ()
        if isinstance(updates, Learned):
            if updates.channel not in self.map:
                super().try_set_channel_state(updates.channel, updates.pts)  # type: ignore[no-untyped-call]  # Telethon's
                self._touched.add(updates.channel)
            return (), ()
        if isinstance(updates, Behind):
            self.try_begin_get_diff(updates.entry, "its difference could not be fetched")  # type: ignore[no-untyped-call]  # Telethon's
            return (), ()
        found: list[Any] = []
        users, chats = super().process_updates(updates, chat_hashes, found)  # type: ignore[no-untyped-call]  # Telethon's
        # each was noted as it was applied
        result.extend(update for update in found if not isinstance(update, _CONTAINERS))
        return users, chats

    def apply_pts_info(self, update: Any, *, reset_deadlines: Any) -> Any:
        """Telethon's own, and notes what moves."""
        applied = super().apply_pts_info(update, reset_deadlines=reset_deadlines)  # type: ignore[no-untyped-call]  # Telethon's
        if applied is not None:
            mark = mark_of(applied)
            if mark is not None:
                self._note(mark, applied)
        return applied

    # -- what is fetched -----------------------------------------------------------------------------

    def get_difference(self) -> Any:
        """Telethon's own; the account's is fetched with that of the secret chats, as Telegram gives both."""
        if ENTRY_SECRET in self.getting_diff_for and ENTRY_ACCOUNT in self.map:
            self.getting_diff_for.add(ENTRY_ACCOUNT)
            self.possible_gaps.pop(ENTRY_ACCOUNT, None)
        return super().get_difference()  # type: ignore[no-untyped-call]  # Telethon's

    def apply_difference_type(self, diff: Any, chat_hashes: Any) -> Any:
        """Gives all of an account's difference, in order."""
        before = self.map[ENTRY_ACCOUNT].pts
        secret = self.map[ENTRY_SECRET].pts if ENTRY_SECRET in self.map else 0
        state = getattr(diff, "intermediate_state", None) or diff.state
        self.set_state(state, reset=False)  # type: ignore[no-untyped-call]  # Telethon's
        own: list[Any] = []
        rest: list[Any] = []
        secrets: list[Any] = []
        for update in diff.other_updates:
            info = _PtsInfo.from_update(update)
            if info is not None and info.entry is ENTRY_ACCOUNT:
                if info.pts > before:
                    own.append(update)
            elif info is not None and info.entry is ENTRY_SECRET:
                if info.pts > secret:
                    secrets.append(update)
            else:
                rest.append(update)
        messages = [types.UpdateNewMessage(message=m, pts=0, pts_count=0) for m in diff.new_messages]
        updates = self._fresh(in_order(before, messages, own))
        secrets += [types.UpdateNewEncryptedMessage(message=m, qts=0) for m in diff.new_encrypted_messages]
        self._follow(rest, diff, chat_hashes, updates)
        return updates + secrets, diff.users, diff.chats

    def apply_channel_difference(self, request: Any, diff: Any, chat_hashes: Any) -> Any:
        """Gives all of a channel's difference, in order."""
        entry = request.channel.channel_id
        self._touched.add(entry)
        if not isinstance(diff, types.updates.ChannelDifference):
            result = super().apply_channel_difference(request, diff, chat_hashes)  # type: ignore[no-untyped-call]  # Telethon's
            if entry in self.getting_diff_for:  # Telethon asks once more where it is too long
                self.end_get_diff(entry)  # type: ignore[no-untyped-call]  # Telethon's
            self._put_off.discard(entry)
            return result
        before = self.map[entry].pts
        self.possible_gaps.pop(entry, None)
        if diff.final:
            self._put_off.discard(entry)
            self.end_get_diff(entry)  # type: ignore[no-untyped-call]  # Telethon's
        self.map[entry].pts = diff.pts
        chat_hashes.extend(diff.users, diff.chats)
        own: list[Any] = []
        rest: list[Any] = []
        for update in diff.other_updates:
            info = _PtsInfo.from_update(update)
            if info is None or info.entry != entry:
                rest.append(update)
            elif info.pts > before:
                own.append(update)
        messages = [types.UpdateNewChannelMessage(message=m, pts=0, pts_count=0) for m in diff.new_messages]
        updates = self._fresh(in_order(before, messages, own))
        self._follow(rest, diff, chat_hashes, updates)
        self.reset_channel_deadline(entry, None)  # type: ignore[no-untyped-call]  # Telethon's
        return updates, diff.users, diff.chats

    def end_channel_difference(self, request: Any, reason: Any, chat_hashes: Any) -> None:
        """Telethon's own, and remembers the channel until its difference has come, or it is shut to the account."""
        super().end_channel_difference(request, reason, chat_hashes)
        entry = request.channel.channel_id
        if entry in self.map:
            self._put_off.add(entry)
        else:
            self._put_off.discard(entry)

    # -- parts ---------------------------------------------------------------------------------------

    def _trace(self, msg: str, *args: Any, **options: Any) -> None:
        """Telethon's own, which is prepared three times an update, and seen by nobody but who works on Telethon."""
        log: Any = self._log
        if log.isEnabledFor(_box.LOG_LEVEL_TRACE):
            super()._trace(msg, *args, **options)  # type: ignore[no-untyped-call]  # Telethon's

    def _follow(self, rest: list[Any], diff: Any, chat_hashes: Any, updates: list[Any]) -> None:
        """What a difference tells of others is as if it had been pushed."""
        if rest:
            bundle = types.Updates(rest, diff.users, diff.chats, _box.epoch(), 0)
            self.process_updates(bundle, chat_hashes, updates)

    def _fresh(self, updates: Sequence[TLObject]) -> list[Any]:
        """Those that are updates."""
        result: list[Any] = []
        for update in updates:
            if isinstance(update, _CONTAINERS):
                continue
            mark = mark_of(update)
            if mark is not None:
                self._note(mark, update)
            result.append(update)
        return result

    def _note(self, mark: Mark, update: Any) -> None:
        entry, new, number = mark
        if entry != ACCOUNT:
            self._touched.add(entry)
        last = self.last_ids.get(entry, 0)
        if new or isinstance(update, _EDITED):
            message: Any = getattr(update, "message", update)
            if isinstance(message, str):  # of a short update, which is one itself
                message = update
            date = getattr(message, "edit_date", None) or getattr(message, "date", None)
            heard = 0 if date is None else int(date.timestamp())
            id = number if new else message.id
            self.recent[entry] = self.recent.get(entry, _NOTHING).written(id, last, heard)
            self.last_ids[entry] = max(last, id)
        elif isinstance(update, _DELETED):
            self.recent[entry] = self.recent.get(entry, _NOTHING).deleted(update.messages, last)


def _message_id(update: Any) -> int:
    return int(update.message.id)


def _pts(update: Any) -> int:
    return int(update.pts)
