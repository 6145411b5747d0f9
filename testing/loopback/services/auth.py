"""Signing in, up and out by a code; two-step passwords are not served."""

import hmac
import secrets

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.errors import BadArgument, RpcRefusal
from telestage.testing.loopback.rendering import Renderer
from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import DC, LoginCode, State, UserState, checked_phone


class AuthService:
    """auth.*: a code is sent to a phone, `LoopbackTelegram.login_code` reads it, the client gives it back."""

    def __init__(self, state: State, renderer: Renderer) -> None:
        self._state = state
        self._renderer = renderer

    @answers(functions.auth.SendCodeRequest, open=True)
    def send_code(self, caller: Caller, request: functions.auth.SendCodeRequest) -> TLObject:
        """Send a new code; one sent before no longer counts."""
        phone = _digits(request.phone_number)
        known = self._state.phones.get(phone)
        if known is not None and known.banned:
            raise RpcRefusal(400, "PHONE_NUMBER_BANNED")
        return self._send(phone, types.auth.SentCodeTypeApp)

    @answers(functions.auth.ResendCodeRequest, open=True)
    def resend_code(self, caller: Caller, request: functions.auth.ResendCodeRequest) -> TLObject:
        """Send another code in place of the last."""
        phone = _digits(request.phone_number)
        self._sent(phone, request.phone_code_hash)
        return self._send(phone, types.auth.SentCodeTypeSms)

    @answers(functions.auth.CancelCodeRequest, open=True)
    def cancel_code(self, caller: Caller, request: functions.auth.CancelCodeRequest) -> bool:
        """Forget the code."""
        phone = _digits(request.phone_number)
        self._sent(phone, request.phone_code_hash)
        del self._state.codes[phone]
        return True

    @answers(functions.auth.SignInRequest, open=True)
    def sign_in(self, caller: Caller, request: functions.auth.SignInRequest) -> TLObject:
        """Log in, or say that the number has no account yet."""
        phone = _digits(request.phone_number)
        sent = self._sent(phone, request.phone_code_hash)
        if not request.phone_code:
            raise RpcRefusal(400, "PHONE_CODE_EMPTY")
        if not hmac.compare_digest(request.phone_code.encode(), sent.code.encode()):
            raise RpcRefusal(400, "PHONE_CODE_INVALID")
        user = self._state.phones.get(phone)
        if user is None:
            sent.confirmed = True
            return types.auth.AuthorizationSignUpRequired()
        return self._enter(caller, phone, user)

    @answers(functions.auth.SignUpRequest, open=True)
    def sign_up(self, caller: Caller, request: functions.auth.SignUpRequest) -> TLObject:
        """Make the account for a number whose code was given rightly."""
        phone = _digits(request.phone_number)
        sent = self._sent(phone, request.phone_code_hash)
        if phone in self._state.phones:
            raise RpcRefusal(400, "PHONE_NUMBER_OCCUPIED")
        if not sent.confirmed:
            raise RpcRefusal(400, "PHONE_CODE_INVALID")
        if not request.first_name.strip():
            raise RpcRefusal(400, "FIRSTNAME_INVALID")
        return self._enter(caller, phone, self._state.add_user(None, phone, request.first_name))

    @answers(functions.auth.ExportAuthorizationRequest)
    def export(self, caller: Caller, request: functions.auth.ExportAuthorizationRequest) -> TLObject:
        """A pass with which the account may log in at another data centre, once."""
        if request.dc_id == DC or request.dc_id not in self._state.centres:
            raise RpcRefusal(400, "DC_ID_INVALID")
        ticket = secrets.token_bytes(32)
        self._state.exported[ticket] = caller.user
        return types.auth.ExportedAuthorization(caller.user.id, ticket)

    @answers(functions.auth.ImportAuthorizationRequest, open=True)
    def import_(self, caller: Caller, request: functions.auth.ImportAuthorizationRequest) -> TLObject:
        """Log in with such a pass."""
        user = self._state.exported.pop(request.bytes, None)
        if user is None or user.id != request.id:
            raise RpcRefusal(400, "AUTH_BYTES_INVALID")
        self._state.log_in(caller.device, user)
        return types.auth.Authorization(self._renderer.user(user, user))

    @answers(functions.auth.LogOutRequest)
    def log_out(self, caller: Caller, request: functions.auth.LogOutRequest) -> TLObject:
        """Nobody is logged in with this key any more."""
        self._state.log_out(caller.device)
        return types.auth.LoggedOut()

    def _send(self, phone: str, way: type[types.auth.SentCodeTypeApp] | type[types.auth.SentCodeTypeSms]) -> TLObject:
        code = LoginCode(f"{secrets.randbelow(100_000):05}", secrets.token_hex(9))
        self._state.codes[phone] = code
        kind = way(length=len(code.code))
        return types.auth.SentCode(kind, code.hash)  # pyright: ignore[reportArgumentType] - it takes Telethon's alias for a module

    def _enter(self, caller: Caller, phone: str, user: UserState) -> TLObject:
        if user.banned:
            raise RpcRefusal(400, "PHONE_NUMBER_BANNED")
        del self._state.codes[phone]
        self._state.log_in(caller.device, user)
        return types.auth.Authorization(self._renderer.user(user, user))

    def _sent(self, phone: str, hash: str) -> LoginCode:
        sent = self._state.codes.get(phone)
        if sent is None or sent.hash != hash:
            raise RpcRefusal(400, "PHONE_CODE_EXPIRED")
        return sent


def _digits(phone: str) -> str:
    try:
        return checked_phone(phone)
    except BadArgument:
        raise RpcRefusal(400, "PHONE_NUMBER_INVALID") from None
