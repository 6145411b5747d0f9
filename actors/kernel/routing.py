"""Which of several equal actors gets a message: the rules of routers.

Invariants:
- Only living actors are chosen; one that is being restarted lives, and keeps its place.
- A rule belongs to one router, which tells it of every change of the group (`changed`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import count

from telestage.actors.kernel.cell import Cell

__all__ = ["ConsistentHash", "LeastLoaded", "RoundRobin", "Routing"]


class Routing(ABC):
    """Chooses a routee for each message. Derive from it for a rule of your own."""

    __slots__ = ("routees",)

    def __init__(self) -> None:
        self.routees: Sequence[Cell] = ()
        """Those there are, the eldest first."""

    def changed(self, routees: Sequence[Cell]) -> None:
        """The group is now this one."""
        self.routees = routees

    @abstractmethod
    def choose(self, message: object) -> Cell | None:
        """Who gets `message`; None if nobody is alive. Runs in the sender, at each message: it must be quick."""


class RoundRobin(Routing):
    """Each in turn."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        super().__init__()
        self._turn = count()

    def choose(self, message: object) -> Cell | None:
        """The next one alive."""
        routees = self.routees
        for _ in routees:
            cell = routees[next(self._turn) % len(routees)]
            if not cell.closed:
                return cell
        return None


class LeastLoaded(Routing):
    """Who has the fewest messages waiting and at work; of equals, each in turn. Looks at all: keep the group small."""

    __slots__ = ("_start",)

    def __init__(self) -> None:
        super().__init__()
        self._start = 0

    def choose(self, message: object) -> Cell | None:
        """Who has least to do now."""
        routees = self.routees
        least, best = -1, None
        self._start += 1
        for place in range(len(routees)):
            cell = routees[(self._start + place) % len(routees)]
            if cell.closed:
                continue
            load = cell.waiting + (cell.current is not None)
            if not load:
                return cell
            if best is None or load < least:
                least, best = load, cell
        return best


class ConsistentHash(Routing):
    """The same one for the same key, as long as it lives.

    Each routee has `points` places on a ring, by the hash of its name; a key belongs to the next place. So when one
    of n comes or goes, only about one key in n moves. The ring is the same in every process and every run.
    About 2 us a message.

    Args:
        key: The key of a message: str, bytes or int.
        points: Places a routee. With 160 (the default, as ketama's) the busiest of 10 gets about a fifth more
            than its share; the ring has `points` entries a routee.

    Raises:
        ValueError: Less than one place.
    """

    __slots__ = ("_cells", "_key", "_points", "_ring")

    def __init__(self, key: Callable[[object], str | bytes | int], *, points: int = 160) -> None:
        super().__init__()
        if points < 1:
            raise ValueError(f"a routee needs 1 place on the ring or more, not {points}")
        self._key = key
        self._points = points
        self._ring: list[int] = []
        self._cells: list[Cell] = []  # whose place it is

    def changed(self, routees: Sequence[Cell]) -> None:
        """Makes the ring anew."""
        super().changed(routees)
        places = sorted(
            (
                (_hash(f"{cell.name}/{point}"), number)
                for number, cell in enumerate(routees)
                for point in range(self._points)
            ),
        )
        self._ring = [place for place, _ in places]
        self._cells = [routees[number] for _, number in places]

    def choose(self, message: object) -> Cell | None:
        """Who has the next place on the ring after the message's key, and lives."""
        cells = self._cells
        start = bisect_right(self._ring, _hash(self._key(message)))
        for step in range(len(cells)):
            cell = cells[(start + step) % len(cells)]
            if not cell.closed:
                return cell
        return None


def _hash(key: str | bytes | int) -> int:
    # not hash(), which differs from process to process; a type before the text, for 1 isn't "1"
    if isinstance(key, str):
        key = b"s" + key.encode()
    elif isinstance(key, int):
        key = b"i%d" % key
    else:
        key = b"b" + key
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
