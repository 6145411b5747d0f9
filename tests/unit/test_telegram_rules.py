"""The pure rules of the fleet layer: what errors mean, what requests are, whose calls are whose, how waits count."""

import contextvars

import pytest
from telethon import errors, types
from telethon.errors.common import AuthKeyNotFound
from telethon.tl.functions.messages import GetHistoryRequest, SendMessageRequest, SetTypingRequest
from telethon.tl.functions.users import GetUsersRequest

from telestage.actors.telegram.calls import kind_of, repeatable
from telestage.actors.telegram.failures import flood_seconds, is_peer_flood, sign_in_reason, terminal_reason
from telestage.actors.telegram.histogram import Histogram
from telestage.actors.telegram.requests import peer_of
from telestage.actors.telegram.scope import HOUSEKEEPING, Turn, current_scope, housekeeping
from telestage.messages import Kind

PEER = types.InputPeerUser(5, 6)
SEND = SendMessageRequest(PEER, "hi", random_id=7)
HISTORY = GetHistoryRequest(PEER, 0, None, 0, 100, 0, 0, 0)
USERS = GetUsersRequest([types.InputUserSelf()])
TYPING = SetTypingRequest(PEER, types.SendMessageTypingAction())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.AuthKeyDuplicatedError(None), "two addresses"),
        (errors.SessionRevokedError(None), "revoked"),
        (errors.UserDeactivatedBanError(None), "banned"),
        (errors.UserDeactivatedError(None), "deleted"),
        (errors.AuthKeyUnregisteredError(None), "not registered"),
        (AuthKeyNotFound(), "does not know its key"),
    ],
)
def test_what_ends_a_session_has_its_reason(error, reason):
    """R-X4."""
    assert reason in terminal_reason(error)
    assert sign_in_reason(error) == terminal_reason(error)


@pytest.mark.parametrize(
    "error",
    [errors.FloodWaitError(None, capture=5), errors.PeerFloodError(None), ConnectionError(), ValueError(), OSError()],
)
def test_other_errors_end_no_session(error):
    """R-X4."""
    assert terminal_reason(error) is None
    assert sign_in_reason(error) is None


def test_a_session_that_lacks_its_second_password_has_not_signed_in():
    """R-X4: later in its life that error would not end it."""
    error = errors.SessionPasswordNeededError(None)
    assert terminal_reason(error) is None
    assert "not signed in" in sign_in_reason(error)


def test_flood_waits_are_told_from_slow_mode_and_from_peer_flood():
    """R-X2: a flood wait of 0 s is one of 1 s."""
    assert flood_seconds(errors.FloodWaitError(None, capture=30)) == 30.0
    assert flood_seconds(errors.FloodPremiumWaitError(None, capture=3)) == 3.0
    assert flood_seconds(errors.FloodWaitError(None, capture=0)) == 1.0
    assert flood_seconds(errors.SlowModeWaitError(None, capture=30)) is None
    assert flood_seconds(errors.PeerFloodError(None)) is None
    assert is_peer_flood(errors.PeerFloodError(None))
    assert not is_peer_flood(errors.FloodWaitError(None, capture=30))


def test_a_bare_request_has_a_kind_and_may_be_repeated_or_not():
    """R-Q1: so it has a priority, a timeout and a permit like any other operation."""
    assert [kind_of([each]) for each in (SEND, HISTORY, USERS)] == [Kind.SENDING, Kind.SCRAPING, Kind.OTHER]
    assert repeatable([SEND])
    assert repeatable([HISTORY, USERS])
    assert not repeatable([TYPING])
    assert not repeatable([SEND, TYPING])


def test_a_turn_gives_the_same_random_ids_each_time_it_is_repeated():
    """R-X5: the operation's own first, then others, all different and of 64 bits."""
    first = [turn.next_random_id() for turn in [Turn(2**63 - 1)] for _ in range(100)]
    second = [turn.next_random_id() for turn in [Turn(2**63 - 1)] for _ in range(100)]
    assert first == second
    assert first[0] == 2**63 - 1
    assert len(set(first)) == 100
    assert all(-(2**63) <= each < 2**63 for each in first)
    assert Turn().next_random_id() is None


def test_a_scope_holds_for_its_block_and_for_what_is_begun_in_it():
    """R-Q1: a turn that is over is known as over, wherever it was handed on to."""
    assert current_scope() is None
    turn = Turn()
    with turn:
        assert current_scope() is turn
        inherited = contextvars.copy_context()
        with housekeeping():
            assert current_scope() is HOUSEKEEPING
        assert current_scope() is turn
        assert turn.active
    assert current_scope() is None
    assert inherited.run(current_scope) is None
    assert not turn.active


@pytest.mark.parametrize("entity", [None, 1.5, True, [], object()])
def test_what_is_no_peer_is_refused(entity):
    """Bad input."""
    with pytest.raises(TypeError, match="a peer is"):
        peer_of(entity)


def test_peers_travel_as_ids_names_and_serialised_references():
    """R-Q6: an operation is a value."""
    assert peer_of("bob") == "bob"
    assert peer_of(5) == 5
    assert peer_of(types.PeerChannel(5)) == -1000000000005
    assert peer_of(PEER) == bytes(PEER)


def test_quantiles_lie_within_a_fifth_above_the_truth():
    """R-G6: from a structure of a fixed size."""
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    values = [n / 1000 for n in range(1, 1001)]
    for value in values:
        histogram.add(value)
    for fraction in (0.5, 0.95, 0.99):
        truth = values[int(fraction * 1000) - 1]
        assert truth <= histogram.quantile(fraction) <= truth * 1.19
    assert histogram.quantile(1.0) == 1.0
    histogram.add(10_000.0)
    histogram.add(0.0)
    assert histogram.quantile(1.0) == 10_000.0
    assert histogram.total == 1002
