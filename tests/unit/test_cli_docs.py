"""docs/configuration.md says what the fleet file can say, no more and no less; and the example is right."""

import base64
import re
import struct
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import inspect

from telestage.actors.telegram.limits import DEFAULT_PACES
from telestage.cli.building import BuiltFleet
from telestage.cli.expectation import bare, fields_of, item_of
from telestage.cli.fleetfile import FleetFile
from telestage.cli.loading import load
from telestage.messages import DEFAULT_PRIORITIES, DEFAULT_TIMEOUTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_.\[\]]+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
MANY = {"sessions", "monitors"}


def keys(expected: inspect.Type, where: str = "") -> Iterator[tuple[str, inspect.Field]]:
    """Every key of the file, and what is known of it."""
    for key, field in (fields_of(expected) or {}).items():
        place = f"{where}.{key}" if where else key
        if place == "sessions[].client":
            yield place, field  # documented once, as [client]
        elif key in MANY and (item := item_of(field.type)) is not None:
            yield from keys(item, f"{place}[]")
        elif fields_of(field.type) is not None:
            yield from keys(bare(field.type), place)
        else:
            yield place, field


def written(field: inspect.Field) -> str:
    """The default of a key, as the page writes it."""
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is None or isinstance(default, msgspec.Struct):
        return "—"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"  # as TOML has it
    return f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`"


def test_the_documented_keys_and_defaults_are_those_of_the_file() -> None:
    documented = {key: default for key, default, _ in ROW.findall(PAGE)}
    assert len(ROW.findall(PAGE)) == len(documented), "a key is documented twice"
    assert documented == {key: written(field) for key, field in keys(inspect.type_info(FleetFile))}


def test_the_documented_defaults_of_kinds_are_the_fleets() -> None:
    rows = {key: text for key, _, text in ROW.findall(PAGE)}

    def table(key: str) -> object:
        [toml] = re.findall(r"over `(\{.*?\})`", rows[key])
        return tomllib.loads(f"x = {toml}")["x"]

    assert table("limits.timeouts") == {kind.value: seconds for kind, seconds in DEFAULT_TIMEOUTS.items()}
    assert table("limits.paces") == {pace.value: list(bounds) for pace, bounds in DEFAULT_PACES.items()}
    assert table("limits.priorities") == {kind.value: priority for kind, priority in DEFAULT_PRIORITIES.items()}


def test_every_key_has_a_sentence_that_says_what_it_is() -> None:
    for key, _, text in ROW.findall(PAGE):
        assert text.endswith("."), key


def test_the_example_is_right_down_to_its_handlers() -> None:
    def session(key: int) -> str:
        packed = struct.pack(">B4sH256s", 2, bytes((127, 0, 0, 1)), 443, bytes([key]) * 256)
        return "1" + base64.urlsafe_b64encode(packed).decode()

    environ = {
        "TELESTAGE_API_ID": "1",
        "TELESTAGE_API_HASH": "any",
        "SUPPORT_SESSION": session(1),
        "ARCHIVE_SESSION": session(2),
    }
    loaded = load(ROOT / "examples" / "fleet.toml", environ)
    with BuiltFleet(loaded) as built:
        watched = [(monitor.session, monitor.name) for monitor in built.fleet.status().monitors]
    assert watched == [("support-1", "incoming"), ("archive-1", "watch-durov")]
    assert loaded.fleet.client.options() == {"device_model": "Telestage"}
    assert not set(environ) - set(re.findall(r"\$\{(\w+)", (ROOT / "examples" / "fleet.toml").read_text()))


def test_the_server_table_of_the_example_is_right_too(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "fleet.toml").read_text(encoding="utf-8")
    shown = text.replace("# [server]\n# port", "[server]\nport")
    (tmp_path / "fleet.toml").write_text(shown, encoding="utf-8")
    environ = {"TELESTAGE_API_ID": "1", "TELESTAGE_API_HASH": "x", "SUPPORT_SESSION": "x", "ARCHIVE_SESSION": "y"}
    server = load(tmp_path / "fleet.toml", environ).fleet.server
    assert server is not None
    assert server.port == 4430
