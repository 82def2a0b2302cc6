import math
from random import Random

import pytest

from mdht.experiments.link_run import WholeHost, WholeLink, address_of, hid_of
from mdht.subnet.effects import LinkMode, LinkModeChanged
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import COPIES_MAX, Hello, Here, State, Want
from mdht.subnet.messages import View as ViewMessage
from mdht.subnet.reach import SPEAKERS_MAX, Reach
from mdht.subnet.silence import Silence
from mdht.subnet.view import Input, Member, View
from tests.mdht.subnet.link_network import Host, LinkNetwork

EMULATED_S = 15.0
"Wanted by the design, row 14."
ME = b"me......"
QUIET = Here(
    state=State.READY,
    addresses=(),
    load=0,
    size=3,
    heard=2,
    view_epoch=1,
    view_hash=bytes(8),
    node_state_hash=bytes(8),
    data_root=bytes(8),
    last_put=0,
)


# ---- the core by itself --------------------------------------------------------------------------------------------


class Scene:
    """One host with members that are heard when a test says so."""

    def __init__(self, members: int, config: MembershipConfig | None = None) -> None:
        config = config or MembershipConfig()
        self.view = View()
        self.silence = Silence(ME, self.view, config)
        self.reach = Reach(ME, self.view, self.silence, config)
        self.hids = [number.to_bytes(8, "big") for number in range(members)]
        for hid in self.hids:
            self.reach.heard_by_group(hid, 0.0)
            self.add(hid, 0.0)

    def add(self, hid: bytes, now: float) -> None:
        self.view.add(Member(hid, 1, (address_of(int.from_bytes(hid, "big")),), State.READY, now))
        self.reach.came_in(hid, now)

    def pass_by(self, *, since: float, upto: float, heard: list[bytes], copied: list[bytes]) -> list[LinkModeChanged]:
        """A heartbeat of each of these in every second, and a look after it."""
        changes = []
        for now in range(int(since) + 1, int(upto) + 1):
            for hid in heard:
                self.reach.heard_by_group(hid, float(now))
            for hid in (*heard, *copied):
                self.reach.heard(hid, float(now))
            changes += self.reach.look(now + 0.5)
        return changes


def test_where_all_are_heard_nobody_gets_copies() -> None:
    scene = Scene(3)
    assert scene.pass_by(since=0, upto=60, heard=scene.hids, copied=[]) == []
    assert (scene.reach.mode.mode, scene.reach.copies(60.0)) == (LinkMode.MULTICAST, [])


def test_who_is_not_heard_gets_copies_until_it_says_that_it_hears() -> None:
    scene = Scene(3)
    lost, *others = scene.hids
    assert scene.pass_by(since=0, upto=5, heard=others, copied=[]) == []
    (change,) = scene.pass_by(since=5, upto=8, heard=others, copied=[])
    assert (change.mode, change.members, change.emulated, change.unheard, change.deaf) == (LinkMode.PARTLY, 3, 1, 1, 0)
    assert scene.reach.unheard() == [lost]
    assert scene.reach.copies(8.0) == [address_of(0)]
    scene.reach.heard(lost, 8.0)
    scene.reach.on_here(lost, QUIET)
    assert scene.reach.copies(8.1) == [], "its words come, and it does not complain"
    assert scene.reach.mode.mode is LinkMode.PARTLY


@pytest.mark.parametrize("here", [{"heard": 0}, {"heard": 1, "unheard": (b"somebody", ME)}])
def test_who_says_that_it_does_not_hear_gets_copies_though_it_is_heard(here: dict[str, object]) -> None:
    scene = Scene(2)
    values = {name: getattr(QUIET, name) for name in QUIET.__struct_fields__}
    scene.reach.on_here(scene.hids[1], Here(**{**values, **here}))
    assert scene.reach.copies(0.1) == [address_of(1)]
    (change,) = scene.pass_by(since=0, upto=1, heard=scene.hids, copied=[])
    assert (change.mode, change.unheard, change.deaf) == (LinkMode.PARTLY, 0, 1)
    scene.reach.on_here(scene.hids[1], QUIET)
    assert scene.reach.copies(1.1) == []
    (change,) = scene.pass_by(since=1, upto=2, heard=scene.hids, copied=[])
    assert change.mode is LinkMode.MULTICAST


def test_one_who_knows_nobody_yet_does_not_complain() -> None:
    scene = Scene(2)
    alone = Here(**{**{name: getattr(QUIET, name) for name in QUIET.__struct_fields__}, "size": 1, "heard": 0})
    scene.reach.on_here(scene.hids[0], alone)
    assert scene.reach.copies(0.1) == []


