"""What a node believes of others' Errors, ICMP and strange Responses."""

import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.effects import Caught, Notify
from netserv.signaling.gist.errors import ErrorCode
from netserv.signaling.gist.messages import Response
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import LastBy, NotificationKind, SendFailure, TransferAttributes
from netserv.signaling.gist.wire import MAGIC, decode, encode
from tests.netserv.signaling.gist.recorder import message
from tests.netserv.signaling.gist.single import (
    FAR,
    FLOW,
    NLI,
    PEER,
    about,
    searching,
)
from tests.netserv.signaling.gist.world import line

DATAGRAM = TransferAttributes()
OTHER_NSLP = 4000


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
