"""The same server in a process of its own: driven over a pipe, and gone when its owner is."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from telethon import TelegramClient, errors, functions
from telethon.crypto import rsa as telethon_rsa

from telestage.messages import ControlCall, ControlFailure, ControlReply
from telestage.messages.wire import FrameReader, encode
from telestage.testing import BadArgument, LoopbackError, LoopbackProcess, NotRunning, UnknownMethod, UnknownPeer
from telestage.testing.loopback.keys import fingerprint


async def client_of(session, **options) -> TelegramClient:
    client = TelegramClient(session, 1, "hash", flood_sleep_threshold=0, retry_delay=0.02, **options)
    await client.connect()
    return client


async def test_a_server_in_another_process_does_all_that_one_in_this_does() -> None:
    async with LoopbackProcess() as telegram:
        alice = await telegram.add_user("alice", first_name="Alice")
        bob, eve = await telegram.add_users(["bob", "eve"])
        group = await telegram.add_channel("group", [alice, bob], megagroup=True)
        await telegram.add_members(group, [eve])
        await telegram.fill_history(group, 250)
        client = await client_of(alice.session)
        desk = await client_of(await telegram.add_session(alice))
        assert (await desk.get_me()).first_name == alice.first_name == "Alice"
        assert len([message async for message in client.iter_messages("group")]) == 250
        assert len(await client.get_participants("group")) == 3
        for number in range(3):
            await client.send_message("bob", f"{number}")
        message = await telegram.post(group, "posted", sender=bob)
        await telegram.edit(group, message, "edited")
        assert (await client.get_messages("group", limit=1))[0].text == "edited"
        await telegram.delete(group, [message])
        assert (await client.get_messages("group", limit=1))[0].id == 250
        assert [delivery.text for delivery in await telegram.delivered(to=bob, sender=alice)] == ["0", "1", "2"]
        assert await telegram.delivered_count() == 3
        assert await telegram.delivered_count(to=eve) == 0
        assert (await telegram.calls(alice))["messages.sendMessage"] == {"ok": 3}
        assert await telegram.peak_in_flight(alice, ignore=["users.getUsers"]) == 1
        assert await telegram.connections(alice) == (await telegram.status()).connections == 2
        fresh = await client_of(await telegram.blank_session())
        await fresh.send_code_request(eve.phone)
        assert (await fresh.sign_in(eve.phone, await telegram.login_code(eve.phone))).id == eve.id
        for one in (client, desk, fresh):
            await one.disconnect()
    assert telegram.pid is None
    assert fingerprint() not in telethon_rsa._server_keys, "nobody trusts a server that is gone"


async def test_every_fault_reaches_the_other_process() -> None:
    async with LoopbackProcess() as telegram:
        alice, bob, eve, dan = await telegram.add_users(["alice", "bob", "eve", "dan"])
        news = await telegram.add_channel("news", [alice])
        clients = [await client_of(user.session, connection_retries=10) for user in (alice, bob, eve, dan)]
        client, faults = clients[0], telegram.faults
        peer = await client.get_input_entity("bob")
        await faults.flood_wait("messages.sendMessage", 9, user=alice)
        with pytest.raises(errors.FloodWaitError):
            await client.send_message(peer, "x")
        await faults.clear()
        client._flood_waited_requests.clear()
        await faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
        with pytest.raises(errors.PeerFloodError):
            await client.send_message(peer, "x")
        await faults.unanswered("messages.sendMessage", alice, executed=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send_message(peer, "x"), 0.1)
        await faults.latency(0.05, "messages.sendMessage", alice, 1)
        await client.send_message(peer, "x")
        await faults.lose_updates(alice)
        await telegram.post(news, "lost")
        await faults.refuse_connections()
        assert await faults.disconnect(alice) == 1
        await faults.accept_connections()
        assert await asyncio.wait_for(client.get_me(), 10)
        for user, fault, one, error in (
            (alice, faults.revoke, clients[0], errors.AuthKeyUnregisteredError),
            (bob, faults.ban, clients[1], errors.UserDeactivatedBanError),
            (eve, faults.duplicate_key, clients[2], errors.AuthKeyDuplicatedError),
            (dan, faults.forget_key, clients[3], errors.AuthKeyNotFound),
        ):
            await fault(user)
            with pytest.raises(error):
                await one(functions.updates.GetStateRequest())
        assert (await telegram.status()).disconnects == 1
        for one in clients:
            await one.disconnect()


async def test_what_fails_over_there_fails_here_and_clearly() -> None:
    async with LoopbackProcess() as telegram, LoopbackProcess() as other:
        stranger = await other.add_user("stranger")
        with pytest.raises(UnknownMethod, match=r"did you mean messages\.sendMessage"):
            await telegram.faults.flood_wait("messages.sendMesage", 3)
        with pytest.raises(BadArgument, match="no username"):
            await telegram.add_user("!")
        with pytest.raises(UnknownPeer, match="made over this pipe"):
            await telegram.faults.disconnect(stranger)
        with pytest.raises(BadArgument, match="there is no method 'dance'"):
            await telegram._pipe.call("dance")
        with pytest.raises(BadArgument, match=r"post: missing a required argument"):
            await telegram._pipe.call("post")
        with pytest.raises(UnknownPeer, match="7 is no channel"):
            await telegram._pipe.call("fill_history", channel=7, count=1)
        with pytest.raises(LoopbackError, match="Error: "):
            await telegram._pipe.call("login_code", phone=7)
        namesake = await telegram.add_user("stranger")
        assert namesake.id == stranger.id
        with pytest.raises(UnknownPeer, match="made over this pipe"):
            await telegram.faults.ban(stranger)
        assert (await telegram.status()).users == 1
        with pytest.raises(LoopbackError, match="in use"):
            await LoopbackProcess(port=telegram.port).start()
    for call in (telegram.status, telegram.faults.clear):
        with pytest.raises(NotRunning):
            await call()
    with pytest.raises(BadArgument, match="loopback"):
        await LoopbackProcess(host="8.8.8.8").start()


async def test_a_process_that_dies_fails_the_calls_that_wait_for_it() -> None:
    telegram = await LoopbackProcess().start()
    os.kill(telegram.pid, signal.SIGSTOP)
    calls = [asyncio.create_task(telegram.status()) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(telegram.pid, signal.SIGKILL)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, NotRunning)
    await telegram.close()


async def test_many_deliveries_come_in_pages() -> None:
    async with LoopbackProcess() as telegram:
        alice = await telegram.add_user("alice")
        client = await client_of(alice.session)
        for _ in range(5):
            await client([functions.messages.SendMessageRequest("me", "x" * 900) for _ in range(250)])
        deliveries = await telegram.delivered()
        assert len({delivery.random_id for delivery in deliveries}) == len(deliveries) == 1250
        await client.disconnect()


OWNER = """
import asyncio
from telestage.testing import LoopbackProcess
async def main():
    telegram = await LoopbackProcess().start()
    print(telegram.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_no_server_outlives_an_owner_that_is_killed() -> None:
    """R-T4: kill -9 leaves no orphan."""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=subprocess.PIPE)
    handle = os.pidfd_open(int(await owner.stdout.readline()))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, ended.set)
    owner.kill()
    await owner.wait()
    await asyncio.wait_for(ended.wait(), 10)
    asyncio.get_running_loop().remove_reader(handle)
    os.close(handle)


NOISY = """
import sys
from telestage.testing import LoopbackTelegram
from telestage.testing.loopback.__main__ import main
LoopbackTelegram.login_code = lambda self, phone: print("noise", flush=True)
sys.exit(main())
"""


async def test_what_is_printed_does_not_get_between_the_frames() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NOISY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, log = await server.communicate(encode(ControlCall(id=1, method="login_code", arguments={"phone": "1"})))
    assert list(FrameReader().feed(output)) == [ControlReply(id=1)]
    assert b"noise" in log


async def test_stdout_carries_frames_only_and_nonsense_on_stdin_ends_the_server() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "telestage.testing.loopback", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    server.stdin.write(encode(ControlCall(id=7, method="status")) + encode(ControlCall(id=8, method="nothing")))
    server.stdin.write(b"this is no frame")
    output, log = await server.communicate()
    answers = list(FrameReader().feed(output))
    assert [type(answer) for answer in answers] == [ControlReply, ControlFailure]
    assert [answer.id for answer in answers] == [7, 8]
    assert b"no calls" in log
    assert server.returncode == 0
