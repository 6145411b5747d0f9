"""`telestage floods`: on the store of a fleet that runs, and of one that has stopped."""

import asyncio
import json

import pytest

from telestage.actors import Fleet, FloodParked, Limits
from telestage.actors.telegram import floodstore
from telestage.cli.main import _run


@pytest.fixture
def command(capsys):
    async def run(*arguments):
        """The command in a thread, as it has a loop of its own: its exit code, stdout and stderr."""
        capsys.readouterr()
        code = await asyncio.to_thread(_run, ["floods", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


async def test_floods_are_listed_and_a_pause_is_ended_in_a_running_fleet(
    telegram, tmp_path, command, eventually, monkeypatch
):
    """R-X2: everybody can see them, and a person has sending resumed."""
    monkeypatch.setattr(floodstore, "LOOK_SECONDS", 0.02)
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    store = tmp_path / "fleet.db"
    fleet = Fleet(1, "hash", store=store, limits=Limits.unpaced())
    for user in (alice, bob):
        fleet.add(user.username, session=user.session)
    async with fleet:
        assert await command("--store", store) == (0, "no floods\n", "")
        telegram.faults.error("messages.sendMessage", 400, "PEER_FLOOD", user=alice)
        telegram.faults.flood_wait("messages.sendMessage", seconds=4000, user=bob)
        for name, other in (("alice", "bob"), ("bob", "alice")):
            with pytest.raises(FloodParked):
                await fleet[name].send_message(other, "hi")
        code, out, _ = await command("--store", store, "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [(row["session"], row["kind"], row["reason"], row["seconds"]) for row in rows] == [
            ("alice", "sending", "PEER_FLOOD", None),
            ("bob", "sending", "FLOOD_WAIT", 4000),
        ]
        code, out, _ = await command("--store", store)
        assert code == 0
        assert "resumed by a person" in out
        assert "1:06:40" in out
        assert await command("resume", "alice", "--store", store) == (0, "alice: sending resumed\n", "")
        await eventually(lambda: [flood.session for flood in fleet.floods()] == ["bob"])
        await fleet["alice"].send_message("bob", "hi")
    code, out, err = await command("resume", "bob", "--store", store)
    assert (code, out) == (2, "")
    assert "not paused by PEER_FLOOD" in err


async def test_a_store_that_isnt_there_is_said_to_be_missing(tmp_path, command):
    """Bad input."""
    code, out, err = await command("--store", tmp_path / "none.db")
    assert (code, out) == (2, "")
    assert "there is no store" in err
    code, _, err = await command("--json")
    assert code == 2
    assert "--store" in err
