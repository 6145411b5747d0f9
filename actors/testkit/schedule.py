"""A schedule: the choices of one run, drawn from a seed, recorded as they are made.

Invariants:
- Choice 0 is what happens without a schedule, so a run with no other choice is the ordinary one.
- The same seed gives the same choices as long as it is asked the same questions, so a run that depends on nothing
  but its schedule happens again to the letter.
- Choices are numbered within their kind, so that one more of one kind leaves the others where they are.
- A schedule as text, `17` or `17/a14:3,2:1;d0:1`, is all that it takes to have it again: the seed, or the seed and
  the choices that aren't 0, by the letter of their kind, each as how many zeros come before it and what it is.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeVar
from zlib import crc32

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher
    from telestage.actors.kernel.system import ActorSystem
    from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["Choices", "Schedule"]

T = TypeVar("T")

Choices = Mapping[tuple[str, int], int]
"""Choices by their kind and their number within it."""

_CALM = (0.0, 0.5, 0.8, 0.95)
"""How often choice 0 is taken without a look at the others, but in the draws of a test: rare deviations find what
constant ones hide."""


class Schedule:
    """Decides what asyncio and the actors leave open. Good for one run.

    Given to `ActorSystem(schedule=...)`, it decides which ready actor is next, how many messages it may process, when
    the event loop has its turn, and whether an ask of an idle actor runs at once. Given to a `VirtualTimeLoop`, it
    does so for every system there, and decides the order in which tasks that are ready go on, too.

    Args:
        seed: What the choices are drawn from; or the text of a schedule, to have that one again.

    Raises:
        ValueError: The text is none of a schedule.
    """

    def __init__(self, seed: int | str = 0) -> None:
        if isinstance(seed, str):
            number, choices = _parse(seed)
        else:
            number, choices = seed, None
        self.seed = number
        self._fixed: Choices | None = choices
        self._rng = random.Random(number)
        self._calm = self._rng.choice(_CALM)
        self._made: dict[tuple[str, int], int] = {}
        self._counts: Counter[str] = Counter()
        self._digest = 0

    @classmethod
    def of(cls, seed: int, choices: Choices) -> Self:
        """The one that makes `choices`, and 0 everywhere else."""
        schedule = cls(seed)
        schedule._fixed = dict(choices)
        return schedule

    @classmethod
    def current(cls) -> Schedule:
        """The one of the running event loop.

        Raises:
            RuntimeError: It has none.
        """
        schedule = getattr(asyncio.get_running_loop(), "schedule", None)
        if not isinstance(schedule, Schedule):
            raise RuntimeError("the running event loop has no schedule: use explore(), or run(main, schedule=...)")
        return schedule

    def choose(self, options: int, kind: str = "d") -> int:
        """A number from 0 to `options - 1`. A test may draw from it too, and has its draws replayed and minimised.

        Args:
            kind: A letter: `d` is for tests to draw from, `a` is which actor, `w` how many messages, `t` when the loop
                has its turn, `q` whether an ask goes by the mailbox, `s` which step, `l` whether it comes later.
        """
        if options < 2:
            return 0
        key = (kind, self._counts[kind])
        self._counts[kind] += 1
        if self._fixed is not None:
            choice = self._fixed.get(key, 0)
            if choice >= options:  # a choice before it was changed, and with it the question
                choice = 0
        elif kind != "d" and self._calm and self._rng.random() < self._calm:
            choice = 0
        else:
            choice = int(self._rng.random() * options)
        if choice:
            self._made[key] = choice
        self._digest = crc32(b"%b%d/%d" % (kind.encode(), choice, options), self._digest)
        return choice

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`, the first by default."""
        return options[self.choose(len(options))]

    @property
    def choices(self) -> Choices:
        """The choices made so far that aren't 0."""
        return dict(self._made)

    @property
    def count(self) -> int:
        """How many choices there were so far, those that were 0 included."""
        return self._counts.total()

    @property
    def digest(self) -> int:
        """A checksum of every question and every choice so far: equal runs have equal ones."""
        return self._digest

    def spelled_out(self) -> str:
        """The text that has the choices made so far made again, whatever `Schedule` draws from the seed one day."""
        kinds: dict[str, list[str]] = {}
        last: dict[str, int] = {}
        for (kind, number), choice in self._made.items():
            kinds.setdefault(kind, []).append(f"{number - last.get(kind, -1) - 1}:{choice}")
            last[kind] = number
        groups = (kind + ",".join(parts) for kind, parts in sorted(kinds.items()))
        return f"{self.seed}/{';'.join(groups)}"

    def dispatcher(
        self,
        system: ActorSystem,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskRegistry,
        *,
        throughput: int,
        rng: random.Random,
    ) -> Dispatcher:
        """What runs the actors of `system` by this schedule. The system calls it as it starts."""
        from telestage.actors.testkit.turns import ScheduledDispatcher

        return ScheduledDispatcher(self, system, loop, tasks, throughput=throughput)

    def __str__(self) -> str:
        """The seed, or the text it was made of."""
        if self._fixed is None:
            return str(self.seed)
        return self.spelled_out()

    def __repr__(self) -> str:
        return f"Schedule({str(self)!r})" if self._fixed is not None else f"Schedule({self.seed})"


def _parse(text: str) -> tuple[int, dict[tuple[str, int], int] | None]:
    seed, slash, rest = text.strip().partition("/")
    choices: dict[tuple[str, int], int] = {}
    try:
        for group in rest.split(";") if rest else ():
            kind, number = group[0], -1
            if not kind.isalpha():
                raise ValueError
            for part in group[1:].split(","):
                zeros, _, choice = part.partition(":")
                number += int(zeros) + 1
                choices[kind, number] = int(choice)
        return int(seed), choices if slash else None
    except (ValueError, IndexError):
        raise ValueError(f"a schedule is a seed, as in '17', or '17/a14:3,2:1;d0:1', not {text!r}") from None
