"""What a node says to single messages: peering, forwarding, Errors, proofs; and what it believes of others' Errors."""

import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import Caught, CloseAssociation, Deliver, Forward, Notify, SendOnAssociation
from netserv.signaling.gist.errors import CLASS_OF, ErrorCode, HeaderFault, RoutingFault, TypeFault, ValueFault
from netserv.signaling.gist.messages import Error, MaHello, Query, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import LooseEndMri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import LastBy, NotificationKind, SendFailure, SiiHandle, TransferAttributes
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, decode, encode, forwarded
from tests.netserv.signaling.gist.single import FAR, FLOW, NLI, OWN, PEER, SID, Single, answer, error
from tests.netserv.signaling.gist.world import flow, line, message

DATAGRAM = TransferAttributes()
STACKS = Stacks(GistConfig())
OTHER_NSLP = 4000


# Queries that pass.


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


# Errors that are sent.


def said_about(single, data, **how):
    message = error(single.caught(data, **how))
    assert message.nli.address == OWN
    assert message.error.error_class == CLASS_OF[ErrorCode(message.error.code)]
    return message.error


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


# Proofs.


@pytest.mark.parametrize(
    "change",
    [
        {"sid": b"T" * 16},
        {"mri": flow("10.0.0.1", "10.0.9.1", port=81)},
        {"nli": Nli(peer_identity=b"other", address=PEER, ip_ttl=64, validity_ms=1)},
        {"nli": Nli(peer_identity=NLI.peer_identity, address=packed("10.0.0.2"), ip_ttl=64, validity_ms=1)},
        {"responder_cookie": bytes(32)},
        {"responder_cookie": b""},
    ],
    ids=["session", "flow", "identity", "address", "cookie", "empty cookie"],
)
def test_a_confirm_with_anything_changed_makes_no_state_and_no_answer(change):
    single = Single()
    response = answer(single.caught(single.query(), in_transit=True))
    assert response.wants_confirm
    assert single.caught(single.confirm(response, **change)) == []
    assert single.sessions() == {}
    assert single.node.counters.bad_cookies == 1
    single.caught(single.confirm(response))
    assert single.sessions() == {"responding established": 1}


def test_a_bad_cookie_is_told_only_where_that_is_set():
    single = Single(GistConfig(cookie_errors=True))
    response = answer(single.caught(single.query(), in_transit=True))
    said = said_about(single, single.confirm(response, responder_cookie=bytes(32)))
    assert (said.code, said.subcode) == (ErrorCode.OBJECT_VALUE_ERROR, ValueFault.COOKIE)


def test_a_confirm_without_cookie_is_of_no_handshake_of_ours():
    single = Single()
    response = answer(single.caught(single.query(), in_transit=True))
    said = said_about(single, single.confirm(response, responder_cookie=None))
    assert said.code == ErrorCode.NO_ROUTING_STATE


def test_a_confirm_carries_data_and_what_the_query_was_like_is_known_by_its_cookie():
    single = Single()
    response = answer(single.caught(single.query(), in_transit=True, source=(PEER, 4711), ip_ttl=61, interface=2))
    effects = single.caught(single.confirm(response, nslp_data=b"data"), source=(PEER, 4711))
    (delivered,) = [effect.message for effect in effects if isinstance(effect, Deliver)]
    assert (delivered.data, delivered.ip_distance, delivered.interface) == (b"data", 3, 2)
    (peer,) = single.node.peers(single.now)
    assert (peer.port, peer.distance, peer.interface) == (4711, 3, 2)


def test_cookies_are_worth_nothing_after_a_minute():
    single = Single()
    response = answer(single.caught(single.query(), in_transit=True))
    single.world.now += 61.0
    single.caught(single.confirm(response))
    assert single.sessions() == {}


def test_state_before_the_confirm_where_that_is_set_and_the_response_is_repeated():
    single = Single(GistConfig(delayed_state=False))
    response = answer(single.caught(single.query(), in_transit=True))
    assert single.sessions() == {"responding awaiting_confirm": 1}
    assert said_about(single, single.data()).code == ErrorCode.NO_ROUTING_STATE
    single.host.send(message(FLOW.inverted(), b"early", attributes=DATAGRAM))
    single.world.run(4.0)
    assert len(single.host.sent) == 3  # 0.5, 1.5 and 3.5 s after; the first was not by the world
    effects = single.caught(single.confirm(response))
    assert [decode(e.payload[4:]).nslp_data for e in effects if hasattr(e, "payload")] == [b"early\0\0\0"]
    assert single.sessions() == {"responding established": 1}
    single.caught(single.query(sid=b"T" * 16), in_transit=True)
    single.world.run(10.0)
    assert single.sessions() == {"responding established": 1}


