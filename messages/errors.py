"""What goes wrong with a message: at its construction, or on its way over a wire.

    MessageError
    ├── InvalidMessage   a value that a message may not have (also a ValueError)
    └── WireError        bytes that are no message, or a message that can't become bytes

Nothing else leaves this package because of what a message or a frame holds. Each error says
what was wrong, where, and what would be right.
"""


class MessageError(Exception):
    """The root of what this package raises."""


class InvalidMessage(MessageError, ValueError):
    """A message was given a value it may not have; the message was not made.

    Args:
        owner: The name of the message's type.
        field: The field with the wrong value.
        fault: What would be right, and what was there instead.
    """

    def __init__(self, owner: str, field: str, fault: str) -> None:
        super().__init__(owner, field, fault)
        self.owner = owner
        self.field = field
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.owner}.{self.field} {self.fault}"


class WireError(MessageError):
    """Bytes are not a frame of a registered, valid message, or a message can't be a frame.

    Args:
        reason: What is wrong.
        offset: Where the frame begins in its stream, in bytes; None when encoding.
        path: The field at fault, from the message's root `$`, as in `$.request.limit`; None
            when the fault is not in one field.
    """

    def __init__(self, reason: str, offset: int | None = None, path: str | None = None) -> None:
        super().__init__(reason, offset, path)
        self.reason = reason
        self.offset = offset
        self.path = path

    def __str__(self) -> str:
        frame = "" if self.offset is None else f"frame at byte {self.offset}: "
        field = "" if self.path is None else f" (at {self.path})"
        return f"{frame}{self.reason}{field}"
