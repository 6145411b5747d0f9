"""What is said of a running fleet: each change once, as a line or as JSON, and the picture on a terminal."""

import io
import json
import logging
import time

import pytest
from rich.console import Console

from telestage.cli.live import LiveReporter, picture
from telestage.cli.logs import logging_to
from telestage.cli.reporting import JsonReporter, LogHandler, PlainReporter
from telestage.cli.secrecy import Redactor
from telestage.cli.watching import Watcher, ended
from telestage.messages import (
    FleetStatus,
    MonitorStatus,
    PermitKindStatus,
    PermitStatus,
    SessionState,
    SessionStatus,
)


def fleet(*sessions: SessionStatus, monitors: list[MonitorStatus] | None = None) -> FleetStatus:
    total = PermitKindStatus(kind="all", limit=50, in_use=1, granted=3, returned=2, wait_p95=0.25)
    return FleetStatus(sessions=list(sessions), permits=PermitStatus(total=total), monitors=monitors or [])


def session(state: SessionState = SessionState.READY, name: str = "alice", **rest: object) -> SessionStatus:
    return SessionStatus(name=name, state=state, **rest)  # type: ignore[arg-type]  # as the fields have them


def monitor(state: str = "running", **rest: int) -> MonitorStatus:
    return MonitorStatus(name="keep", session="alice", state=state, **rest)


def said(watcher: Watcher, *pictures: FleetStatus) -> list[str]:
    return [change.text for status in pictures for change in watcher.changes(status)]


def test_each_state_is_said_once_and_why() -> None:
    pictures = [
        fleet(session(SessionState.NEW)),
        fleet(session(SessionState.CONNECTING)),
        fleet(session()),
        fleet(session(queued=5, operations=9)),
        fleet(session(SessionState.RESTARTING, reason="ConnectionError: lost", restarts=1)),
        fleet(session(restarts=1)),
        fleet(session(restarts=2)),
        fleet(session(SessionState.DEAD, reason="revoked", restarts=2)),
        fleet(session(SessionState.DEAD, reason="revoked", restarts=2)),
    ]
    assert said(Watcher(), *pictures) == [
        "alice is connecting",
        "alice is ready",
        "alice is restarting, restarted 1 time: ConnectionError: lost",
        "alice is ready, restarted 1 time",
        "alice is ready, restarted 2 times",
        "alice is dead, restarted 2 times: revoked",
    ]


def test_a_flood_wait_is_said_once_with_its_end_and_again_when_it_is_a_longer_one() -> None:
    now = time.time()
    watcher = Watcher()
    watcher.changes(fleet(session()))
    [first] = said(watcher, fleet(session(floods={"sending": now + 100})))
    until = time.strftime("%H:%M:%S", time.localtime(now + 100))
    assert first == f"alice waits with sending until {until}: a flood wait"
    assert said(watcher, fleet(session(floods={"sending": now + 100.4}))) == []
    assert len(said(watcher, fleet(session(floods={"sending": now + 200})))) == 1


def test_of_monitors_only_trouble_is_said() -> None:
    watcher = Watcher()
    quiet = [monitor("starting"), monitor(), monitor(handled=5)]
    assert said(watcher, *(fleet(session(), monitors=[each]) for each in quiet)) == ["alice is ready"]
    loud = [monitor(failures=1), monitor(failures=1, restarts=1), monitor("stopped", failures=2, restarts=1)]
    assert said(watcher, *(fleet(session(), monitors=[each]) for each in loud)) == [
        "keep of alice is running, failed 1 time",
        "keep of alice is stopped, restarted 1 time, failed 2 times",
    ]


def test_monitors_that_end_with_their_session_are_not_said() -> None:
    watcher = Watcher()
    watcher.changes(fleet(session(), monitors=[monitor()]))
    end = fleet(session(SessionState.STOPPED), monitors=[monitor("stopped")])
    assert said(watcher, end) == ["alice is stopped"]