# Associations.


def with_association():
    """A node with one session on an association that the peer has opened."""
    single = Single()
    proposal, configuration = STACKS.offer(secure=False)
    query = single.query(stack_proposal=proposal, stack_configuration=configuration)
    response = answer(single.caught(query, in_transit=True))
    assert response.stack_proposal == STACKS.proposal
    single.node.association_accepted(2, (PEER, 4000), secure=False, now=single.now)
    confirm = single.confirm(response, stack_proposal=response.stack_proposal, stack_configuration=STACKS.hold)
    single.host.perform(single.node.association_data(2, encode(confirm), single.now))
    assert single.sessions() == {"responding established": 1}
    return single, 2


def on_association(effects):
    (effect,) = [one for one in effects if isinstance(one, SendOnAssociation)]
    return decode(effect.data, on_association=True)


@pytest.mark.parametrize("fault", ["cookie", "proposal", "hold time", "no confirm", "no gist"])
def test_an_association_that_does_not_begin_with_a_valid_confirm_is_closed(fault):
    single = Single()
    proposal, configuration = STACKS.offer(secure=False)
    query = single.query(stack_proposal=proposal, stack_configuration=configuration)
    response = answer(single.caught(query, in_transit=True))
    single.node.association_accepted(2, (PEER, 4000), secure=False, now=single.now)
    more = {"stack_proposal": STACKS.proposal, "stack_configuration": STACKS.hold}
    match fault:
        case "cookie":
            more["responder_cookie"] = bytes(32)
        case "proposal":
            more["stack_proposal"] = Stacks(GistConfig(offer_secure=True, secure_port=9)).proposal
        case "hold time":
            more["stack_configuration"] = None
    data = encode(single.confirm(response, **more))
    if fault == "no confirm":
        data = encode(single.data(nli=None))
    elif fault == "no gist":
        data = b"GET / HTTP/1.1\r\n\r\n"
    effects = single.node.association_data(2, data, single.now)
    assert CloseAssociation(2) in effects
    assert single.sessions() == {}
    assert single.node.status(single.now).associations == ()
    if fault == "hold time":
        said = on_association(effects).error
        assert (said.code, said.subcode) == (ErrorCode.OBJECT_TYPE_ERROR, TypeFault.MISSING)


def test_a_query_of_a_peer_with_an_association_is_answered_on_it():
    single, number = with_association()
    proposal, configuration = STACKS.offer(secure=False)
    query = single.query(sid=b"T" * 16, stack_proposal=proposal, stack_configuration=configuration)
    response = on_association(single.caught(query, in_transit=True))
    assert isinstance(response, Response)
    assert response.wants_confirm
    assert response.stack_proposal is None
    single.node.association_data(number, encode(single.confirm(response)), single.now)
    assert single.sessions() == {"responding established": 2}
    assert single.node.status(single.now).associations[0].rows == 2


def test_a_session_of_datagrams_that_wants_an_association_proves_itself_on_it():
    single, number = with_association()
    single.caught(single.confirm(answer(single.caught(single.query(sid=b"T" * 16), in_transit=True))))
    single.world.now += 0.0001
    proposal, configuration = STACKS.offer(secure=False)
    query = single.query(sid=b"T" * 16, stack_proposal=proposal, stack_configuration=configuration)
    response = on_association(single.caught(query, in_transit=True))
    assert response.wants_confirm
    single.node.association_data(number, encode(single.confirm(response)), single.now)
    assert single.node.status(single.now).associations[0].rows == 2


def test_a_confirm_of_another_node_on_an_association_is_refused():
    single, number = with_association()
    other = Nli(peer_identity=b"other", address=PEER, ip_ttl=64, validity_ms=1)
    response = answer(single.caught(single.query(sid=b"T" * 16, nli=other), in_transit=True))
    effects = single.node.association_data(number, encode(single.confirm(response, nli=other)), single.now)
    assert on_association(effects).error.code == ErrorCode.INCORRECTLY_DELIVERED_MESSAGE
    assert single.sessions() == {"responding established": 1}


def test_an_association_that_was_accepted_says_hello_before_the_peer_counts_it_as_dead():
    single, _ = with_association()
    single.world.run(14.9)
    assert single.node.counters.hellos_sent == 0
    single.world.run(7.7)
    assert single.node.counters.hellos_sent == 1


