"""What ends the command with one line on stderr: `telestage: error: …`.

    CommandError            it failed while running: exit code 1
    └── UsageError          it was asked for something that can't be: exit code 2
        └── FleetFileError  a fleet file says so, at a place in it

The text never holds a secret: whoever raises one of these says where a value came from, not what it is.
"""

from __future__ import annotations

from telestage.cli.secrecy import Redactor

__all__ = ["CommandError", "FleetFileError", "UsageError"]


class CommandError(Exception):
    """The command could not do what it was asked for; the text is the whole line."""

    exit_code = 1

    def redact(self, text: str) -> str:
        """A text about this error, such as its traceback, without secrets."""
        return text


class UsageError(CommandError):
    """The request itself is wrong: an option, or a file that it names. Nothing was begun."""

    exit_code = 2


class FleetFileError(UsageError):
    """A fleet file is wrong at `where`, such as `sessions[2].name`; `problem` says how, and what would be right.

    `redactor` knows the secrets of the file, and whatever else came out of the environment.
    """

    def __init__(self, file: str, where: str, problem: str, redactor: Redactor) -> None:
        super().__init__(f"{file}: {where}: {problem}" if where else f"{file}: {problem}")
        self.file = file
        self.where = where
        self.problem = problem
        self._redactor = redactor

    def redact(self, text: str) -> str:
        """A text about this error without the secrets of the file."""
        return self._redactor.redact(text)
