"""The signalling engine of a node in memory: bytes in, bytes out. It is what the driver runs, without its sockets."""

import random
from collections.abc import Iterable
from typing import NamedTuple

from netserv.signaling.gist.addresses import GIST_PORT, PackedAddress, packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import (
    Caught,
    Deliver,
    Effect,
    Notify,
    Outgoing,
    Report,
    SendAlongFlow,
    SendDatagram,
)
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.service import SendMessage
from netserv.signaling.handler import RecordingHandler
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import NslpEffect, SetStateLifetime
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.publishers import Publishers
from tools.signalling_bytes import IP_TTL

UP, NODE, DOWN = packed("10.1.0.2"), packed("10.1.0.1"), packed("10.2.0.2")
"The node, and its peers on both sides."
UP_INTERFACE, DOWN_INTERFACE = 2, 3


class Ways:
    """A node with one peer on each side."""

    def outgoing(self, destination: PackedAddress) -> Outgoing:
        """To the right everything but the peer on the left."""
        left = destination == UP
        interface = UP_INTERFACE if left else DOWN_INTERFACE
        return Outgoing(interface=interface, address=NODE, mtu=1500, next_hop=None if left else DOWN)

    def is_own(self, address: PackedAddress) -> bool:
        """One address."""
        return address == NODE

    def may_come_from(self, source: PackedAddress, prefix: int, interface: int) -> bool:
        """All flows begin on the left."""
        del source, prefix
        return interface == UP_INTERFACE


class Sent(NamedTuple):
    """A datagram that leaves."""

    to: PackedAddress
    payload: bytes


class Engine:
    """The GIST node and the NSLP node of a machine, as the driver runs them, without its sockets."""

    def __init__(self, seed: int, publishers: Publishers | None = None) -> None:
        rng = random.Random(seed)
        self.nslp = NslpNode(
            config=NslpConfig(public_probes=publishers is None),
            node_id="node",
            addresses=("10.1.0.1",),
            handler=RecordingHandler(publishers or Publishers()),
            rng=rng,
            unix_time=lambda: 0.0,
            towards=lambda _: NODE,
        )
        applications = {NSLP_NETSERV: self.nslp}
        config, identity = GistConfig(), rng.randbytes(16)
        self.gist = GistNode(
            config=config, identity=identity, topology=Ways(), applications=applications, rng=rng, now=0.0
        )

    def caught(self, payload: bytes, now: float, *, of: PackedAddress = UP, to: PackedAddress = NODE) -> list[Sent]:
        """A datagram of a peer comes; return those that leave."""
        packet = Caught(
            payload=payload,
            source=(of, GIST_PORT),
            destination=(to, GIST_PORT),
            in_transit=to != NODE,
            ip_ttl=IP_TTL,
            interface=UP_INTERFACE if of == UP else DOWN_INTERFACE,
        )
        return self._done(self.gist.caught(packet, now), now)

    def tick(self, now: float) -> list[Sent]:
        """Something is due; return the datagrams that leave."""
        return self._done([*self.gist.tick(now), *self._wanted(self.nslp.tick(now), now)], now)

    def next_deadline(self) -> float:
        """When something is due."""
        return min(self.gist.next_deadline(), self.nslp.next_deadline())

    def send(self, message: SendMessage, now: float) -> list[Sent]:
        """The NSLP sends; return the datagrams that leave."""
        return self._done(self.gist.send(message, now), now)

    def _done(self, effects: list[Effect], now: float) -> list[Sent]:
        sent = []
        for effect in effects:
            match effect:
                case SendDatagram(payload=payload, to=(to, _)) | SendAlongFlow(payload=payload, destination=to):
                    sent.append(Sent(to, payload))
                case Deliver(message=message):
                    effects += self._wanted(self.nslp.received(message, now), now)
                case Report(status=status):
                    effects += self._wanted(self.nslp.reported(status, now), now)
                case Notify(notification=notification):
                    effects += self._wanted(self.nslp.notified(notification, now), now)
        return sent

    def _wanted(self, effects: Iterable[NslpEffect], now: float) -> list[Effect]:
        made: list[Effect] = []
        for effect in effects:
            match effect:
                case SendMessage():
                    made += self.gist.send(effect, now)
                case SetStateLifetime(nslp_id=nslp_id, mri=mri, sid=sid, lifetime_s=lifetime_s):
                    made += self.gist.set_state_lifetime(nslp_id, mri, sid, lifetime_s, now)
        return made
