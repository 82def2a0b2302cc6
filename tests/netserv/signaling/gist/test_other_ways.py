"""Other ways to send than by a handshake along the flow, and what cannot be sent."""

import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import Forward
from netserv.signaling.gist.errors import ErrorCode
from netserv.signaling.gist.messages import Query
from netserv.signaling.gist.service import SendFailure, SiiHandle, TransferAttributes
from netserv.signaling.gist.wire import decode
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.single import (
    FLOW,
    Single,
    said_about,
)
from tests.netserv.signaling.gist.world import line

DATAGRAM = TransferAttributes()
OTHER_NSLP = 4000


def test_q_mode_data_reach_the_next_node_without_state_and_are_flagged():
    world, sender, second, _ = line(between=1)
    sender.send(message(FLOW, b"quick", attributes=TransferAttributes(q_mode=True)))
    world.run(0.1)
    (received,) = second.nslp.received
    assert not received.state_validated
    assert received.attributes.q_mode
    assert sender.node.status(world.now).sessions == second.node.status(world.now).sessions == {}


def test_a_handle_leads_to_its_peer_past_the_routing_state_and_is_flagged():
    world, sender, second, _ = line()
    handle = SiiHandle(b"b-1.............", second.address, 270, 1)
    sender.send(message(FLOW, b"direct", attributes=DATAGRAM, sii=handle, handle=1))
    sender.send(message(FLOW, b"reliably", sii=handle, handle=2))
    world.run(0.1)
    (received,) = second.nslp.received
    assert received.explicitly_routed
    assert not received.state_validated
    assert [status.handle for status in sender.nslp.failures()] == [2]
    sender.send(message(FLOW, b"opens an association"))
    world.run(1.0)
    sender.send(message(FLOW, b"reliably", sii=handle, handle=3))
    back = second.nslp.received[-1].sii
    second.send(message(FLOW.inverted(), b"back", sii=back))
    world.run(1.0)
    assert second.nslp.received[-1].explicitly_routed
    assert second.nslp.received[-1].attributes.reliable
    assert sender.nslp.data() == [b"back"]


def test_against_the_flow_nothing_is_sent_without_state_unless_that_is_set():
    single = Single()
    single.host.send(message(FLOW.inverted(), b"up", handle=1))
    assert single.host.nslp.failures()[0].failure is SendFailure.NO_STATE
    world, sender, second, _ = line(config=GistConfig(upstream_queries=True))
    second.send(message(FLOW.inverted(), b"up"))
    world.run(1.0)
    assert sender.nslp.data() == [b"up"]
    assert second.sent[0].ttl == 255


def test_state_of_a_query_along_the_flow_takes_the_place_of_one_against_it():
    world, sender, second, _ = line(config=GistConfig(upstream_queries=True))
    second.send(message(FLOW.inverted(), b"up", attributes=DATAGRAM))
    world.run(1.0)
    assert second.node.status(world.now).sessions == {"querying established": 1}
    sender.node.set_state_lifetime(NSLP_NETSERV, FLOW, None, 0.0, world.now)
    sender.send(message(FLOW, b"down", attributes=DATAGRAM))
    world.run(1.0)
    assert second.node.status(world.now).sessions == {"responding established": 1}
    second.send(message(FLOW.inverted(), b"up again", attributes=DATAGRAM))
    world.run(1.0)
    assert sender.nslp.data() == [b"up", b"up again"]


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ({"hops": 0}, SendFailure.HOPS),
        ({"mri": flow("10.0.0.1", "10.77.0.1")}, SendFailure.UNREACHABLE),
        ({"attributes": TransferAttributes(secure=True)}, SendFailure.SECURITY),
        ({"data": bytes(600), "attributes": TransferAttributes(q_mode=True)}, SendFailure.TOO_LARGE),
    ],
    ids=["hops", "route", "security", "size"],
)
def test_what_cannot_be_sent_is_reported_at_once(how, failure):
    single = Single()
    single.host.gateway = None
    single.host.send(message(**({"mri": FLOW, "handle": 1} | how)))
    assert [status.failure for status in single.host.nslp.reported] == [failure]
    assert single.sessions() == {}


def test_a_responder_cannot_make_a_connection():
    single = Single()
    single.established()
    for handle, how in enumerate(({}, {"data": bytes(600), "attributes": DATAGRAM})):
        single.host.send(message(FLOW.inverted(), handle=handle, **how))
    failures = [status.failure for status in single.host.nslp.failures()]
    assert failures == [SendFailure.TRANSPORT, SendFailure.TOO_LARGE]


def test_ip_version_6_is_treated_alike():
    world, sender, second, _ = line()
    for host, address in ((sender, "2001:db8::1"), (second, "2001:db8:1::1"), (world.hosts["r"], "2001:db8:9::1")):
        host.address = packed(address)
    sender.send(message(flow("2001:db8::1", "2001:db8:9::1"), b"six"))
    world.run(1.0)
    assert second.nslp.data() == [b"six"]


def test_both_flags_of_the_source_are_used_in_the_rfc_profile():
    world, _, second, receiver = line(config=GistConfig.rfc())
    receiver.icmp = False
    second.send(message(FLOW))
    world.run(5.0)
    assert [packet.source[0] == second.address for packet in second.sent] == [False, True, False, True]
    assert all(packet.router_alert for packet in second.sent)
    assert isinstance(decode(second.sent[0].payload[4:]), Query)


def test_a_query_that_does_not_go_where_its_flow_goes_is_none():
    single = Single()
    query = single.query(mri=flow("10.0.0.1", "10.0.9.9"))
    (effect,) = single.caught(query, in_transit=True)
    assert isinstance(effect, Forward)
    assert said_about(single, query).code == ErrorCode.INCORRECT_ENCAPSULATION
