"""`${NAME}` in a fleet file, and what is never shown of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telestage.cli.environment import BadReference, resolve
from telestage.cli.secrecy import Redactor, Secret

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("<${A}-${B}>", "<one-two>"),
        ("${A:-other}", "one"),
        ("${NO:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${NO:-}", ""),
        ("${NO:-$x:-y}", "$x:-y"),
        ("${EMPTY}", ""),
        ("$A $ 5$", "$A $ 5$"),
        ("$${A}", "${A}"),
        ("$$", "$$"),
        ("^a{2}$", "^a{2}$"),
        ("${TRAP}", "${A} $${A}"),
    ],
)
def test_references_are_replaced_as_in_a_shell_and_values_taken_as_they_are(text: str, expected: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": "", "TRAP": "${A} $${A}"}
    assert resolve(text, environ).text == expected


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(BadReference) as caught:
        resolve("x ${API_HASH}", {})
    assert str(caught.value) == (
        "the environment variable API_HASH is not set; set it, or give a default: ${API_HASH:-default}"
    )


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A:x}", "${A-b}", "a ${ A }"])
def test_a_malformed_reference_is_refused_with_both_right_forms(text: str) -> None:
    with pytest.raises(BadReference) as caught:
        resolve(text, {"A": "hidden-value"})
    assert "neither ${NAME} nor ${NAME:-default}" in str(caught.value)
    assert "hidden-value" not in str(caught.value)


@given(st.text(), st.dictionaries(NAMES, st.text()))
def test_a_text_without_a_reference_stays_as_it_is(text: str, environ: dict[str, str]) -> None:
    plain = text.replace("${", "")
    assert resolve(plain, environ).text == plain
    assert resolve(plain, environ).values == {}


@given(st.lists(st.tuples(st.text().filter(lambda text: "$" not in text), NAMES, st.text()), max_size=5))
def test_each_reference_becomes_its_value_wherever_it_stands(parts: list[tuple[str, str, str]]) -> None:
    environ = {name: value for _, name, value in parts}
    text = "".join(f"{before}${{{name}}}" for before, name, _ in parts)
    expected = "".join(before + environ[name] for before, name, _ in parts)
    resolved = resolve(text, environ)
    assert resolved.text == expected
    assert resolved.values == environ


@given(st.text())
def test_a_secret_shows_in_no_printing(text: str) -> None:
    hidden = Secret(text)
    assert hidden.reveal() == text
    assert {repr(hidden), str(hidden), f"{hidden}", f"{hidden!r:>3}"} == {"Secret(...)"}


@given(st.lists(st.text(min_size=4), min_size=1), st.text(), st.text())
def test_a_redactor_takes_out_all_that_it_knows(secrets: list[str], before: str, after: str) -> None:
    redactor = Redactor()
    for secret in secrets:
        redactor.learn(secret, "<gone>")
    for secret in secrets:
        left = redactor.redact(before + secret + after)
        assert secret not in left or secret in before + after or secret in "<gone>"
        assert secret not in redactor.redact(repr(secret))[1:-1] or secret in "<gone>"


def test_a_redactor_leaves_no_part_of_a_secret_that_holds_another() -> None:
    redactor = Redactor()
    redactor.learn("swordfish", "${A}")
    redactor.learn("xx-swordfish-yy", "${B}")
    redactor.learn("first line\nsecond line", "${C}")
    assert redactor.redact("is xx-swordfish-yy, or swordfish") == "is ${B}, or ${A}"
    assert redactor.redact("cut to 'second line'") == "cut to '${C}'"
    assert redactor.redact(repr("first line\nsecond line")) == "'${C}'"
    assert "swordfish" not in repr(redactor)
