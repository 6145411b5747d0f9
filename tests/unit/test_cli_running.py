"""How a run ends: the loop is closed, whatever was left in it."""

import asyncio
import gc
import logging

import pytest

from telestage.cli.running import run_to_the_end


@pytest.mark.parametrize("resists", [False, True])
def test_the_loop_is_closed_at_the_end_whatever_resists(caplog, resists) -> None:
    """R-T4: what resists its cancellation is named once, and keeps neither the process nor a socket of the loop's."""
    loops: list[asyncio.AbstractEventLoop] = []
    ended = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not resists:
                    raise

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(stubborn(), name="the stubborn one")
        task.add_done_callback(ended.append)
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        run_to_the_end(main())
        gc.collect()  # an abandoned task would complain here
    (loop,) = loops
    assert loop.is_closed()
    named = [record.getMessage() for record in caplog.records]
    assert named == (["left behind, for it resists its cancellation: the stubborn one"] if resists else [])
    assert bool(ended) is not resists


def test_what_the_run_fails_with_is_raised() -> None:
    async def main() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run_to_the_end(main())
