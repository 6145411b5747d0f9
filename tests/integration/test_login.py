"""Signing in by phone and code, with the whole handshake, up to a session that a fleet can use."""

import pytest
from telethon import errors
from telethon.sessions import StringSession

from telestage.actors import LoginFailed, sign_in


async def test_a_session_signed_in_by_code_works_in_a_fleet(telegram, new_fleet):
    """R-X1: as the string it is stored as."""
    alice = telegram.add_user("alice", phone="15551234567")
    asked = []

    async def code():
        asked.append(True)
        return telegram.login_code("15551234567")

    session = await sign_in(1, "hash", "+15551234567", code=code, session=telegram.blank_session())
    assert asked == [True]
    fleet = new_fleet()
    fleet.add("alice", session=StringSession(session.save()).save())
    async with fleet:
        assert (await fleet["alice"].get_me()).id == alice.id


async def test_a_new_user_is_signed_up_by_first_name(telegram, new_fleet):
    """R-X1."""
    session = await sign_in(
        1,
        "hash",
        "15550000001",
        code=lambda: telegram.login_code("15550000001"),
        first_name="Dora",
        session=telegram.blank_session(),
    )
    fleet = new_fleet()
    fleet.add("dora", session=session)
    async with fleet:
        assert (await fleet["dora"].get_me()).first_name == "Dora"


async def test_a_number_without_an_account_needs_a_first_name(telegram):
    """R-X1: the error says what would help."""
    with pytest.raises(LoginFailed, match="first name"):
        await sign_in(
            1,
            "hash",
            "15550000002",
            code=lambda: telegram.login_code("15550000002"),
            session=telegram.blank_session(),
        )


@pytest.mark.parametrize("code", ["00000x", ""])
async def test_a_wrong_code_is_said_to_be_wrong(telegram, code):
    """R-X1."""
    telegram.add_user("alice", phone="15551234567")
    with pytest.raises(LoginFailed, match="code"):
        await sign_in(1, "hash", "15551234567", code=lambda: code, session=telegram.blank_session())


async def test_an_account_that_may_not_sign_in_is_told_by_telegram(telegram):
    """R-X4."""
    alice = telegram.add_user("alice", phone="15551234567")
    telegram.faults.ban(alice)
    with pytest.raises(errors.PhoneNumberBannedError):
        await sign_in(1, "hash", "15551234567", code=lambda: "1", session=telegram.blank_session())


async def test_signing_in_ends_within_its_time_and_leaves_nothing(telegram):
    """R-D3."""
    telegram.faults.unanswered("auth.sendCode")
    with pytest.raises(TimeoutError):
        await sign_in(1, "hash", "15551234567", code=lambda: "1", session=telegram.blank_session(), timeout=0.5)
