"""What people who break the rules can do to a node, and what not."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtboot.effects import Effect, Joined, JoinFailed, Send
from dhtboot.ids import Address, NodeRef, id_bytes, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import CONTACTS_MAX
from dhtboot.kademlia.messages import Busy, FindNode, Nodes, Packet, Ping, Pong
from dhtboot.kademlia.node import KademliaNode
from dhtboot.lookup import LookupResult
from dhtboot.rpc import Then
from tests.dhtboot.kademlia.overlay import CODEC, Overlay, address_of
from tests.dhtboot.memory_network import Network
from tests.dhtboot.strategies import packets

ME = address_of(0)
STRANGER = ("192.0.2.66", 6666)
STRANGER6 = ("2001:db8::66", 6666)
TARGET = id_bytes(1 << 150)


class Echo:
    """A layer above that answers every question with a text as long as it may be."""

    def on_question(self, question: Any, now: float) -> Any:
        return f"{question}!" + "x" * 300

    def on_note(self, note: Any, sender: NodeRef, now: float) -> None:
        """Nothing."""


def new_node(config: KademliaConfig | None = None, *, contacts: int = 40, ipv6: bool = False) -> KademliaNode:
    rng = Random(1)
    node = KademliaNode(random_id(rng), config or KademliaConfig(), rng, 0.0, Echo())
    node.join([], 0.0)
    for number in range(1, contacts + 1):
        host = f"2001:db8::{number:x}" if ipv6 else address_of(number)[0]
        node._heard(NodeRef(random_id(rng), (host, 4000)), 0.0, verified=True)
    node.collect()
    return node


def sends(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def answers(effects: list[Effect], to: Address) -> list[Any]:
    return [e.packet for e in sends(effects) if e.to == to and not isinstance(e.packet.message, Ping)]


REQUESTS = [Ping(), FindNode(TARGET), FindNode(TARGET, "q")]


@pytest.mark.parametrize("request_id", [1, (1 << 64) - 1])
@pytest.mark.parametrize("sender", [b"", id_bytes(66)])
@pytest.mark.parametrize("source", [STRANGER, STRANGER6])
@pytest.mark.parametrize("message", REQUESTS)
def test_a_reply_to_an_unverified_address_is_at_most_three_times_the_request(
    message: Any, source: Address, sender: bytes, request_id: int
) -> None:
    for config in (KademliaConfig(), KademliaConfig(requests_burst=0.5)):
        for ipv6 in (False, True):
            node = new_node(config, ipv6=ipv6)
            # What the shortest form of the request needs: fields with their default may be left out.
            request = len(CODEC.encode(Packet(sender, request_id, message)))
            request -= 1 + (isinstance(message, FindNode) and message.question is None)
            effects = node.receive(Packet(sender, request_id, message), source, 0.0)
            size = sum(len(CODEC.encode(packet)) for packet in answers(effects, source))
            pings = [e for e in sends(effects) if isinstance(e.packet.message, Ping)]
            size += sum(len(CODEC.encode(ping.packet)) for ping in pings)
            assert size <= 3 * request, (effects, request)


def test_an_unverified_address_gets_a_cookie_and_with_it_the_whole_answer() -> None:
    node = new_node()
    (first,) = answers(node.receive(Packet(id_bytes(66), 1, FindNode(TARGET, "q")), STRANGER, 0.0), STRANGER)
    assert first.message.answer is None
    assert first.message.cookie
    again = Packet(id_bytes(66), 2, FindNode(TARGET, "q"), first.message.cookie)
    (second,) = answers(node.receive(again, STRANGER, 0.1), STRANGER)
    assert second.message.answer.startswith("q!")
    assert len(second.message.nodes) == KademliaConfig().reply_nodes
    assert not second.message.cookie
    # The cookie is of no use to anybody else.
    (other,) = answers(node.receive(again, STRANGER6, 0.1), STRANGER6)
    assert other.message.answer is None


def test_an_unverified_sender_never_enters_the_table() -> None:
    node = new_node(contacts=3)
    for number in range(200):
        sender = NodeRef(random_id(Random(number)), (f"198.51.100.{number}", 1000 + number))
        for message in REQUESTS:
            node.receive(Packet(id_bytes(sender.id), 1, message), sender.address, 0.1)
        assert node.table.find(sender.id) is None
        assert sender not in node.neighbours
    assert len(node.table) == 3


def test_a_sender_enters_after_it_has_answered_from_its_address() -> None:
    node = new_node(contacts=3)
    effects = node.receive(Packet(id_bytes(66), 1, Ping()), STRANGER, 0.0)
    (ping,) = [e for e in sends(effects) if isinstance(e.packet.message, Ping)]
    assert ping.to == STRANGER
    pong = Packet(id_bytes(66), ping.packet.request_id, Pong())
    node.receive(pong, STRANGER6, 0.1)  # from elsewhere
    assert node.table.find(66) is None
    node.receive(pong, STRANGER, 0.1)
    assert node.table.find(66) == NodeRef(66, STRANGER)


def test_a_flood_of_spoofed_senders_causes_few_pings_and_bounded_tables() -> None:
    overlay = Overlay(1).grow(20)
    node = overlay.nodes[ME]
    held = len(node.table)
    pings: list[Address] = []

    def observe(source: Address, to: Address, packet: Any, _size: int) -> None:
        if source == ME and isinstance(packet.message, Ping) and to not in overlay.nodes:
            pings.append(to)

    overlay.network.observers.append(observe)
    rng = Random(2)
    for number in range(5000):
        source = (f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 1 + number)
        overlay.network.send(source, ME, Packet(id_bytes(random_id(rng)), number + 1, Ping()))
    overlay.network.run(0.2)
    assert len(set(pings)) <= overlay.config.verifications_max
    assert len(node.table) == held
    overlay.network.run(30.0)
    assert overlay.wrong(30) == 0


def test_a_source_over_its_rate_is_told_when_to_come_back() -> None:
    node = new_node(KademliaConfig(requests_per_s=10.0, requests_burst=5.0))
    replies = [answers(node.receive(Packet(id_bytes(66), n, Ping()), STRANGER, 0.0), STRANGER) for n in range(1, 8)]
    kinds = [type(reply[0].message) for reply in replies]
    assert kinds == [Pong] * 5 + [Busy] * 2
    assert replies[-1][0].message.retry_after_s == pytest.approx(0.1)
    assert answers(node.receive(Packet(id_bytes(67), 1, Ping()), STRANGER6, 0.0), STRANGER6), "others are served"
    (later,) = answers(node.receive(Packet(id_bytes(66), 9, Ping()), STRANGER, 0.11), STRANGER)
    assert isinstance(later.message, Pong)


def test_a_busy_peer_does_not_stop_a_lookup() -> None:
    overlay = Overlay(3).grow(20)
    busy = overlay.nodes[address_of(7)]
    busy._config = KademliaConfig(requests_burst=0.5)
    busy._limiter._burst = busy._limiter._rate_per_s = 0.5
    for source, target, result in overlay.random_lookups(20):
        best = next(i for i in overlay.closest(source, target) if i != busy.id)
        assert best in [node.id for node in result.answered[:2]]


def ask(node: KademliaNode, peer: NodeRef, question: str, now: float) -> tuple[list[Any], Packet[Any, Any, Any]]:
    """Ask a peer; return where its outcome will appear, and the packet."""
    outcome: list[Any] = []
    then = Then(lambda _node, found, _now: outcome.append(found.answer), lambda _node, _now: outcome.append("failed"))
    node.call(peer, FindNode(TARGET, question), now, then)
    (effect,) = sends(node.collect())
    return outcome, effect.packet


def short(cookie: bytes) -> Nodes[Any]:
    """What somebody gets who has not shown that he receives at his address."""
    return Nodes((), None, cookie)


def test_two_requests_with_a_short_answer_are_both_sent_again_with_the_cookie() -> None:
    node, peer = new_node(), NodeRef(66, STRANGER)
    first, packet1 = ask(node, peer, "one", 0.0)
    second, packet2 = ask(node, peer, "two", 0.0)
    again = []
    for packet in (packet1, packet2):
        (effect,) = sends(node.receive(Packet(id_bytes(66), packet.request_id, short(b"12345678")), STRANGER, 0.1))
        assert effect.packet.cookie == b"12345678"
        assert effect.packet.request_id != packet.request_id
        again.append(effect.packet)
    for packet, answer in zip(again, "ab", strict=True):
        node.receive(Packet(id_bytes(66), packet.request_id, Nodes((), answer)), STRANGER, 0.2)
    assert (first, second) == (["a"], ["b"])


def test_a_copy_of_a_short_answer_does_not_pass_for_the_whole_one() -> None:
    node, peer = new_node(), NodeRef(66, STRANGER)
    outcome, packet = ask(node, peer, "one", 0.0)
    answer = Packet(id_bytes(66), packet.request_id, short(b"12345678"))
    node.receive(answer, STRANGER, 0.1)
    assert node.receive(answer, STRANGER, 0.1) == []
    assert outcome == []


def test_a_peer_that_wants_another_cookie_each_time_is_asked_twice() -> None:
    node, peer = new_node(), NodeRef(66, STRANGER)
    outcome, packet = ask(node, peer, "one", 0.0)
    rounds = 0
    while not outcome and rounds < 10:
        effects = sends(
            node.receive(Packet(id_bytes(66), packet.request_id, short(id_bytes(rounds)[-8:])), STRANGER, 0.1)
        )
        rounds += 1
        packet = effects[0].packet if effects else packet
    assert outcome == [None], "what it says is taken for its answer"
    assert rounds == 2


def test_a_response_without_sender_is_nobodys() -> None:
    node = KademliaNode(5, KademliaConfig(), Random(1), 0.0)
    (ping,) = sends(node.join([NodeRef(0, STRANGER)], 0.0))
    assert node.receive(Packet(b"", ping.packet.request_id, Pong()), STRANGER, 0.1) == []
    assert len(node.table) == 0


def test_too_many_requests_under_way_fail_the_newest_and_nothing_stops() -> None:
    config = KademliaConfig(pending_max=20)
    network = Network(1, codec=CODEC)
    node = new_node(config)
    network.add(node, ME)
    outcomes: list[str] = []
    then = Then(lambda *_: outcomes.append("reply"), lambda *_: outcomes.append("failed"))
    for _ in range(50):
        node.call(NodeRef(66, STRANGER), FindNode(TARGET, "q"), network.now, then)
    results: list[LookupResult] = []
    node.lookup(1, network.now, on_done=lambda result, _now: results.append(result))
    network.perform(ME, node.receive(Packet(id_bytes(67), 1, Ping()), STRANGER6, network.now))
    network.run(0.01)
    assert outcomes == ["failed"] * 30
    assert [len(result.answered) for result in results] == [0]
    network.run(10.0)
    assert outcomes == ["failed"] * 50


def test_entry_points_told_without_end_are_bounded() -> None:
    node = new_node(contacts=1)
    for number in range(1000):
        node.learn(NodeRef(0, ("198.51.100.1", 1 + number)), 0.0)
        node.joining.remember_lost(NodeRef(number, ("198.51.100.2", 1 + number)))
    assert len(node.joining.contacts) == 2 * CONTACTS_MAX


@settings(max_examples=60)
@given(st.lists(st.tuples(packets, st.sampled_from([STRANGER, STRANGER6, address_of(1)])), max_size=40), st.booleans())
def test_no_packet_and_no_order_of_packets_stops_a_node(arriving: list[tuple[Any, Address]], answered: bool) -> None:
    node = new_node(contacts=5)
    now = 0.0
    open_ids: list[int] = []
    for arrived, source in arriving:
        packet = arrived
        now += 0.05
        if answered and open_ids:  # a response to one of the node's own requests, whatever it says
            packet = Packet(packet.sender, open_ids.pop(), packet.message, packet.cookie)
        effects = node.receive(packet, source, now)
        if node.next_deadline() <= now:
            effects = effects + node.tick(now)
        for effect in effects:
            assert isinstance(effect, Send | Joined | JoinFailed)
            if isinstance(effect, Send):
                assert len(CODEC.encode(effect.packet)) <= 1200
                open_ids.append(effect.packet.request_id)
        assert len(node.table) <= 16 * 160
    assert node.closest(1, 8) is not None


def test_contacts_nobody_answers_at_do_not_hold_a_lookup_for_long() -> None:
    overlay = Overlay(4).grow(20)
    liar = overlay.nodes[address_of(6)]
    rng = Random(3)

    def lie(packet: Any, source: Address, _now: float) -> list[Effect]:
        if isinstance(packet.message, FindNode):
            target = int.from_bytes(packet.message.target, "big")
            fakes = tuple(
                NodeRef(target ^ rng.getrandbits(8), ("203.0.113.1", rng.randint(1, 65_535))) for _ in range(8)
            )
            return [Send(source, Packet(id_bytes(liar.id), packet.request_id, Nodes(fakes)))]
        return KademliaNode.receive(liar, packet, source, _now)

    liar.receive = lie  # type: ignore[method-assign]
    for source, target, result in overlay.random_lookups(15):
        if source != address_of(6):
            honest = [i for i in overlay.closest(source, target) if i != liar.id]
            assert result.answered, "ended"
            assert honest[0] in [node.id for node in result.answered[:2]]
