"""An event is validated when it is made (R-E1)."""

import enum
import math
import time

import pytest

from telestage.messages import CLOCK_SLACK, Event, EventPriority, InvalidMessage, WireError, decode, encode


class Alert(enum.Enum):
    LOW_FUEL = "low_fuel"
    BROKEN = 5


class Notice(enum.StrEnum):
    ARRIVED = "arrived"


def test_an_event_has_the_documented_defaults() -> None:
    """R-E1."""
    before = time.time()
    event = Event("low_fuel", "user-123")
    assert (event.type, event.source_id, event.data) == ("low_fuel", "user-123", {})
    assert event.priority is EventPriority.NORMAL
    assert before <= event.timestamp <= time.time()


def test_an_event_takes_its_arguments_in_order() -> None:
    event = Event("low_fuel", "user-123", {"litres": 2}, EventPriority.HIGH, 5.0)
    assert event == Event(
        type="low_fuel", source_id="user-123", data={"litres": 2}, priority=EventPriority.HIGH, timestamp=5.0
    )


def test_priorities_are_ordered() -> None:
    """R-E1."""
    assert EventPriority.LOW < EventPriority.NORMAL < EventPriority.HIGH < EventPriority.URGENT


@pytest.mark.parametrize(("given", "kept"), [(Alert.LOW_FUEL, "low_fuel"), (Notice.ARRIVED, "arrived")])
def test_an_enum_member_is_kept_as_its_string(given: object, kept: str) -> None:
    """R-E1: handlers are looked up by it, so one form only."""
    event = Event(given, "user-123")
    assert type(event.type) is str
    assert event.type == kept


def test_a_priority_given_as_its_number_becomes_the_member() -> None:
    assert Event("a", "b", priority=3).priority is EventPriority.URGENT


def test_data_within_a_process_may_be_anything_but_can_not_travel() -> None:
    handle = object()
    event = Event("a", "b", data={"nested": [{"handle": handle}]})
    assert event.data["nested"] == [{"handle": handle}]
    with pytest.raises(WireError, match="must be None, bool, int, float, str, bytes, a list or a dict") as caught:
        encode(event)
    assert caught.value.path == "$.data['nested'][0]['handle']"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("type", "", "must be a string that is not empty"),
        ("type", " \t", "must be a string that is not empty"),
        ("type", None, "must be a string that is not empty"),
        ("type", Alert.BROKEN, "must be a string that is not empty"),
        ("source_id", "", "must be a string that is not empty"),
        ("source_id", "\n", "must be a string that is not empty"),
        ("source_id", 123, "must be a string that is not empty"),
        ("data", [], "must be a dict"),
        ("data", None, "must be a dict"),
        ("priority", 4, "must be one of EventPriority (0, 1, 2, 3)"),
        ("priority", True, "must be one of EventPriority"),
        ("priority", "high", "must be one of EventPriority"),
        ("timestamp", math.nan, "must be a finite number of seconds from 0"),
        ("timestamp", math.inf, "must be a finite number of seconds from 0"),
        ("timestamp", -1.0, "must be a finite number of seconds from 0"),
        ("timestamp", "now", "must be a finite number of seconds from 0"),
        ("timestamp", 10**400, "must not be in the future"),
    ],
)
def test_a_bad_event_is_refused_by_field(field: str, value: object, rule: str) -> None:
    """R-E1."""
    with pytest.raises(InvalidMessage) as caught:
        Event(**{"type": "low_fuel", "source_id": "user-123", field: value})
    assert str(caught.value).startswith(f"Event.{field} {rule}")


def test_an_event_from_the_future_is_refused_beyond_the_clock_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-E1: another host's clock may be a little ahead of ours."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert Event("a", "b", timestamp=1000.0 + CLOCK_SLACK).timestamp == 1001.0
    with pytest.raises(InvalidMessage, match=r"timestamp must not be in the future \(our clock: 1000\.000\)"):
        Event("a", "b", timestamp=1000.0 + CLOCK_SLACK + 0.001)
    with pytest.raises(InvalidMessage, match="timestamp must not be in the future"):
        Event("a", "b", timestamp=1002)


def test_a_bad_event_from_the_wire_is_a_wire_error_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-E1: what can't be made can't be received."""
    frame = encode(Event("a", "b"))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    with pytest.raises(WireError, match="in the future") as caught:
        decode(frame)
    assert (caught.value.offset, caught.value.path) == (0, "$.timestamp")
