"""A service to be killed while Telegram makes it wait; it says what it is told, a line of JSON for each.

Its orders are a line of JSON: `texts` are sent to `peer` by each session, one after another. `patience` is how long an
operation may take; where that is less than what it would have to wait for, it fails at once with `FloodParked`.
"""

import asyncio
import json
import logging
import sys

from telestage.actors import Fleet, FloodParked, Limits
from telestage.messages import Kind
from telestage.testing import trust


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def serve(orders: dict) -> None:
    patience = orders["patience"]
    limits = Limits.unpaced(queue_timeout=patience, timeouts={Kind.SENDING: patience})
    fleet = Fleet(1, "hash", store=orders["store"], limits=limits)
    for name, session in orders["sessions"].items():
        fleet.add(name, session=session)
    async with fleet:
        # what the store has is known before anything is asked of Telegram
        say(floods=[[flood.session, flood.kind, flood.until] for flood in fleet.floods()])

        async def work(name: str) -> None:
            for text in orders["texts"]:
                try:
                    await fleet[name].send_message(orders["peer"], f"{name} {text}")
                except FloodParked as parked:
                    say(parked=name, until=parked.until)
                else:
                    say(sent=name)

        async with asyncio.TaskGroup() as group:
            for name in orders["sessions"]:
                group.create_task(work(name))
            for name in orders["sessions"]:
                say(read=name, id=(await fleet[name].get_me()).id)  # another kind, which nothing parks
        say(done=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    given = json.loads(sys.stdin.readline())
    with trust(given["public_key"]):
        asyncio.run(serve(given))
