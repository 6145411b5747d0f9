"""A process that is killed while it seals sessions anew: the old key opens all of them, or the new one does."""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import pytest

from telestage.actors import SessionStore, Store, StoreKeyError, Vault

SESSIONS = 12_000  # more than SQLite keeps in memory before it writes: so that the middle can be seen from outside
SECONDS = 40.0


async def fill(path: Path, vault: Vault) -> None:
    rows = [
        (f"s{number:05}", 2, "127.0.0.1", 1, vault.seal(secret(number), f"session s{number:05}"), f"{number:032x}")
        for number in range(SESSIONS)
    ]
    async with Store(path) as store:
        await SessionStore(store, vault).open()
        await store.write(lambda c: c.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, NULL, 0)", rows))


def secret(number: int) -> bytes:
    return number.to_bytes(8, "big") * 32


async def opens(path: Path, vault: Vault) -> bool:
    """Whether a key opens the store and every session in it; that it opens some of them only is an error."""
    async with Store(path) as store:
        assert await store.read(lambda c: c.execute("PRAGMA quick_check").fetchone()) == ("ok",)
        rows = await store.read(lambda c: c.execute("SELECT name, key FROM sessions ORDER BY name").fetchall())
        opened = []
        for number, (name, sealed) in enumerate(rows):
            with contextlib.suppress(StoreKeyError):
                opened.append(vault.open(sealed, f"session {name}") == secret(number))
        assert len(rows) == SESSIONS
        assert all(opened)
        assert len(opened) in (0, SESSIONS), "a mixture"
        assert await store.read(vault.fits) == bool(opened)
        return bool(opened)


@pytest.mark.timeout(180)
async def test_whenever_it_is_killed_one_key_opens_all_sessions(tmp_path):
    """R-X1: by SIGKILL in the middle of the transaction, which is seen by its log; then at moments drawn at random."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    rng = random.Random(seed)
    path = tmp_path / "fleet.db"
    log = tmp_path / "fleet.db-wal"
    keys = [Vault.new_key(), Vault.new_key()]
    await fill(path, Vault(keys[0]))
    undone = killed = number = 0
    # which of them come before its end is a matter of chance
    while number < 4 or not undone:
        assert number < 20, "it was never killed before its end"
        number += 1
        old, new = keys
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "telestage.cli", "sessions", "reseal", "--store", str(path)),
            env={**os.environ, "TELESTAGE_STORE_KEY": old, "TELESTAGE_NEW_STORE_KEY": new},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                # pages of the transaction that isn't done yet: what came before it took a few
                while process.returncode is None and not (log.exists() and log.stat().st_size > 300_000):  # noqa: ASYNC110
                    await asyncio.sleep(0.0005)
            await asyncio.sleep(rng.uniform(0, 0.3) if number % 2 else 0)
        finally:
            if process.returncode is None:
                process.kill()
                killed += 1
            await process.communicate()
        if await opens(path, Vault(new)):
            assert not await opens(path, Vault(old))
            keys.reverse()
        else:
            assert await opens(path, Vault(old))
            undone += 1
    print(f"{killed} kills, {undone} of them undid it")
    assert killed
    assert undone