def test_multicast_must_pass_for_a_while_before_it_counts_again() -> None:
    scene = Scene(2)
    scene.pass_by(since=0, upto=10, heard=[], copied=scene.hids)
    assert scene.reach.mode.mode is LinkMode.EMULATED
    for gap in range(3):  # it comes, and fails again before it counts
        scene.pass_by(since=10 + 12 * gap, upto=18 + 12 * gap, heard=scene.hids, copied=[])
        scene.pass_by(since=18 + 12 * gap, upto=22 + 12 * gap, heard=[], copied=scene.hids)
        assert scene.reach.mode.mode is LinkMode.EMULATED
    changes = scene.pass_by(since=46, upto=60, heard=scene.hids, copied=[])
    assert [change.mode for change in changes] == [LinkMode.MULTICAST]


def test_a_host_that_was_too_slow_to_listen_judges_nobody() -> None:
    scene = Scene(2)
    scene.silence.was_late(1.0, 30.0)
    assert scene.reach.look(30.0) == []
    assert scene.pass_by(since=30, upto=60, heard=scene.hids, copied=[]) == []


def test_who_is_suspected_is_not_judged_and_who_is_gone_needs_nothing() -> None:
    scene = Scene(2)
    member = scene.view.get(scene.hids[0])
    assert member is not None
    scene.view.step(member, Input.ACCUSED, 1, 3.0)
    assert scene.pass_by(since=0, upto=10, heard=scene.hids[1:], copied=[]) == []
    scene.view.step(member, Input.SIGN_OF_LIFE, 1, 11.0)
    (change,) = scene.pass_by(since=10, upto=12, heard=scene.hids[1:], copied=[])
    assert change.mode is LinkMode.PARTLY
    scene.view.step(member, Input.GOODBYE, 2, 12.0)
    assert scene.reach.copies(12.0) == []
    (change,) = scene.pass_by(since=12, upto=13, heard=scene.hids[1:], copied=[])
    assert change.mode is LinkMode.MULTICAST


def test_a_newcomer_has_its_time_unless_something_speaks_against_it() -> None:
    scene = Scene(1)
    scene.add(b"hearsay.", 1.0)  # of which a sibling has told
    assert scene.reach.unheard() == []
    scene.reach.heard(b"copying.", 1.0)  # what it tells all came by unicast
    scene.add(b"copying.", 1.1)
    assert scene.reach.unheard() == [b"copying."]
    scene.reach.on_asker(b"asking..", ("192.0.2.99", 99), 1.2)
    assert scene.reach.copies(1.2)[-1] == ("192.0.2.99", 99), "before it is a member"
    scene.reach.heard_by_group(b"asking..", 1.2)
    scene.add(b"asking..", 1.3)
    assert scene.reach.unheard() == [b"copying."]
    assert len(scene.reach.copies(10.0)) == 2, "one that is not heard, one that does not hear"


def test_a_host_that_has_just_begun_to_listen_has_missed_what_was_said_before() -> None:
    scene = Scene(1)
    scene.reach.start(0.5)
    scene.reach.heard(b"present.", 1.0)  # a member of long standing, which presents itself by unicast
    scene.add(b"present.", 1.1)
    assert scene.reach.unheard() == []
    scene.reach.heard(b"copying.", 4.0)
    scene.add(b"copying.", 4.1)
    assert scene.reach.unheard() == [b"copying."]


@pytest.mark.parametrize("seed", range(3))
def test_hosts_that_start_one_after_the_other_take_nobody_for_unheard(seed: int) -> None:
    link = WholeLink(seed)
    starts = Random(f"starts {seed}")
    for _ in range(16):
        link.add()
        link.run(0.2 * starts.random())
    link.run(20.0)
    assert link.agreed
    assert all(not host.modes and not host.membership.reach.unheard() for host in link.hosts)


def test_a_host_that_hears_nobody_trusts_no_newcomer() -> None:
    scene = Scene(0)
    scene.add(b"hearsay.", 1.0)
    assert scene.reach.unheard() == [b"hearsay."]


def test_copies_are_bounded_and_who_gets_none_is_counted() -> None:
    scene = Scene(COPIES_MAX + 6)
    (change,) = scene.pass_by(since=0, upto=20, heard=[], copied=[])
    assert (change.mode, change.emulated, change.left_out) == (LinkMode.EMULATED, COPIES_MAX + 6, 6)
    assert scene.reach.copies(20.0) == [address_of(number) for number in range(COPIES_MAX)]


def test_made_up_names_take_no_member_for_one_that_is_not_heard() -> None:
    scene = Scene(2)
    for number in range(2 * SPEAKERS_MAX):
        scene.reach.heard_by_group(b"fake" + number.to_bytes(4, "big"), 1.0)
    assert scene.reach.look(1.5) == []
    assert scene.pass_by(since=1, upto=30, heard=scene.hids, copied=[]) == []


# ---- hosts of a link -----------------------------------------------------------------------------------------------

WAYS = {"both ways": (False, False), "not heard": (False, True), "hears nothing": (True, False)}


def filtered(host: Host, way: str) -> None:
    host.speaks_multicast, host.hears_multicast = WAYS[way]


def modes(link: LinkNetwork | WholeLink) -> list[LinkMode]:
    return [host.membership.reach.mode.mode for host in link.living]


