"""Who decides what after a failure: pure rules, no actor is touched here.

A `Supervision` maps an error to a directive, says who is restarted together, counts restarts as OTP does
(more than `intensity` restarts within `period` seconds is too many), and says how long to wait before the
next one. One-for-one, the budget is each child's own: one child that fails for ever doesn't use up its
siblings'. The strategies that restart siblings together have one budget a supervisor, and count one a failure.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["TRANSIENT", "Backoff", "ChildKind", "Decision", "Directive", "RestartLog", "Strategy", "Supervision"]


class Directive(enum.Enum):
    """What the supervisor does with a child that failed."""

    RESUME = "resume"
    """Keep the instance and its state; go on with the next message."""
    RESTART = "restart"
    """Replace the instance, keep the mailbox. Hazard: state that isn't rebuilt in `started` is gone."""
    STOP = "stop"
    """Stop the child for good. What waits in its mailbox becomes dead letters."""
    ESCALATE = "escalate"
    """Fail the supervisor itself with the child's error; the child stays halted meanwhile."""


class Strategy(enum.Enum):
    """Who is restarted when one child is.

    Siblings are stopped one after the other, the youngest first, and started again in order of birth, each when
    the one before it has started. Their refs and mailboxes stay; what they were handling is cancelled.
    """

    ONE_FOR_ONE = "one-for-one"
    """The child that failed, alone."""
    ONE_FOR_ALL = "one-for-all"
    """All siblings, for those that can't work without each other."""
    REST_FOR_ONE = "rest-for-one"
    """The child that failed and those born after it, for those that build upon their elders."""


class ChildKind(enum.Enum):
    """When a child is restarted. `Ref.stop` ends one of any kind for good."""

    PERMANENT = "permanent"
    """After a failure, and when it stops itself (`Actor.stop`). Hazard: only somebody else can end it."""
    TRANSIENT = "transient"
    """After a failure only."""
    TEMPORARY = "temporary"
    """Never: where another would be restarted, it is stopped. Its failure leaves its siblings alone."""


TRANSIENT = ChildKind.TRANSIENT
"""By a name of its own, as a member of an enum takes 0.1 us to look up (3.11)."""


class Backoff(NamedTuple):
    """Exponential delay between restarts: `first * factor**n`, never above `maximum`, jitter included.

    Args:
        first: Seconds before the first restart. 0 restarts at once, every time.
        factor: Growth a restart, counted over the restarts within the period.
        maximum: Upper end in seconds, after the jitter.
        jitter: Fraction of the delay by which it is moved at random, either way. It keeps actors that
            failed together from coming back together.
    """

    first: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2

    def delay(self, restarts: int, rng: random.Random) -> float:
        """The wait in seconds before restart number `restarts` (0 is the first)."""
        if not self.first:
            return 0.0
        try:
            delay = min(self.maximum, self.first * float(self.factor) ** restarts)
        except OverflowError:
            delay = self.maximum
        if self.jitter:
            delay *= 1.0 + self.jitter * (2.0 * rng.random() - 1.0)
        return min(self.maximum, delay)


class Decision(NamedTuple):
    """A directive, and the seconds to wait before it is carried out (restarts only)."""

    directive: Directive
    delay: float = 0.0


class RestartLog:
    """The restarts that count together: those within the period, and how many there were in all."""

    __slots__ = ("recent", "total")

    def __init__(self) -> None:
        self.recent: list[float] = []
        self.total = 0


class Supervision:
    """How a child's failures are answered.

    Args:
        directives: Directive by exception type; the most specific base class of the error wins.
            What isn't listed is restarted.
        strategy: Who is restarted with a child that failed. Default: nobody. It is the parent's to choose.
        intensity: Restarts allowed within `period`; one more is too many. 0 never restarts.
        period: The sliding window in seconds.
        backoff: The delay between restarts.
        exceeded: What happens when there were too many: `ESCALATE` (default) or `STOP`, which stops all that
            would have been restarted.

    Raises:
        ValueError: A negative intensity, a period that isn't positive, a backoff that shrinks or is negative,
            or an `exceeded` that restarts.
    """

    __slots__ = ("backoff", "directives", "exceeded", "intensity", "period", "strategy")

    def __init__(
        self,
        directives: Mapping[type[BaseException], Directive] | None = None,
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 5,
        period: float = 60.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - an immutable value
        exceeded: Directive = Directive.ESCALATE,
    ) -> None:
        if intensity < 0:
            raise ValueError(f"intensity must be 0 or more restarts, not {intensity}")
        if not period > 0:
            raise ValueError(f"period must be more than 0 seconds, not {period}")
        if not (backoff.first >= 0 and backoff.factor >= 1 and backoff.maximum >= 0 and 0 <= backoff.jitter <= 1):
            raise ValueError(f"first and maximum must be 0 s or more, factor 1 or more, jitter 0 to 1: {backoff}")
        if exceeded not in (Directive.ESCALATE, Directive.STOP):
            raise ValueError(f"exceeded must be ESCALATE or STOP, not {exceeded}")
        self.directives: Mapping[type[BaseException], Directive] = MappingProxyType(dict(directives or {}))
        self.strategy = strategy
        self.intensity = intensity
        self.period = period
        self.backoff = backoff
        self.exceeded = exceeded

    def directive_for(self, error: BaseException) -> Directive:
        """The directive of the most specific listed class of `error`; `RESTART` if none is listed."""
        for cls in type(error).__mro__:
            directive = self.directives.get(cls)
            if directive is not None:
                return directive
        return Directive.RESTART

    def decide(self, error: BaseException, log: RestartLog, now: float, rng: random.Random) -> Decision:
        """Answers one failure at `now` (seconds, any monotonic clock) and notes a restart in `log`."""
        directive = self.directive_for(error)
        return Decision(directive) if directive is not Directive.RESTART else self.restart(log, now, rng)

    def restart(self, log: RestartLog, now: float, rng: random.Random) -> Decision:
        """Grants a restart at `now` and notes it in `log`, or answers `exceeded`."""
        recent = log.recent
        while recent and recent[0] < now - self.period:
            del recent[0]
        if len(recent) >= self.intensity:
            return Decision(self.exceeded)
        delay = self.backoff.delay(len(recent), rng)
        recent.append(now)
        log.total += 1
        return Decision(Directive.RESTART, delay)
