"""Instruments that need a package of their own: install `telestage[opentelemetry]` or `telestage[prometheus]`.

- `telestage.actors.instruments.opentelemetry.Tracing`: a span for each handled message.
- `telestage.actors.instruments.prometheus.Metrics` and `HandlingTimes`: what Prometheus scrapes.

Nothing is imported here, so that neither package is needed for the other.
"""
