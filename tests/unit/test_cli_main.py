"""The command's face: one line for what is wrong, an exit code, and a start without Telethon."""

import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from telestage.cli import main as command
from telestage.cli.errors import CommandError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["telestage", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELESTAGE_API_ID", "TELESTAGE_API_HASH", "TELESTAGE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["login", "--help"], ["loopback", "--help"], []])
def test_help_and_usage_need_neither_telethon_nor_the_fleet(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom telestage.cli.main import _run\n"
        f"_run({arguments!r})\n"
        "heavy = {'telethon', 'msgspec', 'telestage.actors', 'telestage.messages'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""
    assert "Usage: telestage" in done.stdout


def test_the_version_is_the_installed_one(run) -> None:
    assert run("--version") == (0, f"telestage {version('telestage')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rn"], "No such command 'rn'"),
        (["run"], "Missing argument 'FLEET.toml'"),
        (["run", "--fro", "3", "x.toml"], "No such option: --fro"),
        (["run", "--for", "soon", "x.toml"], "Invalid value for '--for'"),
        (["run", "missing.toml"], "missing.toml: can't be read: No such file or directory"),
        (["run", "--check", "missing.toml"], "missing.toml: can't be read: No such file or directory"),
        (["loopback", "--port", "99999"], "Invalid value for '--port'"),
        (["loopback", "--host", "0.0.0.0"], "Invalid value for --host: expected an IPv4 loopback address"),
        (["loopback", "--user", "x"], "'x' is no username"),
        (["loopback", "--user", "bob", "--user", "bob"], "the username 'bob' is taken"),
        (["loopback", "--channel", "news:3"], "'news:3': there are 0 users, not 3; --users makes more"),
        (["loopback", "--channel", "news:bob"], "'news:bob': there is no user 'bob'"),
        (["loopback", "--channel", "news:all:x"], "'news:all:x': the history is a number of messages, not 'x'"),
        (["loopback", "--public-key", "/no/folder/key"], "/no/folder/key can't be written: No such file or directory"),
        (["login"], "Missing option '--api-id'"),
        (["login", "--api-id", "1"], "Missing option '--api-hash'"),
        (["login", "--api-id", "0", "--api-hash", "x"], "Invalid value for '--api-id'"),
        (["login", "--api-id", "1", "--api-hash", "x", "--code", "1", "--code-command", "y"], "give one of them"),
        (["login", "--api-id", "1", "--api-hash", "x", "--server", "10.0.0.1:5"], "expected HOST:PORT of a loopback"),
        (["login", "--api-id", "1", "--api-hash", "x", "--server", "127.0.0.1"], "expected HOST:PORT of a loopback"),
        (["login", "--api-id", "1", "--api-hash", "x", "--public-key", "k"], "give --server HOST:PORT too"),
        (
            ["login", "--api-id", "1", "--api-hash", "x", "--server", "127.0.0.1:5", "--public-key", "/no/key"],
            "--public-key: /no/key can't be read: No such file or directory",
        ),
        (
            ["login", "--api-id", "1", "--api-hash", "x", "--server", "127.0.0.1:5", "--public-key", __file__],
            "is no PEM file with a PKCS#1 public key",
        ),
        (
            ["login", "--api-id", "1", "--api-hash", "x", "--output", __file__],
            f"{__file__} exists; it may be a session that is still in use. --force replaces it",
        ),
        (["login", "--api-id", "1", "--api-hash", "x", "--output", "/no/folder/s"], "there is no folder /no/folder"),
    ],
)
def test_a_request_that_can_not_be_is_one_line_and_exit_code_2(run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("telestage: error: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_failure_is_exit_code_1_and_a_traceback_is_shown_only_with_debug(run, monkeypatch, tmp_path: Path) -> None:
    def fail(context: object) -> None:
        raise CommandError("no\nluck")

    def break_down(context: object) -> None:
        raise ZeroDivisionError("of a kind")

    monkeypatch.setattr("telestage.cli.checking.loopback_host", fail)
    assert run("loopback") == (1, "", "telestage: error: no luck\n")
    for arguments in (["--debug", "loopback"], ["loopback", "--debug"]):
        code, _, err = run(*arguments)
        assert code == 1
        assert err.startswith("Traceback ")
        assert err.endswith("\ntelestage: error: no luck\n")
    monkeypatch.setattr("telestage.cli.checking.loopback_host", break_down)
    assert run("loopback") == (1, "", "telestage: error: unexpected ZeroDivisionError; --debug shows where\n")
    code, _, err = run("loopback", "--debug")
    assert code == 1
    assert "Traceback " in err
    assert err.endswith("telestage: error: unexpected ZeroDivisionError: of a kind\n")


def test_debug_may_stand_before_the_command_or_after_it(run, monkeypatch) -> None:
    levels: list[int] = []

    def logging_to(handler: object, level: int) -> None:
        levels.append(level)
        raise CommandError("enough")

    monkeypatch.setattr("telestage.cli.loopback.logging_to", logging_to)
    for arguments in (["loopback"], ["--debug", "loopback"], ["loopback", "--debug"]):
        assert run(*arguments)[0] == 1
    assert levels == [logging.WARNING, logging.DEBUG, logging.DEBUG]


def test_with_debug_the_secrets_of_the_file_are_left_out_of_the_traceback(run, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "handlers_that_tell.py").write_text("import os\nraise RuntimeError(os.environ['API_HASH'])")
    (tmp_path / "fleet.toml").write_text(
        'api_id = 1\napi_hash = "${API_HASH}"\n[[sessions]]\nname = "a"\nsession = "x"\n'
        '[[monitors]]\nhandler = "handlers_that_tell:keep"'
    )
    monkeypatch.setenv("API_HASH", "very-secret-hash")
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, err = run("run", "--debug", str(tmp_path / "fleet.toml"))
    assert code == 2
    assert "Traceback " in err
    assert "RuntimeError: ${API_HASH}" in err
    assert "very-secret-hash" not in out + err


def test_demo_reads_its_own_options(run) -> None:
    code, out, _ = run("demo", "--help")
    assert code == 0
    assert "Usage: telestage demo" in out
    assert "--sessions" in out
