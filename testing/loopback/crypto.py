"""Telethon's ciphers, given types: AES-IGE for messages, AES-CTR for obfuscation, and the handshake's hashes."""

from collections.abc import Callable
from hashlib import sha1
from typing import Protocol, cast

from telethon.crypto.aes import AES
from telethon.crypto.aesctr import AESModeCTR
from telethon.helpers import generate_key_data_from_nonce


class _Ige(Protocol):
    def __call__(self, data: bytes, key: bytes, iv: bytes) -> bytes: ...


class _Cipher(Protocol):
    def encrypt(self, data: bytes) -> bytes: ...


class _CipherType(Protocol):
    def __call__(self, key: bytes, iv: bytes) -> _Cipher: ...


class _KeyData(Protocol):
    def __call__(self, server_nonce: int, new_nonce: int) -> tuple[bytes, bytes]: ...


encrypt_ige = cast(_Ige, AES.encrypt_ige)
decrypt_ige = cast(_Ige, AES.decrypt_ige)
handshake_key = cast(_KeyData, generate_key_data_from_nonce)


def ctr(key: bytes, iv: bytes) -> Callable[[bytes], bytes]:
    """A running AES-CTR stream; in this mode decrypting is encrypting."""
    return cast(_CipherType, AESModeCTR)(key, iv).encrypt


def key_id(auth_key: bytes) -> bytes:
    """The 8 bytes by which packets name their authorization key."""
    return sha1(auth_key).digest()[-8:]


def new_nonce_hash(auth_key: bytes, new_nonce: int, number: int) -> int:
    """The server's proof, at the end of a handshake, that it has the same key."""
    data = new_nonce.to_bytes(32, "little", signed=True) + bytes((number,)) + sha1(auth_key).digest()[:8]
    return int.from_bytes(sha1(data).digest()[4:], "little", signed=True)
