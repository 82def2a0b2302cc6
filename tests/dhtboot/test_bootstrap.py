import math
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtboot.bootstrap import BootstrapServer, source_of
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import (
    AddressChallenge,
    BootstrapMessage,
    BootstrapPacket,
    ContactReply,
    ContactRequest,
    JoinAccepted,
    JoinReport,
    LeaveReport,
    TryLater,
)
from dhtboot.effects import Send
from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import Address, NodeRef, id_bytes, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Packet
from dhtboot.kademlia.node import KademliaNode
from dhtboot.wire import Codec
from tests.dhtboot.memory_network import Network
from tests.dhtboot.strategies import cookies, id_blobs, nodes

CODEC: Codec[BootstrapPacket] = Codec(BootstrapPacket, network="test")
REQUESTS = [ContactRequest(), JoinReport(), LeaveReport()]

messages: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(REQUESTS),
    st.builds(ContactReply, st.none() | nodes, cookies),
    st.builds(JoinAccepted, st.floats(0, 1e6)),
    st.builds(AddressChallenge, cookies),
    st.builds(TryLater, st.floats(0, 1e6)),
)
packets = st.builds(BootstrapPacket, st.just(b"") | id_blobs, st.integers(0, (1 << 64) - 1), messages, cookies)


def address(number: int) -> Address:
    return f"10.0.{number >> 8}.{number & 255}", 4000


class Client:
    """Talks with a server in memory, one exchange after the other, as a node would."""

    def __init__(self, config: BootstrapConfig | None = None, *, seed: int = 1) -> None:
        self.now = 0.0
        self.server = BootstrapServer(config or BootstrapConfig(), Random(seed), 0.0)

    def once(self, source: Address, message: BootstrapMessage, cookie: bytes = b"", *, node: int = 7) -> Any:
        effects = self.server.receive(BootstrapPacket(id_bytes(node), 5, message, cookie), source, self.now)
        if not effects:
            return None
        (effect,) = effects
        assert isinstance(effect, Send)
        assert effect.to == source
        assert effect.packet.request_id == 5
        return effect.packet.message

    def exchange(self, source: Address, message: BootstrapMessage, *, node: int = 7) -> Any:
        """One request with, if asked for, the cookie."""
        answer = self.once(source, message, node=node)
        if isinstance(answer, AddressChallenge):
            answer = self.once(source, message, answer.cookie, node=node)
        return answer

    def report(self, *numbers: int) -> None:
        for number in numbers:
            assert isinstance(self.exchange(address(number), JoinReport(), node=number), JoinAccepted)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.server.next_deadline() <= self.now:
            assert self.server.tick(self.now) == []
        assert self.server.next_deadline() > self.now


def test_a_node_that_asks_gets_one_that_reported() -> None:
    client = Client()
    client.report(1)
    assert client.exchange(address(2), ContactRequest()).contact == NodeRef(1, address(1))


def test_a_join_costs_two_exchanges() -> None:
    # Thesis 2.3: two hits a node. The cookie for the report comes with the contact.
    client = Client()
    client.report(1)
    reply = client.once(address(2), ContactRequest())
    assert client.once(address(2), JoinReport(), reply.cookie) == JoinAccepted(600.0)
    assert len(client.server) == 2


def test_every_node_is_drawn_about_as_often_as_any_other_and_never_the_asker() -> None:
    client = Client(BootstrapConfig(requests_burst=1e5))
    client.report(*range(1, 11))
    drawn = Counter(client.once(address(3), ContactRequest()).contact.id for _ in range(9000))
    assert set(drawn) == {1, 2, 4, 5, 6, 7, 8, 9, 10}
    assert all(850 < count < 1150 for count in drawn.values())


def test_exactly_one_node_begins_the_overlay() -> None:
    client = Client()
    first = client.exchange(address(1), ContactRequest())
    assert isinstance(first, ContactReply)
    assert first.contact is None
    assert client.exchange(address(2), ContactRequest()) == TryLater(1.0), "while the first one begins"
    assert client.exchange(address(1), ContactRequest()).contact is None, "its reply was lost"
    client.report(1)
    assert client.exchange(address(2), ContactRequest()).contact.id == 1


def test_another_begins_the_overlay_when_the_first_never_reports() -> None:
    client = Client()
    client.exchange(address(1), ContactRequest())
    client.wait(10.0)
    assert client.exchange(address(2), ContactRequest()).contact is None


def test_a_spoofed_asker_does_not_become_the_first_node() -> None:
    client = Client()
    assert isinstance(client.once(address(1), ContactRequest()), AddressChallenge)
    assert client.exchange(address(2), ContactRequest()).contact is None


