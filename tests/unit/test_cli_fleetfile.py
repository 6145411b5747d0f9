"""A fleet file that is wrong says where, how, and what would be right; and never shows a secret."""

import copy
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telestage.actors import Limits
from telestage.cli.errors import FleetFileError
from telestage.cli.fleetfile import EVENT_FILTERS, ClientTable
from telestage.cli.loading import LoadedFile, load
from telestage.messages import Kind

BASE = """
api_id = 1
api_hash = "some-hash"
[[sessions]]
name = "alice"
session = "first"
[[sessions]]
name = "bob"
session = "second"
"""
MONITOR = BASE + '[[monitors]]\nhandler = "shop.handlers:keep"\n'
ENVIRON = {"ID": "42", "HASH": "hash-of-mine", "YES": "true", "HALF": "0.5", "WORD": "swordfish", "BAD": "-77"}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], LoadedFile]:
    def read(text: str) -> LoadedFile:
        path = tmp_path / "fleet.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, ENVIRON)

    return read


@pytest.fixture
def problem(read: Callable[[str], LoadedFile], tmp_path: Path) -> Callable[[str], str]:
    """What is said of a text, without the file's name that it begins with."""

    def problem(text: str) -> str:
        with pytest.raises(FleetFileError) as caught:
            read(text)
        assert caught.value.exit_code == 2
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / 'fleet.toml'}: ")
        return said.removeprefix(f"{tmp_path / 'fleet.toml'}: ")

    return problem


def test_a_small_file_has_the_defaults_for_all_that_it_leaves_out(read: Callable[[str], LoadedFile]) -> None:
    fleet = read(BASE).fleet
    assert (fleet.api_id, fleet.api_hash.reveal()) == (1, "some-hash")
    assert [(session.name, session.session.reveal()) for session in fleet.sessions if session.session] == [
        ("alice", "first"),
        ("bob", "second"),
    ]
    assert fleet.limits == Limits()
    assert fleet.monitors == []
    assert fleet.server is None
    assert (fleet.start_timeout, fleet.stop_timeout) == (60.0, 10.0)


def test_every_table_is_read(read: Callable[[str], LoadedFile]) -> None:
    fleet = read(
        MONITOR
        + """
        name = "keeper"
        event = "MessageEdited"
        sessions = "a*"
        chats = ["news", -1001500000001]
        blacklist_chats = true
        incoming = false
        pattern = "^deal (\\\\d+)$"
        intensity = 2
        period = 30
        once = true
        [client]
        device_model = "Shelf"
        [limits]
        operations = 7
        timeouts = { scraping = 30, sending = 5.5 }
        priorities = { sending = 20 }
        kinds = { sending = 3 }
        [server]
        port = 4430
        """
    ).fleet
    assert fleet.client.options() == {"device_model": "Shelf"}
    assert fleet.limits == Limits(
        operations=7,
        timeouts={Kind.SCRAPING: 30.0, Kind.SENDING: 5.5},
        priorities={Kind.SENDING: 20},
        kinds={"sending": 3},
    )
    assert fleet.server is not None
    assert (fleet.server.host, fleet.server.port) == ("127.0.0.1", 4430)
    [monitor] = fleet.monitors
    assert monitor.filters() == {
        "chats": ["news", -1001500000001],
        "blacklist_chats": True,
        "incoming": False,
        "pattern": r"^deal (\d+)$",
    }
    assert (monitor.name, monitor.sessions, monitor.intensity, monitor.period) == ("keeper", "a*", 2, 30.0)
    assert (monitor.once, monitor.durable) == (True, "soon")


def test_a_value_of_the_environment_becomes_what_its_place_expects(read: Callable[[str], LoadedFile]) -> None:
    fleet = read(
        MONITOR.replace("api_id = 1", 'api_id = "${ID}"').replace('"some-hash"', '"${HASH}"')
        + 'period = "${HALF}"\nincoming = "${YES}"\nchats = ["${WORD}", "${BAD}"]\n[limits]\nqueue = "${NO:-9}"'
    ).fleet
    assert (fleet.api_id, fleet.api_hash.reveal(), fleet.limits.queue) == (42, "hash-of-mine", 9)
    assert fleet.monitors[0].filters() == {"incoming": True, "chats": ["swordfish", -77]}
    assert fleet.monitors[0].period == 0.5


def replaced(old: str, new: str, base: str = BASE) -> str:
    assert old in base
    return base.replace(old, new, 1)


