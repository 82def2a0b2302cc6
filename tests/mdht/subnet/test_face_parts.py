import math
from random import Random

import msgspec
import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import Notified, Packet, Predecessor, Route
from dhtboot.effects import Send
from dhtboot.ids import Address, NodeRef, id_bytes
from dhtboot.kademlia import messages as kademlia
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, make_node
from dhtboot.rtt import RttEstimator
from mdht.subnet.face import Face
from mdht.subnet.face_call import Call
from mdht.subnet.face_config import FaceConfig, face_config
from mdht.subnet.face_messages import Carried, ItIs, OverlayDatagram, Prove, Taken, WhoIs, entry_bytes, fitting
from mdht.subnet.face_nodes import NodeTable, pseudo_address
from mdht.subnet.face_packets import contacts_of, reachable_part
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.messages import HostRef, NodeEntry
from mdht.subnet.view import View
from tests.mdht.subnet.face_network import CHORD, KADEMLIA, OVERLAY
from tests.mdht.subnet.hostset_nodes import NOW


def entry_of(number: int, hosts: int = 1, *, tag: bytes = b"tagtagta", ipv6: bool = False) -> NodeEntry:
    refs = [
        HostRef(
            hid=b"%04d%04d" % (number % 10_000, host),
            address=(f"2600::{number % 10_000:x}:{host}" if ipv6 else f"128.59.{number % 256}.{host + 1}", 4000),
            age_s=1,
        )
        for host in range(hosts)
    ]
    return NodeEntry(identity=named(f"s{number}"), tag=tag, view_epoch=5, size=hosts, hosts=tuple(refs))


def node_of(number: int) -> NodeRef:
    node_id = named(f"s{number}").node_id(OVERLAY)
    return NodeRef(node_id, pseudo_address(node_id))


def face_of(
    config: FaceConfig,
    overlay: OverlayConfig | None = None,
    *,
    verify: bool = False,
    address: Address = ("128.59.255.1", 4000),
) -> Face:
    """A face that believes everybody to be where he says he is; the gate has tests of its own."""
    config = msgspec.structs.replace(config, verify=verify)
    own = Own(identity=named("me"), tag=b"mytagtag", hid=b"mymymymy", addresses=(address,), ready=True)
    me = own.identity.node_id(OVERLAY)
    core = make_node(me, face_config(overlay or KADEMLIA, config), Random(1), NOW, None)
    return Face(core, OVERLAY, lambda: own, View(), config, Random(2))


def datagram_of(number: int, body: Carried | Taken | WhoIs, **more: object) -> OverlayDatagram:
    entry = entry_of(number)
    fields = {"view_epoch": 5, "held": None, "entry": entry, **more}
    return OverlayDatagram(identity=entry.identity, tag=entry.tag, hid=entry.hosts[0].hid, body=body, **fields)  # type: ignore[arg-type]


def ping_of(number: int, request_id: int = 7) -> Carried:
    return Carried(packet=kademlia.Packet(id_bytes(node_of(number).id), request_id, kademlia.Ping()))


@pytest.mark.parametrize("hosts", range(1, 9))
def test_a_silent_node_is_given_up_before_the_core_loses_patience(hosts: int) -> None:
    config = FaceConfig()
    node = RemoteNode(entry_of(1, hosts), config.hosts)
    node.learn(entry_of(1, hosts), NOW, Random(1), firsthand=True)
    rtt = RttEstimator(config.timeouts)
    rtt.sample(("128.59.9.9", 4000), 10.0)
    call = Call(
        pseudo_address(1), node, ping_of(2), receipt=False, asker=None, config=config, rtt=rtt, rng=Random(hosts)
    )
    asked = {copy.hid for copy in call.start(NOW)}
    now = NOW
    while not call.needs_pull:
        now = call.next_deadline()
        assert now < math.inf
        asked |= {copy.hid for copy in call.tick(now)}
    assert len(asked) == hosts, "every one has had its chance"
    assert not node.usable
    for pull in range(config.pulls_max):
        now += config.pull_s
        others = tuple(
            HostRef(hid=b"%d oth%03d" % (pull, number), address=("128.59.8.1", 4000 + number), age_s=0)
            for number in range(8)
        )
        told = NodeEntry(identity=node.identity, tag=node.tag, view_epoch=0, size=8, hosts=others)
        node.learn(told, now, Random(1), firsthand=False)
        assert call.pulled(now)
        while not (call.failed or call.needs_pull):
            now = call.next_deadline()
            assert now < math.inf
            call.tick(now)
    assert call.failed
    assert now - NOW <= config.patience_s
    assert call.over


