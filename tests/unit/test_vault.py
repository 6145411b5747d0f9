"""What is sealed in the store."""

import pytest

from telestage.actors.store import Store, StoreKeyError, Vault


def test_what_is_sealed_is_opened_by_the_same_key_for_the_same_thing_only():
    key = Vault.new_key()
    vault = Vault(key)
    sealed = vault.seal(b"secret", "session alice")
    assert b"secret" not in sealed
    assert sealed != vault.seal(b"secret", "session alice")
    assert Vault(f" {key}\n").open(sealed, "session alice") == b"secret"
    for wrong in (
        lambda: vault.open(sealed, "session bob"),
        lambda: Vault(Vault.new_key()).open(sealed, "session alice"),
        lambda: vault.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), "session alice"),
        lambda: vault.open(b"", "session alice"),
    ):
        with pytest.raises(StoreKeyError, match="can't be opened"):
            wrong()


def test_a_key_that_is_none_is_refused_without_being_shown():
    for wrong in ("", "secret", "ä" * 44, Vault.new_key()[:-2]):
        with pytest.raises(StoreKeyError, match="44 characters") as refused:
            Vault(wrong)
        assert not wrong or wrong not in str(refused.value)
    assert "..." in repr(Vault(Vault.new_key()))


def test_the_key_comes_from_the_environment():
    key = Vault.new_key()
    Vault.of(environ={"TELESTAGE_STORE_KEY": key})
    Vault.of(key, environ={})
    with pytest.raises(StoreKeyError, match="set TELESTAGE_STORE_KEY"):
        Vault.of(environ={})


async def test_a_store_has_one_key_from_the_first_on(tmp_path):
    vault = Vault(Vault.new_key())
    async with Store(tmp_path / "fleet.db") as store:
        await vault.unlock(store)
        await vault.unlock(store)
        with pytest.raises(StoreKeyError, match="another key"):
            await Vault(Vault.new_key()).unlock(store)
