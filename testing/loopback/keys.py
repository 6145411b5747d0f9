"""The server's RSA key, and how a process comes to trust it.

The key is a published test key, the same in every process: generating one takes a second, and a key that
protects nothing but loopback traffic needs no secrecy. Nothing outside a test should ever trust it.

Telethon keeps the keys it trusts, and the configuration it fetched last, in globals of the process. `trust`
puts ours beside them and leaves them as they were when the last one who asked for it is done.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol, cast

import rsa
from telethon import TelegramClient
from telethon.crypto import rsa as telethon_rsa

from telestage.testing.loopback.errors import BadArgument

_MODULUS = int(
    "8f0f7292c51831af0a1936c423432367c3bafd7569ed40bab4506e7d06b09a88"
    "1ced8665b248b41420e1457084ed6378293845e8fd4149478dff7f6694f645b6"
    "5b30a27e8d872fafccfff6565bb315e7d5120dfb17fcba79ad8f5ef4c96a5b88"
    "afc2d8e03f7b0793ff7ec182cc28de2a0a90406a0eefb125dad293397b81b85c"
    "0f9b5ad94c27103786676972f3168b6310d6235bf284f917f5b3fe633ea33730"
    "d43fa5ce9a9706ad78f047ffe3b62eb4d1a866faae55fdea11dccbf501789045"
    "81641a8b18fdb0809ef69a8f258faee3224b672acfec7a1d083a70c77f3f7e71"
    "fe5d8b5ff7f0000f52838313a5d328379ffe6807c0b0440a2d0cc4fc91f6a787",
    16,
)
_PUBLIC_EXPONENT = 65537
_PRIVATE_EXPONENT = int(
    "4c8695e23efe272d9bf84adc7684667f0e2b8b83704b5271cd1cad4dc1f35c66"
    "6d1afde68e8ce78f50db501ad5706ae20f22a3faf2e6267dd94e8fe6dece3212"
    "4f0b6010d44239571010e7c3e03f96fb3175fbf6922945d2eaeda37ccbf551cb"
    "77418263ca7154676da76f7a391daf61cbcec83633913230599e71c52c120892"
    "a7b07f9787e037e10a965f21660ae23b8edc15c79dc73c366ab25b0ec76be68b"
    "f46de7d40acd77858f62bebd412a1df512d8e9a01f20433d087d78d1f3bbc5d5"
    "99b780472061e7480e82871149d4ac008651e83737314b930a107d59434b5ded"
    "3ba1ed3bff6d3749d702047a45a9578b8faa121284076dac8f3b3d2172a24381",
    16,
)


class _ClientType(Protocol):
    _config: object


class _Fingerprint(Protocol):
    def __call__(self, key: rsa.PublicKey) -> int: ...


_fingerprint = cast(_Fingerprint, telethon_rsa._compute_fingerprint)
_server_keys = cast("dict[int, tuple[rsa.PublicKey, bool]]", telethon_rsa._server_keys)

# How many hold each fingerprint, which are ours, and what configuration to restore: two servers in one process
# share the key, and the first to close must not take it from the other. It is global because what it counts is.
_holders: Counter[int] = Counter()
_added: set[int] = set()
_saved_config: list[object] = []
_client = cast(_ClientType, TelegramClient)


@cache
def public_key() -> str:
    """The server's public key, PEM (PKCS#1)."""
    pem: bytes = rsa.PublicKey(_MODULUS, _PUBLIC_EXPONENT).save_pkcs1()
    return pem.decode("ascii")


@cache
def fingerprint() -> int:
    """The 64-bit fingerprint by which a client picks this key."""
    return _fingerprint(rsa.PublicKey(_MODULUS, _PUBLIC_EXPONENT))


def decrypt(block: bytes) -> bytes | None:
    """What a client encrypted to this key: 255 bytes, or None if the block is not of this key."""
    number = int.from_bytes(block, "big")
    if len(block) != 256 or number >= _MODULUS:
        return None
    plain = pow(number, _PRIVATE_EXPONENT, _MODULUS)
    return plain.to_bytes(255, "big") if plain.bit_length() <= 255 * 8 else None


@contextmanager
def trust(public_key: str) -> Iterator[None]:
    """Clients of this process trust `public_key` inside the block; afterwards Telethon is as it was before.

    Needed where the server runs in another process. May be nested and overlapped.

    Args:
        public_key: PEM (PKCS#1), as `LoopbackTelegram.public_key` gives it.

    Raises:
        BadArgument: It is no such key.
    """
    try:
        key = rsa.PublicKey.load_pkcs1(public_key.encode("ascii"))
    except Exception as error:  # the rsa package lets errors of three ASN.1 layers through
        raise BadArgument(f"not a PKCS#1 public key in PEM form: {public_key[:40]!r}…") from error
    assert isinstance(key, rsa.PublicKey)
    mark = _fingerprint(key)
    if not _holders:
        _saved_config.append(_client._config)
        _client._config = None
    _holders[mark] += 1
    if mark not in _server_keys:
        _server_keys[mark] = (key, False)
        _added.add(mark)
    try:
        yield
    finally:
        _holders[mark] -= 1
        if not _holders[mark]:
            del _holders[mark]
            if mark in _added:
                _added.discard(mark)
                del _server_keys[mark]
        if not _holders:
            _client._config = _saved_config.pop()
