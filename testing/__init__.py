"""What tests of programs on Telegram need: a Telegram of their own, and a check that nothing is left behind.

`LoopbackTelegram` is a real MTProto server on the loopback interface that unmodified Telethon clients use;
`Faults` are what goes wrong there on purpose. The pytest plugin is `telestage.testing.plugin`.
"""

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
