"""Spans of handled messages, with the real SDK and an exporter that keeps them."""
# ruff: noqa: ASYNC110 - what is waited for happens in turns of the kernel, which set no event

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from telestage.actors.instruments.opentelemetry import Tracing
from telestage.actors.kernel import Actor, ActorSystem, Directive, Ref, Supervision, handles

SECRET = "p4ssw0rd"


class Do(msgspec.Struct, frozen=True, eq=False):
    function: Callable[["Clerk"], object]
    secret: str = SECRET


class DoSlowly(msgspec.Struct, frozen=True, eq=False):
    function: Callable[["Clerk"], Awaitable[object]]


class Note(msgspec.Struct, frozen=True):
    pass


class Clerk(Actor):
    @handles(Do)
    def do(self, message: Do) -> object:
        return message.function(self)

    @handles(DoSlowly)
    async def do_slowly(self, message: DoSlowly) -> object:
        return await message.function(self)

    @handles(Note)
    def note(self, message: Note) -> str:
        return "noted"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest_asyncio.fixture
async def system(provider: TracerProvider) -> AsyncIterator[ActorSystem]:
    rules = Supervision({Exception: Directive.RESUME})
    async with ActorSystem(instruments=[Tracing(provider)], supervision=rules) as system:
        yield system


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[int], Awaitable[dict[str, ReadableSpan]]]:
    async def finished(count: int) -> dict[str, ReadableSpan]:
        while len(exporter.get_finished_spans()) < count:
            await asyncio.sleep(0)
        found = exporter.get_finished_spans()
        assert len(found) == count
        return {span.name: span for span in found}

    return finished


Spans = Callable[[int], Awaitable[dict[str, ReadableSpan]]]


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_each_handled_message_is_a_span_that_says_what_it_was(system: ActorSystem, spans: Spans) -> None:
    ref = system.spawn(Clerk, name="alice")
    ref.tell(Do(lambda self: None))
    await ref.ask(Note())
    found = await spans(2)
    told, asked = found["Clerk Do"], found["Clerk Note"]
    assert told.kind is asked.kind is SpanKind.CONSUMER
    assert dict(told.attributes or {}) == {
        "messaging.system": "telestage",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "/alice",
        "telestage.actor.class": f"{__name__}.Clerk",
        "telestage.message.type": f"{__name__}.Do",
        "telestage.asked": False,
    }
    assert (asked.attributes or {})["telestage.asked"] is True
    assert told.parent is asked.parent is None
    assert told.status.status_code is StatusCode.UNSET
    assert SECRET not in told.to_json()


async def test_a_request_is_one_trace_through_all_actors(
    system: ActorSystem, provider: TracerProvider, spans: Spans
) -> None:
    last = system.spawn(Clerk, name="last")
    middle = system.spawn(Clerk, name="middle")

    async def ask_and_tell(self: Clerk) -> object:
        await asyncio.sleep(0)
        self.tell(last, Do(lambda self: None))
        return await self.ask(last, Note())

    with provider.get_tracer("service").start_as_current_span("request"):
        assert await middle.ask(DoSlowly(ask_and_tell)) == "noted"
    found = await spans(4)
    assert parent_of(found["Clerk DoSlowly"]) == id_of(found["request"])
    assert parent_of(found["Clerk Note"]) == id_of(found["Clerk DoSlowly"])
    assert parent_of(found["Clerk Do"]) == id_of(found["Clerk DoSlowly"])
    assert len({span.context.trace_id for span in found.values() if span.context}) == 1


async def test_what_a_handler_does_is_inside_its_span_also_when_others_run_meanwhile(
    system: ActorSystem, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    tracer = provider.get_tracer("service")
    gate = asyncio.Event()

    async def work(self: Clerk) -> None:
        await gate.wait()
        with tracer.start_as_current_span(f"inside {self.ref.name}"):
            await asyncio.sleep(0)

    for name in ("a", "b"):
        system.spawn(Clerk, name=name).tell(DoSlowly(work))
    await asyncio.sleep(0)
    gate.set()
    while len(exporter.get_finished_spans()) < 4:
        await asyncio.sleep(0)
    handled = {
        (span.attributes or {})["messaging.destination.name"]: span
        for span in exporter.get_finished_spans()
        if span.kind is SpanKind.CONSUMER
    }
    inside = {span.name: span for span in exporter.get_finished_spans() if span.kind is SpanKind.INTERNAL}
    assert parent_of(inside["inside a"]) == id_of(handled["/a"])
    assert parent_of(inside["inside b"]) == id_of(handled["/b"])
    assert not trace.get_current_span().get_span_context().is_valid


async def test_what_is_told_is_a_child_even_if_it_is_handled_after_its_senders_end(
    system: ActorSystem, spans: Spans
) -> None:
    other = system.spawn(Clerk)
    other.pause()
    system.spawn(Clerk).tell(Do(lambda self: self.tell(other, Note())))
    sender = (await spans(1))["Clerk Do"]
    other.resume()
    found = await spans(2)
    assert parent_of(found["Clerk Note"]) == id_of(sender)


async def test_a_timer_begins_a_trace_of_its_own_linked_to_who_set_it(system: ActorSystem, spans: Spans) -> None:
    system.spawn(Clerk).tell(Do(lambda self: self.after(0.001, Note())))
    found = await spans(2)
    setter, due = found["Clerk Do"], found["Clerk Note"]
    assert due.parent is None
    assert due.context is not None
    assert setter.context is not None
    assert due.context.trace_id != setter.context.trace_id
    assert [link.context.span_id for link in due.links] == [id_of(setter)]


async def test_the_parent_may_be_in_another_process(system: ActorSystem, spans: Spans) -> None:
    elsewhere = trace.SpanContext(1234, 5678, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(elsewhere)))
    system.spawn(Clerk).tell(Note())
    context.detach(token)
    assert parent_of((await spans(1))["Clerk Note"]) == 5678


async def test_an_error_is_recorded_and_so_is_a_cancellation(system: ActorSystem, spans: Spans) -> None:
    def fail(self: Clerk) -> None:
        raise LookupError("on purpose")

    ref = system.spawn(Clerk)
    ref.tell(Do(fail))
    failed = (await spans(1))["Clerk Do"]
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "on purpose")
    assert (failed.attributes or {})["error.type"] == "builtins.LookupError"
    assert failed.events[0].name == "exception"
    asking = asyncio.ensure_future(ref.ask(DoSlowly(lambda self: asyncio.Event().wait()), cancel=True))
    await asyncio.sleep(0)
    asking.cancel()
    cancelled = (await spans(2))["Clerk DoSlowly"]
    assert (cancelled.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"


async def test_baggage_travels_too(system: ActorSystem) -> None:
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    asking = asyncio.ensure_future(
        system.spawn(Clerk).ask(Do(lambda self: baggage.get_baggage("tenant", context.get_current())))
    )
    context.detach(token)
    assert await asking == "acme"


async def test_sampling_is_the_samplers_business() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with ActorSystem(instruments=[Tracing(provider)]) as system:
        last = system.spawn(Clerk)
        middle = system.spawn(Clerk)
        assert await middle.ask(DoSlowly(lambda self: self.ask(last, Note()))) == "noted"
    assert exporter.get_finished_spans() == ()


async def test_without_an_sdk_everything_works_and_nothing_is_recorded() -> None:
    async with ActorSystem(instruments=[Tracing(trace.NoOpTracerProvider())]) as system:
        ref: Ref = system.spawn(Clerk)
        assert await ref.ask(Note()) == "noted"


def test_without_the_package_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import telestage.actors.instruments.opentelemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'telestage[opentelemetry]'" in done.stderr
