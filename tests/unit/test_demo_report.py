"""The verdict of the demo follows from its figures."""

import msgspec
import pytest

from telestage.cli.demo.report import Plan, Report
from telestage.cli.demo.stage import Received

PLAN = Plan()

GOOD = Report(
    sessions=20,
    messages_sent=500,
    messages_delivered=500,
    messages_lost=0,
    messages_duplicated=0,
    history_scraped=5000,
    members_scraped=1000,
    events_expected=3600,
    events_handled=3600,
    events_repeated=24,
    handler_failures=180,
    monitor_restarts=180,
    session_restarts=1,
    crashes=1,
    flood_waits=3,
    permits_granted=581,
    permits_returned=581,
    peak_concurrent_operations=50,
    seconds=12.0,
)


def test_a_run_in_which_all_went_well_has_no_problems() -> None:
    assert GOOD.problems(PLAN) == []


@pytest.mark.parametrize(
    ("figure", "value", "told"),
    [
        ("sessions", 19, "19 of 20 sessions"),
        ("messages_sent", 499, "499 sent"),
        ("messages_delivered", 499, "499 delivered"),
        ("messages_lost", 1, "1 messages lost"),
        ("messages_duplicated", 2, "2 messages duplicated"),
        ("history_scraped", 4999, "4999 of 5000"),
        ("members_scraped", 999, "999 of 1000"),
        ("events_handled", 3599, "3599 events handled"),
        ("handler_failures", 179, "179 handler failures"),
        ("monitor_restarts", 0, "0 monitor restarts"),
        ("session_restarts", 0, "0 session restarts"),
        ("crashes", 0, "0 crashes"),
        ("events_repeated", 241, "241 events handled again"),
        ("flood_waits", 2, "2 flood waits"),
        ("permits_returned", 580, "580 returned"),
        ("peak_concurrent_operations", 51, "51 operations at once"),
    ],
)
def test_each_figure_that_is_wrong_is_named(figure: str, value: int, told: str) -> None:
    problems = msgspec.structs.replace(GOOD, **{figure: value}).problems(PLAN)
    assert len(problems) == 1
    assert told in problems[0]


def test_the_plan_counts_what_it_expects() -> None:
    assert (PLAN.watchers, PLAN.logins, PLAN.events, PLAN.failures) == (6, 4, 3600, 180)


@pytest.mark.parametrize(("name", "value"), [("sessions", 7), ("messages", 0), ("posts", 9), ("operations", 0)])
def test_a_plan_that_cannot_be_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        Plan(**{name: value})


SEEN = Received(
    distinct=500, delivered=500, lost=0, duplicated=0, floods=3, early_calls=0, disconnects=2, overlapping=[]
)


def test_what_the_server_saw_is_part_of_the_verdict() -> None:
    """R-Q1, R-X2: and faults that were never made prove nothing."""
    assert SEEN.problems(PLAN) == []
    for figure, value, told in (
        ("overlapping", ["send-001"], "send-001"),
        ("early_calls", 1, "1 calls were made before"),
        ("disconnects", 1, "1 connections cut of 2"),
    ):
        (problem,) = msgspec.structs.replace(SEEN, **{figure: value}).problems(PLAN)
        assert told in problem
