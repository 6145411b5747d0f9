"""The Diffie-Hellman handshake that gives a new client its authorization key.

Three questions in fixed order, the first of which may be asked anew; anything else is a `ProtocolViolation`, and
the connection that carried it is closed. (https://core.telegram.org/mtproto/auth_key)
"""

import os
import random
import struct
import time
from hashlib import sha1

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback import keys
from telestage.testing.loopback.crypto import decrypt_ige, encrypt_ige, handshake_key, new_nonce_hash
from telestage.testing.loopback.errors import ProtocolViolation
from telestage.testing.loopback.tl import parse

G = 3
PRIME = int(  # Telegram's own safe prime, which clients know and need not test
    "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f"
    "48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37"
    "20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64"
    "2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4"
    "a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754"
    "fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4"
    "e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f"
    "0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b",
    16,
)

# Any product of two primes will do as a proof of work. A small factor lets a hundred clients log in at once, and
# with two of the same size Telethon's factorization gives up once in 4,000 times.
_SMALLER = (1000003, 1000033, 1000037, 1000039, 1000081, 1000099, 1000117, 1000121, 1000133, 1000151)
_LARGER = (2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543, 2147483497)

_KEY_LENGTH = 256

_ALLOWED = {
    struct.pack("<I", request.CONSTRUCTOR_ID)
    for request in (functions.ReqPqMultiRequest, functions.ReqDHParamsRequest, functions.SetClientDHParamsRequest)
}


class Handshake:
    """One client's way to a key. `key` is None until the last answer, then the new key's bytes."""

    def __init__(self) -> None:
        self.key: bytes | None = None
        self._nonce = 0
        self._server_nonce = 0
        self._new_nonce = 0
        self._p = 0
        self._q = 0
        self._a = 0
        self._due: type[TLObject] = functions.ReqPqMultiRequest

    def answer(self, body: bytes) -> TLObject:
        """The answer to the plain message `body`.

        Raises:
            ProtocolViolation: It is not the question that is due, or does not fit what went before.
        """
        if body[:4] not in _ALLOWED:  # looked at before parsing: strangers get to choose among three types only
            raise ProtocolViolation(f"plain message {body[:4].hex()} is no part of the handshake")
        request = parse(body)
        if isinstance(request, functions.ReqPqMultiRequest):  # a client may begin anew at any time
            return self._offer_pq(request)
        if not isinstance(request, self._due):
            raise ProtocolViolation(f"{type(request).__name__} where {self._due.__name__} was due")
        if (
            getattr(request, "nonce", None) != self._nonce
            or getattr(request, "server_nonce", None) != self._server_nonce
        ):
            raise ProtocolViolation(f"{type(request).__name__} with the nonces of another handshake")
        if isinstance(request, functions.ReqDHParamsRequest):
            return self._offer_params(request)
        if isinstance(request, functions.SetClientDHParamsRequest):
            return self._agree(request)
        raise ProtocolViolation(f"{type(request).__name__} is no part of the handshake")

    def _offer_pq(self, request: functions.ReqPqMultiRequest) -> TLObject:
        self._nonce = request.nonce
        self._server_nonce = int.from_bytes(os.urandom(16), "little", signed=True)
        self._p, self._q = random.choice(_SMALLER), random.choice(_LARGER)
        self._due = functions.ReqDHParamsRequest
        return types.ResPQ(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            pq=(self._p * self._q).to_bytes(8, "big"),  # Telethon reads it as a signed number
            server_public_key_fingerprints=[keys.fingerprint()],
        )

    def _offer_params(self, request: functions.ReqDHParamsRequest) -> TLObject:
        if (_number(request.p), _number(request.q)) != (self._p, self._q):
            raise ProtocolViolation("wrong factors of pq")
        if request.public_key_fingerprint != keys.fingerprint():
            raise ProtocolViolation("encrypted to a key this server does not have")
        plain = keys.decrypt(request.encrypted_data)
        inner = parse(plain[20:]) if plain is not None else None
        if plain is None or not isinstance(inner, types.PQInnerData) or sha1(bytes(inner)).digest() != plain[:20]:
            raise ProtocolViolation("inner data that is not encrypted to this server")
        if (inner.nonce, inner.server_nonce) != (self._nonce, self._server_nonce):
            raise ProtocolViolation("inner data with the nonces of another handshake")
        self._new_nonce = inner.new_nonce
        self._a = int.from_bytes(os.urandom(256), "big")
        answer = bytes(
            types.ServerDHInnerData(
                nonce=self._nonce,
                server_nonce=self._server_nonce,
                g=G,
                dh_prime=_big_endian(PRIME),
                g_a=_big_endian(pow(G, self._a, PRIME)),
                server_time=int(time.time()),
            )
        )
        answer = sha1(answer).digest() + answer
        answer += os.urandom(-len(answer) % 16)
        self._due = functions.SetClientDHParamsRequest
        return types.ServerDHParamsOk(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            encrypted_answer=encrypt_ige(answer, *handshake_key(self._server_nonce, self._new_nonce)),
        )

    def _agree(self, request: functions.SetClientDHParamsRequest) -> TLObject:
        sealed = request.encrypted_data
        if not sealed or len(sealed) % 16:
            raise ProtocolViolation(f"client's parameters of {len(sealed)} bytes")
        plain = decrypt_ige(sealed, *handshake_key(self._server_nonce, self._new_nonce))
        inner = parse(plain[20:])
        if not isinstance(inner, types.ClientDHInnerData) or sha1(bytes(inner)).digest() != plain[:20]:
            raise ProtocolViolation("client's parameters that cannot be opened")
        g_b = _number(inner.g_b)
        if not 1 < g_b < PRIME - 1:
            raise ProtocolViolation("g_b is not within (1, p - 1)")
        key = _big_endian(pow(g_b, self._a, PRIME))
        if len(key) < _KEY_LENGTH:
            # One key in 256 begins with a zero byte. Telethon drops the byte and then saves another key than it
            # uses, so the session would be worthless when it is opened again: let it try once more.
            return types.DhGenRetry(
                nonce=self._nonce,
                server_nonce=self._server_nonce,
                new_nonce_hash2=new_nonce_hash(key, self._new_nonce, 2),
            )
        self.key = key
        return types.DhGenOk(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            new_nonce_hash1=new_nonce_hash(self.key, self._new_nonce, 1),
        )


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