EVENTS = ", ".join(sorted(EVENT_FILTERS))
WRONG = {
    "not TOML": (BASE + "x = = 1", "not TOML: Invalid value (at line 10, column 5)"),
    "no sessions": (
        'api_id = 1\napi_hash = "x"',
        "sessions: is missing; expected one [[sessions]] table or more",
    ),
    "empty sessions": (
        'api_id = 1\napi_hash = "x"\nsessions = []',
        "sessions: expected one [[sessions]] table or more",
    ),
    "sessions as a table": (
        'api_id = 1\napi_hash = "x"\n[sessions]\nname = "alice"',
        "sessions: expected one [[sessions]] table or more, not a table",
    ),
    "no api_id": (replaced("api_id = 1", ""), "api_id: is missing; expected the number from my.telegram.org"),
    "api_id 0": (replaced("api_id = 1", "api_id = 0"), "api_id: expected the number from my.telegram.org"),
    "api_id in quotes": (
        replaced("api_id = 1", 'api_id = "1"'),
        "api_id: expected the number from my.telegram.org, not a text",
    ),
    "api_hash empty": (replaced("some-hash", " "), "api_hash: expected the text from my.telegram.org"),
    "unknown key": (BASE + "[limit]\nqueue = 1", "limit: unknown key; did you mean 'limits'?"),
    "unknown key below": (replaced("name", "nmae"), "sessions[0].nmae: unknown key; did you mean 'name'?"),
    "unknown key unlike any": (
        BASE + "[server]\nport = 1\nxyz = 1",
        "server.xyz: unknown key; known: port, host, public_key",
    ),
    "name with a space": (
        replaced("bob", "bob b"),
        "sessions[1].name: expected a name of 1 to 64 characters, without spaces, '/', '*', '?' and '[', "
        "that doesn't begin with '$'",
    ),
    "name twice": (replaced("bob", "alice"), "sessions[1].name: 'alice' is the name of sessions[0] already"),
    "name twice, from the environment": (
        replaced('"bob"', '"${WORD}"', replaced('"alice"', '"${WORD}"')),
        "sessions[1].name: the value of ${WORD} is the name of sessions[0] already",
    ),
    "no session": (
        replaced('session = "second"', ""),
        "sessions[1].session: is missing; expected a session string or a path that ends in .session, "
        "or session_file instead",
    ),
    "both sessions": (
        BASE + 'session_file = "x"',
        "sessions[1]: has both session and session_file; give one of them",
    ),
    "session a number": (
        replaced('"second"', "5"),
        "sessions[1].session: expected a session string, or a path that ends in .session, not a whole number",
    ),
    "session empty": (
        replaced('"second"', '""'),
        "sessions[1].session: expected a session string, or a path that ends in .session",
    ),
    "unset variable": (
        replaced('"second"', '"${BOBS_SESSION}"'),
        "sessions[1].session: the environment variable BOBS_SESSION is not set; set it, or give a default: "
        "${BOBS_SESSION:-default}",
    ),
    "malformed variable": (
        replaced('"second"', '"${BOB"'),
        "sessions[1].session: a '${' here is neither ${NAME} nor ${NAME:-default}; for the two characters write $${",
    ),
    "variable that isn't a number": (
        replaced("api_id = 1", 'api_id = "${WORD}"'),
        "api_id: expected the number from my.telegram.org, not the value of ${WORD}",
    ),
    "variable out of bounds": (
        replaced("api_id = 1", 'api_id = "${BAD}"'),
        "api_id: expected the number from my.telegram.org, not the value of ${BAD}",
    ),
    "limit 0": (
        BASE + "[limits]\noperations = 0",
        "limits.operations: must be a whole number of 1 or more, not 0",
    ),
    "limit from the environment": (
        BASE + '[limits]\noperations = "${BAD}"',
        "limits.operations: must be a whole number of 1 or more",
    ),
    "limit a text": (BASE + '[limits]\nqueue = "x"', "limits.queue: expected a whole number, not a text"),
    "limit true": (BASE + "[limits]\nqueue = true", "limits.queue: expected a whole number, not true"),
    "limit unknown": (BASE + "[limits]\nquue = 1", "limits.quue: unknown key; did you mean 'queue'?"),
    "limit infinite": (
        BASE + "[limits]\nrpc_timeout = inf",
        "limits.rpc_timeout: must be a positive number of seconds, not inf",
    ),
    "timeout of an unknown kind": (
        BASE + "[limits]\ntimeouts = { scrapping = 1 }",
        "limits.timeouts.scrapping: unknown key; did you mean 'scraping'?",
    ),
    "timeout of 0": (
        BASE + "[limits]\ntimeouts = { scraping = 0 }",
        "limits.timeouts.scraping: must be a positive number of seconds, not 0.0",
    ),
    "priority a text": (
        BASE + '[limits]\npriorities = { other = "x" }',
        "limits.priorities.other: expected a whole number, not a text",
    ),
    "limit of an unknown kind": (
        BASE + "[limits]\nkinds = { sendin = 1 }",
        "limits.kinds.sendin: unknown kind; did you mean 'sending'?",
    ),
    "stop_timeout 0": (
        "stop_timeout = 0\n" + BASE,
        "stop_timeout: expected a number of seconds above 0, a year at most",
    ),
    "client option empty": (
        BASE + '[client]\ndevice_model = ""',
        "client.device_model: expected a text that isn't empty",
    ),
    "client option of a session": (
        BASE + "[sessions.client]\ntimeout = -1",
        "sessions[1].client.timeout: expected a number of seconds above 0, a year at most",
    ),
    "flood_sleep_threshold": (
        BASE + "[client]\nflood_sleep_threshold = 60",
        "client.flood_sleep_threshold: unknown key; known: device_model, system_version, app_version, lang_code, "
        "system_lang_code, timeout, connection_retries, request_retries, retry_delay, entity_cache_limit",
    ),
    "server elsewhere": (
        BASE + '[server]\nhost = "10.0.0.1"\nport = 1',
        "server.host: expected an IPv4 loopback address such as 127.0.0.1, not '10.0.0.1'; "
        "leave the table out for Telegram itself",
    ),
    "server without a port": (BASE + "[server]", "server.port: is missing; expected a port number, 1 to 65535"),
    "server with a wild port": (BASE + "[server]\nport = 70000", "server.port: expected a port number, 1 to 65535"),
    "no handler": (
        BASE + '[[monitors]]\nevent = "Raw"',
        "monitors[0].handler: is missing; expected the place of a function, such as 'package.module:function'",
    ),
    "handler without a function": (
        replaced("shop.handlers:keep", "shop.handlers", MONITOR),
        "monitors[0].handler: expected the place of a function, such as 'package.module:function'",
    ),
    "event misspelt": (
        MONITOR + 'event = "NewMesage"',
        f"monitors[0].event: expected one of {EVENTS}, not 'NewMesage'; did you mean 'NewMessage'?",
    ),
    "event from the environment": (
        MONITOR + 'event = "${WORD}"',
        f"monitors[0].event: expected one of {EVENTS}, not the value of ${{WORD}}",
    ),
    "durable misspelt": (
        MONITOR + 'durable = "befor"',
        "monitors[0].durable: expected one of before, each, soon, not 'befor'; did you mean 'before'?",
    ),
    "durable without a store": (
        MONITOR + 'durable = "each"',
        "monitors[0].durable: needs store: the path of the store that is to have it",
    ),
    "once a word": (MONITOR + 'once = "yes"', "monitors[0].once: expected true or false, not a text"),
    "filter of another event": (
        MONITOR + 'event = "MessageDeleted"\npattern = "x"',
        "monitors[0].pattern: MessageDeleted has no such filter; it has chats, blacklist_chats",
    ),
    "filter of an event without": (
        MONITOR + 'event = "Raw"\nchats = "x"',
        "monitors[0].chats: Raw has no such filter; it has no filters",
    ),
    "chats of a wrong kind": (
        MONITOR + 'chats = ["news", 1.5]',
        "monitors[0].chats[1]: expected a text or a whole number, not a decimal number",
    ),
    "chats a date": (
        MONITOR + "chats = 2024-01-01",
        "monitors[0].chats: expected a username, an id, or a list of usernames and ids, not a date or time",
    ),
    "black list of nothing": (
        MONITOR + "blacklist_chats = true",
        "monitors[0].blacklist_chats: needs chats: those are what it turns into a black list",
    ),
    "neither in nor out": (
        MONITOR + "incoming = false\noutgoing = false",
        "monitors[0]: incoming and outgoing are both false, so no message would match",
    ),
    "pattern": (
        MONITOR + 'pattern = "(deal"',
        "monitors[0].pattern: not a regular expression: missing ), unterminated subpattern at character 0",
    ),
    "sessions that aren't there": (
        MONITOR + 'sessions = "alicia"',
        "monitors[0].sessions: 'alicia' matches the name of no session; did you mean 'alice'?",
    ),
    "monitor twice": (
        MONITOR + '[[monitors]]\nhandler = "other:keep"',
        "monitors[1].handler: monitors[0] has that name already; give it a name of its own",
    ),
    "monitor's name twice": (
        MONITOR + '[[monitors]]\nname = "keep"\nhandler = "other:other"',
        "monitors[1].name: monitors[0] has that name already",
    ),
    "intensity below 0": (
        MONITOR + "intensity = -1",
        "monitors[0].intensity: expected a whole number of 0 or more",
    ),
}


