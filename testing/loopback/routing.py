"""How a service says which calls it answers, and what it learns about who calls.

A service is a class whose methods carry `@answers(Request)`; the dispatcher collects them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from telethon.tl.tlobject import TLObject, TLRequest

from telestage.testing.loopback.errors import RpcRefusal
from telestage.testing.loopback.session import Session
from telestage.testing.loopback.state import Device, UserState

Answer = TLObject | bool

S = TypeVar("S")
R = TypeVar("R", bound=TLRequest)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call."""

    session: Session

    @property
    def device(self) -> Device:
        """The authorization key it is made with."""
        return self.session.device

    @property
    def user(self) -> UserState:
        """The user logged in with that key.

        Raises:
            RpcRefusal: 401, nobody is.
        """
        user = self.session.device.user
        if user is None:
            raise RpcRefusal(401, "AUTH_KEY_UNREGISTERED")
        return user


@dataclass(frozen=True, slots=True)
class Route(Generic[S, R]):
    """One method of a service, and the request it answers."""

    request: type[R]
    open: bool
    """Anybody may call; otherwise only who is logged in."""
    function: Callable[[S, Caller, R], Answer]


def answers(request: type[R], *, open: bool = False) -> Callable[[Callable[[S, Caller, R], Answer]], Route[S, R]]:
    """The decorated method of a service answers calls of type `request`.

    It returns the result, or raises `RpcRefusal`.

    Args:
        request: The request's class.
        open: Answer also those who are not logged in.
    """

    def register(function: Callable[[S, Caller, R], Answer]) -> Route[S, R]:
        return Route(request, open, function)

    return register
