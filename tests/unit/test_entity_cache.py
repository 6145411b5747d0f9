"""The peers that the sessions of a fleet know: bounded, and each session's own."""

import random

import pytest

from telestage.actors.telegram.entities import EntityCache


def test_the_cache_is_that_of_a_plain_model():
    """R-X1: never more than its limit, the least recently used go, and no session sees another's."""
    for seed in range(200):
        rng = random.Random(seed)
        cache, model = EntityCache(5), {}
        for _ in range(100):
            session, id = rng.choice("ab"), rng.randrange(6)
            if rng.random() < 0.5:
                row = (id, rng.randrange(2), rng.choice([None, f"user{id}", "wanderer"]))
                fresh = cache.learn(session, [row])
                assert fresh == ([] if model.get((session, id)) == row else [row])
                model.pop((session, id), None)
                model[session, id] = row
                if len(model) > 5:
                    del model[next(iter(model))]
            else:
                found = cache.by_id(session, id)
                row = model.pop((session, id), None)
                assert found == (None if row is None else row[:2])
                if row is not None:
                    model[session, id] = row
            assert len(cache) == len(model), seed
            for session in "ab":
                for name in [f"user{n}" for n in range(6)]:
                    named = [row[:2] for (owner, _), row in model.items() if owner == session and row[2] == name]
                    if not named:
                        assert cache._named.get((session, name)) is None, seed


def test_a_username_leads_to_whoever_has_it_now():
    cache = EntityCache(10)
    cache.learn("a", [(1, 11, "bob")])
    cache.learn("a", [(2, 22, "bob")])
    assert cache.by_username("a", "bob") == (2, 22)
    cache.learn("a", [(1, 11, None)])
    assert cache.by_username("a", "bob") == (2, 22)
    assert cache.by_username("b", "bob") is None
    cache.forget("a")
    assert len(cache) == 0
    assert cache.by_username("a", "bob") is None


def test_a_cache_without_room_is_refused():
    with pytest.raises(ValueError, match="room for 1"):
        EntityCache(0)
