"""Event monitors: handlers in an actor of their own, for any events. Knows nothing of Telegram.

errors      what a handler says by raising, and what a monitor refuses
policies    how a monitor and its handlers behave
breaker     the circuit breaker of a handler
answers     what `queue_event` returns
queue       waiting events by priority, bounded
handler     one handler and its book
book        what outlives an instance of the actor
actor       the actor: gives the events to the handlers
health      the heartbeat, and the health it looks at
statistics  how all of it is doing, as values
monitor     the face: `EventMonitor`
"""

from telestage.actors.monitoring.breaker import BreakerState
from telestage.actors.monitoring.errors import (
    FatalError,
    MonitorError,
    MonitorStopped,
    RetryableError,
    UnknownEventType,
)
from telestage.actors.monitoring.monitor import EventMonitor
from telestage.actors.monitoring.policies import EventMonitorConfig, HandlerPolicy, Overflow
from telestage.actors.monitoring.statistics import (
    EventMonitorStatistics,
    HandlerStatistics,
    HealthState,
    MonitorHealth,
)
from telestage.messages import Event, EventPriority

__all__ = [
    "BreakerState",
    "Event",
    "EventMonitor",
    "EventMonitorConfig",
    "EventMonitorStatistics",
    "EventPriority",
    "FatalError",
    "HandlerPolicy",
    "HandlerStatistics",
    "HealthState",
    "MonitorError",
    "MonitorHealth",
    "MonitorStopped",
    "Overflow",
    "RetryableError",
    "UnknownEventType",
]
