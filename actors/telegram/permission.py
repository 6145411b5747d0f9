"""Holding a permit: taken where one is free, else asked of the manager; given back however the block ends.

The manager ends the wait for a permit. That the giving back overtakes everything else, and also withdraws
what was asked for and not yet granted, is what makes it leak-proof.
"""

from __future__ import annotations

from telestage.actors.kernel import Actor, AskTimeout, Ref
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.errors import PermitTimeout
from telestage.messages import PermitGranted, PermitRequest, PermitReturned

__all__ = ["ask_for_permit", "give_back", "permit"]

_SLACK = 1.0  # seconds beyond the manager's own deadline, which is to come first


async def ask_for_permit(actor: Actor, manager: Ref, patience: float, request: PermitRequest) -> None:
    """Returns when the manager has granted it; then it is to be given back.

    Args:
        patience: Seconds for which the manager keeps somebody waiting.

    Raises:
        PermitTimeout: None was free for so long.
    """
    try:
        await actor.ask(manager, request, expecting=PermitGranted, timeout=patience + _SLACK)
    except BaseException as error:
        manager.signal(PermitReturned(operation_id=request.operation_id))  # also if it has yet to be seen there
        if isinstance(error, AskTimeout):
            raise PermitTimeout(request.session, request.kind, patience) from None
        raise


def give_back(manager: Ref, board: PermitBoard, operation: str) -> None:
    """Ends what `PermitBoard.take` or `ask_for_permit` began."""
    if not board.give_back(operation):
        manager.signal(PermitReturned(operation_id=operation))


class permit:  # noqa: N801 - reads as a statement; a class costs a third of a generator
    """Runs the block of an `async with` with a permit.

    Raises:
        PermitTimeout: None was free for `Limits.permit_timeout` seconds; the block was not begun.
    """

    __slots__ = ("_actor", "_board", "_manager", "_request")

    def __init__(
        self, actor: Actor, manager: Ref, board: PermitBoard, session: str, operation: str, kind: str, priority: int
    ) -> None:
        self._actor = actor
        self._manager = manager
        self._board = board
        self._request = PermitRequest(operation_id=operation, session=session, kind=kind, priority=priority)

    async def __aenter__(self) -> None:
        request = self._request
        if not self._board.take(request.session, request.operation_id, request.kind):
            await ask_for_permit(self._actor, self._manager, self._board.patience, request)

    async def __aexit__(self, *_: object) -> None:
        give_back(self._manager, self._board, self._request.operation_id)
