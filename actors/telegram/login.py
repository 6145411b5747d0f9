"""Signing in: from a phone number and a code to a session that can be stored.

Independent of actors: it needs a client of its own for a moment, and ends it however it ends.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from telethon import TelegramClient, errors
from telethon.sessions.abstract import Session
from telethon.sessions.string import StringSession
from telethon.tl.functions.auth import SignUpRequest

from telestage.actors.kernel import TelestageError

__all__ = ["LoginFailed", "sign_in"]

_NO_CODE = "-"
_KEY_BYTES = 256  # of an authorization key

Answer = Callable[[], str | Awaitable[str]]


class LoginFailed(TelestageError):
    """Telegram did not let the user in; the text says why and what would help."""


async def sign_in(
    api_id: int,
    api_hash: str,
    phone: str,
    *,
    code: Answer,
    password: Answer | None = None,
    first_name: str | None = None,
    session: Session | None = None,
    timeout: float = 120.0,
) -> Session:
    """Signs a user in by the code that Telegram sends, and returns the session.

    Args:
        code: Called when the code has been sent; returns it, plain or `async`. Asked once.
        password: Called if the account has a second password.
        first_name: Signs a new user up by that name if the number has no account. Default: that is an error.
        session: To sign in. Default: a new `StringSession`; its `save()` is the string to keep secret.
        timeout: Seconds for all of it, the person's typing included.

    Raises:
        LoginFailed: The code or the password is wrong, or the number has no account.
        telethon.errors.RPCError: Whatever else Telegram refuses.
        TimeoutError: It took longer than `timeout` seconds.
    """
    session = StringSession() if session is None else session
    client: Any = None
    try:
        async with asyncio.timeout(timeout):
            await _agree_on_key(session, api_id, api_hash)
            client = TelegramClient(session, api_id, api_hash, receive_updates=False, flood_sleep_threshold=0)
            await client.connect()
            sent = await client.send_code_request(phone)
            try:
                # an empty code would have Telethon send another one instead of signing in
                given = await _ask(code) or _NO_CODE
                await client.sign_in(phone, given, phone_code_hash=sent.phone_code_hash)
            except errors.SessionPasswordNeededError:
                if password is None:
                    raise LoginFailed(f"{phone} has a second password, and none was given") from None
                secret = await _ask(password)
                if not secret:
                    raise LoginFailed(f"{phone} has a second password, and an empty one was given") from None
                await client.sign_in(password=secret)
            except errors.PhoneNumberUnoccupiedError:
                if first_name is None:
                    raise LoginFailed(f"{phone} has no account; give a first name to sign up") from None
                await client(SignUpRequest(phone, sent.phone_code_hash, first_name, ""))
    except (errors.PhoneCodeInvalidError, errors.PhoneCodeExpiredError, errors.PhoneCodeEmptyError) as error:
        raise LoginFailed(f"the code for {phone} is wrong or has expired") from error
    except errors.PasswordHashInvalidError as error:
        raise LoginFailed(f"the second password of {phone} is wrong") from error
    finally:
        if client is not None:
            await client.disconnect()
    return session


async def _agree_on_key(login: Session, api_id: int, api_hash: str) -> None:
    """Has a string session an authorization key that its string can hold.

    Telethon keeps a key that begins with a zero byte, one in 256, without that byte, and the string is then
    filled up at the wrong end: it would be the string of another key, and the login be lost.
    """
    if not isinstance(login, StringSession):
        return
    session: Any = login  # it can be given a key, whatever its class says
    while session.auth_key is None or len(session.auth_key.key) < _KEY_BYTES:
        session.auth_key = None
        client: Any = TelegramClient(session, api_id, api_hash, receive_updates=False)
        try:
            await client.connect()
        finally:
            await client.disconnect()


async def _ask(question: Answer) -> str:
    answer = question()
    return await answer if inspect.isawaitable(answer) else answer
