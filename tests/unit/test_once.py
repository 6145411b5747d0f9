"""What a monitor of several sessions has had."""

import asyncio
import random

import pytest

from telestage.actors.telegram.checkpoint import Mark
from telestage.actors.telegram.once import Once

MARK = (7, True, 1)


async def test_the_second_copy_waits_for_the_first_and_is_had():
    """R-M5."""
    once = Once("watch")
    assert await once.take(MARK, "a")
    waiting = asyncio.ensure_future(once.take(MARK, "b"))
    await asyncio.sleep(0)
    assert not waiting.done()
    once.done(MARK, "a")
    assert not await waiting
    assert once.has(MARK)


async def test_what_is_let_go_of_undone_is_the_others():
    """R-M5: of one of those that wait."""
    once = Once("watch")
    assert await once.take(MARK, "a")
    waiting = [asyncio.ensure_future(once.take(MARK, who)) for who in ("b", "c")]
    await asyncio.sleep(0)
    once.let_go("a")
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == len(pending) == 1
    once.done(MARK, "b")
    assert [await each for each in waiting] == [True, False]


async def test_one_that_is_given_again_keeps_it():
    """R-M5: `RetryableError` is for the same session."""
    once = Once("watch")
    assert await once.take(MARK, "a")
    assert await once.take(MARK, "a")


async def test_nothing_of_a_message_comes_after_its_deletion():
    """R-M5: a session that was cut off is told the deletion alone, while another still has the message in its queue."""
    once = Once("watch")
    deletion, edit, other = (7, False, 40), (7, False, 39), (7, True, 2)
    one = frozenset({1})
    assert await once.take(deletion, "a", one, deletion=True)
    waiting = asyncio.ensure_future(once.take(MARK, "b", one))
    await asyncio.sleep(0)
    assert not waiting.done()  # what concerns one message is in one hand at a time
    assert await once.take(other, "c", frozenset({2}))
    once.done(deletion, "a", one)
    assert not await waiting
    assert not await once.take(edit, "b", one)
    assert await once.take((8, True, 1), "b", one)  # of another channel


async def test_a_deletion_waits_for_what_another_has_of_the_message_in_hand():
    """R-M5."""
    once = Once("watch")
    one = frozenset({1})
    assert await once.take(MARK, "a", one)
    waiting = asyncio.ensure_future(once.take((7, False, 40), "b", frozenset({1, 2}), deletion=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    once.done(MARK, "a")
    assert await waiting


async def test_what_is_gone_is_known_to_the_next_process():
    """R-M5: and a deletion that leaves the window says nothing of other messages."""
    noted: list[Mark] = []
    once = Once("watch", size=3)
    once.on_seen = lambda monitor, mark: noted.append(mark)
    assert await once.take((7, False, 40), "a", frozenset({5}), deletion=True)
    once.done((7, False, 40), "a", {5})
    after = Once("watch", size=3)
    after.resume(noted, {})
    assert not await after.take((7, True, 5), "b", frozenset({5}))
    for number in (41, 42, 43):  # more than the window holds
        assert await after.take((7, False, number), "b", frozenset({9}))
        after.done((7, False, number), "b")
    assert await after.take((7, True, 4), "b", frozenset({4}))


async def test_private_chats_are_each_accounts_own():
    """R-M5: nothing in two accounts' updates says that they are the same."""
    once = Once("watch")
    for who in ("a", "b"):
        assert await once.take((0, True, 1), who)
        once.done((0, True, 1), who)
        assert await once.take(None, who)
    assert len(once) == 0


async def test_one_who_waits_in_vain_leaves_nothing_behind():
    """R-M5: whoever waits may be stopped."""
    once = Once("watch")
    assert await once.take(MARK, "a")
    waiting = asyncio.ensure_future(once.take(MARK, "b"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    once.done(MARK, "a")
    assert not await once.take(MARK, "b")


async def test_its_memory_is_bounded_and_what_it_forgot_counts_as_had():
    """R-M5."""
    passed = []
    once = Once("watch", size=10)
    once.on_passed = lambda name, mark: passed.append(mark)
    for number in range(1, 31):
        assert await once.take((7, True, number), "a")
        once.done((7, True, number), "a")
    assert len(once) == 10
    assert passed == [(7, True, number) for number in range(1, 21)]
    assert all(once.has((7, True, number)) for number in range(1, 31))
    assert not once.has((7, False, 5))
    assert not once.has((8, True, 5))
    assert await once.take((7, True, 31), "a")


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_copies_and_ends_gives_each_once(seed):
    """R-M5: sessions that are let go of at random, on one side or the other."""
    rng = random.Random(seed)
    once = Once("watch")
    had = []

    async def session(who):
        for number in range(1, 101):
            while await once.take((7, True, number), who):
                await asyncio.sleep(0)
                if rng.random() < 0.3:
                    once.let_go(who)
                    await asyncio.sleep(0)
                    continue
                had.append(number)
                once.done((7, True, number), who)
                break

    await asyncio.gather(*(session(who) for who in "abcd"))
    assert had == list(range(1, 101))
