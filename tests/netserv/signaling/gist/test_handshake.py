"""Handshakes between nodes in memory: every mode, cookies, last nodes, and what the NSLPs are told."""

import pytest

from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import LastBy, NotificationKind, RoutingStatus, SendFailure, TransferAttributes
from netserv.signaling.gist.stacks import Stacks
from tests.netserv.signaling.gist.recorder import RELIABLE, SECURE, flow, message
from tests.netserv.signaling.gist.world import line

FLOW = flow("10.0.0.1", "10.0.9.1")


def test_reliable_message_reaches_the_next_node_past_a_plain_router():
    world, sender, second, _ = line(between=1)
    sender.send(message(FLOW, b"hello", handle=7))
    world.run(1.0)
    assert second.nslp.data() == [b"hello"]
    received = second.nslp.received[0]
    assert received.attributes == RELIABLE
    assert received.mri == FLOW
    assert received.ip_distance == 1
    assert received.routability_checked
    assert received.state_validated
    assert not received.to_flow_endpoint
    assert [(status.handle, status.failure) for status in sender.nslp.reported] == [(7, None)]


def test_unreliable_small_message_takes_no_association():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"hello", attributes=TransferAttributes()))
    world.run(1.0)
    assert second.nslp.data() == [b"hello"]
    assert sender.node.status(world.now).associations == ()
    assert not second.nslp.received[0].attributes.reliable


def test_large_message_takes_an_association_though_nobody_asked_for_reliability():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"x" * 800, attributes=TransferAttributes()))
    world.run(1.0)
    assert second.nslp.data() == [b"x" * 800]
    assert len(sender.node.status(world.now).associations) == 1


def test_the_answer_comes_back_against_the_flow_by_the_state_of_the_handshake():
    world, sender, second, _ = line()
    sender.send(message(FLOW))
    world.run(1.0)
    second.send(message(FLOW.inverted(), b"answer"))
    world.run(1.0)
    assert sender.nslp.data() == [b"answer"]
    assert sender.nslp.received[0].mri.direction is Direction.UPSTREAM
    assert sender.nslp.received[0].to_flow_endpoint


def test_both_sides_are_told_that_the_route_is_good_with_a_handle_of_the_peer():
    world, sender, second, _ = line()
    sender.send(message(FLOW))
    world.run(1.0)
    for host, other in ((sender, second), (second, sender)):
        (change,) = host.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)
        assert change.status is RoutingStatus.GOOD
        assert change.sii.address == other.address


def test_a_responder_keeps_nothing_before_the_confirm():
    world, sender, second, _ = line()
    second.refuses = True  # so that the Confirm, which goes by the association, never comes
    sender.send(message(FLOW))
    world.run(0.0015)
    assert second.nslp.asked
    assert second.node.status(world.now).sessions == {}


def test_last_node_is_found_by_icmp_in_milliseconds():
    world, _, second, _ = line()
    began = world.now
    second.send(message(FLOW, handle=1))
    world.run(0.010)
    (last,) = second.nslp.notifications(NotificationKind.LAST_NODE)
    assert last.last_by is LastBy.ICMP
    assert second.nslp.failures()[0].failure is SendFailure.NO_NEXT_NODE
    assert world.now - began <= 0.010


@pytest.mark.parametrize(
    ("config", "queries", "after_s"), [(GistConfig(), 4, 7.5), (GistConfig.rfc(), 7, 63.5)], ids=["netserv", "rfc"]
)
def test_without_an_answer_the_search_ends_after_the_queries_of_the_profile(config, queries, after_s):
    world, _, second, receiver = line(config=config)
    receiver.icmp = False
    second.send(message(FLOW, handle=1))
    world.run(after_s - 0.01)
    assert not second.nslp.reported
    assert len(second.sent) == queries
    world.run(0.02)
    assert second.nslp.failures()[0].failure is SendFailure.NO_NEXT_NODE
    assert second.nslp.notifications(NotificationKind.LAST_NODE)[0].last_by is LastBy.TIMEOUT
    assert len(second.sent) == queries
    assert second.node.status(world.now).sessions == {}


def test_a_timeout_of_the_message_ends_the_search_earlier():
    world, _, second, receiver = line()
    receiver.icmp = False
    second.send(message(FLOW, handle=1, timeout_s=2.0))
    world.run(2.01)
    assert second.nslp.failures()[0].failure is SendFailure.TIMED_OUT
    assert second.nslp.notifications(NotificationKind.LAST_NODE)[0].last_by is LastBy.TIMEOUT


