"""Sessions heal: peers that restart, routes that change, connections that break, networks that lose and double."""

import pytest

from netserv.signaling.gist import requests
from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.service import NotificationKind, RoutingStatus, SendFailure, TransferAttributes
from tests.netserv.signaling.gist.recorder import RELIABLE, SECURE, flow, message
from tests.netserv.signaling.gist.world import World, line

FLOW = flow("10.0.0.1", "10.0.9.1")
SID = b"S" * 16
DATAGRAM = TransferAttributes()


def long_lived(host, world):
    host.perform(host.node.set_state_lifetime(32704, FLOW, None, 1e6, world.now))


@pytest.mark.parametrize("attributes", [RELIABLE, DATAGRAM], ids=["association", "datagrams"])
def test_a_responder_that_restarts_has_the_session_again_with_the_next_messages(attributes):
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"before", attributes=attributes))
    world.run(1.0)
    long_lived(sender, world)
    second.kill()
    second.start()
    world.run(0.05)
    sender.send(message(FLOW, b"lost or not", attributes=attributes))
    world.run(1.0)
    sender.send(message(FLOW, b"after", attributes=attributes))
    world.run(1.0)
    assert second.nslp.data()[-1] == b"after"
    assert second.nslp.data().count(b"after") == 1
    assert second.node.status(world.now).sessions == {"responding established": 1}
    assert sender.nslp.notifications(NotificationKind.ROUTE_DELETION)


def test_a_querier_that_restarts_takes_its_session_over_with_its_new_identity():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"before"))
    world.run(1.0)
    sender.kill()
    sender.start()
    sender.send(message(FLOW, b"after"))
    world.run(1.0)
    assert second.nslp.data() == [b"before", b"after"]
    second.send(message(FLOW.inverted(), b"back"))
    world.run(1.0)
    assert sender.nslp.data() == [b"back"]
    assert second.nslp.notifications(NotificationKind.ROUTE_DELETION)


def fork():
    """A sender with two ways to the receiver, by node b and by node c."""
    world = World()
    sender = world.host("a", "10.0.0.1")
    b, c = world.host("b", "10.0.1.1"), world.host("c", "10.0.2.1")
    receiver = world.host("r", "10.0.9.1", gist=False)
    world.link(sender, b)
    world.link(sender, c)
    world.link(b, receiver)
    world.link(c, receiver)
    return world, sender, b, c


@pytest.mark.parametrize("attributes", [RELIABLE, DATAGRAM], ids=["association", "datagrams"])
def test_a_changed_route_is_found_by_the_next_refresh_and_told(attributes):
    world, sender, b, c = fork()
    sender.send(message(FLOW, b"one", attributes=attributes))
    world.run(1.0)
    long_lived(sender, world)
    b.links[1].up = False  # the node is there, but not on the path any more
    world.run(25.0)
    sender.send(message(FLOW, b"two", attributes=attributes))
    world.run(1.0)
    assert (b.nslp.data(), c.nslp.data()) == ([b"one"], [b"two"])
    (deleted,) = sender.nslp.notifications(NotificationKind.ROUTE_DELETION)
    assert deleted.sii.address == b.address
    changes = sender.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)
    assert [change.status for change in changes] == [RoutingStatus.GOOD, RoutingStatus.GOOD]
    assert changes[1].sii.address == c.address
    world.run(40.0)
    assert b.node.status(world.now).sessions == {}


def test_what_the_kernel_says_of_routes_finds_the_new_node_at_once():
    world, sender, b, c = fork()
    sender.send(message(FLOW, b"one"))
    world.run(1.0)
    b.links[1].up = False
    queries = sender.node.counters.queries_sent
    sender.perform(sender.node.routes_changed([flow("10.0.0.1", "10.0.8.1").destination], world.now))
    assert sender.node.counters.queries_sent == queries  # another destination
    sender.perform(sender.node.routes_changed([FLOW.destination], world.now))
    world.run(0.5)
    sender.send(message(FLOW, b"two"))
    world.run(0.5)
    assert (b.nslp.data(), c.nslp.data()) == ([b"one"], [b"two"])


