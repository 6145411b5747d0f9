"""Secrets don't show: not in a repr, not in an error, not in a log.

A `Secret` hides its text from every printing. What others print, such as the traceback of a handler's module, goes
through a `Redactor`, which takes the secrets that it knows out of any text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

__all__ = ["RedactingFormatter", "Redactor", "Secret"]

_SHORTEST = 4  # a shorter text says nothing by itself, and occurs in every other one


class Secret:
    """A text that is given out by `reveal` only."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"


class Redactor:
    """Takes known secrets out of texts.

    Texts of fewer than 4 characters are left: they occur everywhere.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def learn(self, secret: str, name: str) -> None:
        """From now on `secret` is replaced by `name`, in each of its lines too."""
        for text in {secret, secret.strip(), *secret.splitlines()}:
            if len(text) >= _SHORTEST:
                self._names.setdefault(text, name)

    def redact(self, text: str) -> str:
        """The text without the secrets."""
        for secret in sorted(self._names, key=len, reverse=True):  # one may be a part of another
            text = text.replace(secret, self._names[secret])
            written = repr(secret)[1:-1]
            if written != secret:
                text = text.replace(written, self._names[secret])
        return text

    def __repr__(self) -> str:
        return f"Redactor(<{len(self._names)} secrets>)"


class RedactingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without the secrets."""

    def __init__(self, form: str, redactors: Iterable[Redactor]) -> None:
        super().__init__(form)
        self._redactors = tuple(redactors)

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record."""
        text = super().format(record)
        for redactor in self._redactors:
            text = redactor.redact(text)
        return text
