"""How a run of a fleet ends: by a signal, by its time, or with its last session; and what is said meanwhile."""

import asyncio
import os
import signal
from contextlib import AbstractContextManager, nullcontext

import pytest
from telethon import events

from telestage.actors import Fleet
from telestage.cli.errors import CommandError
from telestage.cli.running import run_fleet
from telestage.cli.watching import Watcher
from telestage.messages import FleetStatus
from telestage.testing import LoopbackTelegram


class Recorder:
    """A reporter whose lines can be waited for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: FleetStatus | None = None
        self._watcher = Watcher()
        self._news = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()

    def shown(self) -> AbstractContextManager[object]:
        return nullcontext()

    def update(self, status: FleetStatus) -> None:
        for change in self._watcher.changes(status):
            self.say(change.text)

    def say(self, text: str) -> None:
        self.lines.append(text)
        task = asyncio.ensure_future(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def log(self, text: str) -> None:
        self.say(text)

    def end(self, status: FleetStatus) -> None:
        self.last = status

    async def until(self, *lines: str) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: set(lines) <= set(self.lines))

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def fleet(telegram: LoopbackTelegram) -> Fleet:
    fleet = Fleet(1, "any")
    for name in ("alice", "bob"):
        fleet.add(name, session=telegram.add_user(name).session)
    return fleet


def run(fleet: Fleet, recorder: Recorder, seconds: float | None = None, stop_timeout: float = 10.0):
    running = run_fleet(fleet, recorder, start_timeout=20.0, stop_timeout=stop_timeout, seconds=seconds)
    return asyncio.ensure_future(running)


def left_of(fleet: Fleet, telegram: LoopbackTelegram) -> list[object]:
    """What should be gone after a run."""
    mine = {asyncio.current_task()}
    return [task for task in asyncio.all_tasks() - mine if "telestage" in task.get_name()] + fleet.status().tasks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_run_and_disconnects_every_session(telegram, fleet, recorder, number) -> None:
    """R-T4: nothing is left."""
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    running = run(fleet, recorder)
    await recorder.until("alice is ready", "bob is ready")
    assert telegram.status().connections == 2
    os.kill(os.getpid(), number)
    await running
    assert recorder.lines[-3:] == [f"stopping: {number.name}", "alice is stopped", "bob is stopped"]
    assert recorder.last is not None
    assert recorder.last.permits.granted == recorder.last.permits.returned > 0
    assert left_of(fleet, telegram) == []
    async with asyncio.timeout(5):
        while telegram.status().connections:  # noqa: ASYNC110 - the server hears of it by the socket
            await asyncio.sleep(0.01)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


async def test_sigusr1_has_a_dump_written_and_the_run_goes_on(telegram, fleet, recorder, capfd) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    running = run(fleet, recorder)
    await recorder.until("alice is ready", "bob is ready")
    os.kill(os.getpid(), signal.SIGUSR1)
    written = ""
    while "end of the dump of 'fleet'" not in written:
        await asyncio.sleep(0)
        written += capfd.readouterr().err
    assert "SessionActor" in written
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert signal.getsignal(signal.SIGUSR1) == before


async def test_a_run_for_some_seconds_ends_by_itself(fleet, recorder) -> None:
    await asyncio.wait_for(run(fleet, recorder, seconds=1.0), 15)
    assert "alice is ready" in recorder.lines
    assert "stopping: 1 s have passed" in recorder.lines


async def test_a_run_with_one_dead_session_goes_on_and_with_none_alive_fails(telegram, fleet, recorder) -> None:
    """R-X4: a dead session stays dead, and says why."""
    running = run(fleet, recorder)
    await recorder.until("alice is ready", "bob is ready")
    users = {user.user.username: user.user for user in telegram._state.users.values()}
    telegram.faults.revoke(users["bob"])
    with pytest.raises(Exception, match="dead"):
        await fleet["bob"].get_me()
    async with asyncio.timeout(10):
        while not any(line.startswith("bob is dead: ") for line in recorder.lines):  # noqa: ASYNC110 - a prefix
            await asyncio.sleep(0.01)
    assert not running.done()
    assert (await fleet["alice"].get_me()).username == "alice"
    telegram.faults.ban(users["alice"])
    with pytest.raises(Exception, match="dead"):
        await fleet["alice"].get_me()
    with pytest.raises(CommandError, match=r"^every session has ended: alice is dead: .+; bob is dead: .+") as caught:
        await asyncio.wait_for(running, 15)
    assert caught.value.exit_code == 1
    assert left_of(fleet, telegram) == []


async def test_the_first_signal_lets_a_handler_end_and_the_second_does_not_wait(telegram, fleet, recorder) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @fleet.on(events.NewMessage(incoming=True), sessions="bob")
    async def slow(event: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    running = run(fleet, recorder, stop_timeout=600.0)
    await recorder.until("alice is ready", "bob is ready")
    await fleet["alice"].send_message("bob", "hi")
    await asyncio.wait_for(begun.wait(), 10)
    os.kill(os.getpid(), signal.SIGTERM)
    await recorder.until("stopping: SIGTERM")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cancelled.wait(), 0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 10)
    assert cancelled.is_set()
    assert left_of(fleet, telegram) == []


async def test_a_signal_while_the_sessions_still_connect_ends_the_run(telegram, fleet, recorder) -> None:
    telegram.faults.refuse_connections()
    running = run(fleet, recorder, stop_timeout=2.0)
    await recorder.until("alice is connecting", "bob is connecting")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 15)
    assert recorder.lines[-2:] == ["alice is stopped", "bob is stopped"]
    assert left_of(fleet, telegram) == []
