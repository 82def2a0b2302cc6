"""Whole lives of a subnet: what was acknowledged is where it should be, and found, when all is quiet again."""

from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdht.records import Copy, Record
from mdht.subnet.messages import AckStatus, Ask
from mdht.subnet.query import Outcome, Resolved
from tests.mdht.subnet.store_link import StoreHost, StoreLink, key_of, record

KEYS = 6
HOSTS_MAX = 7
CALM_S = 14.0
"After a crash: it is noticed within 4.5 s, and a failed transfer begins again twice within 6 s."
QUIET_S = 60.0
"Several comparisons with each sibling."
HEALED_S = 45.0
"A dead member is pinged every 30 s."
ROUNDING_S = 1e-6


class Life:
    """One run, and what must be true at its end."""

    def __init__(self, policy: str, seed: int, loss: float) -> None:
        self.rng = Random(f"life {seed}")
        self.link = StoreLink(policy, seed=seed)
        self.link.begun(3)
        self.link.lose(loss)
        self.survives_crashes = policy in {"full", "fixed:2", "fixed:3", "fixed:2:receiver", "adaptive:2:0.5"}
        self.seqs: dict[int, int] = {}
        self.put_at: dict[tuple[bytes, int], float] = {}
        self.acked: dict[int, Record] = {}
        self.waiting: list[tuple[Record, list[AckStatus]]] = []
        self.log: list[str] = []

    def host(self) -> StoreHost:
        return self.rng.choice(self.link.staying)

    def happen(self, event: str) -> None:
        self.log.append(f"{self.link.now:.1f} {event}")
        getattr(self, event)()
        self.link.run(self.rng.choice([0.0, 0.01, 0.3, 2.0]))

    def put(self) -> None:
        number = self.rng.randrange(KEYS)
        self.seqs[number] = self.seqs.get(number, 0) + 1
        one = record(number, self.seqs[number], size=self.rng.choice([5, 800]), deleted=self.rng.random() < 0.1)
        self.put_at[one.key, one.seq] = self.link.now
        self.waiting.append((one, self.link.put(self.host(), one)))

    def join(self) -> None:
        if len(self.link.living) < HOSTS_MAX:
            self.link.add()
            self.link.run(self.rng.choice([0.5, 1.6, 5.0]))

    def split(self) -> None:
        for host in self.link.living:
            host.side = self.rng.randrange(2)

    def heal(self) -> None:
        if any(host.side for host in self.link.living):
            for host in self.link.living:
                host.side = 0
            self.link.run(HEALED_S)

    def leave(self) -> None:
        self.heal()
        if len(self.link.staying) > 2:
            self.link.leave(self.host())

    def crash(self) -> None:
        self.heal()
        if self.survives_crashes and len(self.link.staying) > 2:
            self.link.run(CALM_S)
            if len(self.link.staying) > 2:
                self.link.crash(self.host())
            self.link.run(CALM_S)

    def get(self) -> None:
        self.link.get(self.host(), key_of(self.rng.randrange(KEYS)), self.rng.choice([Ask.ANY, Ask.LATEST]))

    def end(self) -> None:
        self.link.run(8.0)
        self.link.lose(0.0)
        self.heal()
        self.link.run(QUIET_S)
        for one, statuses in self.waiting:
            assert len(statuses) == 1, "each put is answered, once"
            number = next(number for number in range(KEYS) if key_of(number) == one.key)
            if statuses == [AckStatus.STORED] and one.seq > getattr(self.acked.get(number), "seq", 0):
                self.acked[number] = one

    def check(self) -> None:
        hosts = self.link.staying
        assert hosts
        assert self.link.misplaced({key for host in hosts for key in host.keys}) == {}
        asked: list[tuple[StoreHost, Record, list[Resolved]]] = [
            (host, one, self.link.get(host, one.key)) for one in self.acked.values() for host in hosts
        ]
        asked_at = self.link.now
        self.link.run(2.0)
        newest: dict[bytes, set[int]] = {}
        for host, one, results in asked:
            (result,) = results
            assert result.outcome is Outcome.FOUND, (host.number, one.key, one.seq)
            (copy,) = [msgspec.msgpack.decode(data, type=Copy) for data in result.records]
            assert copy.record.seq >= one.seq
            age_s = asked_at - self.put_at[one.key, copy.record.seq]
            assert copy.remaining_s <= copy.record.lease_s - age_s + ROUNDING_S, "no copy outlives its original"
            newest.setdefault(one.key, set()).add(copy.record.seq)
        assert all(len(seqs) == 1 for seqs in newest.values()), newest
        for host in hosts:
            assert len(host.store._carrying.copying) == 0
            assert not host.store._carrying._plans
            assert not host.store._carrying.copying._open
            assert not host.store._carrying.copying._bulks
            assert len(host.store._putting) == 0


EVENTS = ["put", "put", "put", "put", "join", "leave", "crash", "get", "split", "heal"]
POLICIES = ["single", "full", "fixed:2", "fixed:3", "fixed:2:receiver", "adaptive:1:0.5", "adaptive:2:0.5"]


def live(policy: str, seed: int, loss: float, events: list[str]) -> None:
    life = Life(policy, seed, loss)
    try:
        for event in events:
            life.happen(event)
        life.end()
        life.check()
    except AssertionError as error:
        error.add_note(f"policy {policy}, seed {seed}, loss {loss}: {life.log}")
        raise


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.2]),
    events=st.lists(st.sampled_from(EVENTS), min_size=5, max_size=20),
)
def test_after_quiet_each_acknowledged_record_is_where_the_policy_wants_it_and_found_by_all(
    policy: str, seed: int, loss: float, events: list[str]
) -> None:
    live(policy, seed, loss, events)
