"""docs/testkit.md: its code runs, and it names what there is."""

import re
from pathlib import Path

import pytest

from telestage.actors import testkit

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testkit.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_blocks_of_the_page_are_tests_that_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("\n".join(BLOCKS))
    pytester.makepyprojecttoml(re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    result.assert_outcomes(
        passed=sum(block.count("\ndef test_") + block.count("\nasync def test_") for block in BLOCKS)
    )


@pytest.mark.parametrize("name", testkit.__all__)
def test_the_page_names_everything_public(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


def test_the_page_names_every_way_of_a_probe() -> None:
    ways = {name for name in vars(testkit.Probe) if not name.startswith("_")}
    assert [name for name in sorted(ways) if not re.search(rf"\b{name}\b", PAGE)] == []
