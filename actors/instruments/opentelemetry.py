"""OpenTelemetry: a span for each message that an actor handles.

Invariants:
- What is told, asked, sent or signalled while the sender's span is open is handled in a child of it, so a request is
  one trace, through however many actors. What leaves after that span's end (by a timer that a handler set) begins a
  trace of its own, linked to it: a timer that repeats doesn't make one trace without end.
- The whole OpenTelemetry context travels, baggage too.
- What is recorded and what is not is the sampler's business.

It needs the API only; without an SDK set up by the service nothing is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from telestage.actors.kernel import Actor, Handling, Instrument, Ref

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
except ImportError as error:
    raise ImportError("tracing needs OpenTelemetry: pip install 'telestage[opentelemetry]'") from error

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["Tracing"]


class _Departure(NamedTuple):
    """Where a message comes from."""

    context: Context
    ended: trace.SpanContext | None  # of the sender's span, if it had ended


class Tracing(Instrument):
    """A span for each handled message: `ActorSystem(instruments=[Tracing()])`.

    The span is named by the classes of actor and message, as in `Counter Add`; it is of kind CONSUMER and lasts as long
    as the handler, waiting included. An error of the handler is recorded on it, also a cancellation. Its attributes
    follow the semantic conventions for messaging (`messaging.system` and so on, `error.type`), with
    `telestage.actor.class`, `telestage.message.type` and `telestage.asked` besides. What a message says isn't
    recorded; an error's text is.

    Args:
        tracer_provider: Default: the global one.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("telestage.actors", tracer_provider=tracer_provider)
        self._known: dict[tuple[type[Actor], type, bool], tuple[str, dict[str, str | bool]]] = {}

    def departs(self, message: object, target: Ref) -> object:
        """The sender's context."""
        context = contexts.get_current()
        span = trace.get_current_span(context)
        if span.is_recording():
            return _Departure(context, None)
        sender = span.get_span_context()
        if not sender.is_valid or sender.is_remote or not sender.trace_flags.sampled:
            return _Departure(context, None)  # none; or its parent is elsewhere; or the sampler has said no
        return _Departure(trace.set_span_in_context(trace.INVALID_SPAN, context), sender)

    def begins(self, handling: Handling, note: object) -> object:
        """Starts the span, and makes it the current one of the handler."""
        departure = note if isinstance(note, _Departure) else _Departure(contexts.Context(), None)
        name, attributes = self._description(handling)
        span = self._tracer.start_span(
            name,
            departure.context,
            SpanKind.CONSUMER,
            attributes,
            links=None if departure.ended is None else [Link(departure.ended)],
        )
        if span.is_recording():
            span.set_attribute("messaging.destination.name", handling.ref.path)
        contexts.attach(trace.set_span_in_context(span, departure.context))  # the context is the message's own
        return span

    def ends(self, handling: Handling, begun: object, error: BaseException | None) -> None:
        """Ends the span, with the error if there was one."""
        if not isinstance(begun, Span):
            return
        if error is not None and begun.is_recording():
            begun.record_exception(error)
            begun.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
            begun.set_status(Status(StatusCode.ERROR, str(error)))
        begun.end()

    def _description(self, handling: Handling) -> tuple[str, dict[str, str | bool]]:
        """The name of the span and what it is described by, the same for all messages of a type."""
        cls, message, asked = handling.cls, type(handling.message), handling.asked
        known = self._known.get((cls, message, asked))
        if known is None:
            attributes: dict[str, str | bool] = {
                "messaging.system": "telestage",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "telestage.actor.class": f"{cls.__module__}.{cls.__qualname__}",
                "telestage.message.type": f"{message.__module__}.{message.__qualname__}",
                "telestage.asked": asked,
            }
            known = self._known[cls, message, asked] = f"{cls.__name__} {message.__name__}", attributes
        return known
