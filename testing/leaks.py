"""What a test left behind: tasks and timers in its loop; threads, sockets and child processes in its process.

A snapshot is taken before and compared after. What was there before is nobody's fault, and what ends by itself
within a short grace is no leak. Sockets are found on systems with /dev/fd, child processes on Linux.
"""

import asyncio
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

GRACE = 1.0
"""Seconds in which what is ending may end."""
_POLL = 0.01


@dataclass(frozen=True)
class LoopSnapshot:
    """The tasks and timers of one event loop."""

    tasks: frozenset[asyncio.Task[object]]
    timers: frozenset[int]

    @classmethod
    def take(cls) -> "LoopSnapshot":
        """Those of the running loop."""
        loop = asyncio.get_running_loop()
        return cls(frozenset(asyncio.all_tasks(loop)), frozenset(id(timer) for timer in _timers(loop)))

    async def left_behind(self, grace: float = GRACE) -> list[str]:
        """What has come since and does not end within `grace` seconds, one line each."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        if tasks := self._new_tasks(loop):
            await asyncio.wait(tasks, timeout=grace)
        if soon := [timer.when() for timer in self._new_timers(loop) if timer.when() <= deadline]:
            await asyncio.sleep(max(soon) - loop.time())
        return [
            *sorted(f"task {task!r}" for task in self._new_tasks(loop)),
            *(f"timer due in {timer.when() - loop.time():.1f} s: {timer!r}" for timer in self._new_timers(loop)),
        ]

    def _new_tasks(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
        current = asyncio.current_task(loop)
        return [task for task in asyncio.all_tasks(loop) - self.tasks if task is not current]

    def _new_timers(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
        return [timer for timer in _timers(loop) if id(timer) not in self.timers]


def _timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    # asyncio's loops keep them there; another loop (uvloop) does not show its timers.
    scheduled: Iterable[asyncio.TimerHandle] = getattr(loop, "_scheduled", ())
    return [timer for timer in scheduled if not timer.cancelled()]


@dataclass(frozen=True)
class ProcessSnapshot:
    """The threads, open sockets and child processes of this process."""

    threads: frozenset[threading.Thread]
    sockets: frozenset[tuple[int, int]]
    """Descriptor and inode."""
    children: frozenset[int]

    @classmethod
    def take(cls) -> "ProcessSnapshot":
        """Those there are now."""
        return cls(frozenset(threading.enumerate()), frozenset(_sockets()), frozenset(_children()))

    def __or__(self, other: "ProcessSnapshot") -> "ProcessSnapshot":
        return ProcessSnapshot(
            self.threads | other.threads, self.sockets | other.sockets, self.children | other.children
        )

    def __sub__(self, other: "ProcessSnapshot") -> "ProcessSnapshot":
        return ProcessSnapshot(
            self.threads - other.threads, self.sockets - other.sockets, self.children - other.children
        )

    def left_behind(self, grace: float = GRACE) -> list[str]:
        """What has come since and does not end within `grace` seconds, one line each."""
        return _patiently(self._leaks, grace)

    def _leaks(self) -> list[str]:
        new = ProcessSnapshot.take() - self
        return [
            *sorted(f"thread {thread!r}" for thread in new.threads),
            *(f"socket {_describe_socket(descriptor)}" for descriptor, _ in sorted(new.sockets)),
            *(f"child process {_describe_process(pid)}" for pid in sorted(new.children)),
        ]


def report(leaks: list[str]) -> str:
    """What to tell about `leaks`."""
    return "\n".join(["the test left behind:", *(f"  - {leak}" for leak in leaks)])


def _patiently(look: Callable[[], list[str]], grace: float) -> list[str]:
    deadline = time.monotonic() + grace
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return found


def _sockets() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    try:
        names = os.listdir("/dev/fd")
    except OSError:
        return found
    for name in names:
        try:
            status = os.fstat(int(name))
        except OSError:  # the descriptor of the listing itself
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.append((int(name), status.st_ino))
    return found


def _describe_socket(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            here = copy.getsockname()
            try:
                return f"{here} connected to {copy.getpeername()} (descriptor {descriptor})"
            except OSError:
                return f"{here} (descriptor {descriptor})"
    except OSError:
        return f"descriptor {descriptor}"


def _children() -> list[int]:
    if sys.platform != "linux":
        return []
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:  # the thread has ended meanwhile
            continue
    return found


def _describe_process(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"{pid}: {command}" if command else f"{pid}, ended but never waited for"
