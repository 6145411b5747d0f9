"""The methods of Telethon's that the client of a session overrides, and its deadline.

telethon is pinned to one minor version for their sake. When one of these fails after an upgrade, read what
Telethon does now before changing the test.
"""

import asyncio
import contextlib
import inspect
import logging
from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from telethon import events, helpers
from telethon._updates.messagebox import MessageBox
from telethon.client.downloads import _DirectDownloadIter
from telethon.client.messageparse import MessageParseMethods
from telethon.client.telegrambaseclient import TelegramBaseClient
from telethon.client.updates import UpdateMethods
from telethon.client.users import UserMethods
from telethon.crypto import AuthKey
from telethon.extensions import markdown
from telethon.extensions.messagepacker import MessagePacker
from telethon.network import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
    ConnectionTcpObfuscated,
)
from telethon.network.connection.connection import Connection
from telethon.network.connection.tcpfull import FullPacketCodec
from telethon.network.mtprotosender import MTProtoSender
from telethon.network.mtprotostate import MTProtoState
from telethon.network.requeststate import RequestState
from telethon.sessions import MemorySession, SQLiteSession, StringSession
from telethon.tl.core import RpcResult
from telethon.tl.functions import DestroyAuthKeyRequest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputDocumentFileLocation, InputUserSelf
from telethon.tl.types.upload import FileCdnRedirect

from telestage.actors import Limits, ReplyLost, SessionDead
from telestage.actors.telegram.checkpoint import Checkpoint
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.packing import AcknowledgingPacker
from telestage.actors.telegram.turnstile import Turnstile


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


def test_a_connection_is_used_by_send_and_recv():
    """Its queues and their tasks, which ours has not, are nobody else's business."""
    assert parameters(Connection.send) == ["self", "data"]
    assert parameters(Connection.recv) == ["self"]
    for method in (Connection._send_loop, Connection._recv_loop, Connection._recv):
        assert inspect.iscoroutinefunction(method)
    assert "self._writer.write(" in inspect.getsource(Connection._send)
    source = inspect.getsource(Connection)
    assert source.count("self._send_task") == source.count("self._recv_task") == 3  # made, noted, cancelled
    assert source.count("self._send_queue") == 3
    assert source.count("self._recv_queue") == 7
    assert "if not task:" in inspect.getsource(helpers._cancel)
    for kind in (ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate, ConnectionTcpObfuscated):
        assert not {"send", "recv", "_send_loop", "_recv_loop"} & set(vars(kind))


def test_what_is_received_goes_by_one_task_that_never_waits_for_anything_but_packets():
    """`Opener` does in the step in which a packet comes what the task does with it."""
    source = inspect.getsource(MTProtoSender._recv_loop)
    handled = [line.strip() for line in source[source.index("try:\n                message =") :].splitlines()]
    assert handled[:4] == [
        "try:",
        "message = self._state.decrypt_message_data(body)",
        "if message is None:",
        "continue  # this message is to be ignored",
    ]
    assert handled[-4:] == [
        "try:",
        "await self._process_message(message)",
        "except Exception:",
        "self._log.exception('Unhandled error while processing msgs')",
    ]
    assert source.count("await ") == 4  # for a packet, to disconnect, and this
    assert not inspect.iscoroutinefunction(MTProtoState.decrypt_message_data)
    assert inspect.getsource(MTProtoSender._process_message).count("await ") == 1
    sender = MTProtoSender(AuthKey(b"k" * 256), loggers=defaultdict(lambda: logging.getLogger("telethon")))
    for handler in {each.__func__ for each in sender._handlers.values()} | {MTProtoSender._handle_update}:
        source = inspect.getsource(handler)
        disconnects = handler is MTProtoSender._handle_destroy_auth_key
        assert source.count("await ") == source.count("await self._process_message(") + disconnects
    assert "self._codec.read_packet(self._reader)" in inspect.getsource(Connection._recv)


