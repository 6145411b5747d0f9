"""docs/kernel.md and docs/thespian.md: their code is code, what can be run runs, and what there is is named."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from telestage.actors import (
    Actor,
    ActorSystem,
    BlockingActorSystem,
    ChildKind,
    Directive,
    Overflow,
    Ref,
    Router,
    Strategy,
    kernel,
)

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KERNEL = (DOCS / "kernel.md").read_text(encoding="utf-8")
THESPIAN = (DOCS / "thespian.md").read_text(encoding="utf-8")
PAGES = "\n".join(
    (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for page in ("kernel", "guarantees", "observing", "thespian", "events", "testkit")
)

FOR_THE_RUNTIME = {"cell", "cell_for", "handler_table", "behaviours", "overridden_hooks"}
ONLY_AS_TYPES = {
    "ActorError",
    "ActorState",
    "AskError",
    "BlockingRef",
    "DeadLetters",
    "EventStream",
    "Reply",
    "Routing",
    "TaskRegistry",
    "Timer",
}
"""What one gets, and only names where types are written."""


@pytest.mark.parametrize("number", range(len(BLOCK.findall(KERNEL))))
def test_each_block_of_the_page_is_code(number: int) -> None:
    compile(BLOCK.findall(KERNEL)[number], "docs/kernel.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_first_actor_of_the_page_counts_in_a_loop_and_without_one() -> None:
    blocks = BLOCK.findall(KERNEL)
    names: dict[str, object] = {"BlockingActorSystem": BlockingActorSystem}
    exec(blocks[0], names)
    [without_a_loop] = [block for block in blocks if block.startswith("with BlockingActorSystem")]
    exec(without_a_loop.replace("== 5", "== 3 + 2"), names)


def test_the_blocks_of_the_page_for_users_of_thespian_run() -> None:
    first, second = BLOCK.findall(THESPIAN)
    names: dict[str, object] = {}
    exec(first, names)
    exec("system = ActorSystem(AsyncioSystemBase(capabilities), capabilities)", names)
    try:
        exec(second, names)
    finally:
        exec("system.shutdown()", names)


@pytest.mark.parametrize("name", sorted(set(kernel.__all__) - ONLY_AS_TYPES))
def test_a_page_names_everything_public(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGES)


@pytest.mark.parametrize(
    "cls", [Actor, ActorSystem, Ref, Router, BlockingActorSystem, Overflow, Directive, Strategy, ChildKind]
)
def test_a_page_names_every_way_of_what_users_hold(cls: type) -> None:
    ways = {name for name in vars(cls) if not name.startswith("_")} - FOR_THE_RUNTIME
    assert [name for name in sorted(ways) if not re.search(rf"\b{name}\b", PAGES)] == []


def test_a_page_names_every_option_of_a_system_and_of_a_spawn() -> None:
    # `schedule` is the test kit's, which makes it
    options = {*inspect.signature(ActorSystem.__init__).parameters, *inspect.signature(ActorSystem.spawn).parameters}
    assert [
        name
        for name in sorted(options - {"self", "args", "kwargs", "schedule"})
        if not re.search(rf"\b{name}\b", PAGES)
    ] == []
