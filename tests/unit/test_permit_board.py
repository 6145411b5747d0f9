"""A permit that is free is taken without a message, by the same rules and with the same log."""

import logging

import pytest

from telestage.actors import Limits
from telestage.actors.telegram.board import PermitBoard
from telestage.messages import PermitRequest


def waits(board: PermitBoard, operation: str) -> bool:
    return (
        board.pool.request(PermitRequest(operation_id=operation, session="b", kind="sending", priority=0), 0.0) is None
    )


def test_a_free_permit_is_taken_and_given_back_with_the_books_in_order() -> None:
    """R-G1, R-G6: within the limits; what was waited is in the percentiles, too."""
    board = PermitBoard(Limits(operations=2, scraping=1))
    assert board.take("a", "1", "scraping")
    assert not board.take("b", "2", "scraping")
    assert board.take("b", "2", "sending")
    assert not board.take("c", "3", "other")
    status = board.status()
    assert (status.total.in_use, status.total.granted, status.total.peak) == (2, 2, 2)
    assert (status.kinds["scraping"].in_use, status.total.wait_p99) == (1, 0.0)
    assert [(held.session, held.operation_id, held.kind) for held in status.holders] == [
        ("a", "1", "scraping"),
        ("b", "2", "sending"),
    ]
    assert board.give_back("1")
    assert board.give_back("1")  # a second time is harmless (R-G3)
    assert board.status().total.returned == 1
    assert board.take("c", "3", "scraping")


def test_nobody_who_waits_is_passed_over() -> None:
    """R-G4: neither by a session that takes, nor by a permit that comes back and isn't passed on."""
    board = PermitBoard(Limits(operations=2, scraping=1))
    assert board.take("a", "1", "scraping")
    assert board.pool.request(PermitRequest(operation_id="2", session="b", kind="scraping", priority=0), 0.0) is None
    assert not board.take("c", "3", "sending")  # there is room, and it is for the manager to say whose it is
    assert not board.give_back("1")
    assert [grant.request.operation_id for grant in board.pool.release("1", 1.0)] == ["2"]
    assert board.give_back("2")


def test_an_operation_holds_one_permit() -> None:
    """R-G1."""
    board = PermitBoard(Limits())
    assert board.take("a", "1", "sending")
    with pytest.raises(ValueError, match="operation 1 has a permit"):
        board.take("a", "1", "sending")


def test_after_the_end_nothing_is_taken() -> None:
    """R-G3: what would be taken then, nobody would take back."""
    board = PermitBoard(Limits())
    assert board.take("a", "1", "sending")
    board.reclaim()
    assert not board.take("a", "2", "sending")


def test_it_is_logged_as_by_the_manager(caplog: pytest.LogCaptureFixture) -> None:
    """R-D4: asked for, granted, returned."""
    board = PermitBoard(Limits())
    with caplog.at_level(logging.DEBUG, logger="telestage.manager"):
        board.take("a", "1", "sending")
        board.give_back("1")
        board.give_back("1")
    asked, granted, returned = (record.getMessage() for record in caplog.records)
    assert asked == "permit asked for: a sending 1"
    assert granted == "permit granted: a sending 1 after 0.000 s"
    assert returned.startswith("permit returned: 1 after 0.00")
