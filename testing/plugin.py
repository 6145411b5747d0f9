"""The pytest plugin: a `telegram` for every test that wants one, and a check that tests leave nothing behind.

The check is off unless the project asks for it in its pytest configuration:

    telestage_leak_check = true

Then a test fails, at teardown, that leaves an asyncio task, a timer, a thread, a socket or a child process. The
loop is looked at once the test's own fixtures are torn down, the process once the loop is closed. What fixtures
of a wider scope keep open is left alone.
"""

from collections.abc import Generator

import pytest

from telestage.testing.leaks import ProcessSnapshot, report

_BASELINE = pytest.StashKey[ProcessSnapshot]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addini("telestage_leak_check", "fail tests that leave tasks, timers, … behind", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Where pytest-asyncio is active, load what needs it."""
    if config.pluginmanager.hasplugin("asyncio"):
        from telestage.testing import fixtures

        config.pluginmanager.register(fixtures, "telestage-fixtures")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Remember what is there."""
    if item.config.getini("telestage_leak_check"):
        item.stash[_BASELINE] = ProcessSnapshot.take()
        if item.config.pluginmanager.hasplugin("telestage-fixtures"):
            from telestage.testing.fixtures import add_loop_check

            add_loop_check(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a fixture of a wider scope opens, it will close later."""
    item = getattr(request, "_pyfuncitem", None)  # the test for whose sake it is set up
    if fixturedef.scope == "function" or not isinstance(item, pytest.Item) or _BASELINE not in item.stash:
        return (yield)
    before = ProcessSnapshot.take()
    result = yield
    item.stash[_BASELINE] |= ProcessSnapshot.take() - before
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Compare with what was there."""
    result = yield
    baseline = item.stash.get(_BASELINE, None)
    if baseline is not None and (leaks := baseline.left_behind()):
        pytest.fail(report(leaks), pytrace=False)
    return result
