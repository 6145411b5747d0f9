"""A packet is opened in the step in which it came, and what it brings is where it belongs.

Telethon wakes its receiving task for each packet, which reads it from a stream in two pieces. Here the connection gives
a packet that came whole to the `Opener` first (see `transport`), which does with it what that task does: decrypts it,
and handles what is in it. Whatever isn't as it should be it leaves to the task, which looks at it once more and says
what is to be said: a packet that can't be decrypted, a link that is being replaced.

Invariant: packets are handled in the order in which they came, each once.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["Opener"]


class Opener:
    """Opens the packets of one sender of Telethon's."""

    __slots__ = ("_ending", "_sender")

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._ending: asyncio.Task[None] | None = None

    def __call__(self, packet: bytes) -> bool:
        """Takes a packet; false leaves it to the sender's own task."""
        sender = self._sender
        if not sender._user_connected or sender._reconnecting:
            return False
        try:
            message = sender._state.decrypt_message_data(packet)
        except Exception:
            return False
        if message is None:  # it is to be ignored
            return True
        handling = sender._process_message(message)
        try:
            waits_for = handling.send(None)
        except StopIteration:
            return True
        except Exception:
            sender._log.exception("Unhandled error while processing msgs")
            return True
        # the one thing that is waited for there: the key has been destroyed, and the sender disconnects
        self._ending = asyncio.get_running_loop().create_task(_rest(handling, waits_for), name="telethon disconnect")
        return True


async def _rest(begun: Coroutine[Any, Any, object], waits_for: Any) -> None:
    await _resumed(begun, waits_for)


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, object], waits_for: Any) -> Generator[Any, Any, None]:
    """What is left of a coroutine that has been begun, and waits for this future."""
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(value)
    except StopIteration:
        return