@pytest.mark.parametrize("other", ["identity", "address"])
def test_an_association_is_not_reused_for_a_peer_that_only_half_matches(other):
    single, _ = with_association()
    nli = Nli(
        peer_identity=b"other" if other == "identity" else NLI.peer_identity,
        address=packed("10.0.0.3") if other == "address" else PEER,
        ip_ttl=64,
        validity_ms=1,
    )
    proposal, configuration = STACKS.offer(secure=False)
    query = single.query(nli=nli, stack_proposal=proposal, stack_configuration=configuration)
    single.world.link(single.world.host("x", "10.0.0.3", gist=False), single.host)
    assert answer(single.caught(query, in_transit=True, source=(nli.address, 270))).stack_proposal is not None


def test_hellos_are_answered_by_their_number_and_refused_without_one():
    single, number = with_association()
    asked = encode(MaHello(wants_reply=True, hello_id=77))
    assert on_association(single.node.association_data(number, asked, single.now)) == MaHello(hello_id=77)
    assert single.node.association_data(number, encode(MaHello()), single.now) == []
    without = bytearray(asked)
    without[-4:] = bytes(4)
    said = on_association(single.node.association_data(number, bytes(without), single.now)).error
    assert (said.code, said.subcode) == (ErrorCode.OBJECT_VALUE_ERROR, ValueFault.NOT_SUPPORTED)


def test_data_of_a_session_of_another_association_are_incorrectly_delivered():
    single, number = with_association()
    single.caught(single.confirm(answer(single.caught(single.query(sid=b"T" * 16), in_transit=True))))
    data = encode(single.data(sid=b"T" * 16, nli=None))
    said = on_association(single.node.association_data(number, data, single.now)).error
    assert said.code == ErrorCode.INCORRECTLY_DELIVERED_MESSAGE
    data = encode(single.data(sid=b"U" * 16, nli=None))
    said = on_association(single.node.association_data(number, data, single.now)).error
    assert said.code == ErrorCode.NO_ROUTING_STATE


def test_an_idle_association_is_kept_while_the_peer_says_hello():
    single, number = with_association()
    single.node.set_state_lifetime(NSLP_NETSERV, FLOW.inverted(), SID, 0.0, single.now)
    for _ in range(20):
        single.world.run(20.0)
        single.host.perform(single.node.association_data(number, encode(MaHello()), single.now))
    assert single.node.status(single.now).associations[0].state == "idle"
    single.world.run(29.0)
    assert single.node.status(single.now).associations
    single.world.run(2.0)
    assert single.node.status(single.now).associations == ()


# NATs that know GIST.


def test_a_translated_query_keys_state_by_the_flow_here_and_its_answers_carry_the_traversal():
    single = Single()
    inside = flow("192.168.0.2", "10.0.9.1")
    nat = NatTraversal(original_mri=inside.encode(), translated_types=(0, 2), opaque=(b"nat",))
    response = answer(single.caught(single.query(nat=nat), in_transit=True))
    assert response.nat == nat
    # The Confirm is not translated: the peer's own addresses are in it (section 7.2.3).
    untranslated = Nli(peer_identity=NLI.peer_identity, address=packed("192.168.0.2"), ip_ttl=64, validity_ms=1)
    single.caught(single.confirm(response, mri=inside, nli=untranslated))
    (row,) = single.node.status(single.now).rows
    assert (row.flow, row.peer) == ("10.0.0.1>10.0.9.1", "10.0.0.1")
    assert answer(single.caught(single.query(nat=nat), in_transit=True)).wants_confirm is False


def test_a_nat_that_left_something_out_is_told_with_its_traversal():
    single = Single()
    nat = NatTraversal(original_mri=FLOW.encode(), translated_types=(0,), opaque=(b"nat",))
    said = error(single.caught(single.query(nat=nat), in_transit=True))
    assert (said.error.code, said.error.subcode) == (ErrorCode.OBJECT_TYPE_ERROR, TypeFault.UNTRANSLATED)
    assert said.nat == nat


# Errors that are heard.


def searching(**how):
    """A node that looks for the next one; returns the Query."""
    single = Single()
    single.world.hosts["r"].icmp = False
    single.host.send(message(FLOW, b"x", handle=1, **how))
    return single, decode(single.host.sent[-1].payload[4:])


