"""Questions at a terminal: one line each, hidden where it must be, and never in the loop's way."""

import asyncio
import contextlib
import io
import os
import pty
import termios
from collections.abc import Callable, Iterator

import pytest

from telestage.cli.errors import UsageError
from telestage.cli.prompting import ask


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of a pipe that stdin is the other end of."""
    read, write = os.pipe()
    with os.fdopen(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield write
    with contextlib.suppress(OSError):  # the test may have closed it
        os.close(write)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells when a terminal's mode changes
            await asyncio.sleep(0.001)


async def test_each_question_reads_one_line_and_leaves_the_rest(typed: int, capsys) -> None:
    os.write(typed, " 12345 \nsecond Zürich\n".encode())
    assert await ask("code", hint="") == "12345"
    assert await ask("city", hint="") == "second Zürich"
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "code: city: ")


async def test_while_a_person_thinks_the_loop_goes_on_and_the_wait_can_be_cancelled(typed: int) -> None:
    os.write(typed, b"12")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ask("code", hint="")
    asyncio.get_running_loop().call_later(0.05, os.write, typed, b"34\n")
    assert await ask("code", hint="") == "34"


@pytest.mark.parametrize("end", [b"", b"\n", b"  \n"])
async def test_no_answer_is_an_error_that_says_how_to_give_one(typed: int, end: bytes) -> None:
    os.write(typed, end)
    os.close(typed)
    with pytest.raises(UsageError, match="no answer to 'code'; give it with --code"):
        await ask("code", hint="give it with --code")


async def test_a_line_without_an_end_counts(typed: int) -> None:
    os.write(typed, b"123")
    os.close(typed)
    assert await ask("code", hint="") == "123"


async def test_where_stdin_is_a_file_its_lines_are_read(monkeypatch, tmp_path) -> None:
    (tmp_path / "answers").write_text("first\nsecond\n")
    with (tmp_path / "answers").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert await ask("one", hint="") == "first"
        assert await ask("two", hint="") == "second"


async def test_a_hidden_answer_is_not_echoed_and_the_terminal_is_as_before(monkeypatch, capsys) -> None:
    master, slave = pty.openpty()

    def echoes() -> bool:
        return bool(termios.tcgetattr(slave)[3] & termios.ECHO)

    with os.fdopen(slave, "rb", buffering=0) as raw, io.TextIOWrapper(raw) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        answering = asyncio.ensure_future(ask("second password", hidden=True, hint=""))
        await until(lambda: not echoes())
        os.write(master, b"swordfish\n")
        assert await answering == "swordfish"
        assert echoes()
        answering = asyncio.ensure_future(ask("second password", hidden=True, hint=""))
        await until(lambda: not echoes())
        answering.cancel()
        await asyncio.wait({answering})
        assert echoes()
    os.close(master)
    assert "swordfish" not in "".join(capsys.readouterr())
