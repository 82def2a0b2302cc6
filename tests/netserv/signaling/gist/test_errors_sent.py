"""Errors that a node sends, and those that it never sends."""

import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.errors import ErrorCode, HeaderFault, RoutingFault, TypeFault, ValueFault
from netserv.signaling.gist.messages import Error, MaHello, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import LooseEndMri
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import TransferAttributes
from netserv.signaling.gist.wire import MAGIC, decode, encode
from tests.netserv.signaling.gist.recorder import flow
from tests.netserv.signaling.gist.single import (
    FAR,
    FLOW,
    NLI,
    PEER,
    SID,
    Single,
    answer,
    on_association,
    said_about,
    with_association,
)

DATAGRAM = TransferAttributes()
OTHER_NSLP = 4000


def test_hops_of_zero_are_refused():
    single = Single()
    said = said_about(single, single.query(hops=0), in_transit=True)
    assert (said.code, said.sid, said.mri) == (ErrorCode.HOP_LIMIT_EXCEEDED, SID, FLOW.encode())
    assert said.was_d_mode
    assert said.was_q_mode


@pytest.mark.parametrize(
    ("at", "value", "fault"),
    [
        (0, 2, HeaderFault.VERSION),
        (6, 0x80 | 9, HeaderFault.TYPE),
        (7, 0x80, HeaderFault.R_FLAG),
        (3, 90, HeaderFault.LENGTH),
        (7, 0xE0, HeaderFault.E_FLAG),
        (6, 0x81, HeaderFault.C_FLAG),
    ],
    ids=lambda value: value.name if isinstance(value, HeaderFault) else None,
)
def test_faults_of_the_common_header_are_told(at, value, fault):
    single = Single()
    data = bytearray(encode(single.query()))
    data[at] = value
    said = said_about(single, MAGIC + bytes(data), in_transit=True)
    assert (said.code, said.subcode) == (ErrorCode.COMMON_HEADER_PARSE_ERROR, fault)
    assert said.original_header == bytes(data[:8])


def test_a_hello_in_a_datagram_is_of_the_wrong_encapsulation():
    single = Single()
    payload = MAGIC + encode(MaHello())
    # It is so short that an Error about it would be an amplification.
    assert single.caught(payload) == []
    assert single.node.counters.wrong_encapsulation == 1


def test_a_query_on_an_association_is_of_the_wrong_encapsulation():
    single, number = with_association()
    effects = single.node.association_data(number, encode(single.query()), single.now)
    assert on_association(effects).error.code == ErrorCode.INCORRECT_ENCAPSULATION


def test_data_without_routing_state_are_answered_so():
    single = Single()
    said = said_about(single, single.data())
    assert (said.code, said.sid, said.mri) == (ErrorCode.NO_ROUTING_STATE, SID, FLOW.encode())


def test_data_of_somebody_else_than_the_peer_are_refused():
    single = Single()
    single.established()
    stranger = Nli(peer_identity=b"stranger", address=PEER, ip_ttl=64, validity_ms=1)
    assert said_about(single, single.data(nli=stranger)).code == ErrorCode.NO_ROUTING_STATE


def test_an_nslp_that_is_not_here_is_unknown_and_the_end_of_a_path_is_told():
    single = Single()
    for message_, in_, code in (
        (single.data(), {}, ErrorCode.UNKNOWN_NSLPID),
        (single.query(mri=flow("10.0.0.1", "10.0.1.1")), {}, ErrorCode.ENDPOINT_FOUND),
    ):
        data = bytearray(encode(message_))
        data[4:6] = OTHER_NSLP.to_bytes(2, "big")
        said = said_about(single, MAGIC + bytes(data), **in_)
        assert said.code == code
        assert said.sid == SID


def test_flows_that_cannot_come_this_way_are_refused():
    single = Single()
    single.host.foreign.add(FLOW.source)
    said = said_about(single, single.query(), in_transit=True)
    assert (said.code, said.subcode) == (ErrorCode.MRI_VALIDATION_FAILURE, RoutingFault.INGRESS_FILTER)


def test_a_flow_of_another_ip_version_than_its_packet_is_refused():
    single = Single()
    said = said_about(single, single.query(mri=flow("2001:db8::1", "2001:db8::2")), in_transit=True)
    assert (said.code, said.subcode) == (ErrorCode.MRI_VALIDATION_FAILURE, RoutingFault.IP_VERSION)


def test_a_query_against_the_flow_may_come_one_hop():
    single = Single()
    upstream = flow("10.0.1.1", "10.0.0.1").inverted()
    query = single.query(mri=upstream)
    assert said_about(single, query, ip_ttl=253).code == ErrorCode.INVALID_IP_TTL
    assert isinstance(answer(single.caught(query, ip_ttl=254)), Response)


def test_a_loose_end_has_no_way_upstream():
    single = Single()
    mri = LooseEndMri(source=PEER, destination=FAR)
    assert isinstance(answer(single.caught(single.query(mri=mri), in_transit=True)), Response)
    said = said_about(single, single.query(mri=mri.inverted()), in_transit=True)
    assert (said.code, said.subcode) == (ErrorCode.OBJECT_VALUE_ERROR, ValueFault.INVALID_COMBINATION)


def test_a_nat_that_knows_nothing_of_gist_is_told_at_the_source_of_the_packet():
    single = Single()
    outside = packed("10.0.0.1")
    inside = Nli(peer_identity=b"inside", address=packed("192.168.0.2"), ip_ttl=64, validity_ms=1)
    (effect,) = single.caught(single.query(nli=inside), in_transit=True, source=(outside, 5555))
    said = decode(effect.payload[4:]).error
    assert (said.code, said.subcode) == (ErrorCode.OBJECT_TYPE_ERROR, TypeFault.UNTRANSLATED)
    assert effect.to == (outside, 5555)


def test_errors_are_never_answered():
    single = Single()
    about = ErrorObject(error_class=2, code=5, original_header=bytes(8))
    for data in (
        encode(Error(nli=NLI, error=about)),
        encode(Error(nli=NLI, error=about))[:-4],
        bytes([1, 0]) + encode(Error(nli=NLI, error=about))[2:],
    ):
        assert single.caught(MAGIC + data) == []


def test_a_broken_query_of_a_spoofed_source_is_answered_at_the_address_of_its_nli():
    single = Single()
    data = bytearray(encode(single.query(source_is_signaller=False)))
    data[-17] = 0xFF  # the length of the cookie
    (effect,) = single.caught(MAGIC + bytes(data), in_transit=True, source=(packed("10.9.9.9"), 270))
    assert effect.to[0] == PEER
