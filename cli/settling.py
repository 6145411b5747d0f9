"""From what TOML says to what a fleet file is made of: keys checked, `${NAME}` replaced, kinds compared.

Goes through the file and its schema side by side, so that every complaint has its place. What came out of the
environment is remembered by its place; no complaint about such a place shows the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec import inspect

from telestage.cli.environment import BadReference, resolve
from telestage.cli.expectation import accepts, bare, described, fields_of, found, item_of, kinds_of, nearest
from telestage.cli.secrecy import Redactor, Secret

__all__ = ["Settled", "join"]

_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

Complain = Callable[[str, str], Exception]
"""Makes the error for a place and a problem."""


def join(where: str, key: str) -> str:
    """The place of a key in the table at `where`."""
    return f"{where}.{key}" if where else key


class Settled:
    """Settles one file.

    Args:
        environ: What `${NAME}` is looked up in.
        redactor: Learns every value that came out of the environment, and every secret of the file.
        complain: Makes the error that is raised for a place and a problem.
    """

    def __init__(self, environ: Mapping[str, str], redactor: Redactor, complain: Complain) -> None:
        self._environ = environ
        self._redactor = redactor
        self.complain = complain
        self.variables: dict[str, list[str]] = {}
        """Which variables the value at a place is made of."""

    def settle(self, value: object, expected: inspect.Type, where: str = "") -> object:
        """The value as it is to be decoded."""
        kind = bare(expected)
        if isinstance(value, str):
            value = self._replaced(value, kind, where)
        if not accepts(kind, value):
            raise self.complain(where, f"expected {described(expected)}, not {self._found(value, where)}")
        fields = fields_of(kind)
        if isinstance(value, Mapping):
            return self._table(value, kind, fields, where)
        if isinstance(value, list) and (item := item_of(kind)) is not None:
            return [self.settle(each, item, f"{where}[{index}]") for index, each in enumerate(value)]
        if isinstance(value, str) and isinstance(kind, inspect.LiteralType | inspect.EnumType):
            self._choice(value, kind, expected, where)
        return value

    def shown(self, value: str, where: str) -> str:
        """A value of the file in an error: as it is, or the variables it is made of."""
        return f"the value of {self.origin(where)}" if where in self.variables else repr(value)

    def origin(self, where: str) -> str:
        """`${NAME}`, for a value out of the environment."""
        return " and ".join(f"${{{name}}}" for name in self.variables[where])

    def from_environment(self, where: str) -> bool:
        """Whether anything at or below the place came out of the environment."""
        return any(place == where or place.startswith((f"{where}.", f"{where}[")) for place in self.variables)

    def _table(
        self,
        value: Mapping[str, object],
        kind: inspect.Type,
        fields: dict[str, inspect.Field] | None,
        where: str,
    ) -> dict[str, object]:
        settled: dict[str, object] = {}
        if fields is None:
            assert isinstance(kind, inspect.DictType)
            for key, each in value.items():
                if isinstance(kind.key_type, inspect.EnumType):
                    self._key(key, [str(member.value) for member in kind.key_type.cls], where)
                settled[key] = self.settle(each, kind.value_type, join(where, key))
            return settled
        for key in value:
            self._key(key, fields, where)
        for key, field in fields.items():
            if key in value:
                settled[key] = self.settle(value[key], field.type, join(where, key))
            elif field.required:
                raise self.complain(join(where, key), f"is missing; expected {described(field.type)}")
        return settled

    def _key(self, key: str, known: Mapping[str, object] | list[str], where: str) -> None:
        if key not in known:
            raise self.complain(join(where, key), f"unknown key; {nearest(key, known)}")

    def _choice(
        self, value: str, kind: inspect.LiteralType | inspect.EnumType, expected: inspect.Type, where: str
    ) -> None:
        values = kind.values if isinstance(kind, inspect.LiteralType) else [member.value for member in kind.cls]
        choices = [str(each) for each in values]
        if value in choices:
            return
        problem = f"expected {described(expected)}, not {self.shown(value, where)}"
        if where not in self.variables:  # a suggestion would say what the value is like
            problem += f"; {nearest(value, choices)}"
        raise self.complain(where, problem)

    def _replaced(self, value: str, kind: inspect.Type, where: str) -> object:
        try:
            resolved = resolve(value, self._environ)
        except BadReference as error:
            raise self.complain(where, str(error)) from None
        for name, text in resolved.values.items():
            self._redactor.learn(text, f"${{{name}}}")
        secret = isinstance(kind, inspect.CustomType) and kind.cls is Secret
        if secret and not resolved.values:
            self._redactor.learn(value, f"<{where}>")
        if not resolved.values:
            return resolved.text
        self.variables[where] = list(resolved.values)
        return resolved.text if secret else _converted(resolved.text, kind)

    def _found(self, value: object, where: str) -> str:
        if where in self.variables:
            return f"the value of {self.origin(where)}"
        return found(value)


def _converted(text: str, kind: inspect.Type) -> object:
    """A text of the environment as what is expected: there are only texts."""
    for each in kinds_of(kind):
        if isinstance(each, inspect.IntType) and _WHOLE.fullmatch(text.strip()):
            return int(text)
        if isinstance(each, inspect.FloatType) and _NUMBER.fullmatch(text.strip()):
            return float(text)
        if isinstance(each, inspect.BoolType) and text.strip() in ("true", "false"):
            return text.strip() == "true"
    return text
