"""Other data centres, where files are: each wait for one ends, and what fails leaves nothing behind (R-D3, R-T4)."""

import asyncio
import contextlib

import pytest
from telethon import errors
from telethon.tl.types import InputDocumentFileLocation

from telestage.actors import Limits
from telestage.testing import LoopbackTelegram

FILE = InputDocumentFileLocation(id=1, access_hash=2, file_reference=b"", thumb_size="")
NEAR, SILENT = 4, 5
LIMITS = Limits.unpaced(rpc_timeout=3.0)  # a key is agreed on within it, on a busy machine, too


@pytest.fixture
def download(new_fleet):
    """Asks for a file: in a turn of the session, or as a handler does, outside any."""

    async def in_turn(fleet, centre):
        return await fleet["alice"].call(lambda client: client.download_file(FILE, dc_id=centre))

    async def outside(fleet, centre):
        return await fleet._books["alice"].connection.client.download_file(FILE, dc_id=centre)

    return {"in turn": in_turn, "outside": outside}


@contextlib.asynccontextmanager
async def silent_centre(eventually):
    """Takes connections and says nothing; gives its port, and how many are open."""
    writers = []

    async def taken(reader, writer):
        writers.append(writer)
        try:
            while await reader.read(1000):
                pass
        finally:
            writers.remove(writer)
            writer.close()

    server = await asyncio.start_server(taken, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1], lambda: len(writers)
    finally:
        server.close()
        await eventually(lambda: not writers)


@pytest.mark.parametrize("how", ["in turn", "outside"])
async def test_a_data_centre_that_says_nothing_ends_with_a_timeout(new_fleet, download, eventually, how):
    """R-D3: also for who asks next, and whoever asks; no connection is left."""
    async with (
        silent_centre(eventually) as (port, open_there),
        LoopbackTelegram(data_centres={SILENT: port}) as telegram,
    ):
        fleet = new_fleet(telegram.add_user("alice"), limits=Limits.unpaced(rpc_timeout=1.0))
        async with fleet:
            async with asyncio.timeout(20):
                asked = [asyncio.ensure_future(download[how](fleet, SILENT)) for _ in range(2)]
                for each in asked:
                    with pytest.raises(TimeoutError):
                        await each
            await eventually(lambda: open_there() == 0)
            assert (await fleet["alice"].get_me()).username == "alice"


@pytest.mark.parametrize("how", ["in turn", "outside"])
async def test_a_first_call_that_is_not_answered_ends_with_a_timeout_and_the_next_one_connects(
    new_fleet, download, eventually, how
):
    """R-D3, R-T1, R-T4: the one that couldn't sign in is gone, and what runs for the next one is known."""
    async with LoopbackTelegram(data_centres={NEAR: 0}) as telegram:
        alice = telegram.add_user("alice")
        async with new_fleet(alice, limits=LIMITS) as fleet:
            telegram.faults.unanswered("auth.importAuthorization", executed=False)
            async with asyncio.timeout(20):
                with pytest.raises(TimeoutError):
                    await download[how](fleet, NEAR)
                await eventually(lambda: telegram.status().connections == 1)
                with pytest.raises(errors.RPCError, match="method is invalid"):  # the loopback server has no files
                    await download[how](fleet, NEAR)
            assert telegram.connections(alice) == 2  # signed in there, too
            there = {each.name for each in fleet.tasks.details() if "data centre 4" in each.name}
            assert {name.split()[1] for name in there} == {"send_loop", "receive_loop"}
            assert there < {task.get_name() for task in asyncio.all_tasks()}
        await eventually(lambda: telegram.status().connections == 0)


@pytest.mark.parametrize("how", ["in turn", "outside"])
async def test_a_call_to_another_data_centre_has_its_deadline_and_a_dead_link_is_replaced(
    new_fleet, download, eventually, how
):
    """R-D3: nobody else looks whether that link is dead; the next call has another."""
    async with LoopbackTelegram(data_centres={NEAR: 0}) as telegram:
        alice = telegram.add_user("alice")
        async with new_fleet(alice, limits=LIMITS) as fleet:
            telegram.faults.unanswered("upload.getFile", executed=False)
            async with asyncio.timeout(20):
                with pytest.raises(TimeoutError):
                    await download[how](fleet, NEAR)
                with pytest.raises(errors.RPCError, match="method is invalid"):
                    await download[how](fleet, NEAR)
            near = {use.auth_key_id for use in telegram.uses()} - {
                use.auth_key_id for use in telegram.uses(alice.session)
            }
            assert len(near) == 1
            assert sum(use.auth_key_id in near for use in telegram.uses()) == 2
            imports = [call for call in telegram.calls if call.method == "auth.importAuthorization"]
            assert len(imports) == 1