def test_what_is_sent_goes_by_a_packer():
    """What is to be acknowledged is put to it by the sender, or by ours before."""
    assert parameters(MessagePacker.get) == ["self"]
    assert parameters(MessagePacker.extend) == ["self", "states"]
    source = inspect.getsource(MTProtoSender._send_loop)
    assert "ack = RequestState(MsgsAck(list(self._pending_ack)))" in source
    assert "self._last_acks.append(ack)" in source
    sent = source[source.index("batch, data = await") : source.index("self._log.debug('Encrypted messages put")]
    assert [line.split("#")[0].strip() for line in sent.splitlines() if line.split("#")[0].strip()] == [
        "batch, data = await self._send_queue.get()",
        "if not data:",
        "continue",
        "self._log.debug('Encrypting %d message(s) in %d bytes for sending',",
        "len(batch), len(data))",
        "data = self._state.encrypt_message_data(data)",
        "for state in batch:",
        "if not isinstance(state, list):",
        "if isinstance(state.request, TLRequest):",
        "self._pending_state[state.msg_id] = state",
        "else:",
        "for s in state:",
        "if isinstance(s.request, TLRequest):",
        "self._pending_state[s.msg_id] = s",
        "try:",
        "await self._connection.send(data)",
        "except IOError as e:",
        "self._log.info('Connection closed while sending data')",
        "self._start_reconnect(e)",
        "return",
    ]
    assert parameters(MessagePacker.append) == ["self", "state"]
    assert inspect.getsource(MessagePacker.get).count("await ") == 1  # where it waits for the first
    assert "MessagePacker(self._state" in inspect.getsource(MTProtoSender.__init__)


def test_updates_go_by_one_queue_from_the_sender_to_the_loop():
    """R-M5: which does with them what the client does when it takes them by itself."""
    source = inspect.getsource(UpdateMethods._update_loop)
    assert source.count("self._updates_queue") == 1
    assert "await asyncio.wait_for(self._updates_queue.get(), deadline_delay)" in source
    taken = source[source.index("processed = []") : source.index("except asyncio.CancelledError")]
    assert [line.split("#")[0].strip() for line in taken.splitlines() if line.strip()] == [
        "processed = []",
        "try:",
        "users, chats = self._message_box.process_updates(updates, self._mb_entity_cache, processed)",
        "except GapError:",
        "continue",
        "_preprocess_updates = await self._preprocess_updates(processed, users, chats)",
        "updates_to_dispatch.extend(_preprocess_updates)",
    ]
    assert inspect.getsource(MTProtoSender).count("self._updates_queue.put_nowait(") == 5
    assert "updates_queue=self._updates_queue" in inspect.getsource(TelegramBaseClient.__init__)
    assert not inspect.iscoroutinefunction(MemorySession.process_entities)
    assert not inspect.iscoroutinefunction(SQLiteSession.process_entities)


PLAIN = st.text(alphabet=st.sampled_from(" \nab*_~`[]()@\U0001f600\ud83d") | st.characters(), max_size=40)


@given(text=PLAIN)
@example(text="")
@example(text=" ")
@example(text=" one\U0001f600two ")
@example(text="a _ b * c ~ d ] (e)")
async def test_a_text_without_markdown_is_what_telethon_makes_of_it(text):
    """It isn't parsed: Telethon takes 2 us a character to find nothing."""

    async def parsed(method, mode):
        try:
            return await method(client, text, mode)
        except Exception as error:
            return repr(error)

    client = SessionClient(
        StringSession(),
        1,
        "hash",
        label="alice",
        rpc_timeout=1.0,
        checkpoint=Checkpoint(),
        on_updates=lambda *_: None,
        on_flood=lambda *_: None,
        on_reconnect=lambda: None,
        route=None,
        turnstile=Turnstile("alice", Limits.unpaced()),
    )
    for mode in ((), "md", "markdown", None, markdown):
        theirs = await parsed(MessageParseMethods._parse_message_text, mode)
        assert await parsed(SessionClient._parse_message_text, mode) == theirs


