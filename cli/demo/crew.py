"""`python -m telestage.cli.demo.crew`: the process with the fleet, which the demo kills in the middle and starts anew.

It knows nothing of that: it does at each start what a service would. It begins its jobs by their keys, which are those
of the store if it has them, watches with its monitors, and tells how it goes. A line of input names a session to kill;
the end of its input is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from telethon.events.newmessage import NewMessage
from telethon.sessions.string import StringSession

from telestage.actors import Backoff, Fleet, Job, JobKind, Limits, Supervision
from telestage.cli.demo.script import Orders, Picture, Seen, encode_line
from telestage.cli.demo.stage import ARCHIVE, CHANNELS, COMMUNITY
from telestage.testing import trust

__all__ = ["HISTORY", "MEMBERS", "main"]

API_ID, API_HASH = 1, "demo"  # the server on loopback takes any
HISTORY, MEMBERS = "history.jsonl", "members.csv"

_new_message: Any = NewMessage  # Telethon's builders carry no annotations

_TELL_EVERY = 0.15  # seconds
_OFTEN = Supervision(intensity=1_000_000, backoff=Backoff(first=0.0))  # its handler is meant to fail again and again


class HandlerTrouble(Exception):
    """What the demo's unreliable handler raises."""


async def run(orders: Orders) -> None:
    """Does everything, until the input ends."""
    folder = Path(orders.folder)
    fleet = Fleet(API_ID, API_HASH, limits=Limits.unpaced(operations=orders.operations), store=folder / "fleet.db")
    names: dict[int, str] = {}
    for name, text in orders.sessions.items():
        session = StringSession(text)
        names[id(session)] = name
        fleet.add(name, session=session)
    _watch(fleet, lambda event: names[id(event.client.session)])
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with fleet:
        senders = fleet.names("watch-*") + fleet.names("send-*")
        jobs = [
            await fleet.jobs.bulk_send(orders.recipients, "hello", sessions=senders, key="hello to all"),
            await fleet.jobs.scrape_history(ARCHIVE, session="scrape-001", to=folder / HISTORY, key="archive"),
            await fleet.jobs.scrape_members(COMMUNITY, session="scrape-002", to=folder / MEMBERS, key="community"),
        ]
        telling = asyncio.create_task(_tell_often(fleet, jobs))
        try:
            while line := await commands.readline():
                await fleet[line.decode().strip()].kill("by the demo")
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        await _tell(fleet, jobs)


def _watch(fleet: Fleet, session_of: Callable[[Any], str]) -> None:
    """Two monitors a channel in each watching session; one of the two raises on every tenth post."""
    for channel in CHANNELS:
        post = _new_message(chats=channel)

        async def keep(event: Any) -> None:
            _write(Seen(session_of(event), "keep", event.raw_text, failed=False))

        async def shaky(event: Any) -> None:
            failed = int(event.raw_text.rsplit(" ", 1)[1]) % 10 == 0
            _write(Seen(session_of(event), "shaky", event.raw_text, failed))
            if failed:
                raise HandlerTrouble(f"this handler fails on every tenth post: {event.raw_text}")

        fleet.on(post, sessions="watch-*", name=f"keep-{channel}")(keep)
        fleet.on(post, sessions="watch-*", name=f"shaky-{channel}", supervision=_OFTEN)(shaky)


async def _tell_often(fleet: Fleet, jobs: list[Job]) -> None:
    while True:
        await _tell(fleet, jobs)
        await asyncio.sleep(_TELL_EVERY)


async def _tell(fleet: Fleet, jobs: list[Job]) -> None:
    statuses = {status.kind: status for status in [await job.status() for job in jobs]}
    _write(
        Picture(
            status=fleet.status(),
            sent=statuses[JobKind.BULK_SEND].done,
            history=statuses[JobKind.SCRAPE_HISTORY].done,
            members=statuses[JobKind.SCRAPE_MEMBERS].done,
            done=all(status.state.ended for status in statuses.values()),
        )
    )


def _write(value: msgspec.Struct) -> None:
    data = memoryview(encode_line(value))
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    """Takes its orders from the first line of input."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    if orders.log:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    else:  # trouble is made on purpose: the log would only hide the picture
        logging.getLogger().addHandler(logging.NullHandler())
    with trust(orders.public_key), contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(orders))


if __name__ == "__main__":
    main()
