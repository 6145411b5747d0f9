"""The steps of a cell's lifecycle: each is done in a turn of the cell, in order, ahead of its mail."""

from __future__ import annotations

import enum

__all__ = ["FAILED", "RESTART", "START", "STOP", "Step"]


class Step(enum.Enum):
    """A step of the lifecycle, to be done in a turn of the cell."""

    START = "start"
    FAILED = "failed"  # from outside, while no handler was suspended; the error is in `Family.overdue`
    RESTART = "restart"
    STOP = "stop"


START, FAILED, RESTART, STOP = Step.START, Step.FAILED, Step.RESTART, Step.STOP
