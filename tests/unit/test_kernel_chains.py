"""Asks through long chains of actors: they arrive, and an error that comes back all the way stays as long as it was."""

import asyncio
import io
import logging
import traceback
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from telestage.actors.kernel import Actor, ActorSystem, Backoff, Ref, Supervision, handles
from telestage.actors.kernel.tracebacks import LeftOut, shorten

SLOWLY = Supervision(backoff=Backoff(first=60, maximum=60, jitter=0))


class Lost(Exception):
    pass


class Link(Actor):
    """Hands each ask on to the next; the last one answers, or fails."""

    def __init__(self, following: Ref | None, suspends: bool) -> None:
        self.next = following
        self.suspends = suspends

    @handles(str)
    async def pass_on(self, message: str) -> object:
        if self.suspends:
            await asyncio.sleep(0)
        if self.next is not None:
            return await self.next.ask(message)
        return self.at_the_end(message)

    def at_the_end(self, message: str) -> str:
        if message == "fail":
            raise Lost
        return f"{message} arrived"


class Anew(Link):
    """Raises an error of its own for that of the next one, which is its cause or merely its context."""

    @handles(str)
    async def pass_on(self, message: str) -> object:
        if self.next is None:
            return self.at_the_end(message)
        try:
            return await self.next.ask(message)
        except Lost as error:
            if message == "fail, and its context":
                raise Lost(self.ref.name)  # noqa: B904 - that is what is tried
            raise Lost(self.ref.name) from error

    def at_the_end(self, message: str) -> str:
        try:
            self.deep_down(10)
        except KeyError as error:
            raise Lost("the first") from error
        raise AssertionError

    def deep_down(self, levels: int) -> None:
        if not levels:
            raise KeyError(0)
        try:
            self.deep_down(levels - 1)
        except KeyError as error:
            raise KeyError(levels) from error


class AsksAtItsStart(Actor):
    def __init__(self, first: Ref) -> None:
        self.first = first

    async def started(self) -> None:
        await self.first.ask("fail")


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test", supervision=SLOWLY) as system:
        yield system


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the kernel's logger writes, tracebacks and all."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.getLogger("telestage.supervision")
    logger.addHandler(handler)
    logger.propagate = False  # pytest's own handlers would format each a second time
    yield written
    logger.removeHandler(handler)
    logger.propagate = True


def chain(system: ActorSystem, length: int, suspends: bool, cls: type[Link] = Link) -> Ref:
    first: Ref | None = None
    for _ in range(length):
        first = system.spawn(cls, first, suspends)
    assert first is not None
    return first


@pytest.mark.parametrize("suspends", [True, False])
async def test_an_ask_arrives_through_a_thousand_actors(system: ActorSystem, suspends: bool) -> None:
    """R-D2: nobody is taken for waiting for himself."""
    first = chain(system, 1000, suspends)
    for _ in range(3):
        assert await first.ask("ask") == "ask arrived"


@pytest.mark.parametrize("suspends", [True, False])
async def test_an_error_grows_neither_itself_nor_the_log_with_the_length_of_its_chain(
    system: ActorSystem, log: io.StringIO, suspends: bool
) -> None:
    """Each actor fails of it, so each logs it: with all the frames of all the others it would be half a million."""
    frames: dict[int, int] = {}
    lines: dict[int, int] = {}
    for length in (4, 40, 400):
        log.seek(0)
        log.truncate()
        with pytest.raises(Lost) as error:
            await chain(system, length, suspends).ask("fail")
        frames[length] = len(traceback.extract_tb(error.value.__traceback__))
        written = log.getvalue().splitlines()
        assert len([line for line in written if "failed with Lost" in line]) == length
        lines[length] = len(written)
    assert max(frames.values()) < 15  # an ask run at once has a frame less than one that waits
    assert all(count < 50 * length for length, count in lines.items())


async def test_an_error_shows_where_it_was_raised_and_the_last_of_its_way(
    system: ActorSystem, log: io.StringIO
) -> None:
    with pytest.raises(Lost) as error:
        await chain(system, 50, False).ask("fail")
    names = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
    assert names[-1] == "at_the_end"
    assert names.count("pass_on") == 2  # of the first actor, and of the one that raised
    records = log.getvalue().split("failed with Lost")[1:]
    assert len(records) == 50
    assert all("in at_the_end" in record for record in records)
    assert [record.count("in pass_on") for record in records] == [1, *[2] * 49]


async def test_a_start_that_fails_of_such_an_error_stays_short_too(system: ActorSystem, log: io.StringIO) -> None:
    first = chain(system, 50, False)
    starting = system.spawn(AsksAtItsStart, first)
    async with asyncio.timeout(10):
        while not next(actor.restarts for actor in system.statistics() if actor.path == starting.path):  # noqa: ASYNC110
            await asyncio.sleep(0)
    record = log.getvalue().split(f"{starting.path} failed with Lost")[1]
    assert "in started" in record
    assert "in at_the_end" in record
    assert record.count("in pass_on") == 1


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("message", ["fail", "fail, and its context"])
async def test_an_error_that_each_raises_anew_keeps_its_newest_causes_and_the_first_with_all_that_led_to_it(
    system: ActorSystem, log: io.StringIO, message: str
) -> None:
    """As above, for `raise ... from error` at each hop: a hundred took 20 s of the loop, and wrote 6 MB."""
    lines: dict[int, int] = {}
    for length in (4, 40, 400):
        log.seek(0)
        log.truncate()
        with pytest.raises(Lost) as error:
            await chain(system, length, False, Anew).ask(message)
        written = log.getvalue().splitlines()
        assert len([line for line in written if "failed with Lost" in line]) == length
        lines[length] = len(written)
        found = list(causes(error.value))
        first = next(number for number, cause in enumerate(found) if str(cause) == "the first")
        assert [str(cause) for cause in found[first + 1 :]] == [str(level) for level in range(10, -1, -1)]
        left_out = [cause for cause in found[:first] if isinstance(cause, LeftOut)]
        assert first < 5
        assert first - len(left_out) + sum(cause.count for cause in left_out) == length - 1
    assert all(count < 300 * length for length, count in lines.items())


def test_a_circle_of_causes_and_one_that_is_hidden_are_left_as_they_are() -> None:
    one, two, three = Lost(1), Lost(2), Lost(3)
    one.__cause__, two.__cause__ = two, one
    shorten(one)
    assert one.__cause__ is two
    assert two.__cause__ is one
    three.__context__, three.__suppress_context__ = one, True
    shorten(three)
    assert three.__cause__ is None
    assert three.__context__ is one
