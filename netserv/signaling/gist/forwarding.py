"""Packets of the path that go on: as they came, or with one GIST hop less (RFC 5971 sections 4.3.2 and 4.3.4)."""

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.complaints import Complaints, simple, too_large
from netserv.signaling.gist.effects import Caught, Forward
from netserv.signaling.gist.errors import ErrorCode
from netserv.signaling.gist.wire import MAGIC, forwarded


def pass_on(commons: Commons, packet: Caught) -> None:
    """Send a packet on untouched: it is none that GIST may treat."""
    commons.counters.passed_on_untouched += 1
    commons.out.append(Forward(packet, packet.payload))


def forward(
    commons: Commons, complaints: Complaints, packet: Caught, hops: int, now: float, nslp_data: bytes | None = None
) -> None:
    """Send a Q-mode message on to whoever is next; only hop count and payload change.

    Args:
        commons: what the parts share.
        complaints: where Errors are sent.
        packet: as it was caught.
        hops: that it has left, this node's taken off.
        now: the time, s.
        nslp_data: to go in place of its payload.
    """
    if hops == 0:
        commons.counters.hop_limit_exceeded += 1
        error = simple("its GIST hops are used up here", ErrorCode.HOP_LIMIT_EXCEEDED)
        complaints.about_packet(packet, error, now)
        return
    try:
        payload = MAGIC + forwarded(packet.payload[len(MAGIC) :], hops=hops, nslp_data=nslp_data)
    except LocalProtocolError:
        # The NSLP's own payload is at fault; the Query is somebody else's, and goes on.
        commons.counters.payloads_left_out += 1
        payload = MAGIC + forwarded(packet.payload[len(MAGIC) :], hops=hops, nslp_data=None)
    way = commons.topology.outgoing(packet.destination[0])
    headers = 28 if len(packet.destination[0]) == 4 else 48
    if way is not None and len(payload) + headers > way.mtu:
        complaints.about_packet(packet, too_large(way.mtu), now)
        return
    commons.counters.forwarded += 1
    commons.out.append(Forward(packet, payload))
