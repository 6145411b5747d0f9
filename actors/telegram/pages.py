"""Histories, read page by page: what reads of one session and reads of several have in common.

Invariant: a page is one turn; the next one begins where the last one ended, whoever reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from telestage.actors.telegram.requests import History, peer_of
from telestage.messages import HISTORY_PAGE, HistoryPage

__all__ = ["ReadsHistory"]


class ReadsHistory(ABC):
    """Whatever can read a page of messages."""

    @abstractmethod
    async def _history(self, page: HistoryPage, priority: int | None, timeout: float | None) -> History:
        """Reads one page."""

    async def iter_messages(
        self,
        entity: object,
        limit: int | None = None,
        *,
        offset_id: int = 0,
        min_id: int = 0,
        max_id: int = 0,
        reverse: bool = False,
        search: str | None = None,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Yields the messages of a chat, newest first, or oldest first with `reverse`.

        One page of 100 a turn; between pages the session does other work (R-Q7). The ids are exclusive bounds.
        """
        peer = peer_of(entity)
        left = limit
        while left is None or left > 0:
            page = HistoryPage(
                peer=peer,
                offset_id=offset_id,
                limit=HISTORY_PAGE if left is None else min(left, HISTORY_PAGE),
                min_id=min_id,
                max_id=max_id,
                reverse=reverse,
                search=search,
            )
            history = await self._history(page, priority, timeout)
            for message in history.messages:
                yield message
            if history.last or not history.messages:
                return
            offset_id = history.messages[-1].id
            if left is not None:
                left -= len(history.messages)

    async def get_messages(self, entity: object, limit: int = 1, **options: Any) -> list[Any]:
        """The messages `iter_messages` yields, as a list."""
        return [message async for message in self.iter_messages(entity, limit, **options)]
