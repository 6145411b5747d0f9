"""What can go wrong between actors.

Every error says whose fault it is; one that refuses a message hands the message back.

    TelestageError
    └── ActorError
        ├── ActorStopped          the target has stopped, or stopped before it answered
        ├── ActorRestarted        the target was restarted before it answered
        ├── ActorKilled           what a handler interrupted by `Ref.kill` failed with
        ├── MailboxFull           the target's mailbox is at its bound; carries the message
        ├── StashFull             the actor has put as many messages aside as it may; carries the message
        ├── Unhandled             the target has no handler for this type; carries the message
        ├── NameTaken             a living sibling has that name
        ├── StartTimeout          a lifecycle hook didn't end in time
        └── AskError
            ├── AskTimeout        no answer before the deadline
            ├── QueueWaitTimeout  not begun before its deadline; never executed afterwards
            ├── AskCycle          the ask would wait for itself; carries the path
            ├── AskDirection      the ask would go down or sideways; carries both ends
            └── WrongReply        the answer isn't of the expected type
"""

from __future__ import annotations

__all__ = [
    "ActorError",
    "ActorKilled",
    "ActorRestarted",
    "ActorStopped",
    "AskCycle",
    "AskDirection",
    "AskError",
    "AskTimeout",
    "MailboxFull",
    "NameTaken",
    "QueueWaitTimeout",
    "StartTimeout",
    "StashFull",
    "TelestageError",
    "Unhandled",
    "WrongReply",
]


class TelestageError(Exception):
    """Whatever Telestage raises by itself derives from this."""


class ActorError(TelestageError):
    """Something between actors went wrong."""


class ActorStopped(ActorError):
    """The actor has stopped, or it stopped before it answered."""

    def __init__(self, path: str) -> None:
        super().__init__(f"actor {path} has stopped")
        self.path = path


class ActorRestarted(ActorError):
    """The actor was restarted before it answered; `__cause__` is what it failed with."""

    def __init__(self, path: str) -> None:
        super().__init__(f"actor {path} was restarted before it answered")
        self.path = path


class ActorKilled(ActorError):
    """The failure of an actor that `Ref.kill` interrupted."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"actor {path} was killed: {reason}")
        self.path = path
        self.reason = reason


class MailboxFull(ActorError):
    """The mailbox holds as many messages as it may; `message` is the one refused."""

    def __init__(self, path: str, capacity: int, message: object) -> None:
        super().__init__(f"mailbox of {path} is full: {capacity} messages wait already")
        self.path = path
        self.capacity = capacity
        self.message = message


class StashFull(ActorError):
    """The actor has put as many messages aside as it may; `message` is the one that came in addition."""

    def __init__(self, path: str, capacity: int, message: object) -> None:
        super().__init__(f"stash of {path} is full: {capacity} messages are aside already")
        self.path = path
        self.capacity = capacity
        self.message = message


class Unhandled(ActorError):
    """The actor has no handler for the type of `message`."""

    def __init__(self, path: str, message: object) -> None:
        super().__init__(f"actor {path} has no handler for {type(message).__qualname__}")
        self.path = path
        self.message = message


class NameTaken(ActorError):
    """A living child of the same parent has that name already."""

    def __init__(self, path: str) -> None:
        super().__init__(f"an actor named {path} is alive already")
        self.path = path


class StartTimeout(ActorError):
    """A lifecycle hook of the actor didn't end within its deadline."""

    def __init__(self, path: str, hook: str, seconds: float) -> None:
        super().__init__(f"{hook}() of {path} did not end within {seconds:g} s")
        self.path = path


class AskError(ActorError):
    """An ask got no answer."""


class AskTimeout(AskError):
    """No answer came before the deadline of the ask, `seconds` after it was made."""

    def __init__(self, path: str, message: object, seconds: float) -> None:
        super().__init__(f"{path} did not answer {type(message).__qualname__} within {seconds:g} s")
        self.path = path
        self.message = message
        self.seconds = seconds


class QueueWaitTimeout(AskError):
    """The message was not begun within `seconds`; it is never executed afterwards."""

    def __init__(self, path: str, message: object, seconds: float) -> None:
        super().__init__(f"{path} did not begin {type(message).__qualname__} within {seconds:g} s")
        self.path = path
        self.message = message
        self.seconds = seconds


class AskCycle(AskError):
    """The ask would close a circle of actors that wait for each other.

    `path` names them in the order in which they wait, the asking actor first and last.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        shown = path if len(path) <= 10 else (*path[:5], f"({len(path) - 9} more)", *path[-4:])
        super().__init__(f"ask refused, it would wait for itself: {' -> '.join(shown)}")
        self.path = path


class AskDirection(AskError):
    """The ask would go down or sideways in the order of `Actor.ask_rank`."""

    def __init__(self, asker: str, target: str) -> None:
        super().__init__(f"ask refused: {asker} may ask upwards only, and {target} isn't above it; use tell")
        self.asker = asker
        self.target = target


class WrongReply(AskError):
    """The answer isn't an instance of what the asker expects."""

    def __init__(self, path: str, reply: object, expected: type) -> None:
        super().__init__(f"{path} answered {type(reply).__qualname__}, expected {expected.__qualname__}")
        self.path = path
        self.reply = reply
