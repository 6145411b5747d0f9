"""Archives a channel as JSON lines: its history once, then each new message as it comes.

A second run goes on where the file ends. New messages are taken from the first moment on, so none is missed while
the history is read; the ids in the file tell which are there already.

    TELESTAGE_API_ID=... TELESTAGE_API_HASH=... TELESTAGE_SESSION=1AbC... \\
        python examples/archive_channel.py durov durov.jsonl
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from telethon import events

from telestage.actors import Fleet


class Archive:
    """One message a line, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._ids = {json.loads(line)["id"] for line in lines}
        self.complete_to = max(self._ids, default=0)

    def add(self, message: Any) -> None:
        """Writes a message, unless it is there."""
        if message.id in self._ids:
            return
        self._ids.add(message.id)
        entry = {"id": message.id, "date": message.date.isoformat(), "text": message.message}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


async def archive(fleet: Fleet, channel: str, path: Path, stop: asyncio.Event) -> int:
    """Archives `channel` with the first session of the fleet until `stop` is set.

    Returns:
        How many messages of its past were read.
    """
    file = Archive(path)
    session = next(iter(fleet))
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    fleet.on(events.NewMessage(chats=channel), sessions=session, name="archive")(
        lambda event: waiting.put_nowait(event.message)
    )
    async with fleet:
        count = 0
        # oldest first: whatever interrupts this, the file has no gap before its last line
        async for message in fleet[session].iter_messages(channel, min_id=file.complete_to, reverse=True):
            file.add(message)
            count += 1
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set() or not waiting.empty():
                coming = asyncio.ensure_future(waiting.get())
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    file.add(coming.result())
                else:
                    coming.cancel()
        finally:
            stopping.cancel()
        return count


async def main(arguments: list[str]) -> None:
    """Archives with the credentials of the environment, until it is interrupted."""
    channel, path = arguments
    fleet = Fleet(int(os.environ["TELESTAGE_API_ID"]), os.environ["TELESTAGE_API_HASH"])
    fleet.add("archive", session=os.environ["TELESTAGE_SESSION"])
    await archive(fleet, channel, Path(path), asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
