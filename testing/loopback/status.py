"""How a loopback server is doing, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopbackStatus:
    """How a server is doing."""

    connections: int
    """TCP connections open now."""
    sessions: int
    """MTProto sessions connected now."""
    users: int
    calls: int
    """Calls answered or given up since the start."""
    deliveries: int
    """Messages accepted from clients."""
    repeats: int
    """Messages sent again with a random_id already known, and not delivered again."""
    floods: int
    """FLOOD_WAIT answers given."""
    early_calls: int
    """Calls made before the deadline of a flood wait."""
    disconnects: int
    """Connections cut by `Faults.disconnect`."""