async def test_a_file_on_a_cdn_is_refused_with_the_reason(telegram, new_fleet):
    """Telethon would write it as it comes, which is encrypted, and leave a client behind."""
    assert "self.client._get_cdn_client(cdn_redirect)" in inspect.getsource(_DirectDownloadIter)
    redirect = FileCdnRedirect(203, b"token", b"key", b"iv", [])
    async with new_fleet(telegram.add_user("alice")) as fleet:

        async def download(client):
            return [
                part
                async for part in client._iter_download(InputDocumentFileLocation(1, 2, b"", ""), cdn_redirect=redirect)
            ]

        with pytest.raises(NotImplementedError, match=r"alice: .* CDN \(data centre 203\).*nothing was downloaded"):
            await fleet["alice"].call(download)


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

        async def ask_by_a_broken_link(client):
            link = client._sender._connection
            assert (link._send_queue, link._recv_queue) == (None, None)
            link._writer.transport.abort()  # the sender isn't told before the next turn of the loop
            asking = asyncio.ensure_future(client(GetUsersRequest([InputUserSelf()])))
            return await asking

        before = [call.method for call in telegram.calls].count("users.getUsers")
        (me,) = await fleet["alice"].call(ask_by_a_broken_link)
        assert me.id == alice.id
        assert [call.method for call in telegram.calls].count("users.getUsers") == before + 1
        await eventually(lambda: telegram.status().sessions == 1)


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


async def test_a_request_takes_the_acknowledgement_of_the_last_answer_along(telegram, new_fleet):
    """Telethon alone sends a packet for each of the two."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def packets_of_ten(client):
            link, packets = client._sender._connection, 0

            class Counting(type(link)):
                def _send(self, data):
                    nonlocal packets
                    packets += 1
                    super()._send(data)

            link.__class__ = Counting
            for _ in range(10):
                await client.get_me()
            assert len(client._sender._pending_ack) == 1  # of the last
            return packets

        assert await fleet["alice"].call(packets_of_ten) == 10


async def test_a_request_is_on_its_way_in_the_step_in_which_it_is_made(telegram, new_fleet):
    """Unless others are before it, or the buffer isn't empty: then it goes out in order, as soon as it can."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def watch(client):
            sender, sent = client._sender, []
            link = sender._connection

            class Watched(type(link)):
                full = False

                def _send(self, data):
                    sent.append(len(data))
                    super()._send(data)

                @property
                def free(self):
                    return super().free and not self.full

            link.__class__ = Watched
            await client.get_me()  # so that the sender's own task waits
            sent.clear()
            first = sender.send(GetUsersRequest([InputUserSelf()]))
            assert len(sent) == 1
            both = sender.send([GetUsersRequest([InputUserSelf()]), GetUsersRequest([InputUserSelf()])])
            behind = sender.send(GetUsersRequest([InputUserSelf()]))
            assert len(sent) == 1
            assert {(await each)[0].id for each in (first, *both, behind)} == {alice.id}
            assert len(sent) == 2  # those that waited went together
            link.full = True
            waits = sender.send(GetUsersRequest([InputUserSelf()]))
            assert len(sent) == 2
            await waits
            assert len(sent) == 3

        await fleet["alice"].call(watch)


async def test_a_request_that_can_not_be_written_is_sent_on_the_next_link(telegram, new_fleet):
    """R-Q1: as Telethon's own task has it."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def fail_once(client):
            link = client._sender._connection

            class Broken(type(link)):
                def _send(self, data):
                    link.__class__ = type(self).__base__
                    raise ConnectionResetError("gone")

            link.__class__ = Broken
            return await client.get_me()

        before = [call.method for call in telegram.calls].count("users.getUsers")
        assert (await fleet["alice"].call(fail_once)).id == alice.id
        assert [call.method for call in telegram.calls].count("users.getUsers") == before + 1
        assert fleet["alice"].status.restarts == 0


async def test_what_is_sent_again_takes_the_acknowledgements_along_that_were_in_its_packet():
    """A packet with a wrong salt is refused with all that is in it."""
    sender = MTProtoSender(AuthKey(b"k" * 256), loggers=defaultdict(lambda: logging.getLogger("telethon")))
    packer = sender._send_queue = AcknowledgingPacker(sender, sender._loggers)
    request, other = (RequestState(GetUsersRequest([InputUserSelf()])) for _ in range(2))
    sender._pending_ack.add(4711)
    packer.append(request)
    batch, _ = await packer.get()
    assert [type(each.request).__name__ for each in batch] == ["GetUsersRequest", "MsgsAck"]
    packer.append(other)
    assert (await packer.get())[0] == [other]
    packer.extend([request, other])
    assert (await packer.get())[0] == [request, other, batch[1]]


async def test_an_answer_is_opened_in_the_step_in_which_it_comes(telegram, new_fleet):
    """The sender's receiving task isn't woken for it."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def watch(client):
            await client.get_me()
            reader = client._sender._connection._reader
            waiter = reader._waiter
            assert waiter is not None
            for _ in range(3):
                assert (await client.get_me()).id == alice.id
            assert reader._waiter is waiter

        await fleet["alice"].call(watch)