@pytest.mark.parametrize("cookie", [b"", b"12345678", b"far too long a cookie"])
def test_nobody_registers_an_address_at_which_it_does_not_receive(cookie: bytes) -> None:
    client = Client()
    assert isinstance(client.once(address(1), JoinReport(), cookie), AddressChallenge)
    mine = client.once(address(2), JoinReport()).cookie
    assert isinstance(client.once(address(1), JoinReport(), mine), AddressChallenge)
    assert len(client.server) == 0


def test_nobody_removes_another_by_a_claim() -> None:
    client = Client()
    client.report(1)
    mine = client.once(address(2), JoinReport()).cookie
    for cookie in (b"", mine):
        assert client.once(address(1), LeaveReport(), cookie) is None
    assert len(client.server) == 1


def test_who_leaves_is_forgotten_at_once() -> None:
    client = Client()
    client.report(1, 2)
    cookie = client.once(address(3), ContactRequest()).cookie
    assert client.once(address(3), LeaveReport(), cookie) is None, "was never there"
    cookie = client.once(address(1), ContactRequest()).cookie
    client.once(address(1), LeaveReport(), cookie)
    assert {client.once(address(9), ContactRequest()).contact.id for _ in range(20)} == {2}
    assert client.server.status(0.0).left == 1


def test_the_dead_expire_and_the_living_renew() -> None:
    client = Client(BootstrapConfig(lease_s=60.0))
    client.report(1, 2, 3)
    client.wait(50.0)
    client.report(2)
    client.wait(9.9)
    assert len(client.server) == 3
    client.wait(0.1)
    assert len(client.server) == 1
    assert client.once(address(9), ContactRequest()).contact.id == 2
    client.wait(50.0)
    assert len(client.server) == 0
    assert client.server.next_deadline() == math.inf
    assert client.server.status(client.now).expired == 3


def test_a_host_that_returns_with_another_identifier_replaces_its_entry() -> None:
    client = Client()
    client.exchange(address(1), JoinReport(), node=1)
    client.exchange(address(1), JoinReport(), node=2)
    assert len(client.server) == 1
    assert client.once(address(9), ContactRequest()).contact == NodeRef(2, address(1))


def test_contacts_fit_the_asker() -> None:
    client = Client()
    v4, v6, loop = ("192.0.2.1", 1), ("2001:db8::1", 1), ("127.0.0.1", 1)
    for source in (v4, v6, loop):
        client.exchange(source, JoinReport())
    for asker, expected in (
        (("192.0.2.9", 9), v4),
        (("2001:db8::9", 9), v6),
        (("127.0.0.1", 9), loop),
        (v4, v6),  # no other of its family
        (("::1", 9), loop),
    ):
        assert {client.once(asker, ContactRequest()).contact.address for _ in range(10)} == {expected}


def test_what_stands_on_loopback_is_not_given_to_other_hosts() -> None:
    client = Client()
    client.exchange(("127.0.0.1", 1), JoinReport())
    assert client.exchange(("192.0.2.9", 9), ContactRequest()).contact is None
    client.exchange(("192.0.2.1", 1), JoinReport())
    assert client.exchange(("::1", 9), ContactRequest()).contact.address == ("127.0.0.1", 1)


def test_a_source_over_its_rate_is_told_when_to_come_back() -> None:
    client = Client(BootstrapConfig(requests_per_s=2.0, requests_burst=3.0))
    answers = [client.once(("192.0.2.1", port), ContactRequest()) for port in range(1, 6)]
    assert [type(answer) for answer in answers] == [AddressChallenge] * 3 + [TryLater] * 2
    assert answers[-1] == TryLater(0.5)
    assert not isinstance(client.once(("192.0.2.2", 1), ContactRequest()), TryLater)
    client.wait(0.5)
    assert not isinstance(client.once(("192.0.2.1", 1), ContactRequest()), TryLater)


def test_a_source_is_a_host_or_a_site_of_ipv6() -> None:
    assert source_of(("192.0.2.1", 1)) == source_of(("192.0.2.1", 2)) != source_of(("192.0.2.2", 1))
    assert source_of(("2001:db8:0:1::1", 1)) == source_of(("2001:db8:0:1:ffff::2", 1))
    assert source_of(("2001:db8:0:1::1", 1)) != source_of(("2001:db8:0:2::1", 1))


