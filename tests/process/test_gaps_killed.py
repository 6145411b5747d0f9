"""A fleet's process killed by SIGKILL again and again, under cuts and losses, over posts, edits and deletions.

`make soak` plays 10,000 of them, from a seed of its own.
"""

import asyncio
import importlib.util
import random
import sqlite3
import sys
from collections import Counter, defaultdict
from contextlib import closing, suppress
from pathlib import Path
from time import perf_counter

import pytest

from telestage.testing import LoopbackTelegram
from telestage.testing.loopback.tl import now

FLEET = Path(__file__).with_name("gap_fleet.py")
RANDOM_GAPS = Path(__file__).parents[1] / "integration" / "test_fleet_random_gaps.py"
APPENDED = ("soon", "slow", "each", "before")


def random_gaps():
    """The module whose ledgers tell what a monitor must have seen."""
    spec = importlib.util.spec_from_file_location(RANDOM_GAPS.stem, RANDOM_GAPS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Process:
    """The fleet's process."""

    def __init__(self, folder, users):
        self.arguments = [str(FLEET), str(folder), *(f"{user.username}={user.session.save()}" for user in users)]
        self.errors = folder / "errors"
        self.process = None

    async def start(self):
        with self.errors.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )

    async def ready(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), 30)
        assert line == b"ready\n", self.errors.read_text()[-3000:]

    async def kill(self):
        with suppress(ProcessLookupError):
            self.process.kill()  # SIGKILL, by its id
        await self._ended()

    async def end(self):
        self.process.stdin.close()
        await self._ended()

    async def _ended(self):
        await asyncio.wait_for(self.process.wait(), 30)
        self.process.stdin.close()
        self.process._transport.close()


class Notes:
    """What the monitors noted: by monitor, `(chat, what, id, key)` in its order. Reads what has come since."""

    def __init__(self, folder, sessions=("alice", "carol")):
        self.folder = folder
        self.sessions = sessions
        self.by = defaultdict(list)
        self.newest = {}  # by monitor and chat: the last message
        self._places = Counter()

    def read(self):
        for session in self.sessions:
            for name in APPENDED:
                path = self.folder / f"{session}-{name}"
                with path.open("rb") as file:
                    file.seek(self._places[path])
                    come = file.read()
                whole = come[: come.rfind(b"\n") + 1]  # a line that is being written may be seen in part
                self._note(path.name, whole.decode())
                self._places[path] += len(whole)
        with closing(sqlite3.connect(self.folder / "fleet.db", timeout=10)) as connection:
            after = "SELECT number, who, line FROM got WHERE number > ? ORDER BY number"
            for number, who, line in connection.execute(after, (self._places["got"],)).fetchall():
                self._note(who, line)
                self._places["got"] = number

    def _note(self, who, text):
        for line in text.splitlines():
            chat, what, id, key = line.split()
            self.by[who].append((int(chat), what, int(id), key))
            if what == "new":
                self.newest[who, int(chat)] = max(int(id), self.newest.get((who, int(chat)), 0))


