"""Holding a permit: asked of the manager, and given back however the block ends.

The manager ends the wait for a permit. That the giving back overtakes everything else, and also withdraws
what was asked for and not yet granted, is what makes it leak-proof.
"""

from __future__ import annotations

from telestage.actors.kernel import Actor, AskTimeout, Ref
from telestage.actors.telegram.errors import PermitTimeout
from telestage.actors.telegram.limits import Limits
from telestage.messages import PermitGranted, PermitRequest, PermitReturned

__all__ = ["permit"]

_SLACK = 1.0  # seconds beyond the manager's own deadline, which is to come first


class permit:  # noqa: N801 - reads as a statement; a class costs a third of a generator
    """Runs the block of an `async with` with a permit.

    Raises:
        PermitTimeout: None was free for `limits.permit_timeout` seconds; the block was not begun.
    """

    __slots__ = ("_actor", "_manager", "_request", "_seconds")

    def __init__(
        self, actor: Actor, manager: Ref, session: str, operation: str, kind: str, priority: int, limits: Limits
    ) -> None:
        self._actor = actor
        self._manager = manager
        self._request = PermitRequest(operation_id=operation, session=session, kind=kind, priority=priority)
        self._seconds = limits.permit_timeout

    async def __aenter__(self) -> None:
        request = self._request
        try:
            await self._actor.ask(self._manager, request, expecting=PermitGranted, timeout=self._seconds + _SLACK)
        except BaseException as error:
            self._give_back()
            if isinstance(error, AskTimeout):
                raise PermitTimeout(request.session, request.kind, self._seconds) from None
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        self._manager.signal(PermitReturned(operation_id=self._request.operation_id))
