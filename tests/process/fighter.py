"""A process that uses sessions as long as it may: `python fighter.py`, told by a line of JSON what to do.

It ends with its input.
"""

import asyncio
import contextlib
import json
import logging
import random
import sys

from telestage.actors import Fleet, Ownership, TelestageError
from telestage.testing import trust


async def use(fleet: Fleet, name: str) -> None:
    while True:
        with contextlib.suppress(TelestageError, OSError):  # it is somebody else's just now
            await fleet[name].get_me(timeout=5)
        await asyncio.sleep(random.uniform(0.02, 0.05))


async def fight(orders: dict) -> None:
    ownership = Ownership(owner=orders["address"], lease=orders["lease"], standby=True)
    options = {"local_addr": orders["address"], "connection_retries": 0}
    fleet = Fleet(1, "hash", store=orders["store"], ownership=ownership, options=options)
    for name, session in orders["sessions"].items():
        fleet.add(name, session=session)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    async with fleet:
        print("fighting", flush=True)
        users = [asyncio.ensure_future(use(fleet, name)) for name in fleet]
        await ended
        for user in users:
            user.cancel()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # most of what happens here is trouble, on purpose
    given = json.loads(sys.stdin.readline())
    with trust(given["public_key"]):
        asyncio.run(fight(given))
