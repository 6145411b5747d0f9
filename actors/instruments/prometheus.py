"""Prometheus: how the actors are doing, read when it is scraped.

Invariants:
- `Metrics` costs nothing per message: it counts who comes and goes, and reads the rest at the scrape.
- A scrape from another thread, such as that of `prometheus_client.start_http_server`, reads on the loop (see
  `scraping`). If the loop doesn't answer in time it shows what the last scrape saw, and
  `telestage_snapshot_age_seconds` says how old that is.
- Counters never go down, and each actor counts once, however many stop meanwhile.
- Labels are the names of classes, bounded in number: what comes beyond is `(other)`. No path of an actor is a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from time import monotonic, perf_counter
from typing import NamedTuple

from telestage.actors.instruments.scraping import LoopReader
from telestage.actors.kernel import Actor, ActorState, ActorSystem, DeadLetter, Directive, Handling, Instrument, Ref
from telestage.actors.kernel.looking import glance

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("metrics need prometheus_client: pip install 'telestage[prometheus]'") from error

__all__ = ["DEFAULT_BUCKETS", "HandlingTimes", "Metrics"]

DEFAULT_BUCKETS = (0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0)
"""Seconds: from a handler that does next to nothing to one that waits for a slow service."""

_READ_AT_A_TIME = 500  # actors a turn of the loop: about a millisecond

Labels = tuple[str, ...]


class _Names:
    """Names of classes as labels, up to a number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name, or `(other)` once there are too many."""
        if name in self._known:
            return name
        if len(self._known) < self._most:
            self._known.add(name)
            return name
        return "(other)"


class _Snapshot(NamedTuple):
    """What one scrape has seen of one system. Not changed any more."""

    at: float
    actors: Counter[Labels]
    waiting: Counter[Labels]
    fullest: dict[Labels, int]
    counts: dict[str, Counter[Labels]]


_COUNTERS: dict[str, tuple[str, Sequence[str]]] = {
    "telestage_actors_spawned": ("Actors made.", ("class",)),
    "telestage_actors_stopped": ("Actors gone for good.", ("class",)),
    "telestage_restarts": ("New instances in the place of failed ones.", ("class",)),
    "telestage_failures": ("Failures of actors, by what their supervisors did about it.", ("class", "directive")),
    "telestage_dead_letters": ("Messages that nobody processed.", ("message",)),
    "telestage_processed_messages": ("Messages handled.", ("class",)),
    "telestage_busy_seconds": ("Time the turns of actors took, waiting not counted.", ("class",)),
}


class Metrics(Instrument, Collector):
    """How the actors of a system are doing: `ActorSystem(instruments=[Metrics()])`.

    For one system at a time; its name is the label `system`.

    Args:
        registry: Which it is registered with. Default: the global one. None: none.
        timeout: Seconds a scrape from another thread waits for the loop.
        most_names: Classes that have a label of their own.
    """

    def __init__(
        self, registry: CollectorRegistry | None = REGISTRY, *, timeout: float = 2.0, most_names: int = 200
    ) -> None:
        self._timeout = timeout
        self._classes = _Names(most_names)
        self._messages = _Names(most_names)
        self._system: ActorSystem | None = None
        self._name = ""
        self._reader: LoopReader[_Snapshot] | None = None
        self._last: _Snapshot | None = None
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in _COUNTERS}
        if registry is not None:
            registry.register(self)

    # -- on the loop ------------------------------------------------------------------------------

    def system_started(self, system: ActorSystem) -> None:
        """The system to be read.

        Raises:
            RuntimeError: Another one runs that has this very instrument.
        """
        if self._system is not None:
            raise RuntimeError(f"the metrics are those of the system {self._name!r}: each needs its own")
        self._system = system
        self._name = system.name
        self._reader = LoopReader(self._read, self._timeout)

    def system_stopped(self, system: ActorSystem) -> None:
        """The counters stay."""
        if system is self._system:
            self._last = _Snapshot(monotonic(), Counter(), Counter(), {}, self._copied())
            self._system = self._reader = None

    def spawned(self, ref: Ref, cls: type[Actor]) -> None:
        """Counts it."""
        self._counts["telestage_actors_spawned"][self._class(cls)] += 1

    def restarted(self, ref: Ref, cls: type[Actor]) -> None:
        """Counts it."""
        self._counts["telestage_restarts"][self._class(cls)] += 1

    def failed(self, ref: Ref, cls: type[Actor], error: BaseException, directive: Directive) -> None:
        """Counts it."""
        self._counts["telestage_failures"][*self._class(cls), directive.value] += 1

    def stopped(self, ref: Ref, cls: type[Actor]) -> None:
        """Keeps what it has done."""
        labels = self._class(cls)
        seen = glance(ref)
        self._counts["telestage_actors_stopped"][labels] += 1
        self._counts["telestage_processed_messages"][labels] += seen.processed
        self._counts["telestage_busy_seconds"][labels] += seen.busy  # type: ignore[assignment]  # a Counter adds floats, too; typeshed says int

    def dead_letter(self, letter: DeadLetter) -> None:
        """Counts it."""
        self._counts["telestage_dead_letters"][(self._messages.of(type(letter.message).__name__),)] += 1

    def _class(self, cls: type[Actor]) -> Labels:
        return (self._classes.of(cls.__name__),)

    def _copied(self) -> dict[str, Counter[Labels]]:
        return {name: counts.copy() for name, counts in self._counts.items()}

    def _read(self) -> Generator[None, None, _Snapshot]:
        """Reads all who are there now, and those who stop meanwhile as well: they aren't in the counts yet."""
        system = self._system
        actors: Counter[Labels] = Counter()
        waiting: Counter[Labels] = Counter()
        fullest: dict[Labels, int] = {}
        counts = self._copied()
        processed, busy = counts["telestage_processed_messages"], counts["telestage_busy_seconds"]
        for number, ref in enumerate([] if system is None else system.actors()):
            if number % _READ_AT_A_TIME == _READ_AT_A_TIME - 1:
                yield
            seen = glance(ref)
            labels = (self._classes.of(seen.cls),)
            processed[labels] += seen.processed
            busy[labels] += seen.busy  # type: ignore[assignment]  # a Counter adds floats, too; typeshed says int
            if seen.state is not ActorState.STOPPED:
                actors[*labels, seen.state.value] += 1
                waiting[labels] += seen.waiting
                fullest[labels] = max(fullest.get(labels, 0), seen.waiting)
        return _Snapshot(monotonic(), actors, waiting, fullest, counts)

    # -- at the scrape, in whichever thread -------------------------------------------------------

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering doesn't read."""
        return []

    def collect(self) -> Iterable[Metric]:
        """What Prometheus gets."""
        reader = self._reader
        fresh = None if reader is None else reader.read()
        if fresh is not None:
            self._last = fresh
        snapshot = self._last
        if snapshot is None:
            return
        system = self._name

        def gauge(name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]) -> Metric:
            family = GaugeMetricFamily(name, about, labels=["system", *labels])
            for label, value in values:
                family.add_metric([system, *label], value)
            return family

        yield gauge("telestage_up", "Whether the system runs.", (), [((), float(reader is not None))])
        age = 0.0 if fresh is not None or reader is None else monotonic() - snapshot.at
        yield gauge("telestage_snapshot_age_seconds", "How old these figures are.", (), [((), age)])
        yield gauge("telestage_actors", "Actors.", ("class", "state"), snapshot.actors.items())
        yield gauge("telestage_waiting_messages", "Messages in mailboxes.", ("class",), snapshot.waiting.items())
        yield gauge(
            "telestage_fullest_mailbox_messages", "Messages in the fullest.", ("class",), snapshot.fullest.items()
        )
        for name, (about, label_names) in _COUNTERS.items():
            counter = CounterMetricFamily(name, about, labels=["system", *label_names])
            for label, count in snapshot.counts[name].items():
                counter.add_metric([system, *label], count)
            yield counter


