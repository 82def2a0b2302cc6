"""Hosts of many subnets that come and go, for the experiments on churn (mDHT design, section 16).

Lifetimes are exponential, of a median t_med, and so of a mean tau = t_med / ln 2. A host that dies says nothing. In its
place comes another one, in the same subnet (model A) or in a random one (model B). Where every host is a subnet of one
there is nothing but B: the same code then is the plain overlay.
"""

import math
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.chord.config import ChordConfig
from mdht.experiments.internet import Internet
from mdht.experiments.sim_core import OVERLAY
from mdht.experiments.sim_host import SimHost
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Carried, OverlayDatagram, entry_bytes, head_bytes, marks_bytes, packet_bytes
from mdht.subnet.face_packets import named_in
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import Message
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.search import SearchConfig
from mdht.subnet.wire import Header, LinkCodec

START_STEP_S: Final = 0.1
"Between the starts of two hosts, before the churn."
REST_MAX_S: Final = 900.0
"A young overlay is at rest in a minute or two, or something is wrong."
REPLACED_S: Final = 5.0
"In model A a host is back so long after its death: the others know of that after 4.5 s at most."
LEASE_S: Final = 60.0
CONTACTS: Final = 8
"""The bootstrap server's list is fresher than by default (600 s), and a founder tries more of its contacts (3). Else
half of these and more are dead where hosts die after minutes, a founder finds none, and begins a ring of its own. Rings
that stand beside each other do not grow together yet."""
UDP_BYTES: Final = 28
"Of IPv4 and UDP, around each message."
SMALL_BYTES: Final = 32
"Of whatever an `OverlayDatagram` carries that is no packet of the overlay: a number, an identifier."
SERVER_BYTES: Final = 100
"Of a packet to the bootstrap server."
SAMPLED: Final = 16
"One message on a link of so many is encoded, to know its size, and counts for all of them."


