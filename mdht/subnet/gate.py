"""Whether hosts of other subnets receive where they say they are (mDHT design, section 14).

At an address that has shown nothing nobody is answered or believed. He gets a cookie, in a datagram smaller than three
times what he has sent, and says again what he has said, with the cookie. Who answers what was asked at his address has
shown it as well; who answers what was passed on to him has not.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from dhtboot.cookies import CookieJar
from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.bounded import remember
from mdht.subnet.face_messages import (
    Asked,
    Body,
    Carried,
    Contested,
    HostsHeard,
    ItIs,
    Occupied,
    OverlayDatagram,
    Prove,
    Taken,
    Told,
    Trying,
    Welcome,
)
from mdht.subnet.face_packets import KINDS, Kind
from mdht.subnet.hostset_handout import Own

ADDRESSES_MAX: Final = 4096
"Addresses at which something was asked lately."
SAID_MAX: Final = 1024
"Addresses of which it is known what was said there last."
REPEATED_MAX: Final = 4
"Datagrams to one address that are said again when its cookie has come."
ANSWER_S: Final = 30.0
"Within so long an answer is expected: three times what a request to a node may take."
ROTATION_S: Final = 3600.0


class Gate:
    """One host's part.

    Args:
        own: what this host tells of itself, now.
        rng: unpredictable.
        now: the time.

    Attributes:
        counters: of what was sent back for a proof, said again, and dropped.
    """

    def __init__(self, own: Callable[[], Own], rng: Random, now: float) -> None:
        self.counters: Counter[str] = Counter()
        self._own = own
        self._jar = CookieJar(rng, rotation_s=ROTATION_S, now=now)
        self._asked: OrderedDict[Address, float] = OrderedDict()
        self._said: OrderedDict[Address, list[OverlayDatagram]] = OrderedDict()

    def outgoing(self, datagram: OverlayDatagram, to: Address, now: float, *, awaited: bool = False) -> Send:
        """A datagram as it is sent, with the cookie of its receiver if that is known.

        Args:
            datagram: what is to be said.
            to: where.
            now: the time.
            awaited: whether the receiver itself has asked for it, and so listens to it without proof.
        """
        if not is_answer(datagram.body):
            remember(self._asked, to, now, ADDRESSES_MAX)
        cookie = self._jar.for_peer(to)
        if cookie:
            datagram = msgspec.structs.replace(datagram, cookie=cookie)
        # Remembered with a cookie too: the receiver may have been started again, and know it no more.
        if not awaited:
            remember(self._said, to, _latest([*self._said.get(to, ()), datagram]), SAID_MAX)
        return Send(to, datagram)

    def admits(self, datagram: OverlayDatagram, source: Address, now: float) -> bool:
        """Whether to listen to a datagram; if not, `turned_away` says what to send instead."""
        if isinstance(datagram.body, Prove):
            return False
        if is_answer(datagram.body) and now <= self._asked.get(source, -math.inf) + ANSWER_S:
            self._said.pop(source, None)  # it listens
            return True
        if datagram.cookie is not None and self._jar.check(datagram.cookie, source, now):
            return True
        self.counters["unproven"] += 1
        return False

    def turned_away(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Send]:
        """What to send to somebody who was not admitted: a cookie, or again what he wants proof for."""
        if isinstance(datagram.body, Prove):
            return self._say_again(datagram.body.cookie, source)
        own = self._own()
        cookie = self._jar.make(source, now)
        prove = OverlayDatagram(
            identity=own.identity, tag=own.tag, hid=own.hid, view_epoch=0, held=None, body=Prove(cookie=cookie)
        )
        return [Send(source, prove)]

    def _say_again(self, cookie: bytes, source: Address) -> list[Send]:
        """Once each: a host that wants proof for ever gets none."""
        waiting = [datagram for datagram in self._said.pop(source, []) if datagram.cookie != cookie]
        if not waiting:
            self.counters["unwanted_cookies"] += 1
            return []
        self._jar.keep(source, cookie)
        self.counters["said_again"] += len(waiting)
        return [Send(source, msgspec.structs.replace(datagram, cookie=cookie)) for datagram in waiting]


def _latest(said: list[OverlayDatagram]) -> list[OverlayDatagram]:
    """What is kept of that; requests go first, since who asks says it again unasked, but nobody an answer to a JOIN."""
    if len(said) > REPEATED_MAX:
        del said[next((place for place, each in enumerate(said) if _is_request(each.body)), 0)]
    return said


def _is_request(body: Body) -> bool:
    if isinstance(body, Carried):
        return KINDS.get(type(body.packet.message)) in {Kind.ASKS, Kind.PASSES_ON}
    return isinstance(body, Asked)


def is_answer(body: Body) -> bool:
    """Whether somebody must have asked for it."""
    if isinstance(body, Carried):
        return KINDS.get(type(body.packet.message)) is Kind.ANSWERS
    return isinstance(body, Taken | ItIs | Welcome | HostsHeard | Told | Occupied | Contested | Trying)
