"""One node, and hand-made packets around it."""

from random import Random

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import Caught, SendDatagram
from netserv.signaling.gist.messages import Confirm, Data, Error, Message, Query, Response
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.wire import MAGIC, decode, encode
from tests.netserv.signaling.gist.world import Host, World, flow

PEER, OWN, FAR = packed("10.0.0.1"), packed("10.0.1.1"), packed("10.0.9.1")
FLOW = flow("10.0.0.1", "10.0.9.1")
SID = b"S" * 16
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
