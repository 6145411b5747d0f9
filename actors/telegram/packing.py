"""A request goes out in the step in which it is made, in one packet with what there is to acknowledge.

Telethon wakes a task for each request, which packs, encrypts and writes it, and sends the acknowledgement of an answer
by itself, right after the next request: two packets a call, each with its encryption and its turns of the event loop.
Here that task is left to what has to wait: lists of requests, which go out together, and whatever comes while the
link is down or its buffer isn't empty.

Invariant: what is sent goes out in the order in which it was put, and is remembered by the sender, as Telethon's own
task does it, so that it is sent again if the link breaks before it is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telethon.extensions.messagepacker import MessagePacker
from telethon.network.requeststate import RequestState
from telethon.tl.tlobject import TLRequest
from telethon.tl.types import MsgsAck

__all__ = ["AcknowledgingPacker"]

_State: Any = RequestState


class AcknowledgingPacker(MessagePacker):
    """The queue of what a sender of Telethon's sends, whose connections are `direct` ones."""

    def __init__(self, sender: Any, loggers: Mapping[str, Any]) -> None:
        super().__init__(sender._state, loggers)  # type: ignore[no-untyped-call]  # Telethon's
        self._sender = sender
        self._waiting = False

    def append(self, state: Any) -> None:
        """Telethon's own, but a request is sent at once if the sender only waits for it."""
        sender = self._sender
        if (
            self._waiting
            and not self._deque
            and sender._user_connected
            and not sender._reconnecting
            and isinstance(state.request, TLRequest)
            and sender._connection.free
        ):
            self._deque.append(state)
            self._send()
        else:
            super().append(state)  # type: ignore[no-untyped-call]  # Telethon's

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
            self._waiting = True
            try:
                await self._ready.wait()
            finally:
                self._waiting = False
        return await self._pack()

    async def _pack(self) -> Any:
        sender = self._sender
        if sender._pending_ack and self._deque:
            acknowledgement = _State(MsgsAck(list(sender._pending_ack)))
            self._deque.append(acknowledgement)
            sender._last_acks.append(acknowledgement)  # to be sent again if the salt was wrong
            sender._pending_ack.clear()
        return await super().get()  # type: ignore[no-untyped-call]  # Telethon's

    def _send(self) -> None:
        """What a round of the sender's own task does with a batch."""
        sender = self._sender
        batch: Any = ()
        data: Any = None
        try:
            self._pack().send(None)
        except StopIteration as done:  # it has nothing to wait for
            batch, data = done.value
        if not data:  # it was too big, and whoever waits for it has been told
            return
        data = sender._state.encrypt_message_data(data)
        for state in batch:
            if isinstance(state.request, TLRequest):
                sender._pending_state[state.msg_id] = state
        try:
            sender._connection._send(data)
        except OSError as error:
            sender._start_reconnect(error)
