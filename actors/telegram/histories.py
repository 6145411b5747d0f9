"""What is done where Telegram gives no difference, as the client is too far behind: messages come from the histories.

A page at a time, each as a slice of a difference, so that what has come stays if the next page fails.

Telegram doesn't tell edits and deletions any more. First of all, therefore, the last messages that are remembered
(`Recent`) are asked for: one that isn't there was deleted, one that was edited after all that was heard was edited
meanwhile. In which order that happened, and how often, isn't known; nor is it known of older messages.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from telethon.tl import types
from telethon.tl.functions import channels
from telethon.tl.functions.messages import GetHistoryRequest, GetMessagesRequest

from telestage.actors.telegram.checkpoint import ACCOUNT, Recent
from telestage.actors.telegram.updatebox import UpdateBox

__all__ = ["instead"]

_log = logging.getLogger("telestage.session")

_PAGE = 100  # Telegram's largest
_POLL_SECONDS = 300

Call = Callable[[Any], Awaitable[Any]]


async def instead(label: str, call: Call, box: UpdateBox, request: Any, answer: Any) -> Any:
    """The answer, or, if it says that the difference is too long, a slice from the history in its place."""
    if isinstance(answer, types.updates.ChannelDifferenceTooLong):
        return await _of_channel(label, call, box, request, answer)
    if isinstance(answer, types.updates.DifferenceTooLong):
        return await _of_account(label, call, box, request, answer)
    return answer


async def _of_channel(label: str, call: Call, box: UpdateBox, request: Any, answer: Any) -> Any:
    channel = request.channel
    known = box.last_ids.get(channel.channel_id)
    top = answer.dialog.top_message
    if not known:
        _log.warning(
            "%s: too far behind in channel %d, of which no message is known: what was missed there is lost",
            label,
            channel.channel_id,
        )
        return answer
    ids = _to_look_at(box, channel.channel_id, known)
    if ids:
        _log.warning("%s: too far behind in channel %d: its messages come from the history", label, channel.channel_id)
        page = await call(channels.GetMessagesRequest(channel, [types.InputMessageID(id) for id in ids]))
        edited, gone = _since(box, channel.channel_id, known, ids, page.messages)
        changes: list[Any] = [types.UpdateEditChannelMessage(message, pts=0, pts_count=0) for message in edited]
        if gone:
            changes.append(types.UpdateDeleteChannelMessages(channel.channel_id, gone, pts=0, pts_count=0))
        return types.updates.ChannelDifference(
            pts=request.pts,
            new_messages=[],
            other_updates=changes,
            chats=[*answer.chats, *page.chats],
            users=[*answer.users, *page.users],
            final=False,
            timeout=_POLL_SECONDS,
        )
    page = await call(
        GetHistoryRequest(
            peer=types.InputPeerChannel(channel.channel_id, channel.access_hash),
            offset_id=known + 1,
            offset_date=None,
            add_offset=-_PAGE,
            limit=_PAGE,
            max_id=top + 1,  # what comes later is in the difference from there
            min_id=known,
            hash=0,
        )
    )
    messages = [m for m in page.messages if known < m.id <= top and not isinstance(m, types.MessageEmpty)]
    final = not messages or max(m.id for m in messages) >= top
    if final:
        box.looked.discard(channel.channel_id)
    return types.updates.ChannelDifference(
        pts=answer.dialog.pts if final else request.pts,
        new_messages=messages,
        other_updates=[],
        chats=[*answer.chats, *page.chats],
        users=[*answer.users, *page.users],
        final=final,
        timeout=_POLL_SECONDS,
    )


async def _of_account(label: str, call: Call, box: UpdateBox, request: Any, answer: Any) -> Any:
    known = box.last_ids.get(ACCOUNT)
    if not known:
        _log.warning("%s: too far behind, and no private message is known: those that were missed are lost", label)
        return answer
    state = types.updates.State(request.pts, request.qts, request.date, box.seq, unread_count=0)
    ids = _to_look_at(box, ACCOUNT, known)
    if ids:
        _log.warning("%s: too far behind: private messages come from the history", label)
        page = await call(GetMessagesRequest([types.InputMessageID(id) for id in ids]))
        edited, gone = _since(box, ACCOUNT, known, ids, page.messages)
        changes: list[Any] = [types.UpdateEditMessage(message, pts=0, pts_count=0) for message in edited]
        if gone:
            changes.append(types.UpdateDeleteMessages(gone, pts=0, pts_count=0))
        return types.updates.DifferenceSlice([], [], changes, page.chats, page.users, state)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module
    # private chats and small groups share one row of ids
    page = await call(GetMessagesRequest([types.InputMessageID(known + n) for n in range(1, _PAGE + 1)]))
    messages = [m for m in page.messages if not isinstance(m, types.MessageEmpty)]
    if messages:
        return types.updates.DifferenceSlice(messages, [], [], page.chats, page.users, state)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module
    box.looked.discard(ACCOUNT)
    # Telegram named this pts after the page before was read, and nothing has come since
    state = types.updates.State(answer.pts, request.qts, request.date, box.seq, unread_count=0)
    return types.updates.Difference([], [], [], [], [], state)  # pyright: ignore[reportArgumentType] - as above


def _to_look_at(box: UpdateBox, entry: int, known: int) -> list[int]:
    """The messages that may have changed, and are looked at once for each time it is too far behind."""
    if entry in box.looked:
        return []
    ids = box.recent.get(entry, Recent()).ids(known)
    box.looked.add(entry)
    return ids


def _since(box: UpdateBox, entry: int, known: int, ids: list[int], messages: list[Any]) -> tuple[list[Any], list[int]]:
    """Which of them were edited since anything was heard, and which are gone; that is remembered."""
    recent = box.recent[entry]
    living = {message.id: message for message in messages if not isinstance(message, types.MessageEmpty)}
    gone = [id for id in ids if id not in living]
    after = recent.deleted(gone, known)
    edited = []
    for id in ids:
        date = getattr(living.get(id), "edit_date", None)
        if date is not None and int(date.timestamp()) > recent.heard:
            edited.append(living[id])
            after = after.written(id, known, int(date.timestamp()))
    box.recent[entry] = after
    return edited, gone
