"""One ref for several equal actors.

A `Router` is a ref that chooses a routee and hands the message over in the same call, in the sender: there is no actor
in between to become the bottleneck, no second mailbox, and an ask waits for the routee itself, so that deadlines,
cancellation and the detection of circles are exact. Measured beside an actor that forwards each message round robin
(4 routees, CPython 3.11): told 4.6 times as many a second, asked one after
another 8 times, a hundred at once 1.5 times.

Behind it is an actor, the pool, that supervises the routees and changes their number. No message goes through it.

Invariants:
- A message goes to a living routee, or is refused as by a stopped actor. One that is being restarted keeps its
  place and its mail.
- A routee that stops is routed to no more from that moment on. When the last one has stopped, so does the pool.
- When the group is made smaller the youngest leave, each after it has handled what waits for it.
"""
# ruff: noqa: D102 - what overrides a method of `Ref` is documented there

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.current import current_task
from telestage.actors.kernel.errors import ActorStopped
from telestage.actors.kernel.handlers import handles
from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.routing import RoundRobin, Routing
from telestage.actors.kernel.stopping import Terminated
from telestage.actors.kernel.supervision import Supervision

if TYPE_CHECKING:
    from telestage.actors.kernel.system import ActorSystem

__all__ = ["Router"]


_DRAIN = 60.0  # seconds for what waits for a routee that is one too many


class _Recipe(msgspec.Struct):
    """How routees are made, and how many there are to be."""

    cls: type[Actor]
    args: tuple[object, ...]
    kwargs: Mapping[str, Any]
    capacity: int | None
    overflow: Overflow
    supervision: Supervision | None
    size: int


class _Resize(msgspec.Struct, frozen=True):
    size: int


class _Pool(Actor):
    """Supervises the routees. They outlive its restarts."""

    keep_children = True

    def __init__(self, recipe: _Recipe, routing: Routing) -> None:
        self._recipe = recipe
        self._routing = routing
        self._numbers = count(1)
        self._group: list[Cell] = [child for child in self.children.values() if isinstance(child, Cell) and child.alive]
        self._grow()

    def _grow(self) -> None:
        recipe = self._recipe
        names = self.children
        while len(self._group) < recipe.size:
            name = next(name for number in self._numbers if (name := str(number)) not in names)
            routee = self.spawn(
                recipe.cls,
                *recipe.args,
                name=name,
                capacity=recipe.capacity,
                overflow=recipe.overflow,
                supervision=recipe.supervision,
                **recipe.kwargs,
            )
            assert isinstance(routee, Cell)
            self.watch(routee)
            self._group.append(routee)
        self._routing.changed(tuple(self._group))

    @handles(_Resize)
    def resize(self, message: _Resize) -> None:
        self._recipe.size = message.size
        for routee in self._group[message.size :]:
            routee.stop(drain=True, grace=_DRAIN)
        del self._group[message.size :]
        self._grow()

    @handles(Terminated)
    def forget(self, message: Terminated) -> None:
        if message.ref in self._group:
            self._group = [routee for routee in self._group if routee is not message.ref]
            self._recipe.size = len(self._group)
            self._routing.changed(tuple(self._group))
            if not self._group:
                self.stop(message.error)

    def unhandled(self, message: object) -> None:
        cell = self._cell
        error = ActorStopped(cell.path)
        if isinstance(cell.current, Ask):
            cell.current.fail(error)
        else:
            cell.dispatcher.dead_letters.add(message, self.sender, cell, "none of its routees is alive")