def test_entries_are_bounded_per_source_and_in_all() -> None:
    client = Client(BootstrapConfig(nodes_max=5, nodes_per_source_max=2))
    for port in (1, 2):
        assert isinstance(client.exchange(("192.0.2.1", port), JoinReport()), JoinAccepted)
    assert isinstance(client.exchange(("192.0.2.1", 3), JoinReport()), TryLater)
    assert isinstance(client.exchange(("192.0.2.1", 2), JoinReport()), JoinAccepted), "renewing is no new entry"
    client.report(1, 2, 3)
    assert isinstance(client.exchange(address(4), JoinReport()), TryLater)
    assert len(client.server) == 5
    assert client.server.status(0.0).refused == 2
    client.wait(600.0)
    client.report(4)
    assert client.server._per_source == {"10.0.0.4": 1}


@pytest.mark.parametrize(
    "packet", [BootstrapPacket(b"", 1, ContactRequest()), BootstrapPacket(bytes(20), 1, TryLater(1))]
)
def test_packets_of_nobody_and_answers_are_ignored(packet: BootstrapPacket) -> None:
    client = Client()
    assert client.server.receive(packet, address(1), 0.0) == []
    assert client.server.status(0.0).ignored == 1


@pytest.mark.parametrize("message", REQUESTS)
@pytest.mark.parametrize("source", [("192.0.2.66", 6666), ("2001:db8::66", 6666)])
def test_an_answer_is_at_most_three_times_the_request(message: BootstrapMessage, source: Address) -> None:
    client = Client()
    for burst in (1.0, 1e6):
        client.exchange(("2001:db8::1", 1), JoinReport())
        client.server._limiter._burst = burst
        packet = BootstrapPacket(bytes(20), 1, message)
        answers = [e.packet for e in client.server.receive(packet, source, 0.0) if isinstance(e, Send)]
        assert sum(len(CODEC.encode(answer)) for answer in answers) <= 3 * (len(CODEC.encode(packet)) - 1)


@given(packets)
def test_every_kind_of_packet_keeps_its_value_through_bytes(packet: BootstrapPacket) -> None:
    assert CODEC.decode(CODEC.encode(packet)) == packet


@given(packets, st.randoms(use_true_random=False))
def test_a_mutated_packet_decodes_or_is_refused(packet: BootstrapPacket, rng: Random) -> None:
    original = CODEC.encode(packet)
    for _ in range(20):
        data = bytearray(original)
        data[rng.randrange(5, len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(5, len(data)) :]
        with suppress(RemoteProtocolError):
            CODEC.decode(bytes(data))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(packets, st.integers(0, 5), st.booleans(), st.floats(0, 400)), max_size=60),
    st.integers(0, 3),
)
def test_no_order_of_packets_breaks_the_list(
    arriving: list[tuple[BootstrapPacket, int, bool, float]], seed: int
) -> None:
    client = Client(BootstrapConfig(nodes_max=4, lease_s=600.0), seed=seed)
    server = client.server
    for packet, number, honest, pause_s in arriving:
        client.wait(pause_s)
        source = address(number)
        cookie = server._cookies.make(source, client.now) if honest else packet.cookie
        for effect in server.receive(
            BootstrapPacket(packet.sender, packet.request_id, packet.message, cookie), source, client.now
        ):
            assert isinstance(effect, Send)
            assert effect.to == source
            CODEC.encode(effect.packet)
        listed = [a for pool in server._pools.values() for a in pool.addresses]
        assert sorted(listed) == sorted(server._nodes)
        assert sum(server._per_source.values()) == len(server) <= 4


@pytest.mark.parametrize("name", BootstrapConfig.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_senseless_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        BootstrapConfig(**{name: value})


def test_an_overlay_grows_from_nothing_through_the_server_alone() -> None:
    # Thesis 2.3 in small: every node asks, joins through the contact, reports.
    client = Client()
    network = Network(1, codec=Codec(Packet[None, None, None], network="test"))
    overlay: list[KademliaNode] = []
    for number in range(30):
        source = address(number)
        rng = network.rng(number)
        node = KademliaNode(random_id(rng), KademliaConfig(), rng, network.now)
        joined: list[Any] = []
        network.add(node, source, on_event=joined.append)
        contact = client.exchange(source, ContactRequest(), node=node.id).contact
        network.perform(source, node.join([] if contact is None else [contact], network.now))
        network.run_until(lambda joined=joined: joined, limit_s=10.0)
        client.exchange(source, JoinReport(), node=node.id)
        overlay.append(node)
    network.run(10.0)
    assert len(client.server) == 30
    status = client.server.status(network.now)
    assert (status.first_nodes, status.contacts_given, status.reports) == (1, 29, 30)
    everybody = sorted(node.id for node in overlay)
    for node in overlay:
        assert {sibling.id for sibling in node.neighbours} <= set(everybody)
        assert len(node.table) > 8
