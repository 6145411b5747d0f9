"""What becomes of a message that a full queue or mailbox has no room for.

Invariants:
- What the system says (`Notice`: that an actor has terminated, for one) is never dropped to make room, also if it had
  been put aside and waits among the mail; the system lane has no bound at all.
- What is dropped is told: an ask fails at once with `MailboxFull`, anything else is a dead letter. Both are counted.
- The sender never fails because of a `tell`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from telestage.actors.kernel.ask import Ask
from telestage.actors.kernel.envelope import bare, sender_of
from telestage.actors.kernel.errors import MailboxFull
from telestage.actors.kernel.steps import Notice

if TYPE_CHECKING:
    from telestage.actors.kernel.mailbox import Mailbox

__all__ = ["Overflow", "drop_oldest"]


class Overflow(enum.Enum):
    """What becomes of a message that a full queue has no room for."""

    DROP_NEWEST = "drop newest"
    """The new one is dropped, and counted. Hazard: also an urgent one, while others wait."""
    DROP_OLDEST = "drop oldest"
    """The oldest of the least urgent ones that wait is dropped for it, never one that is more urgent than it."""
    BLOCK = "block"
    """Who brings it waits for room, first come, first served; past its deadline it fails as with `FAIL`."""
    FAIL = "fail"
    """Who brings it gets `MailboxFull`, which carries it."""


def drop_oldest(mailbox: Mailbox, priority: int) -> bool:
    """Makes room in a full mailbox for a message of `priority`; false if all that waits is more urgent."""
    item = mailbox.take_oldest(priority, _may_go)
    if item is None:
        return False
    mailbox.count(dropped=1)
    error = MailboxFull(mailbox.path, mailbox.spec.capacity, bare(item))
    if isinstance(item, Ask):
        item.fail(error)
    else:
        mailbox.dispatcher.dead_letters.add(
            bare(item), sender_of(item), mailbox, f"dropped for a newer message: {error}"
        )
    return True


def _may_go(item: object) -> bool:
    return not isinstance(bare(item), Notice)
