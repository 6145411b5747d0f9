"""What the demo sets out to do, what it found out, and whether that is what was promised.

`ok` follows from the figures and from nothing else.
"""

from __future__ import annotations

import msgspec

__all__ = ["Plan", "Report"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run sets out to do.

    `operations` is the fleet's limit; `failures` is how often handlers will raise.
    """

    sessions: int = 20
    messages: int = 500
    history: int = 5000
    members: int = 1000
    posts: int = 150
    """Posts on each of the two watched channels."""
    operations: int = 50
    floods: int = 3
    disconnects: int = 2
    kills: int = 1
    crashes: int = 1

    def __post_init__(self) -> None:
        for name, least in (("sessions", 8), ("messages", 20), ("history", 1), ("members", 1), ("posts", 10)):
            if getattr(self, name) < least:
                raise ValueError(f"the demo needs {least} {name} or more, not {getattr(self, name)}")
        if self.operations < 1:
            raise ValueError(f"the limit of operations must be 1 or more, not {self.operations}")

    @property
    def watchers(self) -> int:
        """Sessions that watch the two channels: three in ten."""
        return max(2, self.sessions * 3 // 10)

    @property
    def logins(self) -> int:
        """Sessions that sign in by code; the others have stored keys."""
        return min(10, max(2, self.sessions // 5))

    @property
    def events(self) -> int:
        """Events that handlers are to be given: two monitors watch each channel in each watching session."""
        return 2 * 2 * self.watchers * self.posts

    @property
    def failures(self) -> int:
        """One of the two handlers raises on every tenth post."""
        return 2 * self.watchers * (self.posts // 10)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run. Messages are counted by the server, not by the fleet."""

    sessions: int
    """Sessions that were signed in."""
    messages_sent: int
    """Messages that senders handed to the server, each counted once."""
    messages_delivered: int
    """Messages that the server put into recipients' chats."""
    messages_lost: int
    """Messages that were to be sent and that the server doesn't have."""
    messages_duplicated: int
    """Messages beyond the first to the same recipient."""
    history_scraped: int
    """Different messages of history that were read."""
    members_scraped: int
    """Different members that were read."""
    events_expected: int
    """Posts on watched channels, times the monitors that watch each."""
    events_handled: int
    """Events that handlers were given, those that made them fail included."""
    events_repeated: int
    """Of these, given to a handler before the crash and once more after it: whose end wasn't in the store yet."""
    handler_failures: int
    """Events on which a handler raised."""
    monitor_restarts: int
    """As far as was told: those of the last moment before a crash aren't known."""
    session_restarts: int
    crashes: int
    """Times the process with the fleet was killed."""
    flood_waits: int
    """Flood waits that the fleet met."""
    permits_granted: int
    """By the process that came to its end, as is the next one."""
    permits_returned: int
    peak_concurrent_operations: int
    seconds: float

    def problems(self, plan: Plan) -> list[str]:
        """What isn't as it should be, in words; empty if all is well."""
        unsure = 2 * plan.watchers * plan.crashes  # one for each monitor that fails, of which half of all do
        checks = (
            (self.sessions == plan.sessions, f"{self.sessions} of {plan.sessions} sessions signed in"),
            (self.messages_lost == 0, f"{self.messages_lost} messages lost"),
            (self.messages_duplicated == 0, f"{self.messages_duplicated} messages duplicated"),
            (
                self.messages_sent == self.messages_delivered == plan.messages,
                f"{self.messages_sent} sent, {self.messages_delivered} delivered of {plan.messages}",
            ),
            (self.history_scraped == plan.history, f"{self.history_scraped} of {plan.history} messages scraped"),
            (self.members_scraped == plan.members, f"{self.members_scraped} of {plan.members} members scraped"),
            (
                self.events_handled == self.events_expected,
                f"{self.events_handled} events handled, {self.events_expected} expected",
            ),
            (
                self.handler_failures == plan.failures and abs(self.monitor_restarts - plan.failures) <= unsure,
                f"{self.handler_failures} handler failures, {self.monitor_restarts} monitor restarts, "
                f"{plan.failures} expected of each",
            ),
            (
                self.permits_granted == self.permits_returned,
                f"{self.permits_granted} permits granted, {self.permits_returned} returned",
            ),
            (
                self.peak_concurrent_operations <= plan.operations,
                f"{self.peak_concurrent_operations} operations at once, {plan.operations} allowed",
            ),
            (self.flood_waits >= plan.floods, f"{self.flood_waits} flood waits met, {plan.floods} injected"),
            (self.crashes >= plan.crashes, f"{self.crashes} crashes of the process, {plan.crashes} planned"),
            (
                self.events_repeated <= 20 * unsure,
                f"{self.events_repeated} events handled again after the crash, more than ten for each monitor",
            ),
            (self.session_restarts >= plan.kills, f"{self.session_restarts} session restarts, {plan.kills} injected"),
        )
        return [text for well, text in checks if not well]
