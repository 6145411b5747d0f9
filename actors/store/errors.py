"""What a store fails with.

```
TelestageError
└─ StoreError         the file can't be opened, read or written; says which, and why
   ├─ StoreClosed     it was used before `open` or after `close`
   └─ StoreTooNew     a newer Telestage has written it
```
"""

from __future__ import annotations

from telestage.actors.kernel.errors import TelestageError

__all__ = ["StoreClosed", "StoreError", "StoreTooNew"]


class StoreError(TelestageError):
    """The store can't do what it was asked for; nothing of it was done.

    Args:
        path: Of the file.
        why: What went wrong.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"store {path}: {why}")
        self.path = path
        self.why = why


class StoreClosed(StoreError):
    """The store isn't open."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it isn't open: use `async with store:`, or `await store.open()`")


class StoreTooNew(StoreError):
    """A part of the file has a form that this version doesn't know. Reading it as if it did would harm it."""

    def __init__(self, path: str, part: str, version: int, known: int) -> None:
        super().__init__(
            path,
            f"its part {part!r} has version {version}, and this Telestage knows up to {known}: "
            "use the Telestage that wrote it, or a newer one",
        )
        self.part = part
        self.version = version
        self.known = known
