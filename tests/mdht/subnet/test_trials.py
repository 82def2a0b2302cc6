from collections import Counter
from random import Random

from dhtboot.effects import Send
from dhtboot.ids import Address
from dhtboot.kademlia import messages as kademlia
from mdht.subnet.face_messages import OverlayDatagram, Probe, Trying, TryMe, TryThem
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.overlay_wire import OverlayCodec
from mdht.subnet.push import Peer
from mdht.subnet.reachability import Reachability
from mdht.subnet.reachability_config import ReachabilityConfig
from mdht.subnet.trials import ASKS_BURST, PASSED_BURST, Trials

ME = Own(identity=named("me"), tag=b"tagtagta", hid=b"hosthost", addresses=(("11.0.0.1", 27183),), ready=True)
ASKER = Peer(7, b"asker___", ("11.0.9.9", 40000))
NODE: Address = ("::7", 0)
OTHER = (("::8", 0), Peer(8, b"other___", ("11.0.8.8", 27183)))
SAME_NODE = (("::7", 0), Peer(7, b"sibling_", ("11.0.7.7", 27183)))
SAME_ADDRESS = (("::9", 0), Peer(9, b"neighbou", ("11.0.9.9", 50000)))
PRIVATE = (("::6", 0), Peer(6, b"private_", ("10.0.0.6", 27183)))


class Helping:
    def __init__(self, *helpers: tuple[Address, Peer]) -> None:
        self.counters: Counter[str] = Counter()
        self.said: list[tuple[Peer, object]] = []
        reach = Reachability(lambda: ME.addresses, None, tuple, self._say, ReachabilityConfig(), Random(1))
        self.reach = reach
        self.trials = Trials(reach, lambda: ME, lambda: helpers, self._say, self.counters, Random(1))

    def _say(self, _node: Address, peer: Peer, body: object, _now: float) -> Send:
        self.said.append((peer, body))
        return Send(peer.address, body)

    def hear(
        self, message: TryMe | TryThem | Trying, sender: Peer = ASKER, now: float = 0.0, *, client: bool = False
    ) -> list[Send]:
        self.said.clear()
        return self.trials.hear(message, NODE, sender, now, client=client)


def test_another_host_is_asked_to_send_the_probe_and_the_asker_is_told_where_he_is_seen() -> None:
    helping = Helping(SAME_NODE, OTHER, SAME_ADDRESS, PRIVATE)
    for number in range(8):
        sent = helping.hear(TryMe(number=number), client=True)
        assert helping.said == [
            (ASKER, Trying(number=number, seen=ASKER.address)),
            (OTHER[1], TryThem(number=number, address=ASKER.address)),
        ]
        assert len(sent) == 2


def test_where_nobody_else_is_known_the_probe_is_sent_at_once() -> None:
    sent = Helping(SAME_NODE, SAME_ADDRESS, PRIVATE).hear(TryMe(number=5, address=("11.0.9.9", 27183)))
    assert sent[0] == Send(ASKER.address, Trying(number=5, seen=ASKER.address))
    assert sent[1].to == ("11.0.9.9", 27183)
    assert sent[1].packet.body == Probe(number=5, address=("11.0.9.9", 27183))


def test_a_port_of_another_address_than_the_askers_is_not_tried() -> None:
    helping = Helping(OTHER)
    sent = helping.hear(TryMe(number=5, address=("11.0.66.66", 27183)))
    assert sent == [Send(ASKER.address, Trying(number=5, seen=ASKER.address))]
    assert helping.counters["tries_refused"] == 1


def test_a_probe_that_another_node_wants_is_sent_and_no_larger_than_the_question() -> None:
    helping = Helping(OTHER)
    wanted = TryThem(number=5, address=ASKER.address)
    (sent,) = helping.hear(wanted, OTHER[1])
    assert (sent.to, sent.packet.body) == (ASKER.address, Probe(number=5, address=ASKER.address))
    codec = OverlayCodec("office", kademlia.Packet[str, str, str])
    question = OverlayDatagram(
        identity=named("me"), tag=b"tagtagta", hid=b"hosthost", view_epoch=0, held=None, body=wanted
    )
    assert len(codec.encode(sent.packet)) <= len(codec.encode(question))


def test_a_client_and_whoever_means_a_private_address_from_afar_get_no_probe_sent() -> None:
    helping = Helping(OTHER)
    assert helping.hear(TryThem(number=5, address=ASKER.address), client=True) == []
    assert helping.hear(TryThem(number=5, address=("192.168.1.1", 53)), OTHER[1]) == []
    assert helping.counters["tries_refused"] == 2
    assert helping.hear(TryThem(number=5, address=("192.168.1.1", 53)), PRIVATE[1]), "of one network"


def test_askers_those_that_pass_on_and_targets_are_limited() -> None:
    helping = Helping(OTHER)
    answered = sum(bool(helping.hear(TryMe(number=number))) for number in range(100))
    assert answered == ASKS_BURST
    assert helping.hear(TryMe(number=1), now=2.0)
    probes = [helping.hear(TryThem(number=1, address=ASKER.address), OTHER[1], 10.0) for _ in range(100)]
    assert sum(map(len, probes)) == ASKS_BURST
    others = [
        helping.hear(TryThem(number=1, address=(f"11.7.7.{number}", 1)), OTHER[1], 100.0) for number in range(1, 200)
    ]
    assert sum(map(len, others)) == PASSED_BURST


def test_an_answer_goes_to_who_has_asked() -> None:
    helping = Helping()
    helping.reach.begin(0.0)
    (number,) = helping.reach._numbers
    assert helping.hear(Trying(number=number, seen=("11.0.0.1", 27183)), OTHER[1]) == []
    assert helping.reach.seen == ("11.0.0.1", 27183)


def test_whoever_sends_the_probe_has_the_family_of_the_target() -> None:
    six = (("::5", 0), Peer(5, b"with_six", ("2a01:db0::9", 27183)))
    helping = Helping(OTHER, six)
    for _ in range(8):
        helping.hear(TryMe(number=1), Peer(7, b"asker___", ("2a01:db0::1", 40000)))
        assert helping.said[1][0] == six[1]