@pytest.mark.parametrize(("text", "expected"), list(WRONG.values()), ids=list(WRONG))
def test_what_is_wrong_is_said_with_its_place(text: str, expected: str, problem: Callable[[str], str]) -> None:
    assert problem(text) == expected


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetFileError, match=r"missing\.toml: can't be read: No such file or directory$"):
        load(tmp_path / "missing.toml", {})
    with pytest.raises(FleetFileError, match=r"can't be read: Is a directory$"):
        load(tmp_path, {})
    (tmp_path / "bytes.toml").write_bytes(b"api_id = \xff")
    with pytest.raises(FleetFileError, match=r"bytes\.toml: not UTF-8: byte 9 can't be decoded$"):
        load(tmp_path / "bytes.toml", {})


def test_the_file_shows_no_value_in_its_reprs(read: Callable[[str], LoadedFile]) -> None:
    loaded = read(MONITOR + 'chats = "${WORD}"\n[client]\ndevice_model = "${WORD}"')
    for value in (loaded, loaded.fleet, *loaded.fleet.sessions, *loaded.fleet.monitors, loaded.fleet.client):
        shown = repr(value)
        assert not any(secret in shown for secret in ("swordfish", "some-hash", "first", "second"))


def test_every_client_option_is_one_of_telethons() -> None:
    import inspect

    from telethon import TelegramClient

    assert set(ClientTable.__struct_fields__) <= set(inspect.signature(TelegramClient.__init__).parameters)


