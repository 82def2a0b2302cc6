"""One node, and hand-made packets around it."""

from random import Random

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import Caught, SendDatagram, SendOnAssociation
from netserv.signaling.gist.errors import CLASS_OF, ErrorCode
from netserv.signaling.gist.messages import Confirm, Data, Error, Message, Query, Response
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, decode, encode
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.world import Host, World

PEER, OWN, FAR = packed("10.0.0.1"), packed("10.0.1.1"), packed("10.0.9.1")
FLOW = flow("10.0.0.1", "10.0.9.1")
SID = b"S" * 16
STACKS = Stacks(GistConfig())
NLI = Nli(peer_identity=b"peer............", address=PEER, ip_ttl=64, validity_ms=30000)


class Single:
    """A node on the path of a flow; who is beside it is played by the test."""

    def __init__(self, config: GistConfig | None = None) -> None:
        self.world = World()
        self.host: Host = self.world.host("b", "10.0.1.1", config=config)
        neighbour = self.world.host("a", "10.0.0.1", gist=False)
        far = self.world.host("r", "10.0.9.1", gist=False)
        self.host.gateway = self.world.link(neighbour, self.host)
        self.world.link(self.host, far)
        self.rng = Random(5)

    @property
    def node(self) -> GistNode:
        assert self.host.node is not None
        return self.host.node

    @property
    def now(self) -> float:
        return self.world.now

    def caught(self, message: Message | bytes, *, in_transit: bool = False, **how):
        """Let the node catch a message; returns the effects."""
        payload = message if isinstance(message, bytes) else MAGIC + encode(message)
        fields = {
            "source": (PEER, 270),
            "destination": (FAR if in_transit else OWN, 270),
            "ip_ttl": 63,
            "interface": 1,
        } | how
        return self.node.caught(Caught(payload=payload, in_transit=in_transit, **fields), self.now)

    def query(self, **more) -> Query:
        fields = {"mri": FLOW, "sid": SID, "nli": NLI, "query_cookie": self.rng.randbytes(16)} | more
        return Query(nslp_id=NSLP_NETSERV, **fields)

    def confirm(self, response: Response, **more) -> Confirm:
        fields = {
            "mri": response.mri.inverted(),
            "sid": response.sid,
            "nli": NLI,
            "responder_cookie": response.responder_cookie,
        } | more
        return Confirm(nslp_id=NSLP_NETSERV, **fields)

    def data(self, **more) -> Data:
        return Data(nslp_id=NSLP_NETSERV, **({"mri": FLOW, "sid": SID, "nli": NLI, "nslp_data": b"data"} | more))

    def established(self) -> Response:
        """Let the node have a session in D-mode as responder."""
        response = answer(self.caught(self.query(), in_transit=True))
        self.caught(self.confirm(response))
        assert self.sessions() == {"responding established": 1}
        return response

    def sessions(self) -> dict[str, int]:
        return self.node.status(self.now).sessions


def answer(effects) -> Message:
    """The one message that was sent, by a datagram."""
    (effect,) = effects
    assert isinstance(effect, SendDatagram)
    assert effect.payload.startswith(MAGIC)
    return decode(effect.payload[len(MAGIC) :], on_association=False)


def error(effects) -> Error:
    message = answer(effects)
    assert isinstance(message, Error)
    return message


def said_about(single, data, **how):
    message = error(single.caught(data, **how))
    assert message.nli.address == OWN
    assert message.error.error_class == CLASS_OF[ErrorCode(message.error.code)]
    return message.error


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
