"""Monitors of a fleet file do as their keys say, in a fleet that is built from it."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from telestage.cli.building import BuiltFleet
from telestage.cli.loading import load

HANDLERS = """
    import asyncio

    got = []

    async def keep(event):
        got.append(event.raw_text)
        if event.raw_text == "hang":
            await asyncio.sleep(1000)
"""


@pytest.fixture
def fleet_file(telegram, tmp_path) -> Iterator[Path]:
    """A file with two sessions and one monitor, whose keys come last, and whose handler is in `handlers_of_file`."""
    paths = list(sys.path)
    users = [telegram.add_user(name) for name in ("alice", "bob")]
    telegram.add_channel("news", members=users)
    (tmp_path / "handlers_of_file.py").write_text(textwrap.dedent(HANDLERS))
    sessions = "".join(f'[[sessions]]\nname = "{u.username}"\nsession = "{u.session.save()}"\n' for u in users)
    path = tmp_path / "fleet.toml"
    path.write_text(
        'api_id = 1\napi_hash = "hash"\nstore = "fleet.db"\n'
        f"[server]\nport = {telegram.port}\n{sessions}"
        '[[monitors]]\nhandler = "handlers_of_file:keep"\nchats = "news"\n'
    )
    yield path
    sys.path[:] = paths
    sys.modules.pop("handlers_of_file", None)


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def got() -> list[str]:
    return list(getattr(sys.modules["handlers_of_file"], "got"))  # noqa: B009 - a module that is made in the test


@pytest.mark.parametrize("once", [True, False])
async def test_once_has_each_post_come_once_from_all_sessions(telegram, fleet_file, eventually, once) -> None:
    """R-M2, R-M5: and without it once from each."""
    add(fleet_file, f"once = {str(once).lower()}\n")
    news = next(state.channel for state in telegram._state.channels.values())
    with BuiltFleet(load(fleet_file, {})) as built:
        async with built.fleet:
            for number in range(20):
                telegram.post(news, f"{number}")
            telegram.post(news, "last")
            copies = 1 if once else 2
            await eventually(lambda: got().count("last") == copies)
    assert sorted(got()) == sorted([*map(str, range(20)), "last"] * copies)


@pytest.mark.parametrize(("durable", "again"), [("soon", True), ("each", True), ("before", False)])
async def test_durable_says_whether_an_interrupted_event_comes_again(
    telegram, fleet_file, eventually, durable, again
) -> None:
    """R-M5: with the store of the file, over a stop."""
    add(fleet_file, f'sessions = "alice"\ndurable = "{durable}"\n')
    news = next(state.channel for state in telegram._state.channels.values())
    with BuiltFleet(load(fleet_file, {})) as built:
        async with built.fleet:
            telegram.post(news, "hang")
            await eventually(lambda: got() == ["hang"])
            await built.fleet.stop(timeout=1.0)
    with BuiltFleet(load(fleet_file, {})) as built:
        async with built.fleet:
            telegram.post(news, "next")
            if again:
                await eventually(lambda: len(got()) == 2)
            else:
                await eventually(lambda: "next" in got())
            await built.fleet.stop(timeout=1.0)
    assert got() == (["hang", "hang"] if again else ["hang", "next"])
