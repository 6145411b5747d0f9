"""Which peers sessions know: a bounded cache that the sessions of a fleet share.

Invariant: never more than `limit` entries, the least recently used go; each belongs to one session, as the access hash
that an account has for a peer is of no use to another account.

Telethon's own memory sessions keep every peer they see, 1.24 KB each, for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

__all__ = ["EntityCache", "Row"]

Row = tuple[int, int, str | None]
"""Telethon's marked id of a peer, its access hash, and its username in lower case."""


class EntityCache:
    """The peers that were used last.

    Args:
        limit: Peers of all sessions together.

    Raises:
        ValueError: `limit` isn't positive.
    """

    def __init__(self, limit: int = 50_000) -> None:
        if limit < 1:
            raise ValueError(f"an entity cache has room for 1 entity at least, not {limit!r}")
        self._limit = limit
        self._rows: OrderedDict[tuple[str, int], tuple[int, str | None]] = OrderedDict()
        self._named: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def learn(self, session: str, rows: Iterable[Row]) -> list[Row]:
        """Takes in what a session has seen; returns what is new or has changed."""
        fresh: list[Row] = []
        for row in rows:
            id, hash, name = row
            key = (session, id)
            known = self._rows.get(key)
            if known == (hash, name):
                self._rows.move_to_end(key)
                continue
            if known is not None:
                self._drop(key, known[1])
            self._rows[key] = (hash, name)
            if name is not None:
                self._named[session, name] = id
            fresh.append(row)
            if len(self._rows) > self._limit:
                oldest = next(iter(self._rows))
                self._drop(oldest, self._rows[oldest][1])
        return fresh

    def by_id(self, session: str, id: int) -> tuple[int, int] | None:
        """The id and access hash of a peer."""
        row = self._rows.get((session, id))
        if row is None:
            return None
        self._rows.move_to_end((session, id))
        return id, row[0]

    def by_username(self, session: str, name: str) -> tuple[int, int] | None:
        """The same, by its username in lower case."""
        id = self._named.get((session, name))
        return None if id is None else self.by_id(session, id)

    def forget(self, session: str) -> None:
        """Drops all of a session."""
        for key in [key for key in self._rows if key[0] == session]:
            self._drop(key, self._rows[key][1])

    def _drop(self, key: tuple[str, int], name: str | None) -> None:
        del self._rows[key]
        if name is not None and self._named.get((key[0], name)) == key[1]:
            del self._named[key[0], name]
