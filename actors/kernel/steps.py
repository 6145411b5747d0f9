"""The steps of a cell's lifecycle: each is done in a turn of the cell, in order, ahead of its mail."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["FAILED", "LEAVE", "RESTART", "RETIRE", "REVIVE", "START", "STOP", "Notice", "Step"]


class Step(enum.Enum):
    """A step of the lifecycle, to be done in a turn of the cell."""

    START = "start"
    FAILED = "failed"  # from outside, while no handler was suspended; the error is in `Family.overdue`
    LEAVE = "leave"  # a permanent child stops itself; why is in `Family.leaving`
    RESTART = "restart"
    RETIRE = "retire"  # the two halves of a restart, when siblings are restarted together
    REVIVE = "revive"
    STOP = "stop"


class Notice(msgspec.Struct, frozen=True):
    """What the runtime tells by itself, by the system lane. One that nobody handles any more is no dead letter."""


START, FAILED, LEAVE, STOP = Step.START, Step.FAILED, Step.LEAVE, Step.STOP
RESTART, RETIRE, REVIVE = Step.RESTART, Step.RETIRE, Step.REVIVE
