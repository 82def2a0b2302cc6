"""Queries and Data that pass: to peer, to send on, to leave alone."""

import pytest

from netserv.signaling.gist.effects import Forward
from netserv.signaling.gist.errors import ErrorCode
from netserv.signaling.gist.messages import Response
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import TransferAttributes
from netserv.signaling.gist.wire import MAGIC, decode, encode, forwarded
from tests.netserv.signaling.gist.recorder import flow
from tests.netserv.signaling.gist.single import (
    OWN,
    Single,
    answer,
    error,
)

DATAGRAM = TransferAttributes()
OTHER_NSLP = 4000


def test_a_query_that_the_nslp_declines_goes_on_with_one_hop_less_and_nothing_else_changed():
    single = Single()
    single.host.nslp.peer = False
    query = MAGIC + encode(single.query(hops=7))
    (effect,) = single.caught(query, in_transit=True)
    assert isinstance(effect, Forward)
    assert effect.payload == MAGIC + forwarded(query[4:], hops=6, nslp_data=None)
    assert single.host.nslp.asked[0].hops == 6


def test_a_query_goes_on_with_the_payload_that_the_nslp_puts_in_its_place():
    single = Single()
    single.host.nslp.peer, single.host.nslp.payload = False, b"mine"
    (effect,) = single.caught(single.query(nslp_data=b"yours___"), in_transit=True)
    assert decode(effect.payload[4:]).nslp_data == b"mine"


def test_a_node_that_is_the_destination_peers_whatever_its_nslp_says():
    single = Single()
    single.host.nslp.peer = False
    query = single.query(mri=flow("10.0.0.1", "10.0.1.1"))
    assert isinstance(answer(single.caught(query)), Response)
    assert single.host.nslp.asked[0].to_flow_endpoint


@pytest.mark.parametrize("kind", ["query", "data"])
def test_q_mode_messages_of_other_nslps_go_on_untouched_but_for_the_hops(kind):
    single = Single()
    base = single.query(hops=9) if kind == "query" else single.data(hops=9, q_mode=True)
    data = bytearray(encode(base))
    data[4:6] = OTHER_NSLP.to_bytes(2, "big")
    (effect,) = single.caught(MAGIC + bytes(data), in_transit=True)
    data[1] = 8
    assert isinstance(effect, Forward)
    assert effect.payload == MAGIC + bytes(data)


@pytest.mark.parametrize("payload", [b"not GIST at all", MAGIC + bytes(3)], ids=["no magic", "no header"])
def test_packets_in_transit_that_are_not_gist_go_on_as_they_are(payload):
    single = Single()
    (effect,) = single.caught(payload, in_transit=True)
    assert isinstance(effect, Forward)
    assert effect.payload == payload


def test_packets_in_transit_that_are_not_q_mode_go_on_as_they_are():
    single = Single()
    payload = MAGIC + encode(single.data())
    (effect,) = single.caught(payload, in_transit=True)
    assert effect.payload == payload
    assert single.node.counters.passed_on_untouched == 1


def test_a_query_that_is_used_up_here_comes_to_no_further_node():
    single = Single()
    single.host.nslp.peer = False
    said = error(single.caught(single.query(hops=1), in_transit=True))
    assert said.error.code == ErrorCode.HOP_LIMIT_EXCEEDED
    single.host.nslp.peer = True
    assert isinstance(answer(single.caught(single.query(hops=1), in_transit=True)), Response)


def test_a_query_larger_than_the_next_link_is_answered_with_the_links_size():
    single = Single()
    single.host.nslp.peer = False
    single.host.links[1].mtu = 150
    said = error(single.caught(single.query(nslp_data=bytes(80)), in_transit=True))
    assert said.error.code == ErrorCode.MESSAGE_TOO_LARGE
    assert said.error.info == ((2, (150).to_bytes(2, "big") + b"\0\0"),)


def test_an_own_query_that_comes_back_is_dropped():
    single = Single()
    own = Nli(peer_identity=single.node._commons.identity, address=OWN, ip_ttl=64, validity_ms=1)
    assert single.caught(single.query(nli=own), in_transit=True, source=(OWN, 270)) == []
    assert single.node.counters.own_queries_back == 1
