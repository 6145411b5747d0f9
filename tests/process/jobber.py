"""A service with jobs, to be killed: it starts its job by its key, as after every restart, and ends when it is done."""

import asyncio
import json
import logging
import sys

from telestage.actors import Fleet, Limits
from telestage.testing import trust


async def main() -> None:
    orders = json.loads(sys.stdin.readline())
    with trust(orders["public_key"]):
        fleet = Fleet(1, "hash", store=orders["store"], limits=Limits.unpaced())
        for name, session in orders["sessions"].items():
            fleet.add(name, session=session)
        async with fleet:
            if "recipients" in orders:
                job = await fleet.jobs.bulk_send(orders["recipients"], orders["text"], key="all")
            else:
                names = list(orders["sessions"])
                session = names[0] if len(names) == 1 else names
                job = await fleet.jobs.scrape_history(orders["chat"], session=session, to=orders["to"], key="all")
            status = await job.result()
            print(json.dumps({"done": status.done, "failed": status.failed, "total": status.total}), flush=True)


logging.basicConfig(level=logging.ERROR)
asyncio.run(main())
