"""The probe: what it hands out, what it answers, and what its assertions say."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from telestage.actors import Actor, ActorSystem, Terminated, handles
from telestage.actors.testkit import Probe

pytestmark = pytest.mark.virtual_time


class Order(NamedTuple):
    number: int


class Bill(NamedTuple):
    amount: int


class Shop(Actor):
    """Bills each order with the bank's price."""

    def __init__(self, bank: Probe, bills: Probe) -> None:
        self.bank, self.bills = bank, bills

    @handles(Order)
    async def order(self, message: Order) -> None:
        amount = await self.ask(self.bank.ref, message, expecting=int, timeout=5)
        self.tell(self.bills.ref, Bill(amount))


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("probed") as running:
        yield running


async def test_a_probe_stands_in_for_what_an_actor_asks_and_tells(system: ActorSystem) -> None:
    bank, bills = Probe(system, name="bank"), Probe(system, name="bills")
    shop = system.spawn(Shop, bank, bills, name="shop")
    shop.tell(Order(7))
    assert (await bank.expect(Order)).number == 7
    assert bank.sender is shop
    await bills.expect_nothing(1.0)
    assert bank.reply(30)
    assert await bills.expect(Bill, where=lambda bill: bill.amount == 30) == Bill(30)
    assert bills.sender is shop
    assert (bank.received, bills.received) == ([Order(7)], [Bill(30)])


async def test_expect_fails_on_another_message_and_shows_all_that_came(system: ActorSystem) -> None:
    probe = Probe(system, name="eye")
    probe.tell(probe.ref, Order(1))
    probe.ref.tell(Order(2))
    assert await probe.expect(Order) == Order(1)
    with pytest.raises(AssertionError) as failure:
        await probe.expect(Bill)
    assert str(failure.value) == (
        "probe /eye expected Bill and got Order(number=2); this came, in order:"
        "\n     Order(number=1) from /eye"
        "\n  -> Order(number=2)"
    )


async def test_expect_waits_as_long_as_it_is_told_to_and_says_what_did_come(system: ActorSystem) -> None:
    probe = Probe(system, name="eye")
    with pytest.raises(AssertionError, match=r"^probe /eye expected Bill within 60 s; nothing has come at all$"):
        await probe.expect(Bill, timeout=60)
    assert asyncio.get_running_loop().time() == 60.0
    for number in range(25):
        probe.ref.tell(Order(number))
    with pytest.raises(AssertionError, match=r"expected Bill within 3 s; .*\(the last 20; 5 before them\)") as failure:
        await probe.fish(Bill)
    assert "Order(number=4)" not in str(failure.value)
    assert "Order(number=5)" in str(failure.value)


async def test_expect_with_a_condition_names_it(system: ActorSystem) -> None:
    def an_even_number(order: Order) -> bool:
        return order.number % 2 == 0

    probe = Probe(system)
    probe.ref.tell(Order(1))
    with pytest.raises(AssertionError, match="expected Order with an_even_number and got Order"):
        await probe.expect(Order, where=an_even_number)


async def test_fish_passes_over_what_is_not_wanted_and_keeps_its_deadline(system: ActorSystem) -> None:
    probe = Probe(system)
    loop = asyncio.get_running_loop()
    for second in range(1, 7):
        loop.call_later(second, probe.ref.tell, Order(second))
    assert await probe.fish(Order, where=lambda order: order.number == 4, timeout=5) == Order(4)
    with pytest.raises(AssertionError, match="expected Bill within"):
        await probe.fish(Bill, timeout=2.5)
    assert loop.time() == 6.5
    assert probe.unread == []


async def test_expect_nothing_fails_on_what_comes_in_time_and_on_what_was_unread(system: ActorSystem) -> None:
    probe = Probe(system, name="eye")
    asyncio.get_running_loop().call_later(2.0, probe.ref.tell, Order(1))
    await probe.expect_nothing(1.0)
    for _ in range(2):  # it isn't handed out by that
        with pytest.raises(AssertionError, match=r"probe /eye expected nothing and got Order\(number=1\); this came"):
            await probe.expect_nothing(2.0)
    assert probe.unread == [Order(1)]


async def test_only_what_was_asked_and_handed_out_can_be_answered(system: ActorSystem) -> None:
    probe = Probe(system)
    with pytest.raises(AssertionError, match="has nothing to answer"):
        probe.reply(1)
    probe.ref.tell(Order(1))
    await probe.expect(Order)
    with pytest.raises(AssertionError, match="it was told, not asked"):
        probe.reply(1)
    asking = asyncio.create_task(probe.ref.ask(Order(2), timeout=1))
    await probe.expect(Order)
    assert probe.fail(ValueError("sold out"))
    with pytest.raises(ValueError, match="sold out"):
        await asking
    assert not probe.reply(1)  # once


async def test_auto_reply_answers_with_a_value_or_a_function_and_the_latest_rule_wins(system: ActorSystem) -> None:
    probe = Probe(system)
    probe.auto_reply(Order, "first")
    assert await probe.ref.ask(Order(1)) == "first"
    probe.auto_reply(Order, lambda order: 10 // order.number)
    assert await probe.ref.ask(Order(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await probe.ref.ask(Order(0))
    assert probe.received == [Order(1), Order(5), Order(0)]
    assert await probe.expect(Order) == Order(1)


async def test_a_probe_watches(system: ActorSystem) -> None:
    probe, other = Probe(system), Probe(system)
    await probe.watch(other.ref)
    await other.stop()
    assert (await probe.expect_terminated(other.ref)).error is None
    assert [type(message) for message in probe.received] == [Terminated]


async def test_two_who_expect_get_a_message_each(system: ActorSystem) -> None:
    probe = Probe(system)
    waiting = [asyncio.create_task(probe.expect(Order, timeout=9)) for _ in range(2)]
    await asyncio.sleep(1)
    probe.ref.tell(Order(1))
    await asyncio.sleep(1)
    probe.ref.tell(Order(2))
    assert sorted(await asyncio.gather(*waiting)) == [Order(1), Order(2)]
