"""The event monitor against a plain model: lists, counters and a breaker in four lines."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from telestage.actors import (
    BreakerState,
    Event,
    EventMonitor,
    EventMonitorConfig,
    EventPriority,
    FatalError,
    HandlerPolicy,
    MailboxFull,
    Overflow,
)

CAPACITY = 5
TYPES = ("a", "b", "nobody's")
OUTCOMES = ("ok", "fail", "fatal", "hold")


class ModelHandler:
    def __init__(self):
        self.row = self.calls = self.failures = self.skipped = 0
        self.open = self.disabled = False


class MonitorMachine(RuleBasedStateMachine):
    """Breakers stay open once they are: their time is proven by itself, in test_circuit_breaker."""

    @initialize(overflow=st.sampled_from([Overflow.DROP_NEWEST, Overflow.DROP_OLDEST, Overflow.FAIL]))
    def begin(self, overflow):
        self.loop = asyncio.new_event_loop()
        self.overflow = overflow
        self.monitor = EventMonitor(
            "m",
            EventMonitorConfig(
                max_queue_size=CAPACITY, overflow=overflow, breaker_seconds=1e6, heartbeat_interval=None
            ),
        )
        self.policy = HandlerPolicy(breaker_failures=3, breaker_seconds=1e6, max_handler_failures=4)
        self.got = []
        self.expected = []
        self.waiting = []  # (number, type, priority, outcome), in order of arrival
        self.model = {}
        self.held = None
        self.gate = None
        self.running = self.started = False
        self.number = 0
        self.accepted = self.processed = self.failed = self.unhandled = self.dropped = self.discarded = 0

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def handle(self, event):
        number, outcome = event.data["n"], event.data["outcome"]
        self.got.append(number)
        if outcome == "hold":
            self.gate = asyncio.Event()
            await self.gate.wait()
        elif outcome == "fail":
            raise LookupError
        elif outcome == "fatal":
            raise FatalError

    # -- the model -----------------------------------------------------------------------------

    def work(self):
        """What the monitor is to do with what waits, until it is held up or has nothing more."""
        while self.running and self.held is None and self.waiting:
            top = max(priority for _, _, priority, _ in self.waiting)
            entry = next(each for each in self.waiting if each[2] == top)
            self.waiting.remove(entry)
            number, kind, _, outcome = entry
            handler = self.model.get(kind)
            if handler is None or handler.disabled:
                self.unhandled += 1
            elif handler.open:
                handler.skipped += 1
                self.failed += 1
            else:
                self.expected.append(number)
                if outcome == "hold":
                    self.held = handler
                else:
                    self.ended(handler, outcome)

    def ended(self, handler, outcome):
        handler.calls += 1
        if outcome in ("ok", "hold"):
            handler.row = 0
            self.processed += 1
            return
        handler.row += 1
        handler.failures += 1
        self.failed += 1
        handler.open = handler.row >= 3
        handler.disabled = outcome == "fatal" or handler.failures >= 4

    async def settle(self):
        while True:
            stats = self.monitor.get_stats()
            if not stats.queue_depth and not stats.running and await self.monitor.idle(0):
                return
            if self.gate is not None and not self.gate.is_set() and stats.running and self.held is not None:
                return
            await asyncio.sleep(0)

    def both(self):
        self.work()
        if self.running:
            self.run(self.settle())

    # -- rules ---------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(TYPES[:2]))
    def register(self, kind):
        if self.held is not None and self.model.get(kind) is self.held:
            return  # what becomes of a call whose handler is replaced meanwhile: its own test
        self.monitor.register_handler(kind, self.handle, policy=self.policy)
        self.model[kind] = ModelHandler()

    @rule(kind=st.sampled_from(TYPES[:2]))
    def unregister(self, kind):
        if self.held is not None and self.model.get(kind) is self.held:
            return
        assert self.monitor.unregister_handler(kind, self.handle) == (self.model.pop(kind, None) is not None)

    @rule(
        events=st.lists(
            st.tuples(
                st.sampled_from(("a", "a", "a", *TYPES)),
                st.sampled_from(EventPriority),
                st.sampled_from(("ok", "ok", "ok", *OUTCOMES)),
            ),
            min_size=1,
            max_size=8,
        )
    )
    def offer(self, events):
        if self.started and not self.running:
            return

        async def offer_all():
            for kind, priority, outcome in events:
                number = self.number = self.number + 1
                event = Event(kind, "test", {"n": number, "outcome": outcome}, priority)
                room = len(self.waiting) < CAPACITY
                least = min(self.waiting, key=lambda each: (each[2], each[0]), default=None)
                evicts = not room and self.overflow is Overflow.DROP_OLDEST and least[2] <= priority
                try:
                    accepted = await self.monitor.queue_event(event)
                except MailboxFull as full:
                    accepted = full.message is not event or self.overflow is not Overflow.FAIL
                assert accepted is (room or evicts)
                if evicts:
                    self.waiting.remove(least)
                if accepted:
                    self.accepted += 1
                    self.waiting.append((number, kind, priority, outcome))
                if evicts or not accepted:
                    self.dropped += 1

        self.run(offer_all())  # all of it within one turn: the monitor begins after
        self.both()

    @rule()
    def let_go(self):
        if self.held is not None:
            held, self.held = self.held, None
            self.gate.set()
            self.ended(held, "hold")
            self.both()

    @rule()
    def start(self):
        self.run(self.monitor.start_monitoring())
        self.running = self.started = True
        self.both()

    @rule(drain=st.booleans())
    def stop(self, drain):
        given_up = len(self.waiting) + (self.held is not None)
        if not self.started:
            assert self.run(self.monitor.stop_monitoring(drain=drain)) == 0
            return
        if self.running:
            if self.held is not None:
                drain = False
                self.held.calls += 1
                self.held.failures += 1  # interrupted: says nothing about the handler, so its row stays
                self.held = None
            self.discarded += given_up
            self.waiting.clear()
            assert self.run(self.monitor.stop_monitoring(drain=drain)) == given_up
        else:
            assert self.run(self.monitor.stop_monitoring(drain=drain)) == 0
        self.running = False

    # -- what must hold after every step ---------------------------------------------------------

    @invariant()
    def counts_and_order_are_the_model_s(self):
        """R-E3, R-E6: exactly, after every step."""
        if not hasattr(self, "loop"):
            return
        assert self.got == self.expected

        async def stats():
            return self.monitor.get_stats()

        stats = self.run(stats())
        assert stats.queue_depth == len(self.waiting) <= CAPACITY
        assert stats.running == (self.held is not None)
        assert (stats.processed, stats.failed, stats.unhandled) == (self.processed, self.failed, self.unhandled)
        assert (stats.dropped, stats.discarded) == (self.dropped, self.discarded)
        assert stats.accepted == self.accepted
        parts = stats.processed + stats.failed + stats.unhandled + stats.evicted + stats.discarded
        assert stats.accepted == parts + stats.queue_depth + stats.running
        for handler in stats.handlers:
            model = self.model[handler.event_type]
            assert (handler.calls, handler.failures, handler.skipped) == (model.calls, model.failures, model.skipped)
            assert handler.successes == model.calls - model.failures
            assert handler.consecutive_failures == model.row
            assert (handler.breaker is BreakerState.OPEN) is model.open
            assert (handler.disabled is not None) is model.disabled

    def teardown(self):
        if hasattr(self, "loop"):
            self.run(self.monitor.stop_monitoring(drain=False))
            assert not asyncio.all_tasks(self.loop)
            self.loop.close()


TestMonitor = MonitorMachine.TestCase
TestMonitor.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
