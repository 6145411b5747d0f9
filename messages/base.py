"""A message is a frozen value: made valid, never changed, equal by its content.

Types that travel subclass `Message` in one of this package's protocol modules; the registry
takes them from there. A service may subclass it for values of its own: those live within one
process and are refused by the wire.
"""

import msgspec

TAG_FIELD = "@type"
"""The key that names a message's type on the wire; no Python field can have this name."""


class Message(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    # The garbage collector need not know of messages: they hold data and never an actor, so only a
    # message put into its own dict could be a cycle. Tracked ones wake the collector as they pile up
    # in mailboxes: 196 ns a message against 28.
    gc=False,
    tag=True,
    # Not msgspec's own "type": Event and TaskStatus have a field of that name.
    tag_field=TAG_FIELD,
    # A field we don't know is another version's or an attacker's. Dropping it silently would lose it.
    forbid_unknown_fields=True,
):
    """A value that travels between actors.

    Subclasses say `frozen=True` again, and `kw_only=True` unless there is a reason not to: msgspec hands
    down the first only, and type checkers neither.

    A value that its fields may not have is an `InvalidMessage` at construction and, by the same
    check, a `WireError` as it is decoded. The dicts and lists given to a message are its own from
    then on: it doesn't copy them, and nobody may change them.
    """
