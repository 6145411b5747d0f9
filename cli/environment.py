"""`${NAME}` in a text stands for the environment variable of that name.

`${NAME:-default}` stands for the default where the variable is unset or empty, as in a shell; the default ends at
the first `}`. `$${` is the two characters `${`, and any other `$` is itself. A value is taken as it is: what looks
like a reference in it is none. No error holds a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

__all__ = ["BadReference", "Resolved", "resolve"]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")


class BadReference(Exception):
    """A `${` that stands for nothing; the text says why and what would be right."""


class Resolved(msgspec.Struct, frozen=True):
    """A text with its references replaced. Its repr doesn't show them."""

    text: str
    values: dict[str, str]
    """What each variable stood for; empty if the text has no reference."""

    def __repr__(self) -> str:
        return f"Resolved(<from {', '.join(self.values) or 'no variable'}>)"


def resolve(text: str, environ: Mapping[str, str]) -> Resolved:
    """Replaces the references in `text`.

    Raises:
        BadReference: A variable is unset and has no default, or a `${` is malformed.
    """
    values: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise BadReference("a '${' here is neither ${NAME} nor ${NAME:-default}; for the two characters write $${")
        value = environ.get(name)
        if not value and default is not None:
            value = default
        if value is None:
            raise BadReference(
                f"the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
            )
        values[name] = value
        return value

    return Resolved(_REFERENCE.sub(replace, text), values)
