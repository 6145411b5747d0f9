"""From a fleet file to a fleet: sessions are opened and handlers imported, or the place of the trouble is said."""

import base64
import logging
import os
import struct
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from telethon.crypto import AuthKey
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

from telestage.cli.building import BuiltFleet
from telestage.cli.errors import FleetFileError
from telestage.cli.loading import load

HEAD = 'api_id = 1\napi_hash = "some-hash"\n'
MONITORED = HEAD + '[[sessions]]\nname = "alice"\nsession = "${ALICE}"\n[[monitors]]\nhandler = "{}"\n'


def session_string(key: int = 7, host: tuple[int, ...] = (127, 0, 0, 1), port: int = 1) -> str:
    packed = struct.pack(">B4sH256s", 2, bytes(host), port, bytes([key]) * 256)
    return "1" + base64.urlsafe_b64encode(packed).decode()


ENVIRON = {"ALICE": session_string(1), "BOB": session_string(2), "HANDLER": "vanished_module:keep"}


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], BuiltFleet]:
    def build(text: str) -> BuiltFleet:
        path = tmp_path / "fleet.toml"
        path.write_text(text)
        return BuiltFleet(load(path, ENVIRON))

    return build


@pytest.fixture
def problem(build: Callable[[str], BuiltFleet]) -> Callable[[str], str]:
    def problem(text: str) -> str:
        with pytest.raises(FleetFileError) as caught, build(text):
            pass
        assert not any(value in str(caught.value) for value in ENVIRON.values())
        return f"{caught.value.where}: {caught.value.problem}"

    return problem


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Writes a module beside the fleet file; what it adds to the interpreter goes with the test."""
    paths, known = list(sys.path), set(sys.modules)
    written = f"handlers_of_{os.path.basename(tmp_path).replace('-', '_')}"

    def write(text: str) -> str:
        (tmp_path / f"{written}.py").write_text(textwrap.dedent(text))
        return written

    yield write
    sys.path[:] = paths
    for name in set(sys.modules) - known:
        if name.startswith("handlers_of_"):
            del sys.modules[name]


def monitored(handler: str) -> str:
    return MONITORED.replace("{}", handler)


def test_sessions_get_their_options_and_monitors(build, module, tmp_path) -> None:
    name = module("""
        class Shop:
            @staticmethod
            async def keep(event): ...
        def drop(event, more=None): ...
    """)
    SQLiteSession(str(tmp_path / "carol")).close()
    signed_in = SQLiteSession(str(tmp_path / "carol"))
    signed_in.set_dc(2, "127.0.0.1", 1)
    signed_in.auth_key = AuthKey(bytes([3]) * 256)
    signed_in.close()
    (tmp_path / "bob.txt").write_text(f"{ENVIRON['BOB']}\n")
    (tmp_path / "bob.txt").chmod(0o600)
    text = (
        HEAD
        + f"""
        [client]
        device_model = "Shelf"
        [limits]
        operations = 3
        [[sessions]]
        name = "alice"
        session = "${{ALICE}}"
        client = {{ device_model = "Desk" }}
        [[sessions]]
        name = "bob"
        session_file = "bob.txt"
        [[sessions]]
        name = "carol"
        session = "carol.session"
        [[monitors]]
        handler = "{name}:Shop.keep"
        sessions = "[ab]*"
        [[monitors]]
        handler = "{name}:drop"
        event = "MessageDeleted"
        """
    )
    with build(text) as built:
        status = built.fleet.status()
        assert [session.name for session in status.sessions] == ["alice", "bob", "carol"]
        assert [(monitor.session, monitor.name) for monitor in status.monitors] == [
            ("alice", "keep"),
            ("alice", "drop"),
            ("bob", "keep"),
            ("bob", "drop"),
            ("carol", "drop"),
        ]
        assert built.fleet.limits.operations == 3
        carol = built.fleet["carol"]._book.session
        assert carol._conn is not None
    assert carol._conn is None, "its file is still open"


def test_handlers_that_can_not_be_used_are_named(problem, module) -> None:
    name = module("""
        keeper = 5
        def keep(event): ...
        def two(first, second): ...
        async def none(): ...
    """)
    where = "monitors[0].handler"
    assert problem(monitored(f"{name}:kep")) == f"{where}: {name} has no kep; did you mean 'keep'?"
    assert problem(monitored(f"{name}:keeper")) == f"{where}: {name}:keeper is no function"
    for wrong in ("two", "none"):
        assert problem(monitored(f"{name}:{wrong}")) == (
            f"{where}: {name}:{wrong} can't be called with one argument; a handler takes one event"
        )


def test_a_module_that_is_not_there_is_told_from_one_that_needs_another(problem, module, tmp_path) -> None:
    assert problem(monitored("not_there.at_all:keep")) == (
        f"monitors[0].handler: there is no module not_there, neither in {tmp_path} nor where Python looks"
    )
    name = module("import not_there_either")
    assert problem(monitored(f"{name}:keep")) == (
        f"monitors[0].handler: {name} needs the module not_there_either, and there is none"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raise RuntimeError('no\\nluck')", "raised RuntimeError: no luck"),
        ("import sys; sys.exit()", "raised SystemExit: no text"),
        (f"raise RuntimeError({ENVIRON['ALICE']!r})", "raised RuntimeError: ${ALICE}"),
    ],
)
def test_a_module_that_fails_is_one_line_without_secrets(problem, module, text, expected) -> None:
    name = module(text)
    assert problem(monitored(f"{name}:keep")) == f"monitors[0].handler: importing {name} {expected}"


def test_a_handler_out_of_the_environment_is_not_shown(problem, tmp_path) -> None:
    said = problem(monitored("${HANDLER}").replace("${ALICE}", session_string(5)))
    assert "vanished_module:keep" not in said
    assert said.startswith("monitors[0].handler: there is no module ")


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ('session = "alice.txt"', "session: neither a session string nor a path that ends in .session"),
        (f'session = "{session_string()[:-9]}"', "session: neither a session string nor a path that ends in .session"),
        (f'session = "{session_string(0)}"', "session: is not signed in yet; make one with `telestage login`"),
        (
            'session = "gone.session"',
            "session: there is no file of that name; make it with `telestage login --output`",
        ),
        ('session = "text.session"', "session: can't be opened: file is not a database"),
        ('session = "new.session"', "session: is not signed in yet; make one with `telestage login`"),
        ('session_file = "gone.txt"', "session_file: can't be read: No such file or directory"),
        ('session_file = "new.session"', "session_file: neither a session string nor a path that ends in .session"),
        ('session_file = "bytes"', "session_file: holds no session string"),
    ],
)
def test_sessions_that_are_none_are_named(problem, tmp_path, session, expected) -> None:
    (tmp_path / "text.session").write_text("this is not a database" * 100)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    SQLiteSession(str(tmp_path / "new")).close()
    if session.startswith('session_file = "new'):
        (tmp_path / "new.session").write_text("nothing")
    assert problem(HEAD + f'[[sessions]]\nname = "alice"\n{session}') == f"sessions[0].{expected}"


def test_one_session_under_two_names_is_refused(problem, tmp_path) -> None:
    """R-X6: a session is used once."""
    (tmp_path / "alice.txt").write_text(ENVIRON["ALICE"])
    text = HEAD + '[[sessions]]\nname = "a"\nsession = "${ALICE}"\n[[sessions]]\nname = "b"\nsession_file = "alice.txt"'
    assert problem(text) == (
        "sessions[1].session_file: is the session of sessions[0] too; "
        "Telegram ends a session that is used twice at once"
    )


def test_a_session_file_that_others_can_read_is_warned_of(build, tmp_path, caplog) -> None:
    for mode in (0o600, 0o640):
        (tmp_path / "alice.txt").write_text(ENVIRON["ALICE"])
        (tmp_path / "alice.txt").chmod(mode)
        with caplog.at_level(logging.WARNING), build(HEAD + '[[sessions]]\nname = "a"\nsession_file = "alice.txt"'):
            pass
        said = [record.getMessage() for record in caplog.records]
        assert said == (
            []
            if mode == 0o600
            else [f"{tmp_path}/fleet.toml: sessions[0].session_file can be read by others; chmod 600 it"]
        )


SERVED = HEAD + '[server]\nport = 4430\npublic_key = "key.pem"\n[[sessions]]\nname = "a"\nsession = "${ALICE}"'


def test_sessions_of_a_loopback_server_lead_to_its_address(build, tmp_path) -> None:
    with build(SERVED.replace('public_key = "key.pem"', "")) as built:
        session: StringSession = built.fleet["a"]._book.session
        assert (session.server_address, session.port) == ("127.0.0.1", 4430)


def test_a_session_of_telegram_is_not_taken_to_a_loopback_server(problem) -> None:
    """Its file would lead elsewhere afterwards."""
    text = SERVED.replace("${ALICE}", session_string(5, (149, 154, 167, 51), 443))
    assert problem(text) == "sessions[0].session: leads to Telegram, and not to a loopback server as [server] says"


def test_a_public_key_that_is_none_is_named(problem, tmp_path) -> None:
    assert problem(SERVED) == "server.public_key: can't be read: No such file or directory"
    (tmp_path / "key.pem").write_text("no key")
    assert problem(SERVED) == "server.public_key: expected the path of a PEM file with a PKCS#1 public key"
