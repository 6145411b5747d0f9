"""What tests of actors need: a probe to look through, time that jumps, and schedules that can be had again.

`docs/testkit.md` has it in ten minutes; the pytest plugin is `telestage.actors.testkit.plugin`. Nothing of it is loaded
by `telestage.actors`.
"""

from telestage.actors.testkit.deadlock import Deadlock
from telestage.actors.testkit.exploring import Exploration, LeftBehind, ScheduleFailed, explore, replay
from telestage.actors.testkit.probe import Probe
from telestage.actors.testkit.running import run
from telestage.actors.testkit.schedule import Schedule
from telestage.actors.testkit.virtual import VirtualTimeLoop

__all__ = [
    "Deadlock",
    "Exploration",
    "LeftBehind",
    "Probe",
    "Schedule",
    "ScheduleFailed",
    "VirtualTimeLoop",
    "explore",
    "replay",
    "run",
]
