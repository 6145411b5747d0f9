"""A packet is opened in the step in which it came, and what it brings is where it belongs.

Telethon wakes its receiving task for each packet, which reads it from a stream in two pieces. Here the connection gives
a packet that came whole to the `Opener` first (see `transport`), which does with it what that task does: decrypts it,
and handles what is in it. Whatever isn't as it should be it leaves to the task, which looks at it once more and says
what is to be said: a packet that can't be decrypted, a link that is being replaced.

Invariant: packets are handled in the order in which they came, each once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from telethon.tl.types import DestroyAuthKeyOk

__all__ = ["Opener"]


class Opener:
    """Opens the packets of one sender of Telethon's."""

    __slots__ = ("_ending", "_sender")

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._ending: asyncio.Task[None] | None = None
        sender._handlers[DestroyAuthKeyOk.CONSTRUCTOR_ID] = self._key_destroyed

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
        try:
            sender._process_message(message).send(None)
        except StopIteration:
            return True
        except Exception:
            sender._log.exception("Unhandled error while processing msgs")
            return True
        raise AssertionError(f"what Telethon does with a {type(message.obj).__name__} waits for something")

    async def _key_destroyed(self, message: Any) -> None:
        """The one thing that Telethon waits at: the sender disconnects. That takes a task (and must, from 3.12 on)."""
        ending = self._sender._handle_destroy_auth_key(message)
        self._ending = asyncio.get_running_loop().create_task(ending, name="telethon disconnect")
