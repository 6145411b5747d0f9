"""The methods of Telethon's that the client of a session overrides, and its deadline.

telethon is pinned to one minor version for their sake. When one of these fails after an upgrade, read what
Telethon does now before changing the test.
"""

import asyncio
import inspect

import pytest
from telethon._updates.messagebox import MessageBox
from telethon.client.telegrambaseclient import TelegramBaseClient
from telethon.client.updates import UpdateMethods
from telethon.client.users import UserMethods
from telethon.network.mtprotosender import MTProtoSender
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from telestage.actors import Limits


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_every_request_goes_by_call():
    """R-Q1: `client(request)` and downloads end in `_call(sender, request)`."""
    assert parameters(UserMethods._call) == ["self", "sender", "request", "ordered", "flood_sleep_threshold"]
    assert "self._call(self._sender, request" in inspect.getsource(UserMethods.__call__)
    assert inspect.iscoroutinefunction(UserMethods._call)


def test_every_update_goes_by_preprocess_updates_before_it_is_dispatched():
    """R-M5: from a push as from a difference."""
    assert parameters(UpdateMethods._preprocess_updates) == ["self", "updates", "users", "chats"]
    source = inspect.getsource(UpdateMethods._update_loop)
    assert source.count("await self._preprocess_updates(") == 3
    assert source.count("updates_to_dispatch.extend(_preprocess_updates)") == 3


def test_differences_go_by_the_methods_that_the_update_box_overrides():
    """R-M5: Telethon's own drop what a difference tells besides new messages."""
    assert parameters(MessageBox.load) == ["self", "session_state", "channel_states"]
    assert parameters(MessageBox.try_set_channel_state) == ["self", "id", "pts"]
    assert parameters(MessageBox.process_updates) == ["self", "updates", "chat_hashes", "result"]
    assert parameters(MessageBox.apply_pts_info) == ["self", "update", "reset_deadlines"]
    assert parameters(MessageBox.get_difference) == ["self"]
    assert parameters(MessageBox.apply_difference_type) == ["self", "diff", "chat_hashes"]
    assert parameters(MessageBox.apply_channel_difference) == ["self", "request", "diff", "chat_hashes"]
    assert "self.apply_difference_type(diff, chat_hashes)" in inspect.getsource(MessageBox.apply_difference)
    loop = inspect.getsource(UpdateMethods._update_loop)
    assert "self._message_box.apply_difference(diff, self._mb_entity_cache)" in loop
    assert "self._message_box.apply_channel_difference(get_diff, diff, self._mb_entity_cache)" in loop
    assert "self._message_box.process_updates(updates, self._mb_entity_cache, processed)" in loop
    assert "self._message_box.load(ss, cs)" in inspect.getsource(TelegramBaseClient.connect)


def test_telethon_calls_handle_auto_reconnect_after_each_reconnect():
    """R-M5: and it fetches nothing there by itself."""
    assert parameters(UpdateMethods._handle_auto_reconnect) == ["self"]
    source = inspect.getsource(TelegramBaseClient.__init__)
    assert "auto_reconnect_callback=self._handle_auto_reconnect" in source
    assert "self._auto_reconnect_callback()" in inspect.getsource(MTProtoSender._reconnect)


def test_a_client_that_disconnects_saves_its_states_by_save_states_and_entities():
    """R-M5: whether or not it has any."""
    assert parameters(TelegramBaseClient._save_states_and_entities) == ["self"]
    assert "await self._save_states_and_entities()" in inspect.getsource(TelegramBaseClient._disconnect_coro)


async def test_the_overridden_methods_are_used(telegram, new_fleet, eventually):
    """R-Q1, R-M5: in a real client, over a real connection."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:
        before = [call.method for call in telegram.calls]
        telegram.faults.disconnect(alice)
        await eventually(
            lambda: (
                [call.method for call in telegram.calls].count("updates.getDifference")
                > before.count("updates.getDifference")
            )
        )
        assert fleet["alice"].status.restarts == 0


async def test_what_a_broken_link_left_unsent_is_not_sent_beside_its_repetition(telegram, new_fleet, eventually):
    """R-Q1: Telethon alone sends both, one request twice at the same moment."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def cut_off_with_a_full_queue(client):
            link = client._sender._connection
            link._send_task.cancel()  # as when the kernel's buffer is full
            asking = asyncio.ensure_future(client(GetUsersRequest([InputUserSelf()])))
            await eventually(link._send_queue.full)
            telegram.faults.disconnect(alice)
            return await asking

        before = [call.method for call in telegram.calls].count("users.getUsers")
        (me,) = await fleet["alice"].call(cut_off_with_a_full_queue)
        assert me.id == alice.id
        assert [call.method for call in telegram.calls].count("users.getUsers") == before + 1
        assert telegram.status().sessions == 1


async def test_a_call_that_is_never_answered_ends_by_the_rpc_timeout(telegram, new_fleet):
    """R-D3: Telethon itself would wait for ever; the rest of the turn goes on."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice, limits=Limits(rpc_timeout=0.1))
    async with fleet:
        telegram.faults.unanswered("users.getUsers", user=alice)

        async def patient(client):
            with pytest.raises(TimeoutError):
                await client.get_me()
            return (await client.get_me()).username

        assert await fleet["alice"].call(patient) == "alice"


async def test_calls_made_as_the_connection_is_given_up_do_not_hang(telegram, new_fleet, eventually):
    """R-D3: Telethon leaves those hanging that it had not sent yet."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    fleet = new_fleet(alice, connection_retries=1, retry_delay=0.2)
    async with fleet:
        telegram.faults.refuse_connections()
        telegram.faults.disconnect()
        await eventually(lambda: fleet.tasks.count(type="reconnect"))
        await eventually(lambda: not fleet.tasks.count(type="send_loop"))
        sending = [asyncio.ensure_future(fleet["alice"].send_message("bob", f"m{n}")) for n in range(3)]
        await eventually(lambda: fleet["alice"].status.restarts >= 1)
        telegram.faults.accept_connections()
        await asyncio.gather(*sending)
        assert [each.text for each in telegram.delivered(to=bob)] == ["m0", "m1", "m2"]