def test_everything_is_bounded() -> None:
    config = FaceConfig(nodes_max=512, asked_max=100, held_max=100)
    face = face_of(config, KademliaConfig(k=4, siblings=4, replacements_max=2))
    rng = Random(1)
    for number in range(10_000):
        heard = (entry_of(rng.randrange(10**6), rng.randrange(9)),)
        source = entry_of(number).hosts[0].address
        effects = face.receive(datagram_of(number, ping_of(number), named=heard), source, NOW + number / 100)
        assert len(face.nodes) <= 512
        if number % 10 == 0:
            assert any(isinstance(effect, Send) and effect.to == source for effect in effects)
    assert len(face._asked) <= 100
    assert len(face._speech.held) <= 100
    assert face.requests <= config.calls_max
    assert len(face.core.contacts) > 20  # type: ignore[union-attr]
    for contact in contacts_of(face.core):
        assert face.nodes.knows(contact), "whom the core has in its tables is kept"
    for step in range(100):
        face.tick(NOW + 200 + step)
    assert face.requests < 200
    assert len(face._requests._pulls) <= face.requests


def test_a_full_table_takes_nobody_in_where_all_must_stay() -> None:
    config = FaceConfig(nodes_max=4)
    kept = {node_of(number).address for number in range(4)}
    table = NodeTable(1, OVERLAY, config, Random(1), lambda: kept)
    assert [table.learn(entry_of(number), NOW, firsthand=False) is None for number in range(6)] == [False] * 4 + [
        True
    ] * 2
    assert table.counters["entries_refused: no room"] == 2
    kept.clear()
    assert table.learn(entry_of(7), NOW, firsthand=False) == node_of(7)


def test_entries_of_this_node_of_other_foundings_and_without_hosts_are_refused() -> None:
    config = FaceConfig()
    table = NodeTable(named("s1").node_id(OVERLAY), OVERLAY, config, Random(1), set)
    assert table.learn(entry_of(1), NOW, firsthand=True) is None
    assert table.learn(entry_of(2, 0), NOW, firsthand=True) is None
    private = HostRef(hid=b"privpriv", address=("192.168.1.1", 4000), age_s=0)
    hidden = NodeEntry(identity=named("s2"), tag=b"tagtagta", view_epoch=1, size=1, hosts=(private,))
    assert table.learn(hidden, NOW, firsthand=True) is None
    assert table.learn(entry_of(3), NOW, firsthand=True) == node_of(3)
    assert table.learn(entry_of(3, tag=b"othertag"), NOW, firsthand=True) is None
    node = table.get(node_of(3).address)
    assert node is not None
    for host in node.usable:
        node.silent(host.hid, NOW, NOW)
        node.silent(host.hid, NOW + 1, NOW + 1)
    assert table.learn(entry_of(3, tag=b"othertag"), NOW + 2, firsthand=True) == node_of(3), "the former one is gone"
    assert table.counters["entries_refused"] == 3
    assert table.counters["entries_of_this_node"] == 1


def test_a_set_is_told_only_to_whom_has_not_got_it() -> None:
    face = face_of(FaceConfig())
    source = entry_of(1).hosts[0].address
    [answer, *_] = face.receive(datagram_of(1, ping_of(1)), source, NOW)
    assert isinstance(answer, Send)
    assert (answer.to, answer.packet.entry.identity) == (source, named("me"))
    assert answer.packet.held == 5
    [answer, *_] = face.receive(datagram_of(1, ping_of(1, 8), held=0, entry=None), source, NOW + 1)
    assert isinstance(answer, Send)
    assert answer.packet.entry is None


def test_an_answer_goes_to_the_host_that_asked_and_to_nobody_else() -> None:
    face = face_of(FaceConfig())
    for host, address in (("a", ("128.59.1.77", 4000)), ("b", ("128.59.1.78", 4001))):
        body = ping_of(1, request_id=ord(host))
        [answer, *_] = face.receive(datagram_of(1, body), address, NOW)
        assert isinstance(answer, Send)
        assert (answer.to, answer.packet.body.packet.request_id) == (address, ord(host))
    lost: kademlia.Packet[None, None, None] = kademlia.Packet(id_bytes(face.core.id), 99, kademlia.Pong())
    assert face.perform([Send(node_of(1).address, lost)], NOW) == []
    assert face.counters["askers_forgotten"] == 1


def test_who_has_not_shown_where_he_is_gets_a_cookie_and_is_not_remembered() -> None:
    face = face_of(FaceConfig(), verify=True)
    source = ("128.59.1.77", 4000)
    [answer] = face.receive(datagram_of(1, ping_of(1)), source, NOW)
    assert isinstance(answer, Send)
    assert (answer.to, type(answer.packet.body)) == (source, Prove)
    assert len(face.nodes) == 0
    proven = msgspec.structs.replace(datagram_of(1, ping_of(1)), cookie=answer.packet.body.cookie)
    answers = face.receive(proven, source, NOW)
    assert any(isinstance(one.packet.body, Carried) for one in answers if isinstance(one, Send))
    assert len(face.nodes) == 1


