"""The pytest plugin of the test kit: markers for virtual time and for schedules.

A project that wants it says so, in its pytest configuration or its topmost conftest.py:

    addopts = "-p telestage.actors.testkit.plugin"
    pytest_plugins = ["telestage.actors.testkit.plugin"]

- `@pytest.mark.virtual_time`: the test and its async fixtures run in an event loop whose time jumps, by way of
  pytest-asyncio.
- `@pytest.mark.schedules(200, seed=0)`: the test runs under so many schedules, each in an event loop of its own. Async
  fixtures would live in another loop, so it makes what it needs itself.
- `--schedule=TEXT` runs each such test once, under that schedule; `--schedules=N` runs N of each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import cast

import pytest

from telestage.actors.testkit.exploring import explore, replay
from telestage.actors.testkit.virtual import VirtualTimeLoop

__all__: list[str] = []


class _LoopFactories:
    """What pytest-asyncio asks for the kinds of loops a test is to run in."""

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], VirtualTimeLoop]]:
        return {"virtual_time": VirtualTimeLoop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("telestage", "actors under schedules")
    group.addoption("--schedule", metavar="TEXT", help="run tests marked `schedules` once, under this one")
    group.addoption("--schedules", type=int, metavar="N", help="run N schedules of each test marked `schedules`")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "virtual_time: run in an event loop whose time jumps when nothing is ready")
    config.addinivalue_line("markers", "schedules(count, seed=0): run under `count` schedules in virtual time")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Have pytest-asyncio make the loop of a test that is marked, and leave others alone."""
    definition = metafunc.definition
    if definition.get_closest_marker("virtual_time") is None:
        return (yield)
    manager = metafunc.config.pluginmanager
    if not hasattr(manager.hook, "pytest_asyncio_loop_factories"):
        raise pytest.UsageError(f"{definition.nodeid}: virtual_time needs pytest-asyncio 1.4 or newer")
    factories = _LoopFactories()
    manager.register(factories)
    try:
        return (yield)
    finally:
        manager.unregister(factories)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test under its schedules."""
    marker = pyfuncitem.get_closest_marker("schedules")
    if marker is None:
        return None
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):  # pytest-asyncio has wrapped it already
        function = getattr(function, "__wrapped__", function)
    if not inspect.iscoroutinefunction(function):
        raise pytest.UsageError(f"{pyfuncitem.nodeid}: only a coroutine function can run under schedules")
    wanted = inspect.signature(function).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    test = cast("Callable[[], Coroutine[object, object, object]]", functools.partial(function, **arguments))
    if (text := pyfuncitem.config.getoption("--schedule")) is not None:
        replay(test, text)
        return True
    count, seed = _settings(pyfuncitem, *marker.args, **marker.kwargs)
    explore(test, pyfuncitem.config.getoption("--schedules") or count, seed=seed)
    return True


def _settings(item: pytest.Function, count: int = 100, *, seed: int = 0) -> tuple[int, int]:
    if count < 1:
        raise pytest.UsageError(f"{item.nodeid}: schedules must be 1 or more, not {count}")
    return count, seed
