"""A fleet in a process of its own, to be killed: notes what its monitors get, until its input ends.

`python gap_fleet.py FOLDER NAME=SESSION ...`: the store and the notes are in the folder. Notes are appended by single
writes, which a kill of the process doesn't undo; those of the monitors `exact` and `shared` are in the store, each in
one transaction with the mark of its event.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from telethon import events, types

from telestage.actors import Backoff, Directive, Fleet, Limits, Supervision, event_in_hand, event_key

NEW = (types.UpdateNewMessage, types.UpdateNewChannelMessage)
EDITED = (types.UpdateEditMessage, types.UpdateEditChannelMessage)
DELETED = (types.UpdateDeleteMessages, types.UpdateDeleteChannelMessages)
KINDS = events.Raw(types=[*NEW, *EDITED, *DELETED])
TABLE = "CREATE TABLE got (number INTEGER PRIMARY KEY, who TEXT NOT NULL, line TEXT NOT NULL)"
PATIENT = Supervision(intensity=10**6, backoff=Backoff(first=0.001, maximum=0.001), exceeded=Directive.STOP)


def told(update):
    """What an update tells: `chat what id key`."""
    channel = getattr(getattr(getattr(update, "message", None), "peer_id", None), "channel_id", None)
    channel = channel or getattr(update, "channel_id", None) or 0
    if isinstance(update, DELETED):
        what, id = "deleted", update.messages[0]
    else:
        what, id = ("new" if isinstance(update, NEW) else "edited"), update.message.id
    return f"{channel} {what} {id} {event_key(update)}"


async def main(folder, *sessions):
    names = [each.partition("=")[0] for each in sessions]
    fleet = Fleet(1, "hash", limits=Limits.unpaced(monitor_queue=100_000), store=folder / "fleet.db")
    for each in sessions:
        name, _, session = each.partition("=")
        fleet.add(name, session=session)
    notes = {}

    def appended(session, name, pause):
        file = notes[session, name] = os.open(folder / f"{session}-{name}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

        async def handle(update):
            if pause:
                await asyncio.sleep(random.random() * pause)
            os.write(file, f"{told(update)}\n".encode())

        return handle

    def in_store(session, name):
        async def handle(update):
            in_hand, line = event_in_hand(), told(update)

            def note(connection):
                connection.execute("INSERT INTO got (who, line) VALUES (?, ?)", (f"{session}-{name}", line))
                in_hand.settle(connection)

            await fleet.store.write(note)

        return handle

    for session in names:
        fleet.on(KINDS, sessions=session, name=f"{session}-soon")(appended(session, "soon", 0.0))
        fleet.on(KINDS, sessions=session, name=f"{session}-slow")(appended(session, "slow", 0.002))
        fleet.on(KINDS, sessions=session, name=f"{session}-each", durable="each")(appended(session, "each", 0.0))
        fleet.on(KINDS, sessions=session, name=f"{session}-before", durable="before")(appended(session, "before", 0.0))
        fleet.on(KINDS, sessions=session, name=f"{session}-exact")(in_store(session, "exact"))
    fleet.on(KINDS, name="shared", once=True)(in_store("all", "shared"))
    async with fleet.store:
        await fleet.store.prepare("got", [TABLE])
        async with fleet:
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for file in notes.values():
        os.close(file)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
