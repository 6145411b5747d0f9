"""Holding a permit: asked of the manager, and given back however the block ends.

The manager ends the wait for a permit. That the giving back overtakes everything else, and also withdraws
what was asked for and not yet granted, is what makes it leak-proof.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from telestage.actors.kernel import Actor, AskTimeout, Ref
from telestage.actors.telegram.errors import PermitTimeout
from telestage.actors.telegram.limits import Limits
from telestage.messages import PermitGranted, PermitRequest, PermitReturned

__all__ = ["permit"]

_SLACK = 1.0  # seconds beyond the manager's own deadline, which is to come first


@contextlib.asynccontextmanager
async def permit(
    actor: Actor, manager: Ref, session: str, operation: str, kind: str, priority: int, limits: Limits
) -> AsyncIterator[None]:
    """Runs the block with a permit.

    Raises:
        PermitTimeout: None was free for `limits.permit_timeout` seconds; the block was not begun.
    """
    request = PermitRequest(operation_id=operation, session=session, kind=kind, priority=priority)
    try:
        try:
            await actor.ask(manager, request, expecting=PermitGranted, timeout=limits.permit_timeout + _SLACK)
        except AskTimeout:
            raise PermitTimeout(session, kind, limits.permit_timeout) from None
        yield
    finally:
        manager.signal(PermitReturned(operation_id=operation))
