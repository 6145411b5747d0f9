"""Holding a permit: taken where one is free, else asked of the manager; given back however the block ends.

The manager ends the wait for a permit. That the giving back overtakes everything else, and also withdraws
what was asked for and not yet granted, is what makes it leak-proof.
"""

from __future__ import annotations

from telestage.actors.kernel import Actor, AskTimeout, Ref
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.errors import PermitTimeout
from telestage.messages import PermitGranted, PermitRequest, PermitReturned

__all__ = ["permit"]

_SLACK = 1.0  # seconds beyond the manager's own deadline, which is to come first


class permit:  # noqa: N801 - reads as a statement; a class costs a third of a generator
    """Runs the block of an `async with` with a permit.

    Raises:
        PermitTimeout: None was free for `Limits.permit_timeout` seconds; the block was not begun.
    """

    __slots__ = ("_actor", "_board", "_kind", "_manager", "_operation", "_priority", "_session")

    def __init__(
        self, actor: Actor, manager: Ref, board: PermitBoard, session: str, operation: str, kind: str, priority: int
    ) -> None:
        self._actor = actor
        self._manager = manager
        self._board = board
        self._session = session
        self._operation = operation
        self._kind = kind
        self._priority = priority

    async def __aenter__(self) -> None:
        if not self._board.take(self._session, self._operation, self._kind):
            await self._ask()

    async def __aexit__(self, *_: object) -> None:
        if not self._board.give_back(self._operation):
            self._manager.signal(PermitReturned(operation_id=self._operation))

    async def _ask(self) -> None:
        session, kind = self._session, self._kind
        request = PermitRequest(operation_id=self._operation, session=session, kind=kind, priority=self._priority)
        seconds = self._board.patience
        try:
            await self._actor.ask(self._manager, request, expecting=PermitGranted, timeout=seconds + _SLACK)
        except BaseException as error:
            self._manager.signal(PermitReturned(operation_id=self._operation))  # also if it has yet to be seen there
            if isinstance(error, AskTimeout):
                raise PermitTimeout(session, kind, seconds) from None
            raise
