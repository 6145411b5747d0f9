"""What a monitor of several sessions has had, so that it gets each event once, from whichever session is first.

Invariants:
- At any instant at most one session has an update of a channel in hand. The others' copies wait; the first of them goes
  on if it is let go of undone, as its session has ended or its monitor was stopped.
- An update that somebody was done with, handled or failed, is nobody's any more.
- What concerns one message is in one hand at a time, and nothing of a message comes once its deletion has: a session
  that was cut off is told the deletion alone, while another may still have the message in its queue.
- No more than `SIZE` updates are remembered. All up to one that was forgotten count as had.

Channels only: their updates have the same numbers for everybody. Those of private chats and small groups are numbered
for each account, and nothing in them says that two are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from telestage.actors.telegram.checkpoint import ACCOUNT, Mark

__all__ = ["SIZE", "Once", "gone"]

SIZE = 4096
"""Updates, of all channels together: how far one session may be behind another."""


def gone(mark: Mark, id: int) -> Mark:
    """What the deletion of a message is remembered by, in the same window: no update has such a mark."""
    return (-mark[0], True, id)


class Once:
    """The window of one monitor.

    Args:
        name: Of the monitor.
        size: How many updates it remembers.
    """

    def __init__(self, name: str, size: int = SIZE) -> None:
        self.name = name
        self._size = size
        self._seen: dict[Mark, None] = {}
        self._floors: dict[tuple[int, bool], int] = {}
        self._held: dict[Mark, object] = {}
        self._about: dict[Mark, frozenset[int]] = {}  # which messages what is held concerns
        self._waiting: dict[Mark, list[asyncio.Future[None]]] = {}
        self.on_seen: Callable[[str, Mark], None] | None = None
        self.on_passed: Callable[[str, Mark], None] | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def resume(self, window: Iterable[Mark], floors: dict[tuple[int, bool], int]) -> None:
        """Knows what it has had in an earlier process."""
        for entry, number in floors.items():
            self._floors[entry] = max(number, self._floors.get(entry, 0))
        for mark in window:
            self._seen.setdefault(mark)
        self._shrink()

    def has(self, mark: Mark) -> bool:
        """Whether somebody is done with it."""
        return mark in self._seen or mark[2] <= self._floors.get(mark[:2], 0)

    async def take(
        self, mark: Mark | None, who: object, about: frozenset[int] = frozenset(), *, deletion: bool = False
    ) -> bool:
        """Takes an update in hand, when nobody else has it; false if somebody is done with it by then.

        It waits as long as the other's handler runs, and no longer than that one's monitor lives.

        Args:
            about: The ids of the messages that it concerns.
            deletion: It tells their deletion.
        """
        if mark is None or mark[0] == ACCOUNT:
            return True
        while not self.has(mark):
            if not deletion and any(gone(mark, id) in self._seen for id in about):
                return False
            busy = self._busy(mark, who, about)
            if busy is None:
                self._held[mark] = who
                if about:
                    self._about[mark] = about
                return True
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters = self._waiting.setdefault(busy, [])
            waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in waiters:
                    waiters.remove(waiter)
        return False

    def done(self, mark: Mark | None, who: object, deleted: Iterable[int] = ()) -> None:
        """It has come to its end, if it was in the hand of `who`: an update, or that these messages are `deleted`."""
        if mark is None or self._held.get(mark) is not who:
            return
        del self._held[mark]
        self._about.pop(mark, None)
        for had in (mark, *(gone(mark, id) for id in deleted)):
            if had not in self._seen and not self.has(had):
                self._seen[had] = None
                if self.on_seen is not None:
                    self.on_seen(self.name, had)
        self._shrink()
        self._wake(mark)

    def let_go(self, who: object) -> None:
        """Whatever `who` has in hand is another's turn."""
        for mark in [mark for mark, holder in self._held.items() if holder is who]:
            del self._held[mark]
            self._about.pop(mark, None)
            self._wake(mark)

    def _busy(self, mark: Mark, who: object, about: frozenset[int]) -> Mark | None:
        """What another has in hand, and is to be waited for."""
        holder = self._held.get(mark)
        if holder is not None:
            return None if holder is who else mark
        for held, ids in self._about.items():
            if held[0] == mark[0] and not ids.isdisjoint(about) and self._held[held] is not who:
                return held
        return None

    def _shrink(self) -> None:
        while len(self._seen) > self._size:
            mark = next(iter(self._seen))
            del self._seen[mark]
            self._floors[mark[:2]] = max(mark[2], self._floors.get(mark[:2], 0))
            if self.on_passed is not None:
                self.on_passed(self.name, mark)

    def _wake(self, mark: Mark) -> None:
        for waiter in self._waiting.pop(mark, ()):
            if not waiter.done():
                waiter.set_result(None)