class Model(Enum):
    """Where the host comes that takes the place of a dead one."""

    SAME = "A"
    RANDOM = "B"


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts, and how they come and go."""

    hosts: int
    size: int
    "Hosts of a subnet, on average in model B; 0 for the plain overlay: each host is a subnet of one."
    median_s: float
    "Of lifetimes."
    model: Model = Model.RANDOM

    @property
    def subnets(self) -> int:
        """At the beginning, for the plain overlay."""
        return self.hosts // self.size if self.size else self.hosts


def config() -> NodePartConfig:
    """What each host ships with, over Chord; but the addresses of this internet are private ones."""
    face = FaceConfig(hosts=HostSetConfig(allow_private=True))
    return NodePartConfig(overlay=ChordConfig(), face=face, search=SearchConfig(contacts=CONTACTS))


def tau_s(median_s: float) -> float:
    """The mean of exponential lifetimes of that median."""
    return median_s / math.log(2.0)


def lifetimes(mean_s: float, rng: Random) -> Iterator[float]:
    """Of the hosts that come one after the other."""
    while True:
        yield rng.expovariate(1.0 / mean_s)


class ChurnRun:
    """Hosts that come and go.

    When hosts die is the same for all sizes of subnets, of one seed, unless they are spared.

    Args:
        churn: how.
        seed: of all chance.

    Attributes:
        net: where.
        deaths: of hosts.
        spared: lives that have gone on in model A, since nobody else answered for the subnet.
    """

    def __init__(self, churn: Churn, seed: int, *, strict: bool = False) -> None:
        self.net = Internet(seed, config(), lease_s=LEASE_S, strict=strict)
        self.deaths = self.spared = 0
        self._churn = churn
        self._rng = Random(f"{seed} places {churn.size} {churn.model}")
        mean_s, places = tau_s(churn.median_s), range(churn.hosts)
        self._lives = [lifetimes(mean_s, Random(f"{seed} lives {place}")) for place in places]
        self._links = 0
        self._hosts: list[SimHost] = []

    def settle(self, most_s: float = REST_MAX_S) -> None:
        """Start all hosts, and wait until the overlay is at rest: for so long at most, from the last start."""
        for number in range(self._churn.hosts):
            model_a = self._churn.model is Model.SAME
            link = number % self._churn.subnets if model_a else self._link()
            self._hosts.append(self.net.add(link))
            self.net.run(START_STEP_S)
        until = self.net.now + most_s
        while not self.net.at_rest:
            if self.net.now >= until:
                wrong = [(host.number, what) for host, what in self.net.wrong_tables()]
                raise AssertionError(f"seed {self.net.seed}: no rest, and wrong tables: {wrong[:10]}")
            self.net.run(5.0)

    def begin(self) -> None:
        """Let hosts die from now on."""
        self.net.node_events.clear()
        for place, host in enumerate(self._hosts):
            self._live(place, host)

    @property
    def node_deaths(self) -> int:
        """Of nodes, since the churn began."""
        return sum(not born for _, _, born in self.net.node_events)

    @property
    def apart(self) -> float:
        """The share of READY hosts that are not in the ring of most of them."""
        rings = Counter(
            host.core.part.step.ring_id
            for host in self.net.hosts.values()
            if host.ready and host.core is not None and host.core.part is not None
        )
        return 1.0 - max(rings.values(), default=0) / max(1, rings.total())

    def _live(self, place: int, host: SimHost) -> None:
        self.net.at(self.net.now + next(self._lives[place]), partial(self._end, place, host))

    def _end(self, place: int, host: SimHost) -> None:
        churn = self._churn
        if churn.model is Model.SAME:
            others = (other.ready for other in self.net.links[host.link].values() if other is not host)
            if not any(others):
                self.spared += 1
                self._live(place, host)
                return
        self.net.crash(host)
        self.deaths += 1
        if churn.model is Model.SAME:
            self.net.at(self.net.now + REPLACED_S, partial(self._replace, place, host.link))
        else:
            self._replace(place, self._link())

    def _replace(self, place: int, link: int) -> None:
        self._live(place, self.net.add(link))

    def _link(self) -> int:
        """Where the next host comes."""
        if self._churn.size:
            return self._rng.randrange(self._churn.subnets)
        self._links += 1
        return self._links - 1


def count_emptied(hosts: int, subnets: int, deaths: int, rng: Random) -> int:
    """Model B without any protocol: how many deaths of hosts leave nobody in their subnet, as one in e^-k would."""
    links = [rng.randrange(subnets) for _ in range(hosts)]
    sizes = Counter(links)
    emptied = 0
    for _ in range(deaths):
        at = rng.randrange(hosts)
        sizes[links[at]] -= 1
        emptied += not sizes[links[at]]
        links[at] = rng.randrange(subnets)
        sizes[links[at]] += 1
    return emptied


# ---- sizes ---------------------------------------------------------------------------------------------------------


class Meter:
    """Counts the bytes that hosts send, with those of IPv4 and UDP.

    Attributes:
        here: on links; a multicast is one packet.
        away: to other subnets and to the bootstrap server.
    """

    def __init__(self) -> None:
        self.here = self.away = 0
        self._codec = LinkCodec(OVERLAY)
        self._count = 0

    def on_sent(self, _host: SimHost, message: Any, header: Header | None) -> None:
        """Count one message."""
        if header is None:
            self.away += UDP_BYTES + overlay_bytes(message)
            return
        self._count += 1
        if self._count % SAMPLED == 0:
            self.here += SAMPLED * (UDP_BYTES + self._link_bytes(header, message))

    def _link_bytes(self, header: Header, message: Message) -> int:
        return len(self._codec.encode(header, message))


def overlay_bytes(datagram: Any) -> int:
    """What a datagram to another subnet takes, or to the bootstrap server, by the sizes in `face_messages`."""
    if not isinstance(datagram, OverlayDatagram):
        return SERVER_BYTES
    entries = [*datagram.named, *([] if datagram.entry is None else [datagram.entry])]
    body = datagram.body
    size = packet_bytes(len(named_in(body.packet.message))) if isinstance(body, Carried) else SMALL_BYTES
    return head_bytes(datagram.identity) + sum(map(entry_bytes, entries)) + size + marks_bytes(datagram.marks)
