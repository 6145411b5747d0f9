"""Erlang's processes, by `erlang/bench.erl`: where `erl` and `erlc` are installed, as by Debian's `erlang-base`.

With one scheduler, so that it has one core, as an event loop has. The clock runs inside Erlang: neither its start nor
the compiler is measured.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

_SOURCE = Path(__file__).with_name("erlang") / "bench.erl"
_SECONDS = 300.0


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode().strip()
    if process.returncode:
        raise RuntimeError(f"{command[0]}: {text}")
    return text


def _workload(name: str) -> Callable[[int], Awaitable[float]]:
    async def measure(size: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            await _run("erlc", "-o", folder, str(_SOURCE))
            printed = await _run("erl", "+S", "1", "-noshell", "-pa", folder, "-run", "bench", "main", name, str(size))
        return float(printed.splitlines()[-1])

    return measure


tell = _workload("tell")
ask = _workload("ask")
ring = _workload("ring")
fan_out = _workload("fan_out")
fan_in = _workload("fan_in")
spawn = _workload("spawn")
