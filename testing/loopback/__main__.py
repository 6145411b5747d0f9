"""`python -m telestage.testing.loopback`: a loopback server that is told what to do over its standard input.

Frames come in on stdin and go out on stdout, nothing else does; logs go to stderr. The end of stdin is the end
of the server, so it never outlives whoever started it. `telestage.testing.LoopbackProcess` is the other end.
"""

import argparse
import asyncio
import logging
import os
import sys

from telestage.messages import ControlFailure
from telestage.messages.wire import encode
from telestage.testing.loopback.control import Control
from telestage.testing.loopback.errors import LoopbackError
from telestage.testing.loopback.server import LoopbackTelegram


async def serve(port: int, host: str, latency: float) -> int:
    """Run a server until stdin ends; gives the exit code."""
    loop = asyncio.get_running_loop()
    # Whatever prints must not get between the frames: they go to a descriptor of their own.
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    output, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, frames)
    try:
        async with LoopbackTelegram(port, host, latency) as telegram:
            ended = asyncio.Event()
            source, _ = await loop.connect_read_pipe(lambda: Control(telegram, output, ended), sys.stdin.buffer)
            await ended.wait()
            source.close()
    except (LoopbackError, OSError) as error:  # to the first call, whose id is 0
        output.write(encode(ControlFailure(id=0, error=type(error).__name__, message=str(error))))
        return 1
    finally:
        output.close()
    return 0


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m telestage.testing.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0, the default, lets the system choose")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each call is answered")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        return asyncio.run(serve(options.port, options.host, options.latency))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
