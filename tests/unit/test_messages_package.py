"""The public face of telestage.messages: complete, sorted, and dependent on nothing else of ours."""

import inspect
import pkgutil
import subprocess
import sys

import pytest

from telestage import messages
from telestage.messages import REGISTRY, Message


def test_all_lists_what_the_package_has_and_nothing_else() -> None:
    public = {
        name for name, value in vars(messages).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(messages.__all__) == public
    assert len(messages.__all__) == len(public)


def test_all_is_sorted() -> None:
    """Constants, then classes, then functions: the order ruff keeps (RUF022)."""

    def place(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert list(messages.__all__) == sorted(messages.__all__, key=place)


def test_every_message_type_is_registered_and_public() -> None:
    """A type in a protocol module that nobody told the registry of would fail only when it is sent."""
    defined = set()
    for found in pkgutil.iter_modules(messages.__path__):
        module = __import__(f"telestage.messages.{found.name}", fromlist=["_"])
        defined |= {
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__
        }
    defined.remove(Message)
    assert defined == set(REGISTRY.values())
    assert {message_type.__name__ for message_type in defined} <= set(messages.__all__)


@pytest.mark.parametrize("tag", sorted(REGISTRY))
def test_every_registered_type_is_frozen_closed_and_documented(tag: str) -> None:
    message_type = REGISTRY[tag]
    config = message_type.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields
    assert not config.gc
    assert message_type.__doc__


def test_it_imports_nothing_else_of_ours() -> None:
    program = (
        "import sys, telestage.messages\n"
        "print(*(name for name in sys.modules if name.startswith('telestage.')), sep='\\n')"
    )
    listing = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert listing.split()
    assert [name for name in listing.split() if not name.startswith("telestage.messages")] == []