def test_the_flow_destination_is_the_last_node_and_says_so():
    world, sender, _, receiver = line()
    receiver.start()
    sender.send(message(FLOW))
    world.run(1.0)
    receiver.send(message(FLOW, b"further", handle=3))
    assert receiver.nslp.failures()[0].failure is SendFailure.OWN_DESTINATION
    assert receiver.nslp.notifications(NotificationKind.LAST_NODE)[0].last_by is LastBy.ENDPOINT


def test_every_query_has_a_new_cookie_and_a_late_answer_to_the_first_counts():
    world, sender, second, _ = line()
    world.links[0].delay_s = 0.4  # the answer comes after the first repetition
    sender.send(message(FLOW, b"slow", handle=1))
    world.run(0.81)  # the answer to the second one takes until 1.3 s
    assert sender.node.status(world.now).sessions == {"querying established": 1}
    world.run(3.0)
    assert second.nslp.data() == [b"slow"]
    queries = [packet.payload for packet in sender.sent if len(packet.payload) > 100]
    assert len(set(queries)) == len(queries) >= 2


def test_a_secure_message_goes_by_tls_only():
    config = GistConfig(offer_secure=True, secure_port=271)
    world, sender, second, _ = line(config=config)
    sender.send(message(FLOW, b"secret", attributes=SECURE))
    world.run(1.0)
    assert second.nslp.data() == [b"secret"]
    assert second.nslp.received[0].attributes.secure
    assert [one.secure for one in sender.node.status(world.now).associations] == [True]


def test_a_secure_message_fails_where_the_peer_has_no_tls():
    world, sender, second, _ = line(config=GistConfig(offer_secure=True))
    second.config = GistConfig()
    second.start()
    sender.send(message(FLOW, b"secret", handle=1, attributes=SECURE))
    world.run(1.0)
    assert second.nslp.data() == []
    assert sender.nslp.failures()[0].failure is SendFailure.SECURITY


def test_messages_of_many_sessions_share_one_association():
    world, sender, second, _ = line()
    for number in range(20):
        sender.send(message(FLOW, b"%d" % number, sid=bytes([number]) * 16))
        world.run(0.5)
    assert len(second.nslp.received) == 20
    (association,) = sender.node.status(world.now).associations
    assert association.rows == 20


def test_messages_sent_before_the_way_is_known_arrive_in_their_order():
    world, sender, second, _ = line()
    for number in range(30):
        sender.send(message(FLOW, b"%02d" % number))
    world.run(1.0)
    assert second.nslp.data() == [b"%02d" % number for number in range(30)]


def test_a_session_moves_to_tls_when_a_message_wants_it_and_what_is_under_way_has_arrived():
    secure = GistConfig(offer_secure=True, secure_port=271)
    world, sender, second, _ = line(config=secure)
    second.node._commons.stacks = Stacks(GistConfig())
    sender.send(message(FLOW, b"0"))
    world.run(0.5)
    second.node._commons.stacks = Stacks(secure)
    sender.send(message(FLOW, b"1"))
    sender.send(message(FLOW, b"2", attributes=SECURE))
    sender.send(message(FLOW, b"3"))
    world.run(0.5)
    assert second.nslp.data() == [b"0", b"1"]  # an MA-Hello has to show that the second one is there
    sender.send(message(FLOW, b"4"))
    world.run(5.0)
    assert second.nslp.data() == [b"0", b"1", b"2", b"3", b"4"]
    assert [one.attributes.secure for one in second.nslp.received] == [False, False, True, True, True]


def test_a_session_keeps_its_association_when_the_peer_gets_a_better_one():
    secure = GistConfig(offer_secure=True, secure_port=271)
    world, sender, second, _ = line(config=secure)
    second.node._commons.stacks = Stacks(GistConfig())
    sender.send(message(FLOW, b"by TCP"))
    world.run(0.5)
    sender.perform(sender.node.set_state_lifetime(32704, FLOW, None, 1e6, world.now))
    second.node._commons.stacks = Stacks(secure)
    sender.send(message(FLOW, b"by TLS", sid=b"T" * 16, attributes=SECURE))
    world.run(60.0)
    sender.send(message(FLOW, b"by TCP"))
    world.run(0.5)
    assert second.nslp.data() == [b"by TCP", b"by TLS", b"by TCP"]
    assert [one.attributes.secure for one in second.nslp.received] == [False, True, False]
