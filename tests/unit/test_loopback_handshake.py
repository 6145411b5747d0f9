"""The handshake, question by question, with a client that can choose what chance gives a real one."""

import time
from hashlib import sha1

import pytest
from telethon.crypto import AES, Factorization
from telethon.crypto import rsa as telethon_rsa
from telethon.extensions import BinaryReader
from telethon.helpers import generate_key_data_from_nonce
from telethon.tl import functions, types

from telestage.testing import trust
from telestage.testing.loopback import keys
from telestage.testing.loopback.crypto import new_nonce_hash
from telestage.testing.loopback.errors import ProtocolViolation
from telestage.testing.loopback.handshake import PRIME, Handshake

NONCE, NEW_NONCE = 12345, 67890


class Client:
    """The other side, as far as the parameters."""

    def __init__(self) -> None:
        self.handshake = Handshake()
        offer = self.handshake.answer(bytes(functions.ReqPqMultiRequest(NONCE)))
        self.server_nonce = offer.server_nonce
        self.pq = int.from_bytes(offer.pq, "big", signed=True)
        self.p, self.q = Factorization.factorize(self.pq)

    def ask_params(self, **changes: object) -> int:
        """Gives g_a."""
        inner = types.PQInnerData(
            telethon_rsa.get_byte_array(self.pq), *self.factors(), NONCE, self.server_nonce, NEW_NONCE
        )
        with trust(keys.public_key()):
            sealed = telethon_rsa.encrypt(keys.fingerprint(), bytes(inner))
        fields = {
            "nonce": NONCE,
            "server_nonce": self.server_nonce,
            "p": self.factors()[0],
            "q": self.factors()[1],
            "public_key_fingerprint": keys.fingerprint(),
            "encrypted_data": sealed,
            **changes,
        }
        answer = self.handshake.answer(bytes(functions.ReqDHParamsRequest(**fields)))
        plain = AES.decrypt_ige(answer.encrypted_answer, *self.temporary_key())
        params = BinaryReader(plain[20:]).tgread_object()
        assert abs(params.server_time - time.time()) < 5
        assert int.from_bytes(params.dh_prime, "big") == PRIME
        return int.from_bytes(params.g_a, "big")

    def factors(self) -> tuple[bytes, bytes]:
        return telethon_rsa.get_byte_array(self.p), telethon_rsa.get_byte_array(self.q)

    def temporary_key(self) -> tuple[bytes, bytes]:
        return generate_key_data_from_nonce(self.server_nonce, NEW_NONCE)

    def give(self, b: int, **changes: object):
        """Send g to the power of b."""
        g_b = telethon_rsa.get_byte_array(changes.pop("g_b", None) or pow(3, b, PRIME))
        inner = bytes(types.ClientDHInnerData(NONCE, self.server_nonce, 0, g_b))
        sealed = AES.encrypt_ige(sha1(inner).digest() + inner, *self.temporary_key())
        fields = {"nonce": NONCE, "server_nonce": self.server_nonce, "encrypted_data": sealed, **changes}
        return self.handshake.answer(bytes(functions.SetClientDHParamsRequest(**fields)))


def test_both_sides_end_with_the_same_key() -> None:
    client = Client()
    g_a = client.ask_params()
    answer = client.give(1001)
    assert isinstance(answer, types.DhGenOk)
    assert client.handshake.key == telethon_rsa.get_byte_array(pow(g_a, 1001, PRIME))
    assert answer.new_nonce_hash1 == new_nonce_hash(client.handshake.key, NEW_NONCE, 1)


def test_a_key_that_telethon_could_not_save_is_tried_again() -> None:
    client = Client()
    g_a = client.ask_params()
    b, key = 1, g_a
    while key.bit_length() > 2040:
        b, key = b + 1, key * g_a % PRIME
    answer = client.give(b)
    assert isinstance(answer, types.DhGenRetry)
    assert answer.new_nonce_hash2 == new_nonce_hash(telethon_rsa.get_byte_array(key), NEW_NONCE, 2)
    assert client.handshake.key is None
    while key.bit_length() <= 2040:
        b, key = b + 1, key * g_a % PRIME
    assert isinstance(client.give(b), types.DhGenOk)
    assert len(client.handshake.key) == 256


def test_the_first_question_may_be_asked_anew() -> None:
    client = Client()
    client.ask_params()
    assert isinstance(client.handshake.answer(bytes(functions.ReqPqMultiRequest(NONCE))), types.ResPQ)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"p": b"\x03"}, "wrong factors"),
        ({"nonce": 1}, "nonces of another"),
        ({"server_nonce": 1}, "nonces of another"),
        ({"public_key_fingerprint": 1}, "key this server does not have"),
        ({"encrypted_data": bytes(256)}, "unreadable"),
        ({"encrypted_data": b"short"}, "not encrypted to this server"),
    ],
)
def test_a_wrong_request_for_parameters_is_refused(changes: dict, says: str) -> None:
    with pytest.raises(ProtocolViolation, match=says):
        Client().ask_params(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"g_b": 1}, "g_b is not within"),
        ({"g_b": PRIME - 1}, "g_b is not within"),
        ({"encrypted_data": bytes(64)}, "unreadable|cannot be opened"),
        ({"encrypted_data": bytes(63)}, "63 bytes"),
        ({"nonce": 1}, "nonces of another"),
    ],
)
def test_wrong_parameters_are_refused(changes: dict, says: str) -> None:
    client = Client()
    client.ask_params()
    with pytest.raises(ProtocolViolation, match=says):
        client.give(1001, **changes)
    assert client.handshake.key is None


@pytest.mark.parametrize("request_type", [functions.help.GetConfigRequest, functions.auth.LogOutRequest])
def test_nothing_else_may_be_asked_in_the_clear(request_type: type) -> None:
    with pytest.raises(ProtocolViolation, match="no part of the handshake"):
        Handshake().answer(bytes(request_type()))


def test_the_order_of_the_questions_is_fixed() -> None:
    with pytest.raises(ProtocolViolation, match="where ReqPqMultiRequest was due"):
        Handshake().answer(bytes(functions.SetClientDHParamsRequest(0, 0, bytes(16))))


def test_telethon_factors_what_is_offered() -> None:
    for _ in range(300):
        client = Client()
        assert client.p * client.q == client.pq
        assert 1 < client.p < client.q
