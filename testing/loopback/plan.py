"""What is going to go wrong: the rules by which calls are refused, delayed or dropped, and updates lost.

For each call, in this order: a flood wait that still holds refuses it; else the oldest rule that matches decides
its fate. The newest matching latency delays it whatever the fate. A rule with a count is used up by it.
"""

import math
from dataclasses import dataclass, field

from telestage.testing.loopback.errors import BadArgument, RpcRefusal
from telestage.testing.loopback.tl import checked_method


@dataclass(frozen=True, slots=True)
class Flood:
    """Refuse with FLOOD_WAIT, and hold the caller to it."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse with any error."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer."""

    executed: bool


@dataclass(frozen=True, slots=True)
class Delay:
    """Answer later, in seconds."""

    seconds: float


@dataclass(slots=True)
class Rule:
    """One planned fault. None matches every method, every user, and for ever."""

    effect: Flood | Refuse | Silence | Delay
    method: str | None
    user_id: int | None
    remaining: int | None

    def __post_init__(self) -> None:
        if self.method is not None:
            checked_method(self.method)
        checked_count(self.remaining)

    def matches(self, user_id: int | None, method: str) -> bool:
        """Whether it applies to this call."""
        return (
            (self.method is None or self.method == method)
            and (self.user_id is None or self.user_id == user_id)
            and self.remaining != 0
        )

    def use(self) -> None:
        """One less to come."""
        if self.remaining is not None:
            self.remaining -= 1


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a call."""

    delay: float = 0.0
    refusal: RpcRefusal | None = None
    answered: bool = True
    executed: bool = True
    early: bool = False
    """It was made while a flood wait held."""


@dataclass(slots=True)
class _LostUpdates:
    user_id: int | None
    remaining: int


@dataclass(slots=True)
class Plan:
    """The faults still to come, and the flood waits that hold now.

    Args:
        latency: Seconds before each call is answered, where no rule says otherwise.
    """

    latency: float = 0.0
    _rules: list[Rule] = field(default_factory=list)
    _lost: list[_LostUpdates] = field(default_factory=list)
    _floods: dict[tuple[int, str], float] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        """Plan a fault."""
        self._rules.append(rule)

    def lose_updates(self, user_id: int | None, count: int) -> None:
        """Do not push the next `count` updates to this user, or (None) to anybody."""
        self._lost.append(_LostUpdates(user_id, count))

    def clear(self) -> None:
        """Nothing is planned any more, and no flood wait holds."""
        self._rules.clear()
        self._lost.clear()
        self._floods.clear()

    def fate(self, caller: int, user_id: int | None, method: str, moment: float) -> Fate:
        """What becomes of a call received at `moment` (monotonic seconds); uses up the rules it falls under.

        Args:
            caller: Who a flood wait binds: the user, or the auth key of somebody not logged in.
            user_id: The user, if logged in.
            method: The schema's name of the method.
            moment: Now.
        """
        delay = self._delay(user_id, method)
        held_until = self._floods.get((caller, method))
        if held_until is not None:
            if moment < held_until:
                return Fate(delay, _flood_wait(math.ceil(held_until - moment)), early=True)
            del self._floods[caller, method]
        for rule in self._rules:
            if isinstance(rule.effect, Delay) or not rule.matches(user_id, method):
                continue
            rule.use()
            if rule.remaining == 0:
                self._rules.remove(rule)
            match rule.effect:
                case Flood(seconds):
                    self._floods[caller, method] = moment + seconds
                    return Fate(delay, _flood_wait(seconds))
                case Refuse(code, message):
                    return Fate(delay, RpcRefusal(code, message))
                case Silence(executed):
                    return Fate(delay, answered=False, executed=executed)
        return Fate(delay)

    def loses_update(self, user_id: int | None) -> bool:
        """Whether the update now on its way to this user (None: to everybody) is to be lost."""
        for lost in self._lost:
            if lost.user_id == user_id:
                lost.remaining -= 1
                if not lost.remaining:
                    self._lost.remove(lost)
                return True
        return False

    def _delay(self, user_id: int | None, method: str) -> float:
        for rule in reversed(self._rules):
            if isinstance(rule.effect, Delay) and rule.matches(user_id, method):
                rule.use()
                if rule.remaining == 0:
                    self._rules.remove(rule)
                return rule.effect.seconds
        return self.latency


def checked_count(count: int | None, *, endless: bool = True) -> None:
    """Raise `BadArgument` unless `count` is a positive number, or None where that may be."""
    if count is None and endless:
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        ending = ", or None for ever" if endless else ""
        raise BadArgument(f"count must be a whole number from 1 on{ending}, not {count!r}")


def checked_seconds(seconds: float) -> float:
    """Raise `BadArgument` unless `seconds` is a finite time from 0 on."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise BadArgument(f"seconds must be a finite number from 0 on, not {seconds!r}")
    return seconds


def _flood_wait(seconds: int) -> RpcRefusal:
    return RpcRefusal(420, f"FLOOD_WAIT_{max(seconds, 1)}")
