"""How many sessions of a fleet connect at the same moment, and which of those that wait goes first.

Telethon reconnects by itself as soon as a link breaks, so after an outage all sessions would do so at once, over and
over. Here each attempt of each session, the first ones included, takes a place.

Invariants:
- Never more than `most` places are taken. A place is given back when Telegram has sent its first packet, when the
  attempt has failed or was given up, or after `HOLD_SECONDS`, whichever is first; exactly once.
- The most urgent session goes first, as things stand when a place becomes free; among equals the one that waits
  longest. Every eighth place goes to the one that waits longest of all, so that none waits for ever.
- A wait ends: by a place, with the task that waits, or after `WAIT_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["HOLD_SECONDS", "WAIT_SECONDS", "ConnectGate", "Place"]

HOLD_SECONDS = 5.0
"""Seconds after a link is there within which Telegram is to say something; from then on others may connect."""

WAIT_SECONDS = 300.0
"""Seconds a session waits for its turn to connect; then this counts as a failed attempt."""

_AGEING = 8  # as in the mailbox


class Place:
    """The right to connect now."""

    __slots__ = ("_gate", "_timer")

    def __init__(self, gate: ConnectGate) -> None:
        self._gate: ConnectGate | None = gate
        self._timer: asyncio.TimerHandle | None = None

    def linked(self) -> None:
        """The link is there; the place goes back when Telegram says something, which the caller tells by `leave`."""
        if self._gate is not None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self.leave)

    def leave(self) -> None:
        """Gives the place back. Idempotent."""
        gate, self._gate = self._gate, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if gate is not None:
            gate.left()


class ConnectGate:
    """The places of one fleet, on one event loop.

    Args:
        most: Places that may be taken at once.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._given = 0
        self._waiting: dict[asyncio.Future[None], Callable[[], int]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def enter(self, urgency: Callable[[], int]) -> Place:
        """Waits for a place.

        Args:
            urgency: How urgent it is, whenever that is asked; higher goes first.

        Raises:
            TimeoutError: None was free for `WAIT_SECONDS`.
        """
        if self._free and not self._waiting:
            self._free -= 1
            self._given += 1
            return Place(self)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = urgency
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException:
            if self._waiting.pop(turn, None) is None:  # it has a place, and doesn't take it
                self.left()
            raise
        return Place(self)

    def left(self) -> None:
        """A place is free: the next one gets it. `Place.leave` calls this."""
        if not self._waiting:
            self._free += 1
            return
        self._given += 1
        oldest = next(iter(self._waiting))
        turn = oldest if not self._given % _AGEING else max(self._waiting, key=lambda each: self._waiting[each]())
        del self._waiting[turn]
        turn.set_result(None)
