"""The queue from Telethon's receiving to its loop of updates."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telestage.actors.telegram.updatequeue import WAKE, UpdateQueue

STEPS = st.lists(st.sampled_from(["put", "refused", "read", "give up", "turn", "wake"]), max_size=60)


@given(steps=STEPS)
async def test_what_is_put_arrives_once_and_in_order_whoever_takes_it(steps):
    """R-M5: also past a reader that is cancelled while it waits, as a deadline does."""
    arrived: list[int] = []
    refused: set[int] = set()

    def take(item: int) -> bool:
        if item in refused:
            return False
        arrived.append(item)
        return True

    queue = UpdateQueue(take)
    reader: asyncio.Future[object] | None = None

    def look():
        nonlocal reader
        if reader is not None and reader.done():
            if not reader.cancelled() and reader.result() is not WAKE:
                arrived.append(reader.result())
            reader = None

    count = 0
    for step in steps:
        if step in ("put", "refused"):
            if step == "refused":
                refused.add(count)
            await queue.put(count)
            count += 1
        elif step == "read":
            look()
            reader = queue.get() if reader is None else reader
        elif step == "give up" and reader is not None and not reader.done():
            reader.cancel()
        elif step == "wake":
            queue.wake()
        else:
            look()
        assert arrived == list(range(len(arrived)))
    look()
    while len(arrived) < count:
        reader = queue.get() if reader is None else reader
        assert reader.done()
        look()
    assert arrived == list(range(count))


async def test_what_taking_raises_is_raised_where_the_loop_waits():
    """So that it ends as Telethon has it end, and not in the receiving of answers."""

    def take(item: object) -> bool:
        raise LookupError(item)

    queue = UpdateQueue(take)
    waiting = asyncio.ensure_future(asyncio.wait_for(queue.get(), 10))
    await asyncio.sleep(0)
    queue.put_nowait("bad")
    with pytest.raises(LookupError, match="bad"):
        await waiting
