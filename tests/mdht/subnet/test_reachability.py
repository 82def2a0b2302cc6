import itertools
import math
from random import Random

import pytest

from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.face_messages import Probe, Trying, TryMe
from mdht.subnet.push import Peer
from mdht.subnet.reachability import TRANSITIONS, Action, Input, Reachability, Stage, Verdict
from mdht.subnet.reachability_config import ReachabilityConfig

CONFIG = ReachabilityConfig()
HOME: Address = ("192.168.1.7", 27183)
SEEN: Address = ("11.0.0.9", 40000)
NAMED: Address = ("11.0.0.9", 27183)
PUBLIC: Address = ("11.0.0.7", 27183)
HELPERS: list[tuple[Address, Peer]] = [
    (("::", number), Peer(number, b"host%04d" % number, (f"11.1.0.{number}", 27183))) for number in (1, 2, 3)
]
PRIVATE = (("::", 9), Peer(9, b"private!", ("10.0.0.9", 27183)))


class Host:
    """One host, and those that it asks: they see it at an address, have probes sent, which arrive or do not."""

    def __init__(
        self,
        address: Address = HOME,
        *,
        named: Address | None = None,
        seen: Address | None = SEEN,
        helpers: list[tuple[Address, Peer]] = HELPERS,
    ) -> None:
        self.now = 0.0
        self.seen = seen
        self.open = self.answering = True
        self.asked: list[tuple[float, Peer, TryMe]] = []
        self.reach = Reachability((lambda: (address,)), named, lambda: helpers, self._say, CONFIG, Random(1))

    def _say(self, _node: Address, peer: Peer, body: TryMe, now: float) -> Send:
        self.asked.append((now, peer, body))
        return Send(peer.address, body)

    def perform(self, sent: list[Send]) -> None:
        for each in sent:
            wanted = each.packet
            if self.answering and self.seen is not None:
                self.reach.on_trying(Trying(number=wanted.number, seen=self.seen))
                if self.open:
                    self.probe()

    def probe(self) -> None:
        _at, _peer, wanted = self.asked[-1]
        to = wanted.address or self.seen
        assert to is not None
        self.reach.on_probe(Probe(number=wanted.number, address=to), self.now)

    def begin(self) -> None:
        self.perform(self.reach.begin(self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.reach.next_deadline() <= end:
            self.now = max(self.now, self.reach.next_deadline())
            self.perform(self.reach.tick(self.now))
        self.now = end

    def judged(self) -> Verdict:
        self.begin()
        self.run(CONFIG.try_s * CONFIG.tries_listed + 0.01)
        assert not self.reach.trying
        return self.reach.verdict


def test_a_host_that_a_probe_comes_to_is_reached() -> None:
    host = Host(PUBLIC, seen=PUBLIC)
    assert host.judged() is Verdict.REACHED
    assert (host.reach.mapped, host.reach.seen, host.reach.translated) == (None, PUBLIC, False)
    assert len(host.asked) == 1


def test_it_is_reached_where_the_probe_was_sent_if_that_is_no_address_of_its_own() -> None:
    host = Host(named=NAMED)
    assert host.judged() is Verdict.REACHED
    assert host.reach.mapped == NAMED
    assert [wanted.address for _at, _peer, wanted in host.asked] == [NAMED]
    assert Host().judged() is Verdict.REACHED, "a router that lets everybody in where a host has come out"


def test_a_translated_host_is_not_reached_when_no_probe_has_come_after_a_few_tries() -> None:
    host = Host()
    host.open = False
    host.begin()
    host.run(CONFIG.try_s * CONFIG.tries - 0.01)
    assert (host.reach.verdict, host.reach.trying) == (Verdict.UNKNOWN, True)
    host.run(0.02)
    assert (host.reach.verdict, host.reach.trying, host.reach.mapped) == (Verdict.UNREACHED, False, None)
    assert {peer for _at, peer, _wanted in host.asked} == {peer for _node, peer in HELPERS}, "each a different one"
    assert len({wanted.number for _at, _peer, wanted in host.asked}) == CONFIG.tries


def test_a_host_of_a_node_gives_it_up_after_more_tries() -> None:
    host = Host(PUBLIC, seen=PUBLIC)
    host.judged()
    host.open = False
    host.asked.clear()
    host.run(host.reach.next_deadline() - host.now)
    host.run(CONFIG.try_s * CONFIG.tries_listed - 0.01)
    assert host.reach.verdict is Verdict.REACHED
    host.run(0.02)
    assert host.reach.verdict is Verdict.UNREACHED
    assert len(host.asked) == CONFIG.tries_listed


@pytest.mark.parametrize("verdict", Verdict)
def test_what_nobody_has_sent_a_probe_for_changes_nothing(verdict: Verdict) -> None:
    host = Host(PUBLIC, seen=PUBLIC)
    host.reach.verdict = verdict
    host.answering = False
    assert host.judged() is verdict


def test_a_translated_host_that_nobody_tries_is_taken_for_one_that_is_not_reached() -> None:
    host = Host(helpers=[])
    host.reach.seen = SEEN
    assert host.judged() is Verdict.UNREACHED
    assert not host.asked


def test_a_late_probe_counts_and_a_strange_one_does_not() -> None:
    host = Host()
    host.open = False
    assert host.judged() is Verdict.UNREACHED
    host.reach.on_probe(Probe(number=1, address=SEEN), host.now)
    host.reach.on_trying(Trying(number=1, seen=("6.6.6.6", 6)))
    assert (host.reach.verdict, host.reach.seen) == (Verdict.UNREACHED, SEEN)
    host.probe()
    assert (host.reach.verdict, host.reach.mapped) == (Verdict.REACHED, SEEN)


def test_a_host_that_is_not_reached_looks_again_less_and_less_often() -> None:
    host = Host()
    host.open = False
    host.begin()
    host.run(1000.0)
    starts = [at for at, _peer, _wanted in host.asked][:: CONFIG.tries]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert all(pause < 1.1 * CONFIG.retry_max_s + CONFIG.try_s * CONFIG.tries for pause in pauses)
    host.open = True
    host.run(2.0 * CONFIG.retry_max_s)
    assert host.reach.verdict is Verdict.REACHED


def test_those_at_private_addresses_are_asked_only_where_there_are_no_others() -> None:
    host = Host(helpers=[PRIVATE, *HELPERS])
    host.open = False
    host.begin()
    host.run(60.0)
    assert PRIVATE[1] not in {peer for _at, peer, _wanted in host.asked}
    alone = Host(helpers=[PRIVATE])
    alone.begin()
    assert [peer for _at, peer, _wanted in alone.asked] == [PRIVATE[1]]


def test_a_host_that_has_come_in_looks_soon_and_only_one_look_runs_at_a_time() -> None:
    host = Host(PUBLIC, seen=PUBLIC)
    assert host.reach.next_deadline() == math.inf
    host.reach.look_soon(host.now)
    assert host.reach.next_deadline() <= CONFIG.first_s
    host.open = False
    host.run(CONFIG.first_s)
    host.begin()
    assert len({at for at, _peer, _wanted in host.asked}) == len(host.asked)


def test_a_verdict_needs_silence_after_a_try_and_a_probe_ends_it() -> None:
    assert {stage for stage, what in TRANSITIONS if what is Input.ARRIVED} == set(Stage)
    assert {step[1] for step in TRANSITIONS.values()} == set(Action)
    for (stage, _what), (to, action) in TRANSITIONS.items():
        assert (to is Stage.TRYING) == (action is Action.TRY)
        assert stage is Stage.TRYING or action is not Action.JUDGE


@pytest.mark.parametrize("wrong", [{"try_s": 0.0}, {"tries": 0}, {"tries": 9}, {"retry_max_s": 1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|not below"):
        ReachabilityConfig(**wrong)  # type: ignore[arg-type]


def test_a_host_with_a_global_address_asks_those_of_its_family() -> None:
    six: Address = ("2a01:db0::7", 27183)
    other = (("::5", 0), Peer(5, b"with_six", ("2a01:db0::9", 27183)))
    host = Host(six, seen=six, helpers=[*HELPERS, other])
    host.reach.note_seen(SEEN)
    assert host.reach.seen is None, "IPv4 goes through a router, and is not what others are told"
    host.open = False
    host.begin()
    host.run(30.0)
    assert {peer for _at, peer, _wanted in host.asked} == {other[1]}
    alone = Host(six, seen=SEEN)
    alone.begin()
    assert alone.asked, "where nobody has it the other family must do"


def test_an_address_that_is_named_later_is_tried_at_once_and_believed_when_a_probe_has_come_there() -> None:
    host = Host()
    host.open = False
    assert host.judged() is Verdict.UNREACHED
    host.open = True
    asked = len(host.asked)
    host.perform(host.reach.name(NAMED, host.now))
    assert (host.reach.verdict, host.reach.mapped) == (Verdict.REACHED, NAMED)
    assert [wanted.address for _at, _peer, wanted in host.asked[asked:]] == [NAMED]
    assert host.reach.name(NAMED, host.now) == [], "it is no news"


def test_what_was_found_out_of_an_address_is_forgotten_when_another_one_or_none_is_named() -> None:
    host = Host(named=NAMED)
    host.judged()
    late = Probe(number=host.asked[-1][2].number, address=NAMED)
    host.open = False
    host.perform(host.reach.name(None, host.now))
    host.reach.on_probe(late, host.now)
    assert (host.reach.verdict, host.reach.mapped, host.reach.trying) == (Verdict.UNKNOWN, None, True)
    host.run(CONFIG.try_s * CONFIG.tries + 0.01)
    assert host.reach.verdict is Verdict.UNREACHED


def test_a_trial_under_way_begins_anew_for_the_address_that_is_named() -> None:
    host = Host()
    host.open = False
    host.begin()
    host.run(CONFIG.try_s * (CONFIG.tries - 1) + 0.01)
    host.perform(host.reach.name(NAMED, host.now))
    host.run(CONFIG.try_s * CONFIG.tries - 0.02)
    assert host.reach.trying
    assert {wanted.address for _at, _peer, wanted in host.asked[-CONFIG.tries :]} == {NAMED}


def test_a_host_that_has_not_come_in_yet_tries_the_address_when_it_does() -> None:
    host = Host()
    assert host.reach.name(NAMED, host.now) == []
    assert host.reach.next_deadline() == math.inf
    assert host.judged() is Verdict.REACHED
    assert host.reach.mapped == NAMED


def test_a_first_host_whose_router_forwards_a_port_is_not_judged_before_there_is_somebody_to_ask() -> None:
    helpers: list[tuple[Address, Peer]] = []
    host = Host(named=NAMED, helpers=helpers, seen=None)
    assert host.judged() is Verdict.UNKNOWN
    host.seen = SEEN
    helpers += HELPERS
    host.run(1.11 * CONFIG.retry_min_s)
    assert (host.reach.verdict, host.reach.mapped) == (Verdict.REACHED, NAMED)