def test_ended_are_those_that_will_not_come_back() -> None:
    status = fleet(*(session(state, name=state.value) for state in SessionState))
    assert [each.name for each in ended(status)] == ["stopped", "dead"]


def test_as_json_each_line_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = JsonReporter()
    reporter.update(fleet(session(SessionState.DEAD, reason="revoked"), monitors=[monitor()]))
    reporter.say("stopping: SIGTERM")
    reporter.end(fleet(session()))
    change, note, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert {key: change[key] for key in change if key != "time"} == {
        "event": "session",
        "session": "alice",
        "state": "dead",
        "reason": "revoked",
    }
    assert (note["event"], note["text"]) == ("note", "stopping: SIGTERM")
    assert (end["event"], end["status"]["permits"]["total"]["granted"]) == ("end", 3)
    assert abs(change["time"] - time.time()) < 60


def test_plain_lines_end_with_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = PlainReporter()
    with reporter.shown():
        reporter.log("WARNING of something")
        reporter.end(fleet(session(operations=2), monitors=[monitor(handled=3, failures=1, dropped=4)]))
    output = capsys.readouterr()
    assert output.out[9:] == "ended: 2 operations; 3 events handled, 1 failed, 4 dropped\n"
    assert output.err == "WARNING of something\n"


def rendered(status: FleetStatus, rows: int = 10) -> str:
    console = Console(file=io.StringIO(), width=110)
    with console.capture() as capture:
        console.print(picture(status, rows=rows))
    return capture.get()


def test_the_picture_shows_sessions_permits_and_monitors() -> None:
    status = fleet(
        session(kind="scraping", running_for=12.3, queued=7, operations=99),
        session(SessionState.DEAD, name="b[ob]", reason="revoked"),
        monitors=[monitor(handled=31, failures=2), monitor("stopped", handled=11)],
    )
    shown = rendered(status)
    rows = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    assert "2 sessions: 1 dead, 1 ready" in rows
    assert "alice ready scraping 12 s 7 99 0" in rows
    assert "b[ob] dead revoked 0 0 0" in rows
    assert "all 1 50 0 3 0 0.250 s" in rows
    assert "keep 1 of 2 0 42 2 0 0" in rows


def test_the_picture_of_many_sessions_has_those_in_trouble_first_and_counts_the_rest() -> None:
    many = [session(name=f"s{number:03}") for number in range(100)]
    many[77] = session(SessionState.RESTARTING, name="s077")
    shown = rendered(fleet(*many), rows=2)
    assert "s077" in shown
    assert "... 98 more" in shown
    assert "s050" not in shown


def test_the_live_table_leaves_its_lines_and_nothing_else_on_the_terminal() -> None:
    terminal = io.StringIO()
    reporter = LiveReporter(Console(file=terminal, force_terminal=True, width=110, height=30))
    with reporter.shown():
        reporter.update(fleet(session()))
        reporter.log("a [bold] line")
        reporter.update(fleet(session(SessionState.DEAD, reason="revoked")))
    lines = terminal.getvalue()
    assert "alice is ready" in lines
    assert "alice is dead: revoked" in lines
    assert "a [bold] line" in lines
    assert "\x1b[?25h" in lines  # the cursor is shown again


def test_the_log_is_shown_without_secrets_and_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("telethon").level)
    redactor = Redactor()
    redactor.learn("swordfish", "<password>")
    with logging_to(LogHandler(PlainReporter()), logging.INFO, redactor):
        logging.getLogger("telestage.x").debug("not this")
        try:
            raise RuntimeError("swordfish")
        except RuntimeError:
            logging.getLogger("telestage.x").exception("with %s", "swordfish")
    logging.getLogger("telestage.x").error("not this either")
    shown = capsys.readouterr().err
    assert "ERROR telestage.x: with <password>" in shown
    assert "RuntimeError: <password>" in shown
    assert "swordfish" not in shown
    assert "not this" not in shown
    assert (list(root.handlers), root.level, logging.getLogger("telethon").level) == before