async def test_a_packet_that_can_not_be_opened_is_left_to_telethon_which_tells(telegram, new_fleet, caplog):
    """Of another key, and then the session goes on."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def forge(client):
            wire = client._sender._connection
            forged = FullPacketCodec(None).encode_packet(b"x" * 40)
            assert not wire.take(b"x" * 40)
            wire._reader.feed_data(forged)
            return await client.get_me()

        with caplog.at_level(logging.WARNING):
            assert (await fleet["alice"].call(forge)).id == alice.id
        assert (
            "Security error while unpacking a received message: Server replied with an invalid auth key" in caplog.text
        )
        assert fleet["alice"].status.restarts == fleet["alice"].status.reconnects == 0


async def test_a_session_whose_key_was_destroyed_has_ended(telegram, new_fleet, eventually):
    """R-X4: the one answer that Telethon's task waits at, for its own disconnect."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def destroy(client):
            return await client(DestroyAuthKeyRequest())

        with contextlib.suppress(ReplyLost, SessionDead):
            await fleet["alice"].call(destroy)
        await eventually(lambda: fleet["alice"].status.state == "dead")


async def test_what_handling_a_packet_raises_is_logged_and_the_next_is_handled(telegram, new_fleet, caplog):
    """As Telethon's own task has it."""
    alice = telegram.add_user("alice")
    fleet = new_fleet(alice)
    async with fleet:

        async def fail(client):
            sender = client._sender
            handlers = dict(sender._handlers)

            async def broken(message):
                sender._handlers.update(handlers)
                await handlers[message.obj.CONSTRUCTOR_ID](message)
                raise LookupError("on purpose")

            sender._handlers[RpcResult.CONSTRUCTOR_ID] = broken
            return [(await client.get_me()).id for _ in range(2)]

        with caplog.at_level(logging.ERROR):
            assert await fleet["alice"].call(fail) == [alice.id, alice.id]
        assert "Unhandled error while processing msgs" in caplog.text
        assert "LookupError: on purpose" in caplog.text


@pytest.mark.parametrize("handler", [False, True])
async def test_an_update_is_taken_in_the_step_in_which_it_is_received(telegram, new_fleet, eventually, handler):
    """R-M5: Telethon's loop of updates isn't woken for it, unless somebody registered something with the raw client."""
    alice = telegram.add_user("alice")
    news = telegram.add_channel("news", members=[alice])
    fleet = new_fleet(alice)
    seen, raw, woken = [], [], []

    @fleet.on(events.NewMessage(chats="news"))
    async def see(event):
        seen.append(event.raw_text)

    async with fleet:

        async def watch(client):
            if handler:
                client.add_event_handler(lambda event: note(event), events.NewMessage())
            loop = client._message_box.check_deadlines

            def looked():
                woken.append(True)
                return loop()

            client._message_box.check_deadlines = looked

        async def note(event):
            raw.append(event.raw_text)

        telegram.post(news, "first")  # a channel that it hears of for the first time may be a gap
        await eventually(lambda: seen == ["first"])
        await fleet["alice"].call(watch)
        for number in range(3):
            telegram.post(news, str(number))
        await eventually(lambda: seen == ["first", "0", "1", "2"])
        await eventually(lambda: raw == (["0", "1", "2"] if handler else []))
        assert len(woken) == (3 if handler else 0)
