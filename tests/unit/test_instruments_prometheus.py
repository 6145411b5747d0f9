"""Metrics as Prometheus gets them, over real HTTP, and what a scrape guarantees."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import logging
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from telestage.actors.instruments.prometheus import HandlingTimes, Metrics
from telestage.actors.kernel import Actor, ActorSystem, Backoff, Directive, Supervision, handles
from telestage.actors.kernel.cell import Cell

AT_ONCE = Supervision({KeyError: Directive.RESUME}, backoff=Backoff(first=0), intensity=1000)


class Do(msgspec.Struct, frozen=True, eq=False):
    function: Callable[[], object]


class Wait(msgspec.Struct, frozen=True, eq=False):
    gate: asyncio.Event


class Shop(Actor):
    @handles(Do)
    def do(self, message: Do) -> object:
        return message.function()

    @handles(Wait)
    async def wait(self, message: Wait) -> None:
        await message.gate.wait()


class Till(Shop):
    pass


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def url(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def values(text: str) -> dict[tuple[str, ...], float]:
    """Name and labels, but for the system's, in the order of the labels' names, to the value."""
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "system")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def here(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return values(generate_latest(registry).decode())


async def scraped(url: str) -> dict[tuple[str, ...], float]:
    def get() -> str:
        with urllib.request.urlopen(url) as response:
            text: str = response.read().decode()
            return text

    return values(await asyncio.to_thread(get))


def fail(error: Exception) -> Callable[[], None]:
    def failing() -> None:
        raise error

    return failing


async def test_a_scrape_over_http_shows_how_the_actors_are_doing(metrics: Metrics, url: str) -> None:
    gate = asyncio.Event()
    async with ActorSystem("shop", instruments=[metrics], supervision=AT_ONCE) as system:
        shop = system.spawn(Shop, name="shop")
        till = system.spawn(Till, name="till")
        system.spawn(Till, name="spare").stop()
        for _ in range(3):
            await till.ask(Do(lambda: None))
        till.tell(Wait(gate))
        shop.tell(Do(fail(KeyError())))
        shop.tell(Do(fail(ValueError())))
        shop.tell(3.5)
        while len(system.dead_letters) < 1:
            await asyncio.sleep(0)
        for _ in range(2):
            till.tell(Do(lambda: None))
        seen = await scraped(url)
        gate.set()
    assert seen["telestage_up",] == 1
    assert seen["telestage_snapshot_age_seconds",] == 0
    assert seen["telestage_actors", "Shop", "idle"] == 1
    assert seen["telestage_actors", "Till", "suspended"] == 1
    assert seen["telestage_waiting_messages", "Till"] == 2
    assert seen["telestage_fullest_mailbox_messages", "Till"] == 2
    assert seen["telestage_processed_messages_total", "Shop"] == 3
    assert seen["telestage_processed_messages_total", "Till"] == 3
    assert seen["telestage_actors_spawned_total", "Till"] == 2
    assert seen["telestage_actors_stopped_total", "Till"] == 1
    assert seen["telestage_restarts_total", "Shop"] == 1
    assert seen["telestage_failures_total", "Shop", "restart"] == 1
    assert seen["telestage_failures_total", "Shop", "resume"] == 1
    assert seen["telestage_dead_letters_total", "float"] == 1
    assert seen["telestage_busy_seconds_total", "Till"] > 0


async def test_the_name_of_the_system_is_a_label_and_no_path_of_an_actor_is(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    async with ActorSystem("shop", instruments=[metrics]) as system:
        system.spawn(Shop, name="somebody")
        text = generate_latest(registry).decode()
    assert 'telestage_actors{class="Shop",state="idle",system="shop"} 1.0' in text
    assert "somebody" not in text


async def test_counters_keep_what_the_gone_have_done(metrics: Metrics, registry: CollectorRegistry) -> None:
    system = ActorSystem(instruments=[metrics])
    async with system:
        for _ in range(3):
            ref = system.spawn(Shop)
            await ref.ask(Do(lambda: None))
            ref.stop()
            assert await ref.stopped(5)
        assert here(registry)["telestage_processed_messages_total", "Shop"] == 3
        assert ("telestage_actors", "Shop", "idle") not in here(registry)
        await system.spawn(Shop).ask(Do(lambda: None))
    ended = here(registry)
    assert ended["telestage_up",] == 0
    assert ended["telestage_processed_messages_total", "Shop"] == 4
    async with system:  # again
        await system.spawn(Shop).ask(Do(lambda: None))
        assert here(registry)["telestage_processed_messages_total", "Shop"] == 5


async def test_who_stops_while_a_scrape_reads_counts_once(metrics: Metrics) -> None:
    """A scrape reads a large system in several turns of the loop."""
    async with ActorSystem(instruments=[metrics]) as system:
        refs = [system.spawn(Shop) for _ in range(2_000)]
        for ref in refs:
            ref.tell(Do(lambda: None))
        while any(ref.waiting for ref in refs):
            await asyncio.sleep(0)
        reading = metrics._read()
        next(reading)
        for ref in (refs[0], refs[-1]):  # one that was read, one that wasn't
            ref.stop()
            assert await ref.stopped(5)
        turns = 1
        snapshot = None
        while snapshot is None:
            turns += 1
            try:
                next(reading)
            except StopIteration as end:
                snapshot = end.value
        assert snapshot.counts["telestage_processed_messages"]["Shop",] == 2_000
        assert sum(snapshot.actors.values()) == 1_999
        assert turns >= 3


async def test_if_the_loop_does_not_answer_the_last_figures_are_shown_with_their_age(
    registry: CollectorRegistry,
) -> None:
    metrics = Metrics(registry, timeout=0.05)
    texts: list[str] = []

    def scrape() -> None:
        texts.append(generate_latest(registry).decode())

    def hog() -> None:
        thread = threading.Thread(target=scrape)
        thread.start()
        thread.join()

    async with ActorSystem(instruments=[metrics]) as system:
        ref = system.spawn(Shop)
        await ref.ask(Do(lambda: None))
        await asyncio.to_thread(scrape)
        await ref.ask(Do(lambda: None))
        await ref.ask(Do(hog))
    fresh, stale = map(values, texts)
    assert fresh["telestage_snapshot_age_seconds",] == 0
    assert stale["telestage_snapshot_age_seconds",] >= 0.05
    assert stale["telestage_processed_messages_total", "Shop"] == 1
    assert stale["telestage_up",] == 1


def test_after_the_end_of_the_loop_a_scrape_still_answers(metrics: Metrics, registry: CollectorRegistry) -> None:
    async def main() -> None:
        await ActorSystem(instruments=[metrics, HandlingTimes(registry)]).start()
        metrics.collect()

    assert here(registry) == {}
    asyncio.run(main())  # without a shutdown
    texts: list[bytes] = []
    thread = threading.Thread(target=lambda: texts.append(generate_latest(registry)))
    thread.start()
    thread.join()
    assert len(texts) == 1


async def test_names_of_classes_are_bounded(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, most_names=2)
    times = HandlingTimes(registry, most_names=2)
    async with ActorSystem(instruments=[metrics, times]) as system:
        for number in range(5):
            await system.spawn(type(f"Made{number}", (Shop,), {})).ask(Do(lambda: None))
        seen = here(registry)
    assert {key[1]: value for key, value in seen.items() if key[0] == "telestage_actors"} == {
        "Made0": 1,
        "Made1": 1,
        "(other)": 3,
    }
    counts = {key[1:]: value for key, value in seen.items() if key[0] == "telestage_handling_seconds_count"}
    assert counts == {("Made0", "Do"): 1, ("Made1", "Do"): 1, ("(other)", "Do"): 3}


async def test_handling_times_are_histograms_by_class_and_message(registry: CollectorRegistry) -> None:
    gate = asyncio.Event()
    async with ActorSystem(instruments=[HandlingTimes(registry, buckets=(0.02, 60.0))]) as system:
        ref = system.spawn(Shop)
        for _ in range(2):
            await ref.ask(Do(lambda: None))
        waiting = asyncio.ensure_future(ref.ask(Wait(gate)))
        await asyncio.sleep(0.03)  # what is measured is time
        gate.set()
        await waiting
        seen = here(registry)
    for key in (("Do",), ("Wait",)):
        assert ("telestage_handling_seconds_sum", "Shop", *key) in seen
    assert seen["telestage_handling_seconds_bucket", "Shop", "0.02", "Do"] == 2
    assert seen["telestage_handling_seconds_bucket", "Shop", "0.02", "Wait"] == 0
    assert seen["telestage_handling_seconds_bucket", "Shop", "60.0", "Wait"] == 1
    assert seen["telestage_handling_seconds_bucket", "Shop", "+Inf", "Wait"] == 1
    assert 0.03 <= seen["telestage_handling_seconds_sum", "Shop", "Wait"] < 60
    assert here(registry) == seen  # the figures outlive the system


def test_buckets_that_do_not_ascend_are_refused() -> None:
    for buckets in ((), (1.0, 0.5), (1.0, 1.0)):
        with pytest.raises(ValueError, match="ascending"):
            HandlingTimes(None, buckets=buckets)


async def test_metrics_cost_nothing_per_message(metrics: Metrics) -> None:
    """Not a timing: the objects on the path are the very same as without them."""
    async with ActorSystem(instruments=[metrics]) as system:
        ref = system.spawn(Shop)
        assert type(ref) is Cell
        assert ref.spec is Shop.plain_spec


async def test_one_metrics_for_two_systems_at_a_time_is_refused(
    metrics: Metrics, caplog: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    async with ActorSystem("first", instruments=[metrics]) as system:
        system.spawn(Shop)
        with caplog.at_level(logging.ERROR):
            async with ActorSystem("second", instruments=[metrics]):
                pass
        assert "the metrics are those of the system 'first'" in caplog.text
        assert here(registry)["telestage_actors", "Shop", "idle"] == 1


def test_without_the_package_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import telestage.actors.instruments.prometheus"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'telestage[prometheus]'" in done.stderr
