"""A bulk send and a scrape that survive the process: kill it as often as you like, and start it again.

    TELESTAGE_API_ID=... TELESTAGE_API_HASH=... SESSION=... python durable_jobs.py durov bob carol

The first argument is a chat whose history goes to history.jsonl, the others get a message, each once. The keys make it
the same jobs at each start; `telestage jobs list --store jobs.db` looks at them from outside.
"""

import asyncio
import os
import sys

from telestage.actors import Fleet, Job, Limits


async def follow(job: Job) -> None:
    """Prints how a job goes, until it has ended."""
    async for status in job.progress():
        print(f"{status.kind}: {status.state}, {status.done} of {status.total or '?'} {status.reason}", flush=True)


async def main(chat: str, recipients: list[str], limits: Limits | None = None) -> None:
    """Starts both jobs, or goes on with them."""
    fleet = Fleet(int(os.environ["TELESTAGE_API_ID"]), os.environ["TELESTAGE_API_HASH"], store="jobs.db", limits=limits)
    fleet.add("main", session=os.environ["SESSION"])
    async with fleet:
        sending = await fleet.jobs.bulk_send(recipients, "hi", key="hi to all")
        scraping = await fleet.jobs.scrape_history(chat, session="main", to="history.jsonl", key=f"history of {chat}")
        await asyncio.gather(follow(sending), follow(scraping))
        async for delivery in sending.deliveries(failed=True):
            print(f"not sent: {delivery}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