class Router(Ref):
    """A ref for a group of equal actors. Made by `Router.spawn`.

    What is told, asked, sent, signalled or forwarded to it goes to the routee that its `routing` chooses.
    `stop`, `kill`, `pause`, `resume` and `stopped` are for the whole group. It is equal to the ref of the pool, which
    `Terminated` names to those who watch the router.
    """

    __slots__ = ("_pool", "_routing")

    def __init__(self, pool: Cell, routing: Routing) -> None:
        self._pool = pool
        self._routing = routing

    @classmethod
    def spawn(
        cls,
        owner: ActorSystem | Actor,
        actor_class: type[Actor],
        *args: object,
        size: int,
        routing: Routing | None = None,
        name: str | None = None,
        capacity: int | None = None,
        overflow: Overflow = Overflow.FAIL,
        supervision: Supervision | None = None,
        **kwargs: object,
    ) -> Router:
        """Makes a group of `size` actors, each `actor_class(*args, **kwargs)`, and the router before them.

        Args:
            owner: The system or the actor below which the group's pool is made.
            size: How many. One of them that stops is not replaced; `resize` makes new ones.
            routing: Who gets which message; a rule that no other router uses. Default: `RoundRobin()`.
            name: Of the pool; the routees' are `1`, `2`, ...
            capacity: Of each routee's mailbox. Default: no bound.
            overflow: What becomes of a message that such a mailbox has no room for.
            supervision: How each routee's failures are answered. Default: as any actor's.

        Raises:
            ValueError: A size of less than one, a name or a capacity that can't be.
            NameTaken: A living sibling of the pool has that name.
            Exception: Whatever `__init__` of `actor_class` raised; nothing was spawned.
        """
        if size < 1:
            raise ValueError(f"a router needs 1 routee or more, not {size}")
        rule = RoundRobin() if routing is None else routing
        recipe = _Recipe(actor_class, args, kwargs, capacity, overflow, supervision, size)
        pool = owner.spawn(_Pool, recipe, rule, name=name)
        assert isinstance(pool, Cell)
        return cls(pool, rule)

    def __eq__(self, other: object) -> bool:
        return self._pool is (other._pool if isinstance(other, Router) else other)

    def __hash__(self) -> int:
        return hash(self._pool)

    # -- the group -----------------------------------------------------------------------------------

    @property
    def routees(self) -> tuple[Ref, ...]:
        """Those that messages go to, the eldest first."""
        return tuple(cell for cell in self._routing.routees if not cell.closed)

    async def resize(self, size: int, *, timeout: float = DEFAULT_ASK_TIMEOUT) -> None:
        """Makes the group so large. Whoever leaves first handles what waits for it, for up to 60 s.

        Raises:
            ValueError: A size of less than one.
            ActorStopped: The group has stopped.
            AskTimeout: The pool had no turn within `timeout` seconds.
        """
        if size < 1:
            raise ValueError(f"a router needs 1 routee or more, not {size}")
        await self._pool.ask(_Resize(size), timeout=timeout)

    def broadcast(self, message: object, *, priority: int = 0, sender: Ref | None = None) -> None:
        """Tells `message` to every routee."""
        for cell in self._routing.routees:
            if not cell.closed:
                cell.tell(message, priority, sender)

    async def ask_all(
        self, message: object, *, timeout: float = DEFAULT_ASK_TIMEOUT, priority: int = 0, cancel: bool = False
    ) -> list[object]:
        """Asks every routee at once, and returns their answers, the eldest's first.

        Raises:
            Exception: The first error that one of them answers with, as `ask` would raise it; the other asks are
                given up. `ActorStopped` if none is alive.
        """
        cells = [cell for cell in self._routing.routees if not cell.closed]
        if not cells:
            raise ActorStopped(self.path)
        dispatcher = self._pool.dispatcher
        task = current_task(dispatcher.loop)
        worker = None if task is None else dispatcher.workers.get(task)
        asker = None if worker is None else worker.cell
        asks = [
            dispatcher.loop.create_task(cell.ask(message, None, timeout, priority, None, cancel, asker))
            for cell in cells
        ]
        try:
            answers: list[object] = await asyncio.gather(*asks)
            return answers
        finally:
            for ask in asks:
                ask.cancel()
            await asyncio.gather(*asks, return_exceptions=True)

    # -- what a ref promises -------------------------------------------------------------------------

    def cell_for(self, message: object) -> Cell:
        return self._routing.choose(message) or self._pool

    @property
    def cell(self) -> Cell:
        return self._pool

    @property
    def name(self) -> str:
        return self._pool.name

    @property
    def path(self) -> str:
        return self._pool.path

    @property
    def alive(self) -> bool:
        return self._pool.alive

    @property
    def waiting(self) -> int:
        return sum(cell.waiting for cell in self._routing.routees)

    def tell(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self, message: object, priority: int = 0, sender: Ref | None = None
    ) -> None:
        (self._routing.choose(message) or self._pool).tell(message, priority, sender)

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        self.cell_for(message).signal(message, sender=sender)

    def send(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> Coroutine[Any, Any, None]:
        return self.cell_for(message).send(message, priority, sender, timeout)

    def ask(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        expecting: type | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> Coroutine[object, object, Any]:  # `Ref` says of what
        return self.cell_for(message).ask(message, expecting, timeout, priority, queue_timeout, cancel)

    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        for cell in self._routing.routees:
            cell.stop(drain=drain, grace=grace)
        self._pool.stop(drain=drain, grace=grace)

    def kill(self, reason: str = "killed") -> None:
        for cell in self._routing.routees:
            cell.kill(reason)

    def pause(self) -> None:
        for cell in self._routing.routees:
            cell.pause()

    def resume(self) -> None:
        for cell in self._routing.routees:
            cell.resume()

    async def stopped(self, timeout: float) -> bool:
        return await self._pool.stopped(timeout)
