"""A system as text, for when something hangs.

Invariants: a dump never raises, waits for nothing, runs no code of an actor and changes nothing; called from the
loop, a signal handler, another thread or a debugger alike. It is bounded, and says how much it leaves out. It shows
the types of messages, never what they say.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from time import gmtime, strftime, time
from typing import TYPE_CHECKING, Protocol

from telestage.actors.kernel.looking import (
    ActorNode,
    ActorState,
    age_of,
    asked_for,
    every_cell,
    look,
    path_of,
    state_of,
)
from telestage.actors.kernel.stacks import frames_of, lines, places_of
from telestage.actors.kernel.waits import waited_for

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.deadletters import DeadLetters
    from telestage.actors.kernel.tasks import TaskRegistry

__all__ = ["Dump", "Writable", "write"]

_SHOWN = 20  # actors, or lines of other kinds, a part spells out
_TREE = 60  # actors of a system whose tree is drawn
_NAMES = 5  # names a line spells out
_AT_REST = (ActorState.IDLE, ActorState.STOPPED)
_ON_THE_WAY = (
    ActorState.STARTING,
    ActorState.FAILED,
    ActorState.RESTARTING,
    ActorState.DRAINING,
    ActorState.STOPPING,
)


class Writable(Protocol):
    """A text file, or what is like one."""

    def write(self, text: str, /) -> object:
        """Takes in the text."""
        ...


def write(text: str, file: Writable | None) -> None:
    """Writes the text to `file`, by default to the standard error. Never raises.

    What is written to the standard error goes straight to its descriptor: a signal handler may have come in the
    middle of another write, and its buffer can't be entered twice.
    """
    try:
        if file is not None:
            file.write(text)
            return
        try:
            descriptor = sys.stderr.fileno()
        except (OSError, ValueError):
            sys.stderr.write(text)  # not a real file, as in some consoles
            return
        left = text.encode(errors="backslashreplace")
        while left:
            left = left[os.write(descriptor, left) :]
    except Exception:  # nobody is left to be told
        return


class Dump:
    """One look at a system.

    Args:
        name: Of the system.
        root: None if the system doesn't run.
        tasks: None if it never ran.
        thread: Which thread the loop runs in.
    """

    def __init__(
        self, name: str, root: Cell | None, tasks: TaskRegistry | None, letters: DeadLetters, thread: int | None
    ) -> None:
        self._name = name
        self._root = root
        self._tasks = tasks
        self._letters = letters
        self._thread = thread
        self._now = time()
        self._states: Counter[ActorState] = Counter()
        self._classes: Counter[tuple[str, ActorState]] = Counter()
        self._at_something: list[Cell] = []
        self._askers: dict[Cell, list[Cell]] = {}  # who waits for each
        self._hooks: dict[str, asyncio.Task[object]] = {}  # those that run, by the path of their actor
        self._waiting = self._processed = self._unreadable = 0
        self._busy = 0.0

    def text(self) -> str:
        """The dump, some thousands of characters. Never raises."""
        text: list[str] = []
        parts: tuple[Callable[[], Iterable[str]], ...] = (
            self._head,
            self._thread_part,
            self._holders,
            self._actors,
            self._tasks_part,
            self._tree,
        )
        for part in parts:
            try:
                text.extend(part())
            except Exception as error:  # half a dump is better than none
                text.append(f"({part.__name__.strip('_')} could not be read: {error!r})")
        text.append(f"==== end of the dump of {self._name!r} ====\n")
        return "\n".join(text)

    # -- parts ------------------------------------------------------------------------------------

    def _head(self) -> Iterable[str]:
        when = strftime("%Y-%m-%d %H:%M:%S", gmtime(self._now))
        yield f"==== actor system {self._name!r}, {when} UTC, pid {os.getpid()} ===="
        if self._root is None:
            yield "doesn't run"
        else:
            self._scan(self._root)
            total = self._states.total()
            states = ", ".join(f"{count:,} {state.value}" for state, count in self._states.most_common())
            yield _count(total, "actor") + (f": {states}" if total else "")
            busy, ready = _seconds(self._busy), self._root.dispatcher.ready.waiting
            yield f"{_count(self._waiting, 'message')} waiting, {self._processed:,} processed in {busy} of work"
            yield f"{_count(ready, 'actor')} on the run queue"
            if self._unreadable:
                yield f"{self._unreadable:,} actors could not be read"
        yield from self._dead_letters()

    def _dead_letters(self) -> Iterable[str]:
        letters = self._letters
        if not len(letters):
            return
        kinds = Counter(letters.by_type).most_common()
        yield f"{_count(len(letters), 'dead letter')}: {_few([f'{count:,} {kind}' for kind, count in kinds])}"
        last = letters.recent[-1]
        what = type(last.message).__name__ + ("" if last.receiver is None else f" to {last.receiver.path}")
        yield f"    the last, {_seconds(self._now - last.at)} ago: {what}: {last.reason}"

    def _thread_part(self) -> Iterable[str]:
        frame = None if self._thread is None else sys._current_frames().get(self._thread)
        if frame is not None:
            yield "the loop's thread is at"
            yield from _indented(lines(frames_of(frame)))

    def _holders(self) -> Iterable[str]:
        """Who doesn't wait for anybody, and is waited for."""
        free = [cell for cell in self._askers if not waited_for(cell)]
        if not free:
            return
        most = heapq.nlargest(_SHOWN, free, key=lambda cell: len(self._askers[cell]))
        held = sorted(((self._held_up_by(cell), cell) for cell in most), key=lambda pair: -len(pair[0]))
        yield ""
        yield "---- who holds up others ----"
        for waiters, cell in held:
            yield f"{path_of(cell)}: {_few([path_of(waiter) for waiter in waiters])}"
        yield from _left_out(len(free) - len(most), "that hold up others")

    def _actors(self) -> Iterable[str]:
        chosen = heapq.nlargest(_SHOWN, self._at_something, key=_urgency)
        if not chosen:
            return
        yield ""
        yield "---- actors at something, who has waited longest first ----"
        for cell in chosen:
            try:
                yield from self._actor(cell)
            except Exception as error:
                yield f"({path_of(cell)} could not be read: {error!r})"
        yield from _left_out(len(self._at_something) - len(chosen), "actors")

    def _actor(self, cell: Cell) -> Iterable[str]:
        node = look(cell)
        yield f"{node.path}  {node.cls}  {_doing(node)}"
        if particulars := _particulars(node):
            yield f"    {'; '.join(particulars)}"
        if targets := waited_for(cell):
            yield f"    waits for {_few([_edge(cell, target) for target in targets])}"
        if waiters := self._askers.get(cell):
            yield f"    holds up {_few([path_of(waiter) for waiter in waiters])}"
        if cell.worker is not None:
            hook = self._hooks.get(node.path)
            yield from _indented(lines(places_of(cell.worker.coroutine if hook is None else hook)))

    def _tasks_part(self) -> Iterable[str]:
        if self._tasks is None:
            return
        tasks = self._tasks.running()
        workers = list(self._root.dispatcher.workers.values()) if self._root is not None else []
        abandoned = [worker.task for worker in workers if worker.abandoned]
        known = {task for task, _ in tasks}.union(worker.task for worker in workers)
        others = [task for task in asyncio.all_tasks(self._tasks.loop) if task not in known]
        if tasks or abandoned:
            yield ""
            yield "---- tasks, the oldest first ----"
        for task, details in tasks[:_SHOWN]:
            operation = f" for {details.operation}" if details.operation else ""
            yield f"{details.type} of {details.owner}{operation}, {_seconds(self._now - details.created)} old"
            yield from _indented(lines(places_of(task)))
        yield from _left_out(len(tasks) - _SHOWN, "tasks")
        for task in abandoned[:_SHOWN]:
            yield task.get_name()
            yield from _indented(lines(places_of(task)))
        yield from _left_out(len(abandoned) - _SHOWN, "abandoned handlers")
        if others:
            yield ""
            yield "---- other tasks of the loop ----"
        for task in others[:_NAMES]:
            yield task.get_name()
            yield from _indented(lines(places_of(task)))
        yield from _left_out(len(others) - _NAMES, "tasks")

    def _tree(self) -> Iterable[str]:
        root, total = self._root, self._states.total()
        if root is None or not total:
            return
        yield ""
        if total > _TREE:
            yield f"---- actors by class; a tree of {total:,} isn't drawn ----"
            for (cls, state), count in self._classes.most_common(_SHOWN):
                yield f"{count:>11,}  {cls} {state.value}"
            yield from _left_out(len(self._classes) - _SHOWN, "kinds")
            return
        yield "---- tree ----"
        depths = {root: -1}
        for cell in every_cell(root):
            if cell is not root and cell.parent is not None:
                depth = depths[cell] = depths[cell.parent] + 1
                state = state_of(cell)
                mark = "  " if state in _AT_REST or state is ActorState.READY else "! "
                mail = f", {cell.waiting:,} wait" if cell.waiting else ""
                yield f"{mark}{'  ' * depth}{cell.name}  {cell.spec.cls.__name__}  {state.value}{mail}"

    # -- what they need ---------------------------------------------------------------------------

    def _scan(self, root: Cell) -> None:
        if self._tasks is not None:
            for task, details in self._tasks.running():
                if details.type in ("started", "restarting", "stopped"):
                    self._hooks[details.owner] = task
        for cell in every_cell(root):
            if cell is root:
                continue
            try:
                state = state_of(cell)
                waiting = cell.waiting
                targets = waited_for(cell)
                owes = cell.family is not None and bool(cell.family.owed)
            except Exception:  # changed while another thread looked
                self._unreadable += 1
                continue
            self._states[state] += 1
            self._classes[cell.spec.cls.__name__, state] += 1
            self._waiting += waiting
            self._processed += cell.processed
            self._busy += cell.busy
            for target in targets:
                self._askers.setdefault(target, []).append(cell)
            if owes or (state not in _AT_REST and (waiting or state is not ActorState.PAUSED)):
                self._at_something.append(cell)

    def _held_up_by(self, cell: Cell) -> list[Cell]:
        """Who waits for `cell`, over any number of actors, the nearest first."""
        found: dict[Cell, None] = {}
        following = [cell]
        while following:
            askers = [asker for each in following for asker in self._askers.get(each, ()) if asker not in found]
            found.update(dict.fromkeys(askers))
            following = askers
        return list(found)


