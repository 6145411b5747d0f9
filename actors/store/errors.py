"""What a store fails with.

```
TelestageError
├─ StoreError         the file can't be opened, read or written; says which, and why
│  ├─ StoreClosed     it was used before `open` or after `close`
│  └─ StoreTooNew     a newer Telestage has written it
├─ StoreKeyError      there is no key for what is sealed in the store, or the wrong one
├─ LeaseHeld          somebody else holds the lease; says who, and for how long at the least
└─ LeaseLost          the lease was taken by somebody else; nothing is written in its name any more
```
"""

from __future__ import annotations

from telestage.actors.kernel.errors import TelestageError

__all__ = ["LeaseHeld", "LeaseLost", "StoreClosed", "StoreError", "StoreKeyError", "StoreTooNew"]


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


class LeaseHeld(TelestageError):
    """Somebody else uses it. `seconds` is how long the lease lasts yet, unless it is renewed."""

    def __init__(self, name: str, owner: str, seconds: float) -> None:
        super().__init__(f"{name!r} is in use by {owner}")
        self.name = name
        self.owner = owner
        self.seconds = seconds


class LeaseLost(TelestageError):
    """The lease that this was done in the name of is somebody else's (`owner`), or nobody's, now."""

    def __init__(self, name: str, epoch: int, owner: str | None) -> None:
        super().__init__(f"{name!r}: epoch {epoch} is over; {'nobody' if owner is None else owner} has the lease now")
        self.name = name
        self.epoch = epoch
        self.owner = owner


class StoreKeyError(TelestageError):
    """What is sealed in the store can't be opened, or there is no key. The text says what would be right."""