def test_who_claims_to_be_somebody_else_is_refused() -> None:
    face = face_of(FaceConfig())
    source = ("128.59.1.1", 4000)
    assert face.receive(datagram_of(1, ping_of(2)), source, NOW) == []
    assert face.counters["packets_refused"] == 1
    mine = OverlayDatagram(
        identity=named("me"), tag=b"othertag", hid=b"hidhidhi", view_epoch=1, held=None, body=Taken(request_id=1)
    )
    assert face.receive(mine, source, NOW) == []
    assert face.counters["conflicts"] == 1


def test_contacts_of_whom_no_host_is_known_are_left_out() -> None:
    known, unknown = node_of(1), node_of(2)
    knows = known.__eq__
    sender = id_bytes(5)
    packet = Packet[None](sender, 1, Notified((unknown, known)))
    assert reachable_part(packet, knows) == Packet[None](sender, 1, Notified((known,)))
    packet = Packet[None](sender, 1, Predecessor(unknown))
    assert reachable_part(packet, knows) == Packet[None](sender, 1, Predecessor(None))
    packet = Packet[None](sender, 1, Route(sender, unknown, 1))
    assert reachable_part(packet, knows) is None
    packet = Packet[None](sender, 1, Route(sender, None, 1))
    assert reachable_part(packet, knows) is packet


def test_the_farthest_entries_are_dropped_first() -> None:
    entries = [entry_of(number, 8, ipv6=True) for number in range(16)]
    cut = fitting(entries, 700, 3)
    assert sum(map(entry_bytes, cut)) <= 700
    assert [entry.identity for entry in cut] == [entry.identity for entry in entries[: len(cut)]]
    assert len(cut) > 8
    assert [len(entry.hosts) for entry in fitting(entries[:2], 700, 3)] == [3, 3]
    assert fitting(entries, 20, 3) == ()
    assert fitting([], 700, 3) == ()


def test_a_core_that_stands_for_a_subnet_is_patient_and_checks_no_addresses() -> None:
    face = FaceConfig()
    kademlia_config, chord_config = face_config(KademliaConfig(), face), face_config(ChordConfig(), face)
    assert isinstance(kademlia_config, KademliaConfig)
    assert not kademlia_config.verify_contacts
    for config in (kademlia_config, chord_config):
        assert config.attempts == 1
        assert config.timeouts.min_s == config.timeouts.max_s == face.patience_s
    assert face.patience_s == pytest.approx(16.0)
    with pytest.raises(ValueError, match="pull_nodes"):
        FaceConfig(pull_nodes=0)


def test_a_quiet_face_has_no_deadline_of_its_own() -> None:
    face = face_of(FaceConfig(), CHORD)
    assert face.next_deadline() == math.inf


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (("10.1.2.3", 4000), True),
        (("127.0.0.1", 4000), True),
        (("fd00::3", 4000), True),
        (("128.59.9.9", 4000), False),
        (("2600::9", 4000), False),
    ],
)
def test_private_addresses_are_told_to_and_believed_from_whoever_is_seen_at_one(source: Address, told: bool) -> None:
    face = face_of(FaceConfig(), address=("10.9.9.9", 4000))
    private = NodeEntry(
        identity=named("s2"),
        tag=b"tagtagta",
        view_epoch=1,
        size=1,
        hosts=(HostRef(hid=b"privhost", address=("192.168.1.7", 4000), age_s=0),),
    )
    [answer, *_] = face.receive(datagram_of(1, ping_of(1), named=(private,)), source, NOW)
    assert isinstance(answer, Send)
    own = answer.packet.entry
    assert (None if own is None else [host.address for host in own.hosts]) == ([("10.9.9.9", 4000)] if told else None)
    assert face.nodes.knows(node_of(2)) == told
    # What was learnt within is not told outside.
    asked = datagram_of(1, WhoIs(number=1, node_id=id_bytes(node_of(2).id)))
    for asker, named_hosts in ((source, told), (("128.59.7.7", 4000), False)):
        answers = face.receive(asked, asker, NOW + 1)
        (tells,) = [each.packet for each in answers if isinstance(each, Send) and isinstance(each.packet.body, ItIs)]
        found = {host.address for entry in tells.named for host in entry.hosts}
        assert (("192.168.1.7", 4000) in found) == named_hosts
