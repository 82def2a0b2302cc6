import itertools
import math
from random import Random

import pytest

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_client import (
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    TRANSITIONS,
    BootstrapClient,
    ClientAction,
    ClientConfig,
    ClientInput,
    Phase,
)
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
from dhtboot.effects import Effect, Send
from dhtboot.ids import NodeRef
from dhtboot.wire import Codec
from tests.dhtboot.memory_network import Network

SERVER = ("192.0.2.1", 27184)
CONTACT = NodeRef(9, ("10.0.0.9", 1))


def new_client() -> tuple[BootstrapClient, list[tuple[NodeRef | None, float]]]:
    given: list[tuple[NodeRef | None, float]] = []
    client = BootstrapClient(
        5, SERVER, ClientConfig(), Random(1), on_contact=lambda contact, now: given.append((contact, now))
    )
    return client, given


def sent(effects: list[Effect]) -> BootstrapPacket:
    (send,) = effects
    assert isinstance(send, Send)
    assert send.to == SERVER
    return send.packet  # type: ignore[no-any-return]


def answer(client: BootstrapClient, request: BootstrapPacket, message: BootstrapMessage, now: float) -> list[Effect]:
    return client.receive(BootstrapPacket(b"", request.request_id, message), SERVER, now)


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, ClientInput)))
def test_every_pair_does_what_the_table_says_and_an_unlisted_one_nothing(phase: Phase, event: ClientInput) -> None:
    client, _ = new_client()
    client.phase = phase
    effects = client._on_input(event, 1.0)
    after, action = TRANSITIONS.get((phase, event), (phase, ClientAction.NONE))
    assert client.phase is after
    assert bool(effects) == (action is ClientAction.SEND)


def test_a_contact_is_asked_for_and_handed_on_and_the_join_reported_with_its_cookie() -> None:
    client, given = new_client()
    request = sent(client.ask(0.0))
    assert request.message == ContactRequest()
    assert not answer(client, request, ContactReply(CONTACT, b"cookie12"), 0.1)
    assert given == [(CONTACT, 0.1)]
    assert client.next_deadline() == math.inf
    report = sent(client.report(1.0))
    assert (report.message, report.cookie) == (JoinReport(), b"cookie12")
    answer(client, report, JoinAccepted(600.0), 1.1)
    assert client.phase is Phase.LISTED
    assert client.next_deadline() == pytest.approx(301.1), "half of the lease"
    assert sent(client.tick(301.2)).message == JoinReport()


def test_silence_is_answered_by_asking_again_ever_more_slowly_for_ever() -> None:
    client, _ = new_client()
    client.ask(0.0)
    times = []
    for _ in range(12):
        now = client.next_deadline()
        times.append(now)
        assert sent(client.tick(now)).message == ContactRequest()
    pauses = [b - a for a, b in itertools.pairwise([0.0, *times])]
    assert pauses[:3] == [1.5, 3.0, 6.0]
    assert pauses[-3:] == [30.0] * 3


def test_a_challenge_is_answered_once() -> None:
    client, _ = new_client()
    request = sent(client.ask(0.0))
    again = sent(answer(client, request, AddressChallenge(b"12345678"), 0.1))
    assert again.cookie == b"12345678"
    assert again.request_id != request.request_id
    assert not answer(client, again, AddressChallenge(b"87654321"), 0.2)
    assert client.ignored == 1
    assert client.next_deadline() == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(3.0, 3.0), (0.0, PAUSE_MIN_S), (-5.0, PAUSE_MIN_S), (1e9, PAUSE_MAX_S), (math.nan, PAUSE_MAX_S)],
)
def test_the_server_s_pause_is_kept_within_bounds(asked: float, waited: float) -> None:
    client, _ = new_client()
    request = sent(client.ask(0.0))
    assert not answer(client, request, TryLater(asked), 1.0)
    assert client.next_deadline() == pytest.approx(1.0 + waited)
    assert sent(client.tick(client.next_deadline())).message == ContactRequest()


def test_strays_are_counted_and_change_nothing() -> None:
    client, given = new_client()
    request = sent(client.ask(0.0))
    reply = ContactReply(CONTACT, b"")
    client.receive(BootstrapPacket(b"", request.request_id, reply), ("192.0.2.9", 27184), 0.1)
    client.receive(BootstrapPacket(b"", request.request_id ^ 1, reply), SERVER, 0.1)
    answer(client, request, JoinAccepted(600.0), 0.1)
    answer(client, request, JoinReport(), 0.1)
    assert client.ignored == 4
    assert not given
    assert client.phase is Phase.ASKING


def test_a_listed_node_takes_its_leave_and_another_says_nothing() -> None:
    client, _ = new_client()
    assert not client.leave(0.0)
    client.report(1.0)
    goodbye = sent(client.leave(2.0))
    assert (goodbye.message, goodbye.request_id) == (LeaveReport(), 0)
    assert client.next_deadline() == math.inf


class Node:
    """A client that reports as soon as it has a contact, as a node that joins in no time."""

    def __init__(self, identifier: int, rng: Random) -> None:
        self.given: list[NodeRef | None] = []
        self.waiting: list[Effect] = []
        self.client = BootstrapClient(identifier, SERVER, ClientConfig(), rng, on_contact=self._on_contact)

    def _on_contact(self, contact: NodeRef | None, now: float) -> None:
        self.given.append(contact)
        self.waiting += self.client.report(now)

    def receive(self, packet: BootstrapPacket, source: tuple[str, int], now: float) -> list[Effect]:
        effects = self.client.receive(packet, source, now) + self.waiting
        self.waiting = []
        return effects

    def tick(self, now: float) -> list[Effect]:
        return self.client.tick(now)

    def next_deadline(self) -> float:
        return self.client.next_deadline()


def test_with_a_fifth_of_all_packets_lost_everybody_gets_listed_and_one_founds() -> None:
    network = Network(3, loss=0.2, codec=Codec(BootstrapPacket, network="test"))
    server = BootstrapServer(BootstrapConfig(lease_s=60.0), network.rng("server"), 0.0)
    network.add(server, SERVER)
    nodes = []
    for number in range(1, 31):
        node, address = Node(number, network.rng(number)), (f"10.0.0.{number}", 4000)
        nodes.append(node)
        network.add(node, address)
        network.perform(address, node.client.ask(network.now))
    network.run_until(lambda: len(server) == 30, limit_s=300.0)
    assert sum(node.given[0] is None for node in nodes) == 1
    network.run(600.0)
    assert len(server) >= 28, "renewals outlive the lease; one may be late by three losses in a row"
