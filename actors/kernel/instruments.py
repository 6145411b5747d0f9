"""What may be attached to a system to see how it works: the seam that tracing and metrics plug into.

Invariants:
- A hook that an instrument doesn't override is never called, and costs nothing; without a hook per message the cells
  and the handlers are the very same as without any instrument.
- What a hook raises is logged, once a hook, and changes nothing for the actors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from telestage.actors.kernel.deadletters import DeadLetter
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.supervision import Directive

if TYPE_CHECKING:
    from telestage.actors.kernel.actor import Actor
    from telestage.actors.kernel.system import ActorSystem

__all__ = ["Handling", "Hooks", "Instrument"]

_log = logging.getLogger("telestage.instruments")


class Handling(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One message being handled by one actor."""

    ref: Ref
    cls: type[Actor]
    message: object
    asked: bool
    """Whether its sender waits for an answer."""


class Instrument(Protocol):
    """What wants to know. Derive from it and override what is needed; all of it is called on the loop.

    The first three are per message, and have their price (docs/observing.md). Hooks must be quick and must not wait.
    """

    def departs(self, message: object, target: Ref) -> object:
        """A message is being told, asked, sent or signalled; called in its sender's context.

        What is returned travels with the message to `begins`.
        """
        return None

    def begins(self, handling: Handling, note: object) -> object:
        """A handler is about to run; called in the context that it will run in, which is the message's own.

        Args:
            note: What `departs` returned; None if the message came from the runtime itself.

        Returns:
            What `ends` will be given.
        """
        return None

    def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
        """The handler has ended, by `error` if that is not None. Called in its context."""
        return  # here and below: without any body mypy takes a hook for one that has to be overridden

    def spawned(self, ref: Ref, cls: type[Actor]) -> None:
        """An actor was made."""
        return

    def failed(self, ref: Ref, cls: type[Actor], error: BaseException, directive: Directive) -> None:
        """An actor failed, and what its supervisor does about it."""
        return

    def restarted(self, ref: Ref, cls: type[Actor]) -> None:
        """A new instance has taken the place of the old one."""
        return

    def stopped(self, ref: Ref, cls: type[Actor]) -> None:
        """An actor is gone for good."""
        return

    def dead_letter(self, letter: DeadLetter) -> None:
        """A message will not be processed."""
        return

    def system_started(self, system: ActorSystem) -> None:
        """A system that has this instrument runs, and has no actors yet."""
        return

    def system_stopped(self, system: ActorSystem) -> None:
        """Its last actor is gone."""
        return


class Hooks:
    """The hooks that some instrument overrides, to be called without raising."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._blamed: set[Callable[..., object]] = set()
        self._all = {name: _overridden(instruments, name) for name in _NAMES}
        self.per_message = [each for each in instruments if any(_overrides(each, name) for name in _PER_MESSAGE)]
        self.departures = bool(self._all["departs"])
        self._look()

    def attach(self, instrument: Instrument) -> None:
        """Has one more told of lives and dead letters, from now on."""
        for name in _LIFE:
            if _overrides(instrument, name):
                self._all[name].append(getattr(instrument, name))
        self._look()

    def detach(self, instrument: Instrument) -> None:
        """Takes back `attach`."""
        for name in _LIFE:
            hook = getattr(instrument, name)
            if hook in self._all[name]:
                self._all[name].remove(hook)
        self._look()

    def _look(self) -> None:
        self.of_life = any(self._all[name] for name in _LIFE if name != "dead_letter")
        self.dead_letters = bool(self._all["dead_letter"])

    def tell(self, name: str, *args: object) -> None:
        """Calls a hook of all who have it."""
        for hook in tuple(self._all[name]):
            self.call(hook, *args)

    def call(self, hook: Callable[..., object], *args: object) -> object:
        """What the hook returns; None if it raises."""
        try:
            return hook(*args)
        except Exception:
            if hook not in self._blamed:
                self._blamed.add(hook)
                _log.exception("%r of an instrument failed; it is not logged again", hook)
            return None


_LIFE = ("spawned", "failed", "restarted", "stopped", "dead_letter")
_PER_MESSAGE = ("departs", "begins", "ends")
_NAMES = (
    "departs",
    "spawned",
    "failed",
    "restarted",
    "stopped",
    "dead_letter",
    "system_started",
    "system_stopped",
)


def _overrides(instrument: Instrument, name: str) -> bool:
    return getattr(type(instrument), name, None) is not getattr(Instrument, name)


def _overridden(instruments: Sequence[Instrument], name: str) -> list[Callable[..., object]]:
    return [getattr(each, name) for each in instruments if _overrides(each, name)]
