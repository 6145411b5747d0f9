"""What is done by a fleet and by plain clients. A batch is run as often as it is asked for, with all connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.telegram.rungs import RUNGS
from telestage.testing import LoopbackProcess

__all__ = ["WORKLOADS", "Batch", "Workload", "connected"]

_SINK = "sink"  # whom all is sent to; isn't connected

Batch = Callable[[int], Any]
"""Does about so many operations, and returns how many they were."""


@dataclass(frozen=True)
class Workload:
    """How many sessions work at once, and about how many operations a batch has at full scale."""

    name: str
    title: str
    sessions: int
    size: int
    goal: float | None = None
    """CPU time over plain Telethon's, at most."""
    ladder: bool = False
    """Whether it is also done with each part of a fleet by itself."""


WORKLOADS = (
    Workload("sequence", "1 session sends, one message after another", 1, 600),
    Workload("parallel", "100 sessions send at once", 100, 2000, 1.05, ladder=True),
    Workload("updates", "100 sessions get each message, a monitor each", 100, 3000),
)


@asynccontextmanager
async def connected(workload: Workload, contestant: str, sessions: int | None = None) -> AsyncIterator[Batch]:
    """The sessions of a workload, connected to a server in a process of its own, and its batch."""
    count = workload.sessions if sessions is None else sessions
    async with LoopbackProcess() as telegram:
        users = await telegram.add_users([_SINK, *(f"user{number}" for number in range(count))])
        fleet = RUNGS[contestant]([user.session for user in users[1:]])
        if workload.name == "updates":
            news = await telegram.add_channel("news", members=users[1:])
            got = asyncio.Event()
            missing = 0

            async def handler(event: Any) -> None:
                nonlocal missing
                missing -= 1
                if not missing:
                    got.set()

            await fleet.start(handler)

            async def batch(size: int) -> int:
                nonlocal missing
                posts = max(1, size // count)
                missing = posts * count
                got.clear()
                for number in range(posts):
                    await telegram.post(news, f"post {number}")
                await got.wait()
                return posts * count

        else:
            await fleet.start()

            async def batch(size: int) -> int:
                each = max(1, size // count)

                async def send(number: int) -> None:
                    for turn in range(each):
                        await fleet.send(number, _SINK, f"message {turn}")

                await asyncio.gather(*(send(number) for number in range(count)))
                return each * count

        try:
            yield batch
        finally:
            await fleet.stop()