def died(link: LinkNetwork | WholeLink) -> int:
    return sum(state is State.DEAD for host in link.living for _, _, state in host.changes)


@pytest.mark.parametrize(("count", "seed"), [(2, 1), (5, 1), (5, 2), (16, 1), (40, 1)])
@pytest.mark.parametrize("way", WAYS)
def test_a_filtered_host_is_reached_by_copies_and_multicast_is_taken_up_again(way: str, count: int, seed: int) -> None:
    network = LinkNetwork(seed)
    victim, *others = network.started(count)
    filtered(victim, way)
    network.run(EMULATED_S)
    copies = {host.number: set(host.membership.reach.copies(network.now)) for host in network.hosts}
    assert copies[0] == (set() if way == "hears nothing" else {other.address for other in others})
    assert all(copies[other.number] == (set() if way == "not heard" else {victim.address}) for other in others)
    partly = LinkMode.PARTLY if count > 2 else LinkMode.EMULATED
    assert modes(network) == [LinkMode.EMULATED, *[partly] * (count - 1)]
    assert all(host.membership.heard(network.now) == count - 1 for host in network.hosts)
    victim.speaks_multicast = victim.hears_multicast = True
    network.run(20.0)
    assert modes(network) == [LinkMode.MULTICAST] * count
    assert not any(host.membership.reach.copies(network.now) for host in network.hosts)
    assert died(network) == 0


def test_a_link_without_multicast_is_emulated_and_a_crash_on_it_is_noticed_as_ever() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(5)
    for host in hosts:
        filtered(host, "both ways")
    network.run(EMULATED_S)
    assert modes(network) == [LinkMode.EMULATED] * 5
    hosts[0].alive = False
    at = network.now
    network.run(5.0)
    for host in hosts[1:]:
        deaths = [when - at for when, hid, state in host.changes if (hid, state) == (hid_of(0), State.DEAD)]
        assert len(deaths) == 1
        assert deaths[0] <= 4.5


def test_a_healthy_link_sends_no_copies_while_hosts_come_and_go() -> None:
    link = WholeLink(1)
    for _ in range(8):
        link.add()
        link.run(0.3)
    assert link.run_until_agreed(10.0) is not None
    link.restart(link.hosts[3])
    link.hosts[5].alive = False
    link.run(20.0)
    assert all(not host.modes for host in link.hosts)
    said = [message for host in link.hosts for _, message in host.sent]
    wants = [message.want for message in said if isinstance(message, Hello)]
    assert len(wants) - wants.count(Want.NOTHING) <= 3 * 9, "nobody asks by unicast"
    told = sum(isinstance(message, ViewMessage) for message in said)
    assert wants.count(Want.NOTHING) < told, "one with each view that is told since views differ"


def prepare(host: WholeHost, peer: int | None, way: str, now: float) -> None:
    filtered(host, way)
    if peer is not None and peer != host.number:
        host.membership.peers.add(address_of(peer), now, lasting=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("way", "peer"), [("both ways", 0), ("not heard", None), ("hears nothing", None)])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_a_filtered_host_that_starts_comes_to_the_subnet(count: int, way: str, peer: int | None, seed: int) -> None:
    link = WholeLink(seed)
    for _ in range(count):
        link.add()
        link.run(0.1)
    assert link.run_until_agreed(10.0) is not None
    subnet = link.hosts[0].core.subnet
    link.add(prepare=lambda host: prepare(host, peer, way, link.now))
    assert link.run_until_agreed(EMULATED_S) is not None
    assert link.hosts[-1].core.subnet == subnet
    assert died(link) == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pause_s", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("count", [3, 8])
def test_hosts_of_a_link_without_multicast_are_one_subnet_when_all_know_one(
    count: int, pause_s: float, seed: int
) -> None:
    link = WholeLink(seed)
    for _ in range(count):
        link.add(prepare=lambda host: prepare(host, Random(seed).randrange(count), "both ways", link.now))
        link.run(pause_s)
    assert link.run_until_agreed(EMULATED_S) is not None
    link.run(EMULATED_S)
    assert link.agreed
    assert set(modes(link)) == {LinkMode.EMULATED}


def test_an_asker_that_hears_nobody_says_so_from_its_second_hello_on() -> None:
    link = WholeLink(1)
    link.add()
    link.run(1.0)
    wants = [message.want for _, message in link.hosts[0].sent if isinstance(message, Hello)]
    assert wants == [Want.ANSWER, *[Want.ANSWER | Want.COPY] * 2]


def test_a_host_on_its_own_has_nothing_to_emulate() -> None:
    scene = Scene(0)
    assert scene.reach.look(100.0) == []
    assert (scene.reach.mode.mode, scene.reach.mode.members) == (LinkMode.MULTICAST, 0)
    assert not scene.reach.hears(math.inf)


def test_where_a_fifth_of_multicasts_is_lost_none_is_replaced() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(6)
    network.multicast_loss = 0.2
    network.run(900.0)
    assert not any(host.modes for host in hosts)
