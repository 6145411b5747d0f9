"""The asyncio face of the kernel: lives on the running loop, starts no thread.

Everything that waits is awaited. After `shutdown` no task, timer or worker of the system is left,
or the log says which one resists.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Self

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.carrying import Carrier
from telestage.actors.kernel.cell import Cell
from telestage.actors.kernel.deadletters import DeadLetters
from telestage.actors.kernel.dump import Dump, Writable, write
from telestage.actors.kernel.dumpsignal import SignalDump
from telestage.actors.kernel.eventstream import EventStream
from telestage.actors.kernel.instruments import Hooks, Instrument
from telestage.actors.kernel.interrupting import PATIENCE
from telestage.actors.kernel.looking import ActorNode, every_cell, tree_of
from telestage.actors.kernel.overflow import Overflow
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.scheduling import Scheduling, dispatcher_for
from telestage.actors.kernel.spawning import spawn
from telestage.actors.kernel.spec import Spec
from telestage.actors.kernel.statistics import ActorStatistics, statistics_of, suspended_in
from telestage.actors.kernel.stopping import finish
from telestage.actors.kernel.supervision import TRANSIENT, ChildKind, Supervision
from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["ActorSystem"]

_log = logging.getLogger("telestage.system")

_SHOWN = 10  # names a warning spells out
_LAST = 0.1  # seconds that tasks have to end at the deadline itself: a turn of the loop or two, if they don't resist


class ActorSystem:
    """A tree of actors on the running event loop.

    Args:
        name: For logs and errors.
        supervision: How the failures of top-level actors are answered. There is nobody above: what would
            escalate stops that actor alone, and says so in an ERROR.
        throughput: Messages an actor may process before the next one has its turn.
        seed: Of the jitter. Default: random.
        schedule: Decides the order of turns, for tests: see `telestage.actors.testkit`. Default: first come, first
            served.
        carry: Context variables whose values travel with each message, from wherever it is told, asked, sent or
            signalled, or set on a timer, and are set while its handler runs. Each message then has a context of
            its own, so that nothing a handler sets is seen by later ones. Default: nothing travels, and what
            a handler sets and doesn't reset may be seen by later messages of any actor.
        instruments: What is told how it goes: traces, metrics. What isn't there costs nothing.
        hog_limit: Seconds a handler may keep the event loop without awaiting. One that takes longer is named in a
            WARNING, with its actor: it makes everybody else wait.

    Raises:
        ValueError: `throughput` is less than 1, or `hog_limit` isn't more than 0.
    """

    def __init__(
        self,
        name: str = "telestage",
        *,
        supervision: Supervision | None = None,
        throughput: int = 64,
        seed: int | None = None,
        schedule: Scheduling | None = None,
        carry: Sequence[ContextVar[Any]] = (),  # of any type: it is invariant
        instruments: Sequence[Instrument] = (),
        hog_limit: float = 0.25,
    ) -> None:
        if throughput < 1:
            raise ValueError(f"throughput must be 1 message or more, not {throughput}")
        if not hog_limit > 0:
            raise ValueError(f"hog_limit must be more than 0 seconds, not {hog_limit}")
        self.name = name
        self.hog_limit = hog_limit
        self.dead_letters = DeadLetters()
        self._supervision = supervision
        self._throughput = throughput
        self._rng = random.Random(seed)
        self._schedule = schedule
        self._carry = tuple(carry)
        self._instruments = tuple(instruments)
        self._hooks = Hooks(self._instruments)
        self.events = EventStream(self, self._publish_own)
        """Publish and subscribe by type; dead letters and the lives of actors are published there."""
        self._tasks: TaskRegistry | None = None
        self._root: Cell | None = None
        self._shown_root: Cell | None = None  # also while it is being shut down
        self._thread: int | None = None
        self._signal_dumps: list[SignalDump] = []
        self._subscriptions: list[Callable[[], None]] = []

    @property
    def running(self) -> bool:
        """Whether actors can be spawned."""
        return self._root is not None

    @property
    def tasks(self) -> TaskRegistry:
        """The running tasks."""
        if self._tasks is None:
            raise RuntimeError(f"actor system {self.name!r} was not started: use `async with`, or `await start()`")
        return self._tasks

    def _publish_own(self, source: Instrument, wanted: bool) -> None:
        """Has the stream of events told of the system's own ones, or no longer."""
        if wanted:
            self._hooks.attach(source)
        else:
            self._hooks.detach(source)
        if self._root is not None:
            self._root.dispatcher.life = self._hooks if self._hooks.of_life else None
        self._tell_of_letters()

    def _tell_of_letters(self) -> None:
        """Has the hooks told of dead letters while there are any that want it."""
        if self._hooks.dead_letters and not self._subscriptions:
            self._subscriptions.append(self.dead_letters.subscribe(partial(self._hooks.tell, "dead_letter")))
        elif not self._hooks.dead_letters and self._subscriptions:
            self._subscriptions.pop()()

    async def start(self) -> Self:
        """Starts on the running loop.

        Raises:
            RuntimeError: It runs already.
        """
        if self._root is not None:
            raise RuntimeError(f"actor system {self.name!r} runs already")
        loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tasks = TaskRegistry(loop)
        carrier = Carrier(self._carry, self._hooks)
        dispatcher = carrier.context.run(
            dispatcher_for,
            self._schedule,
            self,
            loop,
            self._tasks,
            throughput=self._throughput,
            rng=self._rng,
        )
        dispatcher.cell_class, dispatcher.carrier = carrier.cell_class, carrier
        dispatcher.life = self._hooks if self._hooks.of_life else None
        self._tell_of_letters()
        self._tasks.add_source(lambda: suspended_in(dispatcher))
        supervises = self._supervision or Actor.supervision

        class Root(Actor):
            """Supervises the top level."""

            supervision = supervises

        spec = Spec(Root)
        root = Cell()
        root.set_up(dispatcher, spec, None, "", None)
        root.actor = spec.create(root)
        self._root = self._shown_root = root
        self._hooks.tell("system_started", self)
        return self

    async def shutdown(self, timeout: float = 10.0, *, drain: bool = False) -> list[str]:
        """Stops every actor, children before parents, then the workers. Idempotent.

        If it is cancelled itself, what is left is cancelled and not waited for.

        Args:
            timeout: Seconds for all of it, however many resist. What runs is cancelled when about half of it has
                passed, and given up on, by name, at its end.
            drain: Whether top-level actors process what waits before they stop.

        Returns:
            The names of what resisted; empty after a clean end.

        Raises:
            RuntimeError: An actor of the system calls it from a handler, which would wait for its own end.
        """
        root = self._root
        if root is None:
            return []
        dispatcher = root.dispatcher
        if asyncio.current_task() in dispatcher.workers:
            raise RuntimeError("a handler can't wait for its own system to shut down: let a task of the service do it")
        self._root = None
        loop = dispatcher.loop
        deadline = loop.time() + timeout
        dispatcher.outlive()
        try:
            resisting = await self._stop_actors(root, timeout - min(1.0, timeout / 4), drain)
            left = max(_LAST, deadline - loop.time())
            resisting += [task.name for task in await self.tasks.cancel_all(timeout=left)]
        finally:
            workers = dispatcher.cancel()  # nothing runs any more but what resists
            finish(root, given_up=True)  # settles what is left; nothing, after a clean end
            self._shown_root = None
            while self._signal_dumps:
                self._signal_dumps.pop().end()
            while self._subscriptions:
                self._subscriptions.pop()()
            self._hooks.tell("system_stopped", self)
        if workers:
            await asyncio.wait(workers, timeout=max(_LAST, min(PATIENCE, deadline - loop.time())))
        resisting += [task.get_name() for task in workers if not task.done()]
        if resisting:
            shown = ", ".join(resisting[:_SHOWN]) + (", ..." if len(resisting) > _SHOWN else "")
            _log.warning("shutdown of %s left %d behind: %s", self.name, len(resisting), shown)
        return resisting

    async def _stop_actors(self, root: Cell, timeout: float, drain: bool) -> list[str]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        grace = max(0.0, min(timeout / 2, timeout - PATIENCE))
        children = list(root.kin.children)
        for child in reversed(children):
            child.stop(grace=grace, drain=drain)
        for child in children:
            await child.stopped(max(0.0, deadline - loop.time()))
        resisting = [child.path for child in children if not child.final]
        root.stop(grace=0.0)
        await root.stopped(max(_LAST, deadline - loop.time()))
        return resisting

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    def spawn(
        self,
        cls: type[Actor],
        *args: object,
        name: str | None = None,
        capacity: int | None = None,
        supervision: Supervision | None = None,
        kind: ChildKind = ChildKind.TRANSIENT,
        redeliver: int = 0,
        overflow: Overflow = Overflow.FAIL,
        **kwargs: object,
    ) -> Ref:
        """Makes a top-level actor: `cls(*args, **kwargs)`, in a mailbox of its own.

        Args:
            name: Unique among living siblings. Default: a number.
            capacity: How many messages may wait. Default: no bound.
            supervision: How its own failures are answered. Default: as its parent's `supervision` says. With a
                parent that restarts siblings together, of this one only the `directives` are used.
            kind: When it is restarted. Default: after a failure, but not when it stops itself.
            overflow: What becomes of a message that the full mailbox has no room for; of use with a `capacity`.
                Default: what is told becomes a dead letter, an ask fails with `MailboxFull`, `send` waits for room.
                With `DROP_NEWEST` `send` doesn't wait either. With `DROP_OLDEST` the oldest of the least urgent
                that wait makes room, as a dead letter or with `MailboxFull` to its asker; if all are more urgent
                the new one is refused. With `BLOCK` asks wait for room, too, until their deadlines; what is told
                can't wait.
                What the system says is never dropped.
            redeliver: How often a told message whose handling failed is given again, first of all, after the
                restart. Default: it is dropped. What was asked is never given again: its asker has the error.
                Hazard: a message that fails every time uses up the restart budget, and what it did before
                it failed is done again.

        Raises:
            NameTaken: A living sibling has that name.
            ValueError: A name, a capacity or a number of times that can't be, or a `supervision` with a
                strategy, which is the parent's to choose.
            RuntimeError: The system doesn't run.
            Exception: Whatever `__init__` raised; nothing was spawned.
        """
        if self._root is None:
            raise RuntimeError(f"actor system {self.name!r} does not run: nothing can be spawned")
        if capacity is None and supervision is None and kind is TRANSIENT and not redeliver:
            spec = cls.plain_spec
        else:
            spec = Spec(cls, capacity, supervision, kind, redeliver, overflow)
        return spawn(self._root, spec, (args, kwargs) if args or kwargs else None, name)

    async def idle(self, timeout: float = 10.0) -> None:
        """Waits until no actor has anything to do: none is ready to run, and no handler or hook is suspended.

        What is to come by a timer doesn't count (`Actor.after`, a restart after its backoff, a deadline), nor does the
        mail of a paused actor, nor an answer that is owed, nor what other tasks of the program do.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: Some actor was still at work; it is named.
            RuntimeError: An actor of the system calls it from a handler, which would wait for its own end.
        """
        root = self._root
        if root is None:
            return
        dispatcher = root.dispatcher
        if asyncio.current_task() in dispatcher.workers:
            raise RuntimeError("a handler can't wait until its own system is idle: it is at work itself")
        try:
            async with asyncio.timeout(timeout):
                await dispatcher.rest()
        except TimeoutError:
            busy = [
                f"{each.path} ({each.running or 'mail'})" for each in self.statistics() if each.running or each.waiting
            ]
            shown = ", ".join(busy[:_SHOWN]) + (", ..." if len(busy) > _SHOWN else "")
            raise TimeoutError(f"actor system {self.name!r} is not idle after {timeout:g} s: {shown}") from None

    def find(self, path: str) -> Ref | None:
        """The living actor at `path`, such as `/manager/alice`, if there is one."""
        cell = self._root
        for name in path.strip("/").split("/") if path.strip("/") else ():
            if cell is None or cell.family is None:
                return None
            cell = cell.family.children.named(name)
        return cell

    def statistics(self) -> list[ActorStatistics]:
        """How every actor is doing, parents before their children. Only reads; disturbs nobody."""
        if self._root is None:
            return []
        return [statistics_of(cell) for cell in every_cell(self._root) if cell is not self._root]

    def actors(self) -> list[Ref]:
        """Every actor there is, parents before their children. Empty if the system doesn't run."""
        if self._root is None:
            return []
        return [cell for cell in every_cell(self._root) if cell is not self._root]

    def tree(self) -> ActorNode:
        """How every actor is doing, and who is whose child, as one value; the root is at `/`. Disturbs nobody.

        To be called on the loop. It takes about a tenth of a second for 10,000 actors, and that long nothing else runs.

        Raises:
            RuntimeError: The system doesn't run.
        """
        if self._root is None:
            raise RuntimeError(f"actor system {self.name!r} does not run: it has no actors")
        return tree_of(self._root)

    def dump(self, file: Writable | None = None) -> None:
        """Writes down what everybody is at, for when something hangs: who waits where in its code, and for whom.

        Never raises, never disturbs, and may be called at any time: in a handler or any other code of the loop, in a
        signal handler, another thread, or a debugger. Its length is bounded whatever the number of actors; it shows the
        types of messages, never what they say.

        Args:
            file: Where to. Default: the standard error.
        """
        write(Dump(self.name, self._shown_root, self._tasks, self.dead_letters, self._thread).text(), file)

    def dump_on(self, number: signal.Signals, file: Writable | None = None) -> Callable[[], None]:
        """Has a `dump` written whenever the process gets that signal, such as `signal.SIGUSR1`, until `shutdown`.

        It works while a handler keeps the loop to itself, too, and then shows where.

        Returns:
            What ends it sooner: the signal then does again what it did before.

        Raises:
            ValueError: This isn't the main thread, the only one that may.
        """
        dumping = SignalDump(number, lambda: self.dump(file))
        self._signal_dumps.append(dumping)
        return dumping.end
