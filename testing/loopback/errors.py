"""Everything the loopback server raises, whose fault it is, and what happens to it.

    LoopbackError
    ├── BadArgument (ValueError)        a test asked for something that makes no sense; nothing was changed
    │   └── UnknownMethod               no such Telegram method; names the close ones
    ├── UnknownPeer (LookupError)       no such user, channel, message or login code
    ├── NotRunning (RuntimeError)       the server is not started, or already closed
    ├── RpcRefusal                      a client's call is refused: it travels to that client as an rpc_error
    └── ProtocolViolation               bytes that are not MTProto: logged, and that one connection is closed

The last two never leave the server.
"""


class LoopbackError(Exception):
    """Base of all errors of the loopback server."""


class BadArgument(LoopbackError, ValueError):
    """An argument that makes no sense; the server is as it was before the call."""


class UnknownMethod(BadArgument):
    """A method name that Telegram's schema does not have."""


class UnknownPeer(LoopbackError, LookupError):
    """A user, channel, message or login code that this server does not have."""


class NotRunning(LoopbackError, RuntimeError):
    """The server is not started, or is closed."""


class RpcRefusal(LoopbackError):
    """A client's call is refused with Telegram's own code and name, such as 400 PEER_FLOOD."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class ProtocolViolation(LoopbackError):
    """Bytes on a connection that no MTProto client would send."""
