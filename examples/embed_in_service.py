"""A notification service that embeds a fleet: one program, one event loop, its own tasks beside the fleet's.

It listens on a TCP port for one JSON object a line, such as `{"to": ["bob", "carol"], "text": "hi"}`, and answers
each with what became of it. People who write `/status` to one of its accounts are answered, too. SIGTERM and
SIGINT end it gracefully: what is being sent is finished, nothing new is taken.

    TELESTAGE_API_ID=... TELESTAGE_API_HASH=... \\
    TELESTAGE_SESSIONS="support-1=1AbC... support-2=1DeF..." \\
        python examples/embed_in_service.py 8123

    echo '{"to": ["bob"], "text": "Your order is on its way."}' | nc 127.0.0.1 8123
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable

from telethon import events

from telestage.actors import Fleet, Limits

_log = logging.getLogger("notifications")

_LONGEST_LINE = 64 * 1024
_DRAIN_SECONDS = 20.0


class Notifications:
    """The service: takes jobs over TCP and has the fleet send them.

    Args:
        fleet: With its sessions, not started.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._sent = 0
        self._jobs: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        fleet.on(events.NewMessage(pattern="/status$", incoming=True), name="status")(self._tell_status)

    async def run(self, port: int, stop: asyncio.Event, ready: Callable[[int], object] = print) -> None:
        """Serves until `stop` is set; then finishes what was begun.

        Args:
            port: Where to listen; 0 lets the system choose.
            stop: Set it to end the service.
            ready: Is told the port as soon as jobs are taken.
        """
        async with self._fleet, asyncio.TaskGroup() as tasks:
            report = tasks.create_task(self._report())
            server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=_LONGEST_LINE)
            ready(server.sockets[0].getsockname()[1])
            await stop.wait()
            server.close()
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=_DRAIN_SECONDS)
            for task in (*self._jobs, *self._connections, report):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        try:
            async for line in reader:
                job = asyncio.create_task(self._answer(line, writer))  # its own, so that it can outlive `stop`
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)
                await job
        except (ValueError, ConnectionError) as error:  # a line without an end, or nobody there any more
            _log.warning("connection dropped: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            job = json.loads(line)
            recipients, text = list(job["to"]), str(job["text"])
        except (ValueError, KeyError, TypeError) as error:
            answer: dict[str, object] = {"error": f"not a job: {error!r}"}
        else:
            report = await self._fleet.bulk_send(recipients, text)
            self._sent += report.sent
            answer = {"sent": report.sent, "failed": {str(each.peer): each.error for each in report.failed}}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    async def _tell_status(self, event: events.NewMessage.Event) -> None:
        ready = sum(session.state == "ready" for session in self._fleet.status().sessions)
        await event.reply(f"{ready} of {len(self._fleet)} sessions ready, {self._sent} messages sent")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(60.0)
            for session in self._fleet.status().sessions:
                _log.info(
                    "%s: %s, %d waiting, %d done", session.name, session.state, session.queued, session.operations
                )


async def main(arguments: list[str]) -> None:
    """Runs the service with the credentials of the environment."""
    fleet = Fleet(
        int(os.environ["TELESTAGE_API_ID"]),
        os.environ["TELESTAGE_API_HASH"],
        limits=Limits(operations=20, kinds={"sending": 10}),
    )
    for entry in os.environ["TELESTAGE_SESSIONS"].split():
        name, _, session = entry.partition("=")
        fleet.add(name, session=session)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = int(arguments[0]) if arguments else 8123
    await Notifications(fleet).run(port, stop, ready=lambda port: print(f"listening on 127.0.0.1:{port}", flush=True))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1:]))
