"""Our handshakes beside those of an independent implementation (NSIS-ka 0.98), message by message."""

import json
from pathlib import Path
from random import Random

import msgspec
import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import Caught, OpenAssociation, Outgoing, SendOnAssociation
from netserv.signaling.gist.messages import Query, Response
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal
from netserv.signaling.gist.service import SendMessage, TransferAttributes
from netserv.signaling.gist.wire import MAGIC, decode, encode
from tests.netserv.signaling.gist.recorder import Recorder

VECTORS = {
    one["name"]: one for one in json.loads((Path(__file__).parent / "nsis_ka_vectors.json").read_text())["vectors"]
}
QUERIER, RESPONDER = packed("10.71.1.1"), packed("10.71.2.2")
AS_THEY_HAVE = GistConfig(validity_s=60.0, hold_time_s=180.0)


def theirs(name):
    data = bytes.fromhex(VECTORS[name]["payload_hex"])
    return decode(data.removeprefix(MAGIC))


class Place:
    """One interface of one host."""

    def __init__(self, address):
        self.address = address

    def outgoing(self, destination):
        return Outgoing(interface=1, address=self.address, mtu=1500)

    def is_own(self, address):
        return address == self.address

    def may_come_from(self, source, prefix, interface):
        return True


def node(address, identity=b"ours............"):
    return GistNode(
        config=AS_THEY_HAVE,
        identity=identity,
        topology=Place(address),
        applications={NSLP_NETSERV: Recorder()},
        rng=Random(1),
        now=0.0,
    )


def in_the_place_of_their_querier(attributes):
    """A node with their querier's identity, which looks for their responder; and its Query."""
    query = theirs("ka_query_dmode")
    one = node(QUERIER, query.nli.peer_identity)
    request = SendMessage(
        nslp_id=NSLP_NETSERV, sid=query.sid, mri=query.mri, data=b"Hello World!", hops=32, attributes=attributes
    )
    (effect,) = one.send(request, 0.0)
    return one, decode(effect.payload[4:])


def from_their_responder(response, ours: Query) -> Caught:
    payload = MAGIC + encode(msgspec.structs.replace(response, query_cookie=ours.query_cookie))
    return Caught(payload=payload, source=(RESPONDER, 270), destination=(QUERIER, 270), in_transit=False, ip_ttl=63)


def test_our_query_is_theirs_but_for_the_length_of_the_cookie():
    _, ours = in_the_place_of_their_querier(TransferAttributes())
    query = theirs("ka_query_dmode")
    assert len(ours.query_cookie) == 16
    assert msgspec.structs.replace(ours, query_cookie=query.query_cookie) == query


def test_our_query_that_asks_for_an_association_offers_theirs_without_tls():
    _, ours = in_the_place_of_their_querier(TransferAttributes(reliable=True))
    query = theirs("ka_query_cmode_offer")
    assert ours.stack_proposal.profiles == query.stack_proposal.profiles[:1]
    assert ours.stack_configuration.hold_time_ms == query.stack_configuration.hold_time_ms
    assert ours.stack_configuration.options == query.stack_configuration.options[:1]


def test_our_confirm_and_data_in_datagrams_are_theirs_byte_for_byte():
    one, ours = in_the_place_of_their_querier(TransferAttributes())
    effects = one.caught(from_their_responder(theirs("ka_response_dmode_rcookie"), ours), 0.1)
    confirm, data = (effect.payload for effect in effects if hasattr(effect, "payload"))
    assert confirm.hex() == VECTORS["ka_confirm_dmode"]["payload_hex"]
    # Data have the GIST hops of the NSLP's message here, and theirs have 1.
    assert msgspec.structs.replace(decode(data[4:]), hops=1) == theirs("ka_data_dmode")


def test_our_first_confirm_on_tcp_is_theirs_byte_for_byte():
    one, ours = in_the_place_of_their_querier(TransferAttributes(reliable=True))
    response = msgspec.structs.replace(
        theirs("ka_response_dmode_rcookie"),
        stack_proposal=StackProposal(((1,), (2, 1))),
        stack_configuration=StackConfiguration(
            hold_time_ms=180_000,
            options=tuple(ProtocolOption(protocol=1, profile=n, data=b"\x01\x0e") for n in (1, 2)),
        ),
    )
    effects = one.caught(from_their_responder(response, ours), 0.1)
    (opening,) = [effect for effect in effects if isinstance(effect, OpenAssociation)]
    assert (opening.to, opening.secure) == ((RESPONDER, 270), False)
    (sent,) = [e for e in one.association_opened(opening.association, now=0.2) if isinstance(e, SendOnAssociation)]
    confirm = bytes.fromhex(VECTORS["ka_confirm_tcp"]["payload_hex"])
    assert sent.data.startswith(confirm)
    assert decode(sent.data[len(confirm) :], on_association=True).nslp_data == b"Hello World!"


@pytest.mark.parametrize("name", ["ka_query_dmode", "ka_query_cmode_offer"])
def test_their_queries_get_a_response_like_theirs(name):
    query = theirs(name)
    one = node(RESPONDER)
    packet = Caught(
        payload=bytes.fromhex(VECTORS[name]["payload_hex"]),
        source=(QUERIER, 270),
        destination=(RESPONDER, 270),
        in_transit=False,
        ip_ttl=64,
        router_alert=True,
        interface=1,
    )
    (effect,) = one.caught(packet, 0.0)
    ours = decode(effect.payload[4:])
    response = theirs("ka_response_dmode_rcookie")
    assert isinstance(ours, Response)
    assert (effect.to, effect.source_port) == ((QUERIER, 270), 270)
    assert ours.query_cookie == query.query_cookie
    like_theirs = msgspec.structs.replace(
        ours,
        query_cookie=response.query_cookie,
        nli=msgspec.structs.replace(ours.nli, peer_identity=response.nli.peer_identity),
        responder_cookie=response.responder_cookie,
        stack_proposal=None,
        stack_configuration=None,
    )
    assert like_theirs == response
    assert (ours.stack_proposal is None) == (query.stack_proposal is None)
