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
    from telestage.testing.loopback.record import Call, Delivery, Use
    from telestage.testing.loopback.server import LoopbackTelegram
    from telestage.testing.loopback.state import LoopbackChannel, LoopbackUser
    from telestage.testing.loopback.status import LoopbackStatus
    from telestage.testing.remote import LoopbackProcess, RemoteFaults

__all__ = [
    "BadArgument",
    "Call",
    "Delivery",
    "Faults",
    "LoopbackChannel",
    "LoopbackError",
    "LoopbackProcess",
    "LoopbackStatus",
    "LoopbackTelegram",
    "LoopbackUser",
    "NotRunning",
    "RemoteFaults",
    "UnknownMethod",
    "UnknownPeer",
    "Use",
    "trust",
]

_HOMES = {
    "loopback.errors": ("BadArgument", "LoopbackError", "NotRunning", "UnknownMethod", "UnknownPeer"),
    "loopback.faults": ("Faults",),
    "loopback.keys": ("trust",),
    "loopback.record": ("Call", "Delivery", "Use"),
    "loopback.server": ("LoopbackTelegram",),
    "loopback.state": ("LoopbackChannel", "LoopbackUser"),
    "loopback.status": ("LoopbackStatus",),
    "remote": ("LoopbackProcess", "RemoteFaults"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"telestage.testing.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