def test_every_event_and_filter_is_one_of_telethons() -> None:
    """The table of filters follows Telethon's own constructors."""
    from telethon import events

    values: dict[str, object] = {"pattern": "x", "chats": "x", "from_users": "x"}
    for event, filters in EVENT_FILTERS.items():
        getattr(events, event)(**{name: values.get(name, True) for name in filters})


# Secrets, wherever they stand and whatever is wrong

WHOLE: dict[str, object] = {
    "api_id": 1,
    "api_hash": "x",
    "start_timeout": 5.0,
    "sessions": [
        {"name": "alice", "session": "first", "client": {"device_model": "Shelf", "timeout": 5}},
        {"name": "bob", "session_file": "bob.txt"},
    ],
    "monitors": [
        {
            "handler": "shop:keep",
            "event": "NewMessage",
            "name": "m",
            "sessions": "*",
            "chats": ["news", 5],
            "blacklist_chats": True,
            "incoming": True,
            "pattern": "x",
            "period": 5.0,
            "once": True,
            "durable": "soon",
        },
        {"handler": "shop:other", "event": "MessageRead", "inbox": True},
    ],
    "limits": {"operations": 5, "timeouts": {"scraping": 5.0}, "kinds": {"sending": 4}},
    "client": {"lang_code": "en"},
    "server": {"host": "127.0.0.1", "port": 5, "public_key": "x.pem"},
}


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of WHOLE that holds a single value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))
    else:
        yield path


def toml(value: object) -> str:
    """WHOLE, or what became of it, as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else '"' + str(value) + '"'


SECRETS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40).map(
    lambda text: f"s3cr3t{text}"
) | st.integers(10**9, 10**12).map(lambda number: f"-{number}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(list(places(WHOLE))),
    secret=SECRETS,
    before=st.sampled_from(["", "x", "[", "MessageEdited"]),
    drop=st.sampled_from([None, *WHOLE]),
)
def test_no_secret_shows_in_an_error_or_a_repr(
    place: tuple[str | int, ...], secret: str, before: str, drop: str | None, tmp_path: Path
) -> None:
    whole = copy.deepcopy(WHOLE)
    inner: object = whole
    for step in place[:-1]:
        inner = inner[step]  # type: ignore[index]  # places() goes where there is something
    inner[place[-1]] = before + "${SECRET}"  # type: ignore[index]
    if drop is not None and drop != place[0]:
        del whole[drop]  # something else may be wrong as well
    path = tmp_path / "fleet.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in whole.items()), encoding="utf-8")
    try:
        loaded = load(path, {"SECRET": secret})
    except FleetFileError as error:
        said = "".join(traceback.format_exception(error)) + repr(error)
    else:
        said = repr(loaded) + repr(loaded.fleet) + "".join(map(repr, [*loaded.fleet.sessions, *loaded.fleet.monitors]))
    marker = secret[:10]
    assert marker not in said
    assert repr(marker)[1:-1] not in said