def _urgency(cell: Cell) -> tuple[int, float]:
    """What is shown first: who is at work now, who has waited longest, who is on the way, whose mailbox is fullest."""
    state = state_of(cell)
    if state is ActorState.RUNNING:
        return 3, 0.0
    if (age := age_of(cell)) is not None:
        return 2, age
    return (1 if state in _ON_THE_WAY else 0), cell.waiting


def _doing(node: ActorNode) -> str:
    text = node.state.value
    if node.cause is not None:
        text += f" because of {node.cause}"
    if node.age is not None:
        text += f" for {_seconds(node.age)}"
    elif node.restart_in is not None:
        text += f", to be restarted in {_seconds(node.restart_in)}"
    if node.current is not None:
        text += f" in {node.current}"
        if node.asked:
            text += f", asked by {node.sender or 'no actor'}"
        elif node.sender is not None:
            text += f", told by {node.sender}"
    return text


def _particulars(node: ActorNode) -> list[str]:
    found: list[str] = []
    if node.waiting:
        found.append(f"mailbox {node.waiting:,}" + ("" if node.capacity is None else f" of {node.capacity:,}"))
    if node.blocked_senders:
        found.append(f"{_count(node.blocked_senders, 'sender')} waiting for room")
    if node.owed:
        found.append(f"{_count(node.owed, 'answer')} owed")
    if node.restarts:
        found.append(_count(node.restarts, "restart"))
    if node.timers:
        found.append(_count(node.timers, "timer"))
    return found


def _edge(asker: Cell, target: Cell) -> str:
    kind, where = asked_for(asker, target)
    return f"{path_of(target)} ({kind + ', ' if kind else ''}{where})"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _few(names: list[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _left_out(count: int, what: str) -> Iterable[str]:
    if count > 0:
        yield f"... and {count:,} more {what} ..."


def _indented(text: Iterable[str]) -> Iterable[str]:
    return ["    " + line for line in text]


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