def about(query, code, subcode=0, **more):
    fields = {"sid": query.sid, "mri": query.mri.encode()} | more
    error_object = ErrorObject(
        error_class=CLASS_OF[code],
        code=code,
        subcode=subcode,
        was_d_mode=True,
        original_header=encode(query)[:8],
        **fields,
    )
    return Error(nli=NLI, error=error_object)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (ErrorCode.ENDPOINT_FOUND, SendFailure.NO_NEXT_NODE),
        (ErrorCode.HOP_LIMIT_EXCEEDED, SendFailure.HOPS),
        (ErrorCode.MRI_VALIDATION_FAILURE, SendFailure.NO_NEXT_NODE),
        (ErrorCode.MESSAGE_TOO_LARGE, SendFailure.TOO_LARGE),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_an_error_about_a_query_ends_the_search(code, failure):
    single, query = searching()
    single.host.perform(single.caught(about(query, code)))
    assert single.host.nslp.failures()[0].failure is failure
    assert single.sessions() == {}
    last = single.host.nslp.notifications(NotificationKind.LAST_NODE)
    assert [one.last_by for one in last] == ([LastBy.ENDPOINT] if code is ErrorCode.ENDPOINT_FOUND else [])


@pytest.mark.parametrize("fault", [{"sid": b"T" * 16}, {"mri": bytes(4)}, {"sid": None}, {"mri": None}])
def test_an_error_that_does_not_know_the_session_changes_nothing(fault):
    single, query = searching()
    assert single.caught(about(query, ErrorCode.ENDPOINT_FOUND, **fault)) == []
    assert single.sessions() == {"querying awaiting_response": 1}
    assert single.node.counters.unexpected == 1


def test_no_routing_state_from_the_peer_restarts_a_querier_and_ends_a_responder():
    world, sender, second, _ = line()
    sender.send(message(FLOW, attributes=DATAGRAM))
    world.run(1.0)
    queries = sender.node.counters.queries_sent
    (data,) = [p for p in sender.sent if p.payload[4 + 6] == 3]
    said = about(decode(data.payload[4:]), ErrorCode.NO_ROUTING_STATE)
    stranger, peer = packed("10.9.9.9"), second.address
    single = sender.node
    for source, restarts in ((stranger, 0), (peer, 1)):
        packet = Caught(
            payload=MAGIC + encode(said),
            source=(source, 270),
            destination=(sender.address, 270),
            in_transit=False,
            ip_ttl=64,
        )
        sender.perform(single.caught(packet, world.now))
        assert single.counters.restarts == restarts
    assert single.counters.queries_sent == queries + 1
    world.run(1.0)
    assert single.status(world.now).sessions == {"querying established": 1}


def test_icmp_counts_only_with_the_cookie_of_a_query_that_is_out():
    single, query = searching()
    quoted = MAGIC + encode(query)
    for destination, wrong in (
        (FAR, quoted[:40]),
        (FAR, quoted.replace(query.query_cookie, bytes(16))),
        (PEER, quoted),
        (FAR, quoted[4:]),
        (FAR, b""),
    ):
        assert single.node.unreachable(destination, wrong, single.now) == []
    assert single.node.counters.unexpected == 5
    effects = single.node.unreachable(FAR, quoted, single.now)
    assert [one.notification.last_by for one in effects if isinstance(one, Notify)] == [LastBy.ICMP]


def test_responses_without_the_cookie_of_a_query_that_is_out_are_dropped_in_silence():
    single, query = searching()
    response = Response(
        nslp_id=NSLP_NETSERV,
        wants_confirm=False,
        mri=query.mri.inverted(),
        sid=query.sid,
        nli=NLI,
        query_cookie=bytes(16),
    )
    assert single.caught(response) == []
    assert single.node.counters.unexpected == 1
    assert single.sessions() == {"querying awaiting_response": 1}


def test_a_response_from_behind_a_nat_that_knows_nothing_ends_the_handshake():
    single, query = searching()
    inside = Nli(peer_identity=b"inside", address=packed("192.168.0.2"), ip_ttl=0, validity_ms=1)
    response = Response(
        nslp_id=NSLP_NETSERV,
        wants_confirm=False,
        mri=query.mri.inverted(),
        sid=query.sid,
        nli=inside,
        query_cookie=query.query_cookie,
    )
    single.host.perform(single.caught(response))
    assert single.sessions() == {}
    assert single.host.nslp.failures()[0].failure is SendFailure.NO_NEXT_NODE


# Other ways to send.


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
