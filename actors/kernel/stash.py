"""Messages an actor has put aside until it can handle them.

Invariants:
- They come back ahead of all mail of their priority, in the order in which they were put aside; none is refused for the
  mailbox's bound, which newcomers then feel.
- What the runtime tells by itself (`Notice`) is never refused for the bound of the stash.
- A restart puts all of them back before its first message. A stop settles them: asks fail, messages are dead letters.
- An ask in here is still waited for: it can run out of time or be cancelled, and then it is gone.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import bare
from telestage.actors.kernel.errors import StashFull
from telestage.actors.kernel.forwarding import take_current, wait_on
from telestage.actors.kernel.steps import Notice

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["Stash", "put_aside", "put_back"]


class Stash:
    """What one cell has put aside: each item as it travels, with its priority."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[tuple[object, int]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, item: object, priority: int) -> None:
        """Puts one behind the others."""
        self._entries.append((item, priority))

    def take(self, most: int) -> list[tuple[object, int]]:
        """Takes out the first ones, `most` at most."""
        taken = list(islice(self._entries, max(0, most)))
        for _ in taken:
            self._entries.popleft()
        return taken

    def discard(self, ask: Ask) -> bool:
        """Drops an ask that nobody waits for any more; false if it isn't in here."""
        kept = deque(entry for entry in self._entries if entry[0] is not ask)
        found = len(kept) < len(self._entries)
        self._entries = kept
        return found


def put_aside(cell: Cell, capacity: int) -> None:
    """Puts the current message aside.

    Raises:
        StashFull: `capacity` messages have been put aside already.
        RuntimeError: No message is being handled, or it has been given away.
    """
    kin = cell.kin
    stash = kin.stash
    if stash is None:
        stash = kin.stash = Stash()
    if len(stash) >= capacity and not isinstance(bare(cell.current), Notice):  # the runtime tells it once only
        raise StashFull(cell.path, capacity, bare(cell.current))
    item = take_current(cell, "stash")
    if isinstance(item, Ask):
        if item.settled:
            return  # its asker has given up
        wait_on(item)
    lanes = None if cell.backlog is None else cell.backlog.lanes
    stash.append(item, 0 if lanes is None else lanes.level)


def put_back(cell: Cell, most: int) -> int:
    """Puts the first ones back into the mailbox; returns how many."""
    stash = None if cell.family is None else cell.family.stash
    if not stash:
        return 0
    entries = stash.take(most)
    if entries:
        cell.put_back(entries)
    return len(entries)
