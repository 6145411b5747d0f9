"""The installed `telestage` command as people run it: a server, a login and a fleet, each a process of its own."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sysconfig
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from telethon import TelegramClient, events
from telethon.sessions.string import StringSession

COMMAND = Path(sysconfig.get_path("scripts")) / "telestage"
PHONE = "15550100"
pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 25.0  # for anything that has to happen


class Process:
    """A `telestage` in a session of its own, so that what it leaves behind can be found."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
        assert line, f"it has ended after {self.seen}; {await self.errors()}"
        self.seen.append(line.decode().rstrip("\n"))
        return self.seen[-1]

    async def until(self, words: str) -> str:
        while words not in await self.line():
            pass
        return self.seen[-1]

    async def errors(self, until: str | None = None) -> str:
        """What it says on stderr, to the end, or up to some words."""
        assert self._process.stderr is not None
        if until is None:
            return (await asyncio.wait_for(self._process.stderr.read(), SECONDS)).decode()
        return (await asyncio.wait_for(self._process.stderr.readuntil(until.encode()), SECONDS)).decode()

    def answer(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, and stderr."""
        out, err = await asyncio.wait_for(self._process.communicate(), SECONDS)
        assert self._process.returncode is not None
        assert left_behind(self.pid) == []
        return self._process.returncode, out.decode(), err.decode()

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.communicate()


def left_behind(session: int) -> list[str]:
    """Processes of that session that still run (R-T4)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = stat.read_text().rsplit(")", 1)
            if int(fields.split()[3]) == session and fields.split()[0] != "Z":
                found.append(name)
    return found


class Starter:
    """Starts the command in a folder, and kills what still runs at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    async def __call__(self, *arguments: object, **environ: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
            env={**os.environ, "TELESTAGE_API_ID": "1", "TELESTAGE_API_HASH": "hash-nobody-sees", **environ},
            start_new_session=True,
        )
        self._started.append(Process(process))
        return self._started[-1]

    async def kill(self) -> None:
        for process in self._started:
            await process.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    await starter.kill()


class Server:
    """A `telestage loopback --json` that listens."""

    def __init__(self, process: Process, told: dict[str, object], public_key: Path) -> None:
        self.public_key = public_key
        self.process = process
        self.told = told
        self.address = f"{told['host']}:{told['port']}"
        self.sessions: dict[str, str] = {user["name"]: user["session"] for user in told["users"]}  # type: ignore[attr-defined]  # JSON


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One for all tests: a process takes a second to start."""
    folder = tmp_path_factory.mktemp("server")
    starter = Starter(folder)
    process = await starter(
        *("loopback", "--json", "--user", "alice", "--user", f"bob:{PHONE}", "--users", "1", "--phone", "15550199"),
        *("--group", "talk:all:3", "--public-key", "key.pem"),
    )
    yield Server(process, json.loads(await process.line()), folder / "key.pem")
    await starter.kill()


@pytest.fixture
def fleet_file(tmp_path: Path, server: Server) -> Path:
    """A file whose one session is alice's, out of the environment, with a monitor that answers."""
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            async def keep(event):
                print("kept", event.raw_text, flush=True)
                if event.raw_text == "ping":
                    await event.reply("pong")
                if event.raw_text == "bad":
                    raise RuntimeError("bad " + event.client.session.save())
        """)
    )
    file = tmp_path / "fleet.toml"
    file.write_text(
        textwrap.dedent(f"""
            api_id = "${{TELESTAGE_API_ID}}"
            api_hash = "${{TELESTAGE_API_HASH}}"
            stop_timeout = 5
            [server]
            port = {server.told["port"]}
            public_key = "{server.public_key}"
            [limits]
            operations = 4
            [[sessions]]
            name = "alice"
            session = "${{ALICE}}"
            [[monitors]]
            handler = "shop:keep"
            chats = "talk"
            incoming = true
            intensity = 0
        """)
    )
    return file


async def test_a_fleet_file_runs_against_a_server_until_sigterm(start, server, fleet_file) -> None:
    """R-T4: it ends with exit code 0 and leaves nothing."""
    alice = server.sessions["alice"]
    checked = await start("run", "--check", fleet_file, ALICE=alice)
    assert await checked.ended() == (0, f"{fleet_file}: right; 1 sessions, 1 monitors\n", "")

    fleet = await start("run", fleet_file, "--verbose", ALICE=alice)
    await fleet.until("alice is ready")
    client = TelegramClient(StringSession(server.sessions["bob"]), 1, "any")
    answered = asyncio.Event()
    client.add_event_handler(lambda event: answered.set() or asyncio.sleep(0), events.NewMessage(pattern="pong"))
    await client.connect()
    try:
        await client.send_message("talk", "ping")
        await fleet.until("kept ping")
        await asyncio.wait_for(answered.wait(), SECONDS)
        await client.send_message("talk", "bad")
        await fleet.until("keep of alice is stopped, failed 1 time")
    finally:
        await client.disconnect()
    fleet.signal(signal.SIGTERM)
    code, out, err = await fleet.ended()
    assert code == 0
    assert "stopping: SIGTERM" in out
    assert re.search(r"ended: \d+ operations; [12] events handled, 1 failed, 0 dropped\n$", out)
    assert "RuntimeError: bad <sessions[0].session>" in err
    assert alice not in out + err + "".join(fleet.seen)
    assert "hash-nobody-sees" not in out + err


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_handler_that_resists_its_end_does_not_keep_the_process(
    start, server, fleet_file, tmp_path, signals
) -> None:
    """R-T4, R-D3: it ends within `stop_timeout` and some seconds, or at once on the second signal, with exit code 0."""
    (tmp_path / "shop.py").write_text(
        textwrap.dedent("""
            import asyncio

            async def keep(event):
                print("begun", flush=True)
                while True:
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        print("resisting", flush=True)
        """)
    )
    stop_timeout = 3 if signals == 1 else 600
    file = tmp_path / "stubborn.toml"
    file.write_text(fleet_file.read_text().replace("stop_timeout = 5", f"stop_timeout = {stop_timeout}"))
    fleet = await start("run", file, ALICE=server.sessions["alice"])
    await fleet.until("alice is ready")
    client = TelegramClient(StringSession(server.sessions["bob"]), 1, "any")
    await client.connect()
    try:
        await client.send_message("talk", "ping")
    finally:
        await client.disconnect()
    await fleet.until("begun")
    fleet.signal(signal.SIGTERM)
    await fleet.until("stopping: SIGTERM")
    since = asyncio.get_running_loop().time()
    if signals == 2:
        fleet.signal(signal.SIGTERM)
    code, out, err = await fleet.ended()
    assert asyncio.get_running_loop().time() - since < 3 + 3 + 5  # and some for a busy machine
    assert code == 0
    assert "resisting" in out
    assert "resists its cancellation" in err


async def test_a_person_signs_in_at_the_prompt_and_the_stored_session_runs(start, server, fleet_file, tmp_path) -> None:
    login = await start("login", "--server", server.address, "--public-key", server.public_key, "--output", "bob.txt")
    assert await login.errors(until=": ") == "phone number, with the country's code: "
    login.answer(f"+{PHONE}")
    assert await login.errors(until=": ") == "the code that Telegram sent: "
    sent = json.loads(await server.process.line())
    assert (sent["event"], sent["phone"]) == ("login_code", PHONE)
    login.answer(sent["code"])
    assert await login.ended() == (0, "", "signed in; the session is in bob.txt\n")

    file = tmp_path / "bob.toml"
    file.write_text(fleet_file.read_text().replace('session = "${ALICE}"', 'session_file = "bob.txt"'))
    fleet = await start("run", file, "--json", "--for", "1")
    code, out, err = await fleet.ended()
    assert code == 0
    assert "rror" not in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert ("session", "ready") in [(line["event"], line.get("state")) for line in lines]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["status"]["sessions"][0]["state"] == "stopped"


async def test_a_new_user_signs_up_and_gets_the_session_string_alone_on_stdout(start, server) -> None:
    login = await start("login", "--server", server.address, "--phone", "15550199", "--sign-up", "Zed")
    sent = json.loads(await server.process.line())
    login.answer(sent["code"])
    code, out, err = await login.ended()
    assert (code, err) == (0, "the code that Telegram sent: ")
    assert StringSession(out.strip()).port == server.told["port"]
    assert out.count("\n") == 1


async def test_a_run_whose_sessions_are_all_dead_fails_in_one_line(start, server, fleet_file) -> None:
    client = TelegramClient(StringSession(server.sessions["user1"]), 1, "any")
    await client.connect()
    await client.log_out()
    await client.disconnect()
    fleet = await start("run", fleet_file, "--json", ALICE=server.sessions["user1"])
    code, _, err = await fleet.ended()
    assert code == 1
    last = err.splitlines()[-1]
    assert re.match(r"telestage: error: every session has ended: alice is dead: .*not signed in", last)
    assert "Traceback" not in err


async def test_a_wrong_file_is_one_line_and_exit_code_2(start, server, fleet_file) -> None:
    process = await start("run", fleet_file)
    assert await process.ended() == (
        2,
        "",
        f"telestage: error: {fleet_file}: sessions[0].session: the environment variable ALICE is not set; "
        "set it, or give a default: ${ALICE:-default}\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_server_says_in_plain_words_what_there_is_and_ends_cleanly_on_a_signal(start, number) -> None:
    process = await start("loopback", "--users", "2", "--channel", "news:1:5", "--group", "talk:user2")
    lines = [await process.line() for _ in range(5)]
    listening = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", lines[0])
    assert listening
    assert re.fullmatch(r"user user1, phone \d+, session 1[\w=-]+", lines[1])
    assert lines[3:] == ["channel news, 1 members, 5 messages", "group talk, 1 members, 0 messages"]
    process.signal(number)
    assert await process.ended() == (0, "", "")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(listening[1]))


async def test_a_taken_port_is_one_line(start, server) -> None:
    second = await start("loopback", "--port", server.told["port"])
    expected = f"telestage: error: can't listen on {server.address}: Address already in use\n"
    assert await second.ended() == (1, "", expected)


async def test_an_interrupt_at_a_prompt_ends_without_a_traceback(start, server) -> None:
    login = await start("login", "--server", server.address)
    await login.errors(until=": ")
    login.signal(signal.SIGINT)
    assert await login.ended() == (130, "", "\n")


async def test_on_a_terminal_the_fleet_is_a_live_table(start, server, fleet_file) -> None:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("run", str(fleet_file), "--for", "1.5"),
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "110", "LINES": "40", "TELESTAGE_API_ID": "1",
             "TELESTAGE_API_HASH": "any", "ALICE": server.sessions["alice"]},
    )  # fmt: skip
    os.close(slave)
    shown = bytearray()
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other end is closed
            chunk = b""
        shown.extend(chunk)
        if not chunk:
            loop.remove_reader(master)
            over.set()

    loop.add_reader(master, read)
    try:
        await asyncio.wait_for(over.wait(), SECONDS)
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0
    finally:
        loop.remove_reader(master)
        os.close(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"alice\s*│\s*ready", text)
    assert re.search(r"keep\s*│\s*1 of 1", text)
    assert "alice is ready" in text
    assert shown.rindex(b"\x1b[2K") > shown.rindex("│".encode()), "the table is taken away at the end"
    assert re.search(r"ended: \d+ operations; .*\r\n$", text)
