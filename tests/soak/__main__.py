"""`make soak`: the properties of the kernel under very many schedules, and the Hypothesis machines for much longer.

It runs every test below tests/property that is marked `schedules`, in virtual time, from a seed drawn at random and
told, and every state machine there for 100,000 steps, whose seeds follow that one; then a fleet with random gaps, in
real time, from the same seeds; a fleet whose process is killed; two processes that fight over sessions; and jobs whose
process is killed. It stops at the first failure, which says how to have it again.
"""

import argparse
import asyncio
import importlib.util
import inspect
import logging
import random
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import perf_counter, process_time
from types import ModuleType

from fights import play_fights
from floods import play_floods
from gaps import play_killed
from hypothesis import seed, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test
from kills import play_kills

from telestage.actors.testkit import ScheduleFailed, explore

PROPERTIES = Path(__file__).parents[1] / "property"
GAPS = Path(__file__).parents[1] / "integration" / "test_fleet_random_gaps.py"

Test = Callable[[], Coroutine[object, object, object]]


def modules() -> Iterator[ModuleType]:
    for path in sorted(PROPERTIES.glob("test_*.py")):
        yield loaded(path)


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def play_gaps(runs: int, seed: int) -> int:
    """Random gaps of a fleet; the exit code."""
    logging.getLogger("telethon").setLevel(logging.CRITICAL)
    module = loaded(GAPS)
    began = perf_counter()
    for number in range(seed, seed + runs):
        try:
            asyncio.run(module.play(number))
        except BaseException:
            print(f"random gaps: seed {number}; again: --only gaps --gaps 1 --seed {number}", file=sys.stderr)
            raise
    print(f"{runs:7} runs of a fleet with random gaps, {perf_counter() - began:.1f} s", flush=True)
    return 0


def scheduled(module: ModuleType) -> list[Test]:
    return [
        value
        for value in vars(module).values()
        if any(mark.name == "schedules" for mark in getattr(value, "pytestmark", ()))
        and inspect.iscoroutinefunction(value)
    ]


def machines(module: ModuleType) -> list[type[RuleBasedStateMachine]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, RuleBasedStateMachine) and value.__module__ == module.__name__
    ]


def run_machine(machine: type[RuleBasedStateMachine], steps: int, first: int) -> tuple[int, int]:
    """Runs a machine until it has taken so many steps, batch by batch, each from a seed of its own; no steps: none.

    Returns:
        The steps it took, and the batches, whose seeds are `first` and those that follow.
    """
    taken = batches = 0

    def count(example: RuleBasedStateMachine) -> None:
        nonlocal taken
        taken += vars(example).setdefault("begun", 0)
        vars(example)["begun"] = 1

    # one invariant more: looked at before the first step, and after each
    counted = type(machine.__name__, (machine,), {"counted": invariant()(count)})
    options = settings(max_examples=100, stateful_step_count=80, deadline=None, database=None)
    while taken < steps:
        number = first + batches
        batches += 1
        try:
            run_state_machine_as_test(seed(number)(counted), settings=options)  # type: ignore[no-untyped-call]
        except BaseException:
            print(f"{machine.__name__}: again: --only {machine.__name__} --steps 1 --seed {number}", file=sys.stderr)
            raise
    return taken, batches


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000, help="in all (default: %(default)s)")
    drawn = random.SystemRandom().randrange(10**9)
    parser.add_argument("--seed", type=int, default=drawn, help="of the first schedule (default: drawn at random)")
    parser.add_argument("--steps", type=int, default=100_000, help="of each Hypothesis machine (default: %(default)s)")
    parser.add_argument("--gaps", type=int, default=200, help="runs of a fleet with random gaps (default: %(default)s)")
    parser.add_argument("--killed", type=int, default=10_000, help="posts and so on to a killed fleet (%(default)s)")
    parser.add_argument("--fights", type=float, default=60, help="seconds of two processes' (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="of the process of each job (default: %(default)s)")
    parser.add_argument("--floods", type=int, default=20, help="runs with floods at random (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="NAME", help="those whose name has this in it")
    asked = parser.parse_args()
    found = list(modules())
    logging.getLogger("telestage").setLevel(logging.CRITICAL)  # failures on purpose, by the million
    tests = [test for module in found for test in scheduled(module) if asked.only in test.__name__]
    kinds = [machine for module in found for machine in machines(module) if asked.only in machine.__name__]
    gaps = asked.gaps if asked.only in "random_gaps" else 0
    killed = asked.killed if asked.only in "killed_gaps" else 0
    fights = asked.fights if asked.only in "fights" else 0
    floods = asked.floods if asked.only in "floods" else 0
    kills = asked.kills if asked.only in "kills" else 0
    if not tests and not kinds and not gaps and not killed and not fights and not kills and not floods:
        parser.error(f"nothing has {asked.only!r} in its name")
    print(f"seed {asked.seed}; {len(tests)} properties, {asked.schedules} schedules; {len(kinds)} machines", flush=True)
    began, ran = perf_counter(), 0
    worked = process_time()
    for number, test in enumerate(tests):
        count = asked.schedules * (number + 1) // len(tests) - asked.schedules * number // len(tests)
        if not count:
            continue
        try:
            done = explore(test, count, seed=asked.seed)
        except ScheduleFailed as failure:
            print(f"{test.__name__}: {failure}", file=sys.stderr)
            return 1
        ran += count
        print(
            f"{done.schedules:7} schedules, {done.different} different, {done.choices / count:.0f} choices each, "
            f"{done.seconds:.1f} s, {count / done.seconds:.0f} a second: {test.__name__}",
            flush=True,
        )
    spent = perf_counter() - began
    if tests:
        worked = process_time() - worked
        print(
            f"{ran} schedules in {spent:.1f} s ({worked:.1f} s of them at work), {ran / spent:.0f} a second", flush=True
        )
    for machine in kinds:
        began = perf_counter()
        taken, batches = run_machine(machine, asked.steps, asked.seed)
        spent = perf_counter() - began
        told = f"seeds {asked.seed} to {asked.seed + batches - 1}" if batches else "no seed"
        print(f"{taken:7} steps, {told}, {spent:.1f} s: {machine.__name__}", flush=True)
    if gaps:
        play_gaps(gaps, asked.seed)
    if killed:
        play_killed(killed, asked.seed, loaded)
    if floods:
        play_floods(floods, asked.seed, loaded)
    if fights and (code := play_fights(fights, asked.seed, loaded)):
        return code
    return play_kills(kills, asked.seed, loaded) if kills else 0


if __name__ == "__main__":
    sys.exit(main())
