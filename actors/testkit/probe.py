"""An actor for tests: it takes whatever comes, and the test says what should have.

Invariant: each message is handed out once, in order of arrival, by `expect` or `fish`; `received` has them all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.ask import NO_REPLY, Reply
from telestage.actors.kernel.handlers import handles
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.stopping import Terminated
from telestage.actors.kernel.system import ActorSystem

__all__ = ["Probe"]

M = TypeVar("M")

DEFAULT_TIMEOUT = 3.0
"""Seconds a probe waits unless told otherwise."""

_SHOWN = 20  # messages an assertion spells out


class _Arrival(NamedTuple):
    message: object
    sender: Ref | None
    reply: Reply | None
    """None unless it was asked."""


class _Watch(NamedTuple):
    ref: Ref


class Probe:
    """An actor that a test looks through.

    Args:
        system: Where it lives. It stops with it.
        name: Its name at the top level. Default: a number.
        capacity: Of its mailbox. It empties it at once.
    """

    def __init__(self, system: ActorSystem, *, name: str | None = None, capacity: int | None = None) -> None:
        self._arrivals: list[_Arrival] = []
        self._unread: deque[_Arrival] = deque()
        self._news = asyncio.Event()
        self._last: _Arrival | None = None
        self._automatic: list[tuple[type, object]] = []
        self.ref: Ref = system.spawn(_Eye, self, name=name, capacity=capacity)
        """Give this one to the actors under test."""

    # -- what came -----------------------------------------------------------------------------------

    @property
    def received(self) -> list[object]:
        """All that has come, in order, whether it was expected or not."""
        return [arrival.message for arrival in self._arrivals]

    @property
    def unread(self) -> list[object]:
        """What has come and wasn't handed out yet."""
        return [arrival.message for arrival in self._unread]

    @property
    def sender(self) -> Ref | None:
        """Who sent or asked the message handed out last, if that is known."""
        return None if self._last is None else self._last.sender

    async def expect(
        self, what: type[M], *, where: Callable[[M], bool] | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> M:
        """The next message, which must be an instance of `what`, and one for which `where` is true.

        Raises:
            AssertionError: Another one was next, or none came within `timeout` seconds. It shows what did come.
        """
        wanted = _wanted(what, where)
        arrival = await self._next(wanted, timeout)
        message = arrival.message
        if not isinstance(message, what) or (where is not None and not where(message)):
            raise AssertionError(f"{self._name} expected {wanted} and got {message!r}{self._so_far(before=arrival)}")
        return message

    async def fish(
        self, what: type[M], *, where: Callable[[M], bool] | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> M:
        """As `expect`, but passes over what comes before a message that is wanted.

        Raises:
            AssertionError: None came within `timeout` seconds. It shows what did come.
        """
        wanted = _wanted(what, where)
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            left = deadline - asyncio.get_running_loop().time()
            message = (await self._next(wanted, max(left, 0.0))).message
            if isinstance(message, what) and (where is None or where(message)):
                return message

    async def expect_nothing(self, seconds: float = 0.1) -> None:
        """Waits `seconds`, in which nothing may come, nor have come unread. In virtual time this costs none.

        Raises:
            AssertionError: Something did.
        """
        if not self._unread:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return
        raise AssertionError(f"{self._name} expected nothing and got {self._unread[0].message!r}{self._so_far()}")

    async def expect_terminated(self, ref: Ref, *, timeout: float = DEFAULT_TIMEOUT) -> Terminated:
        """The next message, which must say that `ref`, which is watched, has stopped.

        Raises:
            AssertionError: Another one was next, or none came within `timeout` seconds.
        """
        return await self.expect(Terminated, where=lambda ended: ended.ref is ref, timeout=timeout)

    # -- what it does --------------------------------------------------------------------------------

    def reply(self, value: object) -> bool:
        """Answers the message handed out last; false if nobody waits any more.

        Raises:
            AssertionError: Nothing was handed out, or it was told, not asked.
        """
        return self._reply().send(value)

    def fail(self, error: BaseException) -> bool:
        """Answers the message handed out last with `error`; false if nobody waits any more.

        Raises:
            AssertionError: Nothing was handed out, or it was told, not asked.
        """
        return self._reply().fail(error)

    def auto_reply(self, what: type[M], answer: object | Callable[[M], object]) -> None:
        """Answers each ask of `what` from now on at once: with `answer`, or with what it returns or raises if called.

        The message is handed out all the same. What is said last about a type goes first.
        """
        self._automatic.insert(0, (what, answer))

    async def watch(self, ref: Ref) -> None:
        """Has `Terminated` told to the probe when `ref` stops. It watches when this returns."""
        await self.ref.ask(_Watch(ref))

    def tell(self, ref: Ref, message: object, *, priority: int = 0) -> None:
        """Tells `ref` a message whose sender is the probe."""
        ref.tell(message, priority=priority, sender=self.ref)

    async def stop(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Stops the probe and waits until it has stopped."""
        self.ref.stop(grace=0.0)
        await self.ref.stopped(timeout)

    # -- parts ------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"probe {self.ref.path}"

    async def _next(self, wanted: str, timeout: float) -> _Arrival:
        if not self._unread:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    while not self._unread:  # somebody else may be waiting, too, and have been quicker
                        await self._news.wait()
                        if not self._unread:
                            self._news.clear()
            except TimeoutError:
                pass
            if not self._unread:
                raise AssertionError(f"{self._name} expected {wanted} within {timeout:g} s{self._so_far()}")
        self._last = self._unread.popleft()
        return self._last

    def _reply(self) -> Reply:
        if self._last is None:
            raise AssertionError(f"{self._name} has nothing to answer: no message was handed out by `expect` or `fish`")
        if self._last.reply is None:
            raise AssertionError(f"{self._name} can't answer {self._last.message!r}: it was told, not asked")
        return self._last.reply

    def _so_far(self, before: _Arrival | None = None) -> str:
        """What came so far, one message a line."""
        if not self._arrivals:
            return "; nothing has come at all"
        unread = {id(arrival) for arrival in self._unread}
        lines = [
            f"\n  {'->' if arrival is before else '  '} {arrival.message!r}"
            + (f" from {arrival.sender.path}" if arrival.sender is not None else "")
            + (", unread" if id(arrival) in unread else "")
            for arrival in self._arrivals[-_SHOWN:]
        ]
        more = len(self._arrivals) - len(lines)
        return f"; this came, in order{f' (the last {_SHOWN}; {more} before them)' if more else ''}:{''.join(lines)}"

    def _take(self, arrival: _Arrival) -> None:
        self._arrivals.append(arrival)
        self._unread.append(arrival)
        self._news.set()
        if arrival.reply is None:
            return
        for what, answer in self._automatic:
            if isinstance(arrival.message, what):
                _answer(arrival.reply, answer, arrival.message)
                return


def _answer(reply: Reply, answer: object, message: object) -> None:
    if not callable(answer):
        reply.send(answer)
        return
    try:
        value = cast("Callable[[object], object]", answer)(message)
    except Exception as error:
        reply.fail(error)
    else:
        reply.send(value)


def _wanted(what: type, where: object) -> str:
    if where is None:
        return what.__name__
    name = str(getattr(where, "__name__", "<lambda>"))
    return f"{what.__name__}, such as wanted," if name == "<lambda>" else f"{what.__name__} with {name}"


class _Eye(Actor):
    """The probe's side in the system."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    @handles(_Watch)
    def _start_to_watch(self, message: _Watch) -> None:
        self.watch(message.ref)

    @handles(object)
    def _see(self, message: object) -> object:
        reply = self.reply_later()
        asked = reply.waited_for
        self._probe._take(_Arrival(message, self.sender, reply if asked else None))
        return NO_REPLY