def test_a_change_of_very_many_routes_sends_so_many_queries_at_once_and_no_more(monkeypatch):
    monkeypatch.setattr(requests, "LOOKED_AGAIN_MAX", 3)
    world, sender, _second, _ = line()
    for number in range(8):
        sender.send(message(FLOW, b"one", sid=bytes([number]) * 16))
    world.run(1.0)
    queries = sender.node.counters.queries_sent
    sender.perform(sender.node.routes_changed([FLOW.destination], world.now))
    assert sender.node.counters.queries_sent == queries + 3
    world.run(0.5)
    statuses = [one.status for one in sender.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)]
    assert statuses.count(RoutingStatus.TENTATIVE) == 5


def test_an_urgent_hint_of_the_nslp_finds_the_new_route_at_once_and_carries_its_payload():
    world, sender, b, c = fork()
    sender.send(message(FLOW, b"one"))
    world.run(1.0)
    b.links[1].up = False
    sender.perform(
        sender.node.invalidate_routing_state(
            32704, FLOW, RoutingStatus.BAD, payload=b"look", urgent=True, now=world.now
        )
    )
    sender.send(message(FLOW, b"two"))
    world.run(0.5)
    assert c.nslp.data() == [b"two"]
    assert [one.data for one in c.nslp.asked] == [b"look"]
    assert b.nslp.data() == [b"one"]


def test_a_hint_that_is_not_urgent_waits_for_the_next_message():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"one"))
    world.run(1.0)
    for status in (RoutingStatus.BAD, RoutingStatus.TENTATIVE):
        sent = sender.node.counters.queries_sent
        sender.perform(sender.node.invalidate_routing_state(None, FLOW, status, now=world.now))
        world.run(1.0)
        assert sender.node.counters.queries_sent == sent
        sender.send(message(FLOW, status.value.encode()))
        world.run(1.0)
        assert sender.node.counters.queries_sent == sent + 1
    assert second.nslp.data() == [b"one", b"bad", b"tentative"]


def test_another_interface_of_a_refresh_query_is_a_change_that_a_confirm_has_to_prove():
    world, sender, second, _ = line()
    sender.send(message(FLOW, attributes=DATAGRAM))
    world.run(1.0)
    long_lived(sender, world)
    sender.links[0].up = False
    world.link(sender, second)
    world.run(25.0)
    changes = second.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)
    assert [change.status for change in changes] == [RoutingStatus.GOOD, RoutingStatus.TENTATIVE, RoutingStatus.GOOD]
    assert second.node.counters.handshakes_as_responder == 2


def test_a_broken_connection_is_told_and_made_again():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"one", handle=1))
    world.run(5.0)
    sender.send(message(FLOW, b"under way", handle=2))
    world.cut_both(sender, 1)
    world.run(0.5)
    assert [(status.handle, status.failure) for status in sender.nslp.failures()] == [(2, SendFailure.TRANSPORT)]
    assert sender.nslp.notifications(NotificationKind.COMMUNICATION_FAILURE)
    sender.send(message(FLOW, b"two"))
    second.send(message(FLOW.inverted(), b"back"))
    world.run(0.5)
    assert second.nslp.data() == [b"one", b"two"]
    assert sender.nslp.data() == [b"back"]


def test_what_the_peer_has_said_to_have_is_not_reported_when_the_connection_breaks_later():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"one", handle=1))
    world.run(5.0)
    world.cut_both(sender, 1)
    world.run(0.5)
    assert not sender.nslp.failures()
    assert not sender.nslp.notifications(NotificationKind.COMMUNICATION_FAILURE)
    assert second.nslp.data() == [b"one"]


def test_a_peer_that_answers_nothing_on_its_connection_counts_as_gone():
    world, sender, _, receiver = line()
    receiver.icmp = False
    sender.send(message(FLOW, b"one"))
    world.run(5.0)
    connection = sender.connections[1]
    connection.alive = False  # it swallows everything, and no end sees it
    sender.send(message(FLOW, b"swallowed", handle=5))
    world.run(40.0)
    assert [status.handle for status in sender.nslp.failures()] == [5]


@pytest.mark.parametrize("seed", range(12))
def test_losses_and_doubles_heal_and_nothing_arrives_twice(seed):
    world, sender, second, receiver = line(
        seed, between=1, config=GistConfig(longest_timeout_s=8.0), loss=0.17, duplication=0.3, jitter_s=0.02
    )  # over two links: 31 %
    receiver.icmp = False
    sent = []
    for number in range(40):
        sent.append(b"%03d" % number)
        sender.send(message(FLOW, sent[-1], handle=number))
        if number == 20:
            long_lived(sender, world)
        world.run(5.0)
    world.run(60.0)
    failed = {sent[status.handle] for status in sender.nslp.failures()}
    arrived = second.nslp.data()
    assert len(arrived) == len(set(arrived)), f"seed {seed}"
    assert arrived == sorted(arrived), f"seed {seed}"
    assert set(arrived) | failed == set(sent), f"seed {seed}"
    assert len(failed) <= 2, f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
