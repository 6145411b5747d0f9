"""Thespian's own test suite, as its installed package ships it, on our `AsyncioSystemBase`: `make conformance`.

The suite is run as it is; three names of its package `thespian.test` are replaced before it is collected:
- `asys`, the fixture of an actor system, and `similar_asys`, which makes further ones, give systems on our base.
- `actor_system_unsupported`, by which a test skips itself on some of Thespian's bases, skips nothing here.
So a test is skipped if docs/thespian.md lists it, with its reason, and only then: one that skips itself without being
listed fails, and so does the run if a row of the list fits no test, or if the whole suite was run and its figures
aren't those of the page. `base_name` is simpleSystemBase's, the only base of Thespian's whose actors share a process as
ours do, since a few tests expect by it what that entails.
"""

import fnmatch
import os
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import thespian.test
from thespian.actors import ActorSystem

from telestage.actors.kernel import AsyncioSystemBase

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "thespian.md"
FIGURES = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped\. Of\s+those that passed, (\d+) use an actor system")
ROW = re.compile(r"^\| `(test_\w+\.py::[^`|]+)` \| (.+) \|$", re.MULTILINE)  # | `file::class::test` | reason |


def make_system(capabilities: dict[str, object]) -> ActorSystem:
    system = ActorSystem(AsyncioSystemBase(capabilities), capabilities, logDefs=False, transientUnique=True)
    system.base_name, system.port_num, system.txonly = "simpleSystemBase", None, False
    return system


@pytest.fixture
def asys() -> Iterator[ActorSystem]:
    capabilities = {"Foo Allowed": True, "Cows Allowed": True, "Dogs Allowed": True, "dog": "food"}
    system = make_system(dict(capabilities))
    yield system
    system.shutdown()


def similar_asys(
    asys: ActorSystem,
    in_convention: bool = True,
    start_wait: bool = True,
    capabilities: dict[str, object] | None = None,
) -> ActorSystem:
    return make_system({} if capabilities is None else capabilities)


def on_another_base(item: pytest.Item) -> bool:
    """Whether a fixture of the suite's own, of which there is one for each base, is for one of the others."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(str(value).startswith("multiproc") for value in callspec.params.values())


class Conformance:
    """What decides on skips, and counts."""

    def __init__(self, *, whole: bool) -> None:
        text = PAGE.read_text(encoding="utf-8")
        self.reasons: dict[str, str] = dict(ROW.findall(text))
        told = FIGURES.search(text)
        assert told is not None, f"{PAGE.name} doesn't tell how many pass"
        self.told = [int(figure) for figure in told.groups()]
        self.whole = whole
        self.unused = set(self.reasons)
        self.on_our_base: set[str] = set()

    def row(self, item: pytest.Item) -> str | None:
        """The row that lists a test."""
        name = item.nodeid[item.nodeid.index("test_") :]
        return next((row for row in self.reasons if fnmatch.fnmatchcase(name, row)), None)

    @pytest.hookimpl(tryfirst=True)  # before -k chooses
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not on_another_base(item)]
        for item in items:
            if row := self.row(item):
                self.unused.discard(row)
                item.add_marker(pytest.mark.skip(reason=self.reasons[row]))
            elif "asys" in getattr(item, "fixturenames", ()):
                self.on_our_base.add(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.skipped and self.row(item) is None:
            report.outcome = "failed"
            report.longrepr = f"skips itself, and {PAGE.name} doesn't list it: {report.longrepr}"
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == 0 and (self.unused or self.differs(session.config)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def figures(self, config: pytest.Config) -> list[int]:
        """As the page tells them: passed, failed or broken, skipped, and how many of the first use a system."""
        stats = config.pluginmanager.getplugin("terminalreporter").stats
        passed = {report.nodeid for report in stats.get("passed", ()) if report.when == "call"}
        counts = {kind: len(stats.get(kind, ())) for kind in ("failed", "error", "skipped")}
        return [len(passed), counts["failed"] + counts["error"], counts["skipped"], len(passed & self.on_our_base)]

    def differs(self, config: pytest.Config) -> bool:
        """Whether the whole suite was run, and its figures aren't those of the page."""
        return self.whole and self.figures(config) != self.told

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for row in sorted(self.unused):
            terminalreporter.write_line(f"{PAGE.name} lists {row}, which fits no test of the suite", red=True)
        passed, failed, skipped, on_our_base = self.figures(terminalreporter.config)
        terminalreporter.write_sep("=", "Thespian's own suite on AsyncioSystemBase")
        terminalreporter.write_line(
            f"{passed} passed, {failed} failed, {skipped} skipped; "
            f"{on_our_base} of those that passed use an actor system"
        )
        if self.differs(terminalreporter.config):
            terminalreporter.write_line(f"{PAGE.name} tells other figures: {self.told}", red=True)


def main(arguments: list[str]) -> int:
    os.environ.pop(
        "PYTHONUNBUFFERED", None
    )  # testCommandAbort takes it for granted that its command's output is buffered
    thespian.test.asys = asys
    thespian.test.similar_asys = similar_asys
    thespian.test.actor_system_unsupported = lambda asys, *bases: None
    whole = all(argument in ("-q", "-v") for argument in arguments)
    return pytest.main(
        ["-c", str(HERE / "pytest.ini"), "--pyargs", "thespian.test", *arguments], plugins=[Conformance(whole=whole)]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