class _Times:
    """How long the messages of one kind took: how many in each bucket, and all together."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0


class HandlingTimes(Instrument, Collector):
    """How long handlers take, waiting included, by class of actor and of message. It costs something per message.

    For one system; beside `Metrics` or without it.

    Args:
        registry: Which it is registered with. Default: the global one. None: none.
        buckets: Upper bounds in seconds, ascending.
        timeout: Seconds a scrape from another thread waits for the loop.
        most_names: Classes of actors, and of messages, that have a label of their own.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = REGISTRY,
        *,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        timeout: float = 2.0,
        most_names: int = 100,
    ) -> None:
        if not buckets or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"buckets must be upper bounds in ascending order, not {buckets!r}")
        self._buckets = tuple(buckets)
        self._timeout = timeout
        self._classes = _Names(most_names)
        self._messages = _Names(most_names)
        self._times: dict[tuple[type[Actor], type], _Times] = {}
        self._by_label: dict[Labels, _Times] = {}
        self._name = ""
        self._reader: LoopReader[dict[Labels, tuple[list[int], float]]] | None = None
        self._last: dict[Labels, tuple[list[int], float]] = {}
        if registry is not None:
            registry.register(self)

    def system_started(self, system: ActorSystem) -> None:
        """The system to be read."""
        self._name = system.name
        self._reader = LoopReader(self._read, self._timeout)

    def system_stopped(self, system: ActorSystem) -> None:
        """The figures stay."""
        self._last = self._copied()
        self._reader = None

    def begins(self, handling: Handling, note: object) -> object:
        """Looks at the clock."""
        return perf_counter()

    def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
        """Looks at the clock again."""
        assert isinstance(begun, float)
        took = perf_counter() - begun
        kind = handling.cls, type(handling.message)
        times = self._times.get(kind)
        if times is None:
            times = self._times[kind] = self._times_of(*kind)
        times.counts[bisect_left(self._buckets, took)] += 1
        times.total += took

    def _times_of(self, cls: type[Actor], message: type) -> _Times:
        labels = self._classes.of(cls.__name__), self._messages.of(message.__name__)
        return self._by_label.setdefault(labels, _Times(len(self._buckets)))

    def _copied(self) -> dict[Labels, tuple[list[int], float]]:
        return {labels: (times.counts.copy(), times.total) for labels, times in self._by_label.items()}

    def _read(self) -> Generator[None, None, dict[Labels, tuple[list[int], float]]]:
        yield from ()
        return self._copied()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering doesn't read."""
        return []

    def collect(self) -> Iterable[Metric]:
        """What Prometheus gets."""
        reader = self._reader
        fresh = None if reader is None else reader.read()
        if fresh is not None:
            self._last = fresh
        family = HistogramMetricFamily(
            "telestage_handling_seconds", "How long handlers took.", labels=["system", "class", "message"]
        )
        bounds = [*(str(float(bound)) for bound in self._buckets), "+Inf"]
        for labels, (counts, total) in self._last.items():
            so_far = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip(bounds, counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            family.add_metric([self._name, *labels], buckets, total)
        yield family
