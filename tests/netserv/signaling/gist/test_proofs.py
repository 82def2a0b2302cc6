"""What a Confirm proves, on associations and through NATs that know GIST."""

import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import CloseAssociation, Deliver
from netserv.signaling.gist.errors import ErrorCode, TypeFault, ValueFault
from netserv.signaling.gist.messages import MaHello, Response
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import TransferAttributes
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import decode, encode
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.single import (
    FLOW,
    NLI,
    PEER,
    SID,
    STACKS,
    Single,
    answer,
    error,
    on_association,
    said_about,
    with_association,
)

DATAGRAM = TransferAttributes()
OTHER_NSLP = 4000


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
