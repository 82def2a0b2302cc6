"""How messages leave in D-mode: addresses, ports, TTL and the limits of rate and size (RFC 5971 section 5.3)."""

from typing import Final

from netserv.signaling.gist.addresses import Endpoint
from netserv.signaling.gist.commons import ALLOWANCE, D_MODE_MAX, IP_TTL, Commons
from netserv.signaling.gist.effects import Outgoing, SendAlongFlow, SendDatagram
from netserv.signaling.gist.messages import Data, Message, Query
from netserv.signaling.gist.objects.mri import Direction, PathCoupledMri
from netserv.signaling.gist.peers import Peer
from netserv.signaling.gist.service import SendMessage, SiiHandle
from netserv.signaling.gist.wire import MAGIC, encode

UPSTREAM_IP_TTL: Final = 255
"So that the receiver sees how far it has come (section 5.8.1.3)."
KEPT_FOR_QUERIES: Final = 0.25
"Of the bursts allowed: a flood of Queries to answer leaves that to our own messages."


class Outbox:
    """Sends messages as datagrams."""

    __slots__ = ("_commons",)

    def __init__(self, commons: Commons) -> None:
        self._commons = commons

    def may_send(self, now: float, *, answer: bool = False) -> bool:
        """Take one datagram out of what may be sent now; each is asked for before it is made.

        Args:
            now: the time, s.
            answer: to a message of somebody that we do not know.
        """
        if self._commons.datagrams.take(now, KEPT_FOR_QUERIES if answer else 0.0):
            return True
        self._commons.counters.datagrams_held_back += 1
        return False

    def datagram(self, message: Message, to: Endpoint, source_port: int, ip_ttl: int = IP_TTL) -> None:
        """Normal D-mode."""
        self._commons.out.append(SendDatagram(MAGIC + encode(message), to, source_port, ip_ttl))

    def along_flow(self, message: Query | Data, ip_ttl: int) -> None:
        """Q-mode, path-coupled or loose-end."""
        mri = message.mri
        dscp = mri.dscp if isinstance(mri, PathCoupledMri) else None
        downstream = mri.direction is Direction.DOWNSTREAM
        self._commons.out.append(
            SendAlongFlow(
                payload=MAGIC + encode(message),
                source=None if message.source_is_signaller else mri.source,
                destination=mri.destination if downstream else mri.source,
                source_port=self._commons.config.port,
                ip_ttl=ip_ttl,
                dscp=dscp or 0,
                router_alert=self._commons.config.router_alert,
            )
        )

    def ip_ttl(self, message: SendMessage | None, direction: Direction, *, q_mode: bool) -> int:
        """The TTL to send with; who looks against the flow has no choice."""
        if q_mode and direction is Direction.UPSTREAM:
            return UPSTREAM_IP_TTL
        return IP_TTL if message is None or message.ip_ttl is None else message.ip_ttl

    def data(
        self,
        message: SendMessage,
        way: Outgoing | None,
        *,
        distance: int = 0,
        q_mode: bool = False,
        explicitly_routed: bool = False,
    ) -> Data:
        """Data as a value.

        Args:
            message: of the NSLP.
            way: to the peer, for the NLI of D-mode; None in C-mode.
            distance: IP hops to the peer, told upstream (section 4.3.2).
            q_mode: it goes along the flow.
            explicitly_routed: it goes past the routing state.
        """
        direction = message.mri.direction
        nli = None
        if way is not None:
            downstream = direction is Direction.DOWNSTREAM
            nli = self._commons.own_nli(way, self.ip_ttl(message, direction, q_mode=q_mode) if downstream else distance)
        return Data(
            nslp_id=message.nslp_id,
            hops=message.hops,
            q_mode=q_mode,
            explicitly_routed=explicitly_routed,
            mri=message.mri,
            sid=message.sid,
            nli=nli,
            nslp_data=message.data,
        )

    def data_to(
        self, message: SendMessage, peer: Peer | SiiHandle, source_port: int, now: float, *, distance: int, e: bool
    ) -> bool:
        """Send Data in normal D-mode; False: over the rate limit, or no way there."""
        way = self._commons.topology.outgoing(peer.address)
        if way is None or not self.may_send(now):
            return False
        value = self.data(message, way, distance=distance, explicitly_routed=e)
        ip_ttl = self.ip_ttl(message, message.mri.direction, q_mode=False)
        self.datagram(value, (peer.address, peer.port), source_port, ip_ttl)
        return True


def fits_d_mode(size: int, way: Outgoing) -> bool:
    """Whether a message of so many bytes, without the magic number, may go in D-mode (section 4.3.3)."""
    return size <= min(D_MODE_MAX, way.mtu - ALLOWANCE)