def test_datagram_sessions_live_through_losses(seed):
    world, sender, second, receiver = line(seed, loss=0.3, duplication=0.3, jitter_s=0.02)
    receiver.icmp = False
    for number in range(100):
        sender.send(message(FLOW, b"%03d" % number, attributes=DATAGRAM))
        world.run(2.0)
    assert len(set(second.nslp.data())) >= 50, f"seed {seed}"


def test_an_old_confirm_that_comes_late_does_not_bring_the_old_peer_back():
    world, _, b, c = fork()
    # Seen from the responder: the receiver's node is found by b first, then by c.
    receiver = world.hosts["r"]
    receiver.start()
    b.send(message(FLOW, b"by b", attributes=DATAGRAM))
    world.run(0.5)
    confirm = b.sent[-2]
    c.send(message(FLOW, b"by c", attributes=DATAGRAM))
    world.run(0.5)
    b.links[1].other(b).arrived(confirm, b.links[1])
    (row,) = receiver.node.status(world.now).rows
    assert row.peer == "10.0.2.1"
    assert receiver.node.counters.old_confirms == 1


def test_reliable_messages_that_the_peer_refuses_are_reported_and_the_session_is_made_anew():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"one", handle=1))
    world.run(5.0)
    second.perform(second.node.set_state_lifetime(32704, FLOW.inverted(), SID, 0.0, world.now))
    sender.send(message(FLOW, b"refused", handle=2))
    world.run(1.0)
    assert [(status.handle, status.failure) for status in sender.nslp.failures()] == [(2, SendFailure.TRANSPORT)]
    sender.send(message(FLOW, b"two", handle=3))
    world.run(5.0)
    assert second.nslp.data() == [b"one", b"two"]
    assert len(sender.nslp.failures()) == 1


def test_a_silent_association_lives_as_long_as_its_sessions():
    world, sender, second, _ = line(config=GistConfig(validity_s=4000.0))
    sender.send(message(FLOW, b"one"))
    world.run(1.0)
    long_lived(sender, world)
    world.run(1500.0)
    assert sender.node.counters.restarts == 0
    assert sender.node.counters.hellos_sent > 50
    second.send(message(FLOW.inverted(), b"still there"))
    world.run(1.0)
    assert sender.nslp.data() == [b"still there"]


def test_what_waits_to_go_against_the_flow_goes_by_the_state_that_comes_along_it():
    world, sender, second, _ = line(config=GistConfig(upstream_queries=True))
    sender.kill()
    sender.icmp = False
    second.send(message(FLOW.inverted(), b"waits", attributes=DATAGRAM))
    world.run(1.0)
    sender.start()
    sender.send(message(FLOW, b"down", attributes=DATAGRAM))
    world.run(0.2)
    assert sender.nslp.data() == [b"waits"]
    assert second.nslp.data() == [b"down"]


def test_a_reliable_message_that_comes_while_a_refresh_of_datagrams_runs_waits_for_its_association():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"one", attributes=DATAGRAM))
    world.run(1.0)
    effects = sender.node.invalidate_routing_state(32704, FLOW, RoutingStatus.TENTATIVE, urgent=True, now=world.now)
    sender.perform(effects)
    sender.send(message(FLOW, b"two", handle=2))
    world.run(1.0)
    assert [one.attributes.reliable for one in second.nslp.received] == [False, True]
    assert not sender.nslp.failures()


@pytest.mark.parametrize("first", [DATAGRAM, RELIABLE], ids=["datagram", "reliable"])
def test_what_comes_after_the_first_query_gets_the_association_that_it_needs(first):
    world, sender, second, _ = line(config=GistConfig(offer_secure=True, secure_port=271))
    sender.send(message(FLOW, b"one", attributes=first, handle=1))
    sender.send(message(FLOW, b"two", attributes=SECURE, handle=2))
    world.run(3.0)
    assert second.nslp.data() == [b"one", b"two"]
    assert second.nslp.received[1].attributes.secure
    assert not sender.nslp.failures()
