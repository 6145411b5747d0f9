"""What a session has to acknowledge goes with its next request, in one packet, as Telegram's own clients do it.

Telethon sends the acknowledgement of an answer by itself, right after the next request: two packets a call, each with
its encryption and its turns of the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telethon.extensions.messagepacker import MessagePacker
from telethon.network.requeststate import RequestState
from telethon.tl.types import MsgsAck

__all__ = ["AcknowledgingPacker"]

_State: Any = RequestState


class AcknowledgingPacker(MessagePacker):
    """The queue of what a sender of Telethon's sends. What it has to acknowledge goes with the next request."""

    def __init__(self, sender: Any, loggers: Mapping[str, Any]) -> None:
        super().__init__(sender._state, loggers)  # type: ignore[no-untyped-call]  # Telethon's
        self._sender = sender

    def extend(self, states: Any) -> None:
        """Telethon's own. Of what was sent in one packet, and is to be sent again, acknowledgements are a part, too."""
        packets = {state.container_id for state in states if state.container_id}
        if packets:
            states = [*states, *(each for each in self._sender._last_acks if each.container_id in packets)]
        super().extend(states)  # type: ignore[no-untyped-call]  # Telethon's

    async def get(self) -> Any:
        """Telethon's own: a batch, and its bytes, once there is one."""
        if not self._deque:
            self._ready.clear()
            await self._ready.wait()
        sender = self._sender
        if sender._pending_ack and self._deque:
            acknowledgement = _State(MsgsAck(list(sender._pending_ack)))
            self._deque.append(acknowledgement)
            sender._last_acks.append(acknowledgement)  # to be sent again if the salt was wrong
            sender._pending_ack.clear()
        return await super().get()  # type: ignore[no-untyped-call]  # Telethon's
