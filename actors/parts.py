"""The parts of a fleet's store: all that Telestage itself keeps there, and in which form.

Invariant: a part is prepared with the name and the migrations that it has here (`Store.prepare`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from telestage.actors.jobs import tables
from telestage.actors.store import Migrations, leases, vault
from telestage.actors.telegram import floodstore, positions, sessionstore

__all__ = ["PARTS"]

PARTS: Mapping[str, Migrations] = MappingProxyType(
    {part.PART: part.MIGRATIONS for part in (leases, vault, sessionstore, floodstore, positions, tables)}
)
"""The migrations of each part, by its name. A store may have further parts, of its user's own."""
