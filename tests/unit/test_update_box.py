"""The message box alone: what a difference tells twice, and who is further, the session or the fleet's store."""

import datetime
import logging

import pytest
from telethon._updates.entitycache import EntityCache
from telethon._updates.messagebox import ENTRY_ACCOUNT, ENTRY_SECRET
from telethon._updates.session import ChannelState, SessionState
from telethon.tl import functions, types

from telestage.actors.telegram.checkpoint import Account, Channel, Checkpoint, Received
from telestage.actors.telegram.updatebox import UpdateBox

NOW = datetime.datetime.now(datetime.UTC)
CHANNEL = 7


def box_at(*, pts=100, qts=0, channel=50, stored=None):
    """A box whose session says that."""
    checkpoint = Checkpoint()
    checkpoint.stored = stored
    box = UpdateBox(logging.getLogger("telethon"), checkpoint, lambda _: None)
    state = SessionState(0, 0, False, pts, qts, int(NOW.timestamp()), 1, None)
    box.load(state, [ChannelState(CHANNEL, channel)])
    return box


def stored_at(pts, channel):
    """What the fleet's store says."""
    return Received(Account(pts, 0, NOW, 1), {CHANNEL: Channel(channel, 0)}, {}, {}, {})


def difference(*, pts, others=(), qts=0):
    state = types.updates.State(pts=pts, qts=qts, date=NOW, seq=1, unread_count=0)
    return types.updates.Difference([], [], list(others), [], [], state)


def channel_difference(*, pts, others=()):
    return types.updates.ChannelDifference(
        pts=pts, new_messages=[], other_updates=list(others), chats=[], users=[], final=True
    )


def asked():
    channel = types.InputChannel(CHANNEL, 1)
    everything = types.ChannelMessagesFilterEmpty()
    return functions.updates.GetChannelDifferenceRequest(channel, everything, pts=50, limit=100)


async def test_what_the_account_is_past_is_not_given_again():
    """R-M5: a difference may tell what was pushed while it was under way."""
    box = box_at(pts=100)
    old, new = types.UpdateDeleteMessages([1], 100, 1), types.UpdateDeleteMessages([2], 101, 1)
    given, _, _ = box.apply_difference_type(difference(pts=101, others=[old, new]), EntityCache())
    assert given == [new]
    assert box.map[ENTRY_ACCOUNT].pts == 101


async def test_what_a_channel_is_past_is_not_given_again():
    """R-M5: nor in a channel."""
    box = box_at(channel=50)
    box.getting_diff_for.add(CHANNEL)
    old = types.UpdateDeleteChannelMessages(CHANNEL, [1], 50, 1)
    new = types.UpdateDeleteChannelMessages(CHANNEL, [2], 51, 1)
    given, _, _ = box.apply_channel_difference(asked(), channel_difference(pts=51, others=[old, new]), EntityCache())
    assert given == [new]
    assert box.map[CHANNEL].pts == 51


async def test_what_secret_chats_are_past_is_not_given_again():
    """R-M5: nor of secret chats, whose count is the qts."""
    box = box_at(qts=5)
    message = types.EncryptedMessage(1, 1, NOW, b"", types.EncryptedFileEmpty())
    old, new = types.UpdateNewEncryptedMessage(message, 5), types.UpdateNewEncryptedMessage(message, 6)
    given, _, _ = box.apply_difference_type(difference(pts=100, qts=6, others=[old, new]), EntityCache())
    assert given == [new]
    assert box.map[ENTRY_SECRET].pts == 6


@pytest.mark.parametrize(("stored", "stands"), [((90, 40), (100, 50)), ((110, 60), (110, 60)), ((90, 60), (100, 60))])
async def test_it_begins_where_the_session_or_the_store_is_further(stored, stands):
    """R-M5: each of them is what every monitor was done with, so what lies before the further one was handled."""
    box = box_at(stored=stored_at(*stored))
    assert (box.map[ENTRY_ACCOUNT].pts, box.map[CHANNEL].pts) == stands


async def test_a_channel_too_far_behind_is_asked_about_once():
    """R-M5: its messages come from its history; Telethon would ask for the difference again, and again in vain."""
    box = box_at()
    box.getting_diff_for.add(CHANNEL)
    dialog = types.Dialog(types.PeerChannel(CHANNEL), 9, 0, 0, 0, 0, 0, 0, types.PeerNotifySettings(), pts=500)
    box.apply_channel_difference(
        asked(), types.updates.ChannelDifferenceTooLong(dialog, [], [], [], final=True), EntityCache()
    )
    assert CHANNEL not in box.getting_diff_for
    assert box.map[CHANNEL].pts == 500