class Play:
    """One run."""

    def __init__(self, seed, folder, telegram):
        self.seed = seed
        self.rng = random.Random(seed)
        self.telegram = telegram
        self.notes = Notes(folder)
        gaps = random_gaps()
        self.alice, bob, self.carol = (telegram.add_user(name) for name in ("alice", "bob", "carol"))
        news = telegram.add_channel("news", [self.alice, self.carol])
        group = telegram.add_channel("group", [self.alice, self.carol], megagroup=True)
        self.ledgers = [
            gaps.Ledger(telegram, news),
            gaps.Ledger(telegram, group),
            gaps.Ledger(telegram, self.alice, bob),
        ]
        self.process = Process(folder, [self.alice, self.carol])
        self.kills = 0
        whole = (f"{session}-{name}" for session in ("alice", "carol") for name in (*APPENDED, "exact"))
        self.who = [*whole, "all-shared"]

    @property
    def happened(self):
        return sum(len(ledger.happened) for ledger in self.ledgers)

    def concerned(self, who):
        """The ledgers of what a monitor sees."""
        return [ledger for ledger in self.ledgers if ledger.key or not who.startswith("carol")]

    async def burst(self, most):
        """Up to so many posts, edits, deletions, cuts and losses."""
        rng, faults = self.rng, self.telegram.faults
        for _ in range(rng.randint(1, most)):
            ledger = rng.choice(self.ledgers)
            match rng.choices(range(5), weights=[55, 25, 14, 3, 3])[0]:
                case 0:
                    ledger.post(f"post {self.happened}")
                case 1:
                    ledger.edit(rng)
                case 2:
                    ledger.delete(rng)
                case 3:
                    faults.disconnect(rng.choice([None, self.alice, self.carol]))
                case 4:
                    faults.lose_updates(rng.choice([None, self.alice, self.carol]), count=rng.randint(1, 3))
            if rng.random() < 0.1:
                await asyncio.sleep(rng.random() * 0.01)

    async def seen_by_all(self):
        """Every monitor has what was posted; a gap shows by what comes after it."""
        self.telegram.faults.clear()
        last = {}
        began = nudge = perf_counter()
        while True:
            now = perf_counter()
            if now >= nudge:
                last = {ledger.key: ledger.post("shows a gap") for ledger in self.ledgers}
                nudge = now + 2.0
            self.notes.read()
            newest = self.notes.newest
            left = [
                (who, ledger.key)
                for who in self.who
                for ledger in self.concerned(who)
                if newest.get((who, ledger.key), 0) < last[ledger.key]
            ]
            if not left:
                return
            assert now < began + 45, (self.seed, left, self.process.errors.read_text()[-3000:])
            await asyncio.sleep(0.02)

    async def kill(self):
        """At a random moment of its life or of its start."""
        await asyncio.sleep(self.rng.random() ** 3 * 0.2)
        await self.process.kill()
        self.kills += 1
        await self.burst(20)
        await self.process.start()
        if self.rng.random() < 0.25:
            await asyncio.sleep(self.rng.random())
            await self.process.kill()
            self.kills += 1
            await self.process.start()
        await self.process.ready()

    async def run(self, happenings, kills):
        await self.process.start()
        await self.process.ready()
        for life in range(1, kills + 2):
            while self.happened < happenings * life // (kills + 1):
                await self.burst(40)
                await self.seen_by_all()
            if life <= kills:
                await self.burst(40)
                await self.kill()
        # in a difference, a message may come before changes of others; what is posted after it comes after all of it
        for _ in range(2):
            await self.seen_by_all()
        await self.process.end()
        self.notes.read()

    def check(self):
        """What each monitor was promised; returns figures."""
        repeated, lost = Counter(), 0
        for who in self.who:
            kind = who.partition("-")[2]
            got = self.notes.by[who]
            keys = Counter(key for *_, key in got)
            repeats = sum(keys.values()) - len(keys)
            repeated[kind] += repeats
            if kind in ("exact", "shared", "before"):
                assert not repeats, (self.seed, who, keys.most_common(3))
            if kind == "each":
                assert repeats <= self.kills, (self.seed, who, repeats)
            missing = 0
            for ledger in self.concerned(who):
                seen = list(dict.fromkeys((what, id, key) for chat, what, id, key in got if chat == ledger.key))
                seen = [(what, id) for what, id, _ in seen]
                if kind != "before":
                    ledger.check(seen, (self.seed, who, ledger.key))
                    continue
                expected = Counter(each for each in ledger.happened if each[1] not in ledger.gone)
                had = Counter(each for each in seen if each[1] not in ledger.gone)
                assert not had - expected, (self.seed, who)
                missing += (expected - had).total()
            assert missing <= self.kills, (self.seed, who, missing)
            lost += missing
        return {"happenings": self.happened, "kills": self.kills, "repeated": dict(repeated), "lost": lost}


async def play(seed, folder, happenings, kills):
    """One run; returns figures. Raises AssertionError if a monitor got what it wasn't promised, or not what it was."""
    began = perf_counter()
    async with LoopbackTelegram(difference_limit=10**6) as telegram:
        run = Play(seed, folder, telegram)
        try:
            await run.run(happenings, kills)
        finally:
            await run.process.kill()
        return run.check() | {"seconds": round(perf_counter() - began, 1)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2])
async def test_what_a_killed_process_was_not_done_with_comes_again_and_nothing_is_lost(seed, tmp_path):
    """R-M5: exactly once where the mark is in the handler's transaction, else as `durable=` says."""
    print(f"seed {seed}:", await play(seed, tmp_path, happenings=300, kills=4))


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it depends on another process
            await asyncio.sleep(0.01)


async def test_a_process_killed_while_it_reads_a_history_leaves_the_rest_to_the_next(tmp_path):
    """R-M5: Telegram says which channels have moved since a date; that of the store waits for their differences."""
    async with LoopbackTelegram() as telegram:
        alice = telegram.add_user("alice")
        news = telegram.add_channel("news", [alice])
        process = Process(tmp_path, [alice])
        notes = Notes(tmp_path, sessions=["alice"])

        def seen(who):
            notes.read()
            return [id for chat, _, id, _ in notes.by[who] if chat == news.id]

        everybody = [*(f"alice-{name}" for name in (*APPENDED, "exact")), "all-shared"]
        everybody.remove("alice-before")  # what it had in hand isn't given again
        try:
            await process.start()
            await process.ready()
            ids = [telegram.post(news, "known")]
            await until(lambda: all(seen(who) for who in everybody))
            telegram.faults.refuse_connections()
            telegram.faults.disconnect(alice)
            ids += [telegram.post(news, f"p{n}") for n in range(350)]
            posted = now()
            await until(lambda: now() > posted)  # in whole seconds, as Telegram's dates
            telegram.faults.latency(0.5, "messages.getHistory")
            telegram.faults.accept_connections()
            await until(lambda: len(seen("alice-exact")) > 1)  # in the middle of a page
            await process.kill()
            assert len(seen("alice-soon")) < 300, "it was killed too late"
            telegram.faults.clear()
            await process.start()
            await process.ready()
            # without anything that is posted later and shows the gap
            await until(lambda: all(len(set(seen(who))) == 351 for who in everybody))
        finally:
            await process.kill()
        for who in everybody:
            assert list(dict.fromkeys(seen(who))) == ids, who
        for who in ("alice-exact", "all-shared"):
            assert seen(who) == ids, who
