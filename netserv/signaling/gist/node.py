"""One GIST node without I/O (RFC 5971): packets, streams, calls and the time go in, effects come out."""

from collections.abc import Collection, Mapping
from random import Random
from typing import Final

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import Endpoint, PackedAddress
from netserv.signaling.gist.answering import Answering
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.complaints import Complaints
from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.counters import GistCounters
from netserv.signaling.gist.effects import Caught, Effect, Topology
from netserv.signaling.gist.error_reception import ErrorReception
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.querier import Querier
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.reception import Reception
from netserv.signaling.gist.requests import Requests
from netserv.signaling.gist.responder import Responder
from netserv.signaling.gist.responding import RespondingRow
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import Application, RoutingStatus, SendMessage
from netserv.signaling.gist.status import KnownPeer, NodeStatus, known_peer, status_of
from netserv.signaling.gist.transmission import Transmission

WOKEN_AT_ONCE_MAX: Final = 8
"Rows and associations treated in one `tick`: half a millisecond; `next_deadline` asks for the rest."


class GistNode:
    """A node with its routing state and associations.

    Args:
        config: settings.
        identity: of this node among its peers, random and new with each start (section 4.4.3).
        topology: what the machine says of addresses and routes.
        applications: the NSLPs that are hosted, by number.
        rng: source of all chance, and of the secrets of cookies: unpredictable on a real network.
        now: the time, s.
    """

    __slots__ = ("_associations", "_commons", "_errors", "_querier", "_reception", "_requests", "_responder")

    def __init__(
        self,
        *,
        config: GistConfig,
        identity: bytes,
        topology: Topology,
        applications: Mapping[int, Application],
        rng: Random,
        now: float,
    ) -> None:
        if not 1 <= len(identity) <= 64:
            raise LocalProtocolError("a node's identity has 1 to 64 bytes")
        commons = self._commons = Commons(config, identity, topology, applications, rng, now)
        outbox = Outbox(commons)
        associations = self._associations = Associations(commons, self._lost)
        transmission = Transmission(commons, outbox, associations)
        querier = self._querier = Querier(commons, outbox, associations, transmission)
        responder = self._responder = Responder(commons, outbox, transmission)
        complaints = Complaints(commons, outbox, associations)
        answering = Answering(commons, outbox, associations, complaints, querier, responder)
        errors = self._errors = ErrorReception(commons, associations, querier, responder)
        self._reception = Reception(commons, associations, complaints, answering, querier, responder, errors, now)
        self._requests = Requests(commons, outbox, transmission, querier, responder)

    @property
    def counters(self) -> GistCounters:
        """What has been counted."""
        return self._commons.counters

    # From the network.

    def caught(self, packet: Caught, now: float) -> list[Effect]:
        """Treat a UDP datagram for the GIST port, of this node or in transit.

        One in transit for which no `Forward` comes back is not to go on.
        """
        self._reception.packet(packet, now)
        return self._commons.taken()

    def unreachable(self, destination: PackedAddress, quoted: bytes, now: float) -> list[Effect]:
        """An ICMP port unreachable has come.

        Args:
            destination: of the datagram that it is about.
            quoted: the beginning of its UDP payload.
            now: the time, s.
        """
        self._errors.unreachable(destination, quoted, now)
        return self._commons.taken()

    def association_accepted(self, number: int, peer: Endpoint, *, secure: bool, now: float) -> list[Effect]:
        """Somebody has connected.

        Args:
            number: even, and not used before.
            peer: where from.
            secure: by TLS, and the peer's certificate is good.
            now: the time, s.
        """
        self._associations.accepted(number, peer, secure=secure, now=now)
        return self._commons.taken()

    def association_opened(self, number: int, *, peer_names: tuple[str, ...] = (), now: float) -> list[Effect]:
        """A connection that an `OpenAssociation` asked for is there.

        Args:
            number: as in the effect.
            peer_names: from the peer's certificate; whether they are good the driver has decided.
            now: the time, s.
        """
        del peer_names
        self._associations.opened(number, now)
        return self._commons.taken()

    def association_data(self, number: int, data: bytes, now: float) -> list[Effect]:
        """Bytes have come on a connection."""
        self._reception.stream(number, data, now)
        return self._commons.taken()

    def association_closed(self, number: int, reason: str, now: float) -> list[Effect]:
        """A connection is gone, or could not be had."""
        del reason
        self._associations.closed(number, now)
        return self._commons.taken()

    # From the NSLPs.

    def send(self, message: SendMessage, now: float) -> list[Effect]:
        """Send a message to the adjacent node of its flow and direction (B.1).

        Raises:
            LocalProtocolError: it cannot be written as GIST has it.
        """
        self._requests.send(message, now)
        return self._commons.taken()

    def set_state_lifetime(
        self, nslp_id: int, mri: Mri, sid: bytes | None, lifetime_s: float, now: float
    ) -> list[Effect]:
        """Say how long the routing state of a flow and direction is wanted; 0: no more (B.5).

        Args:
            nslp_id: whose.
            mri: flow, and direction towards the peer.
            sid: of the session; None for all.
            lifetime_s: without messages.
            now: the time, s.
        """
        self._requests.set_lifetime(nslp_id, mri, sid, lifetime_s, now)
        return self._commons.taken()

    def invalidate_routing_state(
        self,
        nslp_id: int | None,
        mri: Mri,
        status: RoutingStatus,
        *,
        payload: bytes | None = None,
        urgent: bool = False,
        now: float,
    ) -> list[Effect]:
        """Say that the next node of a flow may not be it any more (B.6).

        Args:
            nslp_id: None for all.
            mri: flow, and direction towards the peer.
            status: BAD or TENTATIVE.
            payload: for the Queries that look again.
            urgent: look at once, and not when there is something to be sent.
            now: the time, s.
        """
        self._requests.invalidate(nslp_id, mri, status, payload=payload, urgent=urgent, now=now)
        return self._commons.taken()

    def routes_changed(self, destinations: Collection[PackedAddress], now: float) -> list[Effect]:
        """This machine sends packets another way than before (section 7.1.2, local trigger).

        Args:
            destinations: to which it does.
            now: the time, s.
        """
        self._requests.routes_changed(destinations, now)
        return self._commons.taken()

    # Time.

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        timers = self._commons.timers
        for _ in range(WOKEN_AT_ONCE_MAX):
            owner = timers.due(now)
            if owner is None:
                break
            match owner:
                case QueryingRow():
                    self._querier.woken(owner, now)
                case RespondingRow():
                    self._responder.woken(owner, now)
                case Association():
                    self._associations.woken(owner, now)
        return self._commons.taken()

    def next_deadline(self) -> float:
        """When `tick` is to be called next, s; infinite for never."""
        return self._commons.timers.next_deadline()

    def stop(self, now: float) -> list[Effect]:
        """Close all associations; peers notice it, and their routing state expires."""
        del now
        self._associations.close_all()
        return self._commons.taken()

    # For people, and for the off-path modes.

    def status(self, now: float) -> NodeStatus:
        """How the node stands."""
        return status_of(self._commons, self._associations.all(), now)

    def peers(self, now: float) -> tuple[KnownPeer, ...]:
        """The adjacent nodes that are known."""
        del now
        return tuple(known_peer(peer) for peer in self._commons.peers.all())

    def _lost(self, row: Row, refused: bool, now: float) -> None:
        if isinstance(row, QueryingRow):
            self._querier.lost(row, refused, now)
        elif isinstance(row, RespondingRow):
            self._responder.lost(row, now)
