"""What tests of programs on Telegram need: a Telegram of their own, and a check that nothing is left behind.

`LoopbackTelegram` is a real MTProto server on the loopback interface that unmodified Telethon clients use;
`Faults` are what goes wrong there on purpose; `LoopbackProcess` is the same server in a process of its own. The
pytest plugin is `telestage.testing.plugin`. Names are loaded when first used: whoever has Telestage installed
pays for Telethon only where it is needed, not in every run of pytest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telestage.testing.loopback.errors import BadArgument, LoopbackError, NotRunning, UnknownMethod, UnknownPeer
    from telestage.testing.loopback.faults import Faults
    from telestage.testing.loopback.keys import trust
    from telestage.testing.loopback.record import Call, Delivery
    from telestage.testing.loopback.server import LoopbackStatus, LoopbackTelegram
    from telestage.testing.loopback.state import LoopbackChannel, LoopbackUser

__all__ = [
    "BadArgument",
    "Call",
    "Delivery",
    "Faults",
    "LoopbackChannel",
    "LoopbackError",
    "LoopbackStatus",
    "LoopbackTelegram",
    "LoopbackUser",
    "NotRunning",
    "UnknownMethod",
    "UnknownPeer",
    "trust",
]

_HOMES = {
    "errors": ("BadArgument", "LoopbackError", "NotRunning", "UnknownMethod", "UnknownPeer"),
    "faults": ("Faults",),
    "keys": ("trust",),
    "record": ("Call", "Delivery"),
    "server": ("LoopbackStatus", "LoopbackTelegram"),
    "state": ("LoopbackChannel", "LoopbackUser"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"telestage.testing.loopback.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
