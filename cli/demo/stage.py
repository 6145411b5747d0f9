"""The server's side of the demo: its people, its channels, and what it has received in the end."""

from __future__ import annotations

import msgspec

from telestage.cli.demo.report import Plan
from telestage.testing import LoopbackChannel, LoopbackProcess, LoopbackUser

__all__ = ["ARCHIVE", "CHANNELS", "COMMUNITY", "Part", "Received", "Stage"]

ARCHIVE, COMMUNITY = "archive", "community"
CHANNELS = ("newsroom", "weather")

_SCRAPERS = 2


class Part(msgspec.Struct, frozen=True):
    """A session to be: with a stored key, or to be signed in by phone and code if `session` is empty."""

    name: str
    user: LoopbackUser
    session: str


class Received(msgspec.Struct, frozen=True):
    """What the server counted."""

    distinct: int
    """Different random_ids it accepted."""
    delivered: int
    lost: int
    duplicated: int
    floods: int
    early_calls: int
    """Calls made before the end of a flood wait."""
    disconnects: int
    """Connections it cut on purpose."""
    overlapping: list[str]
    """Sessions of which two calls were in flight at one moment."""

    def problems(self, plan: Plan) -> list[str]:
        """What the server saw that isn't as it should be; empty if all is well."""
        checks = (
            (not self.overlapping, f"two calls of a session were in flight at once on the server: {self.overlapping}"),
            (not self.early_calls, f"{self.early_calls} calls were made before the end of a flood wait"),
            (self.disconnects >= plan.disconnects, f"{self.disconnects} connections cut of {plan.disconnects} planned"),
        )
        return [text for well, text in checks if not well]


class Stage:
    """What was set up on the server."""

    def __init__(self, server: LoopbackProcess, plan: Plan) -> None:
        self.server = server
        self.cast: list[Part] = []
        self.recipients: list[str] = []
        self._plan = plan
        self._channels: list[LoopbackChannel] = []
        self._users: dict[str, LoopbackUser] = {}
        self._recipient_ids: set[int] = set()

    @property
    def floods(self) -> tuple[tuple[str, str], ...]:
        """Which sessions are to meet a flood wait, and in which method."""
        return (
            ("send-001", "messages.sendMessage"),
            ("scrape-001", "messages.getHistory"),
            ("scrape-002", "channels.getParticipants"),
        )

    def user(self, session: str) -> LoopbackUser:
        """Whose session that is."""
        return self._users[session]

    async def set_up(self) -> None:
        """Fills the server: the sessions' users, members, two channels, an archive and a group."""
        server, plan = self.server, self._plan
        watching = [f"watch-{number:03d}" for number in range(1, plan.watchers + 1)]
        scraping = [f"scrape-{number:03d}" for number in range(1, _SCRAPERS + 1)]
        sending = [f"send-{number:03d}" for number in range(1, plan.sessions - plan.watchers - _SCRAPERS + 1)]
        names = watching + scraping + sending
        users = await server.add_users([name.replace("-", "") for name in names])
        for number, (name, user) in enumerate(zip(names, users, strict=True)):
            stored = number % (plan.sessions // plan.logins)  # those that log in are spread over the roles
            self.cast.append(Part(name, user, user.session.save() if stored else ""))
            self._users[name] = user
        people = await server.add_users([f"member{n:05d}" for n in range(1, max(plan.members, plan.messages) + 1)])
        self.recipients = [user.username or "" for user in people[: plan.messages]]
        self._recipient_ids = {user.id for user in people[: plan.messages]}
        watchers = [self._users[name] for name in watching]
        self._channels = [await server.add_channel(name, members=watchers) for name in CHANNELS]
        archive = await server.add_channel(ARCHIVE)
        await server.fill_history(archive, plan.history)
        await server.add_channel(COMMUNITY, members=people[: plan.members], megagroup=True)

    def _fetching(self, session: str) -> tuple[str, ...]:
        """Calls of a session that are no operations: where a watching one missed too much it reads the channel."""
        return ("messages.getHistory",) if session.startswith("watch-") else ()

    async def post(self, number: int) -> None:
        """Posts on both watched channels."""
        for channel in self._channels:
            await self.server.post(channel, f"{channel.username} {number}")

    async def received(self) -> Received:
        """What the server has received by now."""
        rows = [row for row in await self.server.delivered() if row.peer in self._recipient_ids]
        reached = {row.peer for row in rows}
        status = await self.server.status()
        return Received(
            distinct=len({row.random_id for row in rows}),
            delivered=len(rows),
            lost=len(self._recipient_ids - reached),
            duplicated=len(rows) - len(reached),
            floods=status.floods,
            early_calls=status.early_calls,
            disconnects=status.disconnects,
            overlapping=[
                part.name
                for part in self.cast
                if await self.server.peak_in_flight(part.user, ignore=self._fetching(part.name)) > 1
            ],
        )
