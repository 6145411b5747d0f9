"""Links that are there and dead are found and replaced, and an outage ends without a storm, the most urgent first."""

import asyncio
from typing import Self

import pytest
from telethon.sessions import StringSession

from telestage.actors import Limits
from telestage.messages import SessionState

LIVENESS = 1.2  # seconds


class Proxy:
    """Stands between clients and a loopback server; what it saw and did is the server's side of the truth.

    A stalled link stays open, and carries nothing any more, in either direction.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._port = port
        self._delay = delay  # seconds before the first answer of a link
        self._links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.stalled: set[asyncio.Task[None]] = set()
        self.connects = 0
        self.unanswered = 0  # links that have had no answer yet
        self.most_unanswered = 0
        self.first_bytes: list[bytes] = []  # the key's id in each link's first packet, in the order of the links
        self.refusing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        while self._links:
            await asyncio.wait(set(self._links))
        await self._server.wait_closed()

    def session(self, user) -> StringSession:
        """The user's session, by way of here."""
        session = user.session  # each access makes one
        session.set_dc(session.dc_id, "127.0.0.1", self.port)
        return session

    def cut(self) -> None:
        """Breaks all links at once."""
        for task in list(self._links):
            task.cancel()

    def stall(self) -> None:
        """The links there are now carry nothing any more. Others that are made work."""
        self.stalled.update(self._links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = writer
        self.connects += 1
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        answered = False

        def first() -> None:
            nonlocal answered
            if not answered:
                answered = True
                self.unanswered -= 1

        there = None
        try:
            if self.refusing:
                return
            back, there = await asyncio.open_connection("127.0.0.1", self._port)

            async def upwards() -> None:
                data = await reader.read(65536)
                self.first_bytes.append(data[8:16])  # after the length and the number of the packet
                while data:
                    if task not in self.stalled:
                        there.write(data)
                    data = await reader.read(65536)

            async def downwards() -> None:
                while data := await back.read(65536):
                    if not answered:
                        await asyncio.sleep(self._delay)
                    if task not in self.stalled:
                        first()
                        writer.write(data)

            up, down = asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in (up, down):
                    each.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except asyncio.CancelledError:
            pass
        finally:
            first()
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()
            del self._links[task]
            self.stalled.discard(task)


def key_of(user) -> bytes:
    """The id of the user's key as it goes over the wire."""
    return user.session.auth_key.key_id.to_bytes(8, "little")


async def idle(fleet) -> None:
    """Nothing is asked for."""


async def asking(fleet) -> None:
    """An operation waits for its answer all the while."""
    fleet.asked = asyncio.ensure_future(fleet["alice"].send_message("bob", "hi"))


@pytest.mark.parametrize("moment", [idle, asking])
async def test_a_link_that_is_there_and_dead_is_found_in_time_and_replaced(telegram, new_fleet, eventually, moment):
    """R-D3: within `Limits.liveness`, idle or in the middle of an operation, which gets its answer then."""
    alice, bob = telegram.add_user("alice"), telegram.add_user("bob")
    async with Proxy(telegram.port) as proxy:
        fleet = new_fleet(limits=Limits.unpaced(liveness=LIVENESS))
        fleet.add("alice", session=proxy.session(alice))
        async with fleet:
            assert proxy.connects == 1
            proxy.stall()
            since = asyncio.get_running_loop().time()
            await moment(fleet)
            await eventually(lambda: fleet["alice"].status.reconnects == 1)
            assert asyncio.get_running_loop().time() - since < LIVENESS + 1.0
            assert proxy.connects == 2
            if moment is asking:
                await asyncio.wait_for(fleet.asked, 5.0)
                assert [each.text for each in telegram.delivered(to=bob)] == ["hi"]
            assert (await fleet["alice"].get_me()).username == "alice"
            assert fleet["alice"].status.restarts == 0


async def test_a_quiet_link_that_answers_is_left_alone(telegram, new_fleet, eventually):
    """R-D3: a ping is answered, and that is enough."""
    alice = telegram.add_user("alice")
    async with Proxy(telegram.port) as proxy:
        fleet = new_fleet(limits=Limits.unpaced(liveness=0.3))
        fleet.add("alice", session=proxy.session(alice))
        async with fleet:
            pings = []
            client = fleet._books["alice"].connection.client
            ping = client.ping
            client.ping = lambda: (pings.append(None), ping())
            await eventually(lambda: len(pings) >= 5)
            assert proxy.connects == 1
            assert fleet["alice"].status.reconnects == 0


async def test_an_outage_of_all_ends_without_a_storm_and_with_the_most_urgent_first(telegram, new_fleet, eventually):
    """R-D3: 50 sessions are cut off at once; at most `Limits.connecting` connect at a time, the urgent one first."""
    users = [telegram.add_user(f"user{number}") for number in range(50)]
    async with Proxy(telegram.port, delay=0.02) as proxy:
        fleet = new_fleet(limits=Limits.unpaced(connecting=4))
        for user in users:
            fleet.add(user.username, session=proxy.session(user))
        async with fleet:
            assert proxy.most_unanswered <= 4
            assert proxy.connects == 50
            proxy.first_bytes.clear()
            proxy.most_unanswered = 0
            go_on = asyncio.Event()
            urgent = users[37]
            blocked = asyncio.ensure_future(fleet[urgent.username].call(lambda client: go_on.wait()))
            await eventually(lambda: fleet[urgent.username].status.kind)
            waiting = asyncio.ensure_future(fleet[urgent.username].send_message("user0", "help", priority=900))
            await eventually(lambda: fleet[urgent.username].status.queued)
            proxy.cut()
            await eventually(lambda: len(proxy.first_bytes) == 50, within=20.0)
            go_on.set()
            await asyncio.wait_for(asyncio.gather(blocked, waiting), 10.0)
            assert proxy.most_unanswered <= 4
            # those that had a place at once go first, whoever they are
            assert proxy.first_bytes.index(key_of(urgent)) <= 5
            assert all(fleet[user.username].status.state is SessionState.READY for user in users)
            assert all(fleet[user.username].status.restarts == 0 for user in users)


async def test_a_server_that_takes_connections_and_never_answers_holds_up_no_place_for_ever(
    telegram, new_fleet, eventually, monkeypatch
):
    """R-D3: a place to connect goes back, and each session tries on until there is an answer."""
    monkeypatch.setattr("telestage.actors.telegram.gate.HOLD_SECONDS", 0.1)
    users = [telegram.add_user(f"user{number}") for number in range(4)]
    async with Proxy(telegram.port) as proxy:
        fleet = new_fleet(limits=Limits.unpaced(connecting=1))
        for user in users:
            fleet.add(user.username, session=proxy.session(user))
        async with fleet:
            proxy._delay = 1000.0
            proxy.cut()
            await eventually(lambda: proxy.connects >= 8)
            proxy._delay = 0.0
            proxy.cut()
            for user in users:
                assert (await asyncio.wait_for(fleet[user.username].get_me(), 10.0)).username == user.username
