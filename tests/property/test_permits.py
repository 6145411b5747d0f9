"""The permits of a fleet against a plain list: bounds, books that balance, and whose turn it is."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from telestage.actors.telegram.permits import PermitPool
from telestage.messages import PermitRequest

KINDS = ("scraping", "sending", "other")
SESSIONS = ("a", "b", "c", "d")


class Permits(RuleBasedStateMachine):
    """The model keeps what waits in a list, and looks through all of it for each grant."""

    operations = Bundle("operations")

    @initialize(total=st.integers(1, 4), scraping=st.integers(1, 3))
    def start(self, total, scraping):
        self.pool = PermitPool(total, {"scraping": scraping})
        self.total, self.scraping = total, scraping
        self.waiting, self.held, self.last = [], {}, {}
        self.counted = {"granted": 0, "returned": 0, "refused": 0}
        self.number = self.grants = self.peak = 0
        self.passed = {}
        self.now = 0.0

    def grant(self):
        """What may run now, by the rules as they are written."""
        granted = []
        while len(self.held) < self.total:
            busy = sum(each.kind == "scraping" for each in self.held.values()) >= self.scraping
            able = [each for each in self.waiting if not (busy and each.kind == "scraping")]
            if not able:
                break
            first = min(
                able, key=lambda each: (-each.priority, self.last.get(each.session, 0), self.waiting.index(each))
            )
            self.waiting.remove(first)
            self.held[first.operation_id] = first
            self.grants += 1
            self.last[first.session] = self.grants
            self.counted["granted"] += 1
            granted.append(first.operation_id)
            self.note_passed(first)
        return granted

    def note_passed(self, granted):
        """R-G4: nobody goes twice while another of the same kind and priority waits, and gets nothing."""
        self.passed = {
            operation: sessions for operation, sessions in self.passed.items() if sessions[0] != granted.session
        }
        for each in self.waiting:
            alike = (each.kind, each.priority) == (granted.kind, granted.priority)
            if alike and each.session != granted.session:
                _, seen = self.passed.setdefault(each.operation_id, (each.session, []))
                assert granted.session not in seen
                seen.append(granted.session)

    @rule(
        target=operations,
        session=st.sampled_from(SESSIONS),
        kind=st.sampled_from(KINDS),
        priority=st.integers(-1, 2),
        count=st.integers(1, 3),
        take=st.booleans(),
    )
    def ask(self, session, kind, priority, count, take):
        """As a session does: it takes a permit that is free, and asks for one only if there is none."""
        asked = []
        for _ in range(count):
            self.number += 1
            self.now += 0.25
            request = PermitRequest(operation_id=f"op{self.number}", session=session, kind=kind, priority=priority)
            taken = take and self.pool.take(session, request.operation_id, kind, self.now)
            assert not taken or not self.waiting  # nobody is passed over
            assert self.pool.waiting == bool(self.waiting)
            self.waiting.append(request)
            if taken:
                assert self.grant() == [request.operation_id]
            else:
                grant = self.pool.request(request, self.now)
                assert ([] if grant is None else [grant.request.operation_id]) == self.grant()
            asked.append(request)
        return asked

    @rule(asked=consumes(operations))
    def give_back(self, asked):
        for request in asked:
            self.release(request.operation_id)
            self.release(request.operation_id)  # a permit comes back once

    @rule(asked=operations, kind=st.sampled_from(KINDS), priority=st.integers(-1, 2))
    def ask_again_by_the_same_id(self, asked, kind, priority):
        """An operation that is repeated asks anew; what it asked for before must not count."""
        old = asked[0]
        self.release(old.operation_id)
        request = PermitRequest(operation_id=old.operation_id, session=old.session, kind=kind, priority=priority)
        self.waiting.append(request)
        grant = self.pool.request(request, self.now)
        assert ([] if grant is None else [grant.request.operation_id]) == self.grant()

    @rule(session=st.sampled_from(SESSIONS))
    def session_ends(self, session):
        mine = [each for each in self.waiting if each.session == session]
        held = [operation for operation, each in self.held.items() if each.session == session]
        for each in mine:
            self.waiting.remove(each)
            self.counted["refused"] += 1
        for operation in held:
            del self.held[operation]
            self.counted["returned"] += 1
        # the pool takes back one by one and passes each on; whose turn it is doesn't depend on that
        got = [grant.request.operation_id for grant in self.pool.release_session(session, self.now)]
        assert sorted(got) == sorted(self.grant())

    @rule()
    def ask_twice(self):
        """An operation holds one permit, or waits for one."""
        for request in [*self.waiting[:1], *list(self.held.values())[:1]]:
            try:
                self.pool.request(request, self.now)
            except ValueError:
                continue
            raise AssertionError("it was given another")

    def release(self, operation):
        request = self.held.pop(operation, None)
        if request is not None:
            self.counted["returned"] += 1
        else:
            before = len(self.waiting)
            self.waiting = [each for each in self.waiting if each.operation_id != operation]
            self.counted["refused"] += before - len(self.waiting)
        self.passed.pop(operation, None)
        got = [grant.request.operation_id for grant in self.pool.release(operation, self.now)]
        assert got == self.grant()

    @invariant()
    def the_books_balance(self):
        """R-G1, R-G3, R-G6: granted = returned + in use, after every step."""
        if not hasattr(self, "pool"):
            return
        status = self.pool.status(self.now)
        total, scraping = status.total, status.kinds["scraping"]
        assert total.in_use == len(self.held) <= self.total
        self.peak = max(self.peak, len(self.held))  # of a step, the most are held at its end or before it
        assert total.peak == self.peak <= self.total
        assert scraping.in_use == sum(each.kind == "scraping" for each in self.held.values()) <= self.scraping
        assert scraping.peak <= self.scraping
        assert total.waiting == len(self.waiting)
        assert total.granted == total.returned + total.in_use
        assert {name: getattr(total, name) for name in self.counted} == self.counted
        assert {holder.operation_id for holder in status.holders} == set(self.held)
        if total.in_use < self.total:  # nobody waits in vain
            assert all(each.kind == "scraping" for each in self.waiting)
            assert not self.waiting or scraping.in_use == self.scraping

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        for session in SESSIONS:
            self.pool.release_session(session, self.now)
        status = self.pool.status(self.now)
        assert status.total.in_use == status.total.waiting == 0
        assert status.granted == status.returned


TestPermits = Permits.TestCase
TestPermits.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_ten_thousand_waiting_requests_of_one_session_cost_others_one_grant():
    """R-G4: and each grant costs about the same, however many wait."""
    pool = PermitPool(1, {})
    for n in range(10_000):
        pool.request(PermitRequest(operation_id=f"a{n}", session="a", kind="sending", priority=0), 0.0)
    pool.request(PermitRequest(operation_id="b", session="b", kind="sending", priority=0), 1.0)
    assert [grant.request.operation_id for grant in pool.release("a0", 2.0)] == ["b"]
    (grant,) = pool.release("b", 3.0)
    for n in range(1, 10_000):
        assert grant.request.operation_id == f"a{n}"
        grants = pool.release(grant.request.operation_id, 4.0)
        grant = grants[0] if grants else grant
    assert pool.status(5.0).granted == pool.status(5.0).returned == 10_001
