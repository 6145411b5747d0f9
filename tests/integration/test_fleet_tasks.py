"""Every task that is made of Telestage's own code is in the registry as long as it runs, whatever it is for."""

import asyncio
import traceback
from pathlib import Path

from telethon import events

import telestage.actors
from telestage.actors import Fleet, Limits, SessionStore, Store, StoredSession, Vault

OURS = str(Path(telestage.actors.__file__).parent)
KEY = Vault.new_key()


class Watch:
    """Looks at each task a turn of the loop after it was made: whether the fleet knows it, if it still runs."""

    def __init__(self) -> None:
        self.fleet: Fleet | None = None
        self.seen: set[str] = set()
        self.unknown: list[str] = []

    def make(self, loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        code = getattr(coroutine, "cr_code", None)
        if code is not None and code.co_filename.startswith(OURS) and "/testkit/" not in code.co_filename:
            makers = [frame.name for frame in traceback.extract_stack(limit=6)]
            if "wait_for" not in makers:  # Python 3.11 makes a task in there of what is to be waited for
                loop.call_soon(self.look, task, code.co_qualname)
        return task

    def look(self, task, what) -> None:
        assert self.fleet is not None
        if task.done() or task.get_name() == "telestage worker":  # which is idle; with work it has another name
            return
        if task.get_name() in {each.name for each in self.fleet.tasks.details()}:
            self.seen.add(what)
        else:
            self.unknown.append(what)


async def test_every_task_of_ours_is_registered_while_it_runs(telegram, tmp_path, eventually):
    """R-T1: stored sessions that are written, leases, floods, jobs, launches and what monitors note included."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    peers = [telegram.add_user(f"peer{number}").username for number in range(5)]
    path = tmp_path / "fleet.db"
    async with Store(path) as store:
        sessions = SessionStore(store, Vault(KEY))
        await sessions.open()
        for user in (alice, bob):
            await sessions.put(user.username, user.session)
    fleet = Fleet(1, "hash", store=path, store_key=KEY, limits=Limits.unpaced())
    for name in ("alice", "bob"):
        fleet.add(name, session=StoredSession(name))
    got = []

    @fleet.on(events.NewMessage(incoming=True), sessions="bob")
    async def keep(event):
        got.append(event.raw_text)

    watch = Watch()
    watch.fleet = fleet
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(watch.make)
    try:
        await fleet.start()
        await fleet["alice"].send_message("bob", "hi")
        await eventually(lambda: got == ["hi"])
        telegram.faults.flood_wait("messages.sendMessage", seconds=1, user=alice)
        job = await fleet.jobs.bulk_send(peers, "hello")
        assert (await job.result()).done == len(peers)
        await fleet.bulk_send(peers, "again")
        await fleet.restart("alice")
        await fleet["alice"].settled()
        await fleet["alice"].get_me()
        assert fleet.tasks.by_session().keys() <= {"alice", "bob", None}
    finally:
        await fleet.stop()
        loop.set_task_factory(before)
    assert not watch.unknown, sorted(set(watch.unknown))
    wanted = {"StoredSession._write", "Leases._write_all", "Leases.keep", "FloodKeeper._written", "Sending._share"}
    assert wanted <= watch.seen, wanted - watch.seen
