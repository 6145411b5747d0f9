"""`telestage loopback` in this process: what it says, and that its end is the end of all of it."""

import asyncio
import json
import os
import signal

import pytest
from telethon import TelegramClient
from telethon.sessions.string import StringSession

from telestage.cli.loopback import Loopback, serve


class Lines:
    """What is printed, line by line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.all: list[dict[str, object]] = []

    async def until(self, count: int) -> list[dict[str, object]]:
        async with asyncio.timeout(20):
            while len(self.all) < count:
                await asyncio.sleep(0.01)
                self.all += [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        return self.all


async def test_each_login_code_is_shown_once_and_the_end_cuts_every_connection(capsys) -> None:
    request = Loopback(
        host="127.0.0.1",
        port=0,
        users=0,
        names=["alice:15550100"],
        channels=["news:alice:7"],
        groups=[],
        phones=["+15550199"],
        latency=0.0,
        public_key=None,
        json=True,
    )
    lines = Lines(capsys)
    serving = asyncio.ensure_future(serve(request))
    [told] = await lines.until(1)
    [user], [channel] = told["users"], told["channels"]  # type: ignore[misc]  # JSON
    assert (user["name"], user["phone"], channel["members"], channel["history"]) == ("alice", "15550100", 1, 7)
    client = TelegramClient(StringSession(user["session"]), 1, "any", connection_retries=0, auto_reconnect=False)
    await client.connect()
    try:
        assert len(await client.get_messages("news", limit=50)) == 7
        await client.send_code_request("+15550100")
        await lines.until(2)
        await client.send_code_request("+15550199")
        _, first, second = await lines.until(3)
        assert (first["event"], first["phone"]) == ("login_code", "15550100")
        assert (second["event"], second["phone"]) == ("login_code", "15550199")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)
        async with asyncio.timeout(10):
            await asyncio.wait({client.disconnected})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(str(told["port"])))
    finally:
        await client.disconnect()
    assert capsys.readouterr().out == "", "nothing is said twice"
