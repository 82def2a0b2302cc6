"""What this host knows of another node, that is of another subnet: a few of its hosts (mDHT design, section 5).

Who tells counts. A host of the node itself knows its members, so a newer set from it replaces what was known. Anybody
else may have merged it from others, or have struck off hosts that only he cannot reach: his word adds hosts, and
removes none; nor does it move the epoch, or one inflated number would keep every true set out.
"""

import functools
import ipaddress
import math
from enum import Enum
from random import Random
from typing import Final

from dhtboot.ids import Address
from dhtboot.rtt import RttEstimator
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import HOSTS_MAX, HostRef, NodeEntry

ADDRESSES_REMEMBERED_MAX: Final = 16_384
"Whose reach is remembered, some 200 bytes each: all hosts of the nodes that a host knows, and more."
ENOUGH_HOSTS: Final = 3
"As many as a node is named with (`FaceConfig.named_hosts`)."
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"RFC 6052: the last 32 bits are an IPv4 address, which decides."


class Learnt(Enum):
    """What became of a set that was told."""

    REPLACED = "replaced"
    "It is newer, and from the node itself: hosts that are not in it are gone."
    UNITED = "united"
    "Its hosts are known beside those known before."
    OLDER = "older"
    "It is of an older view: it made known hosts younger, and brought none back."
    OTHER_FOUNDING = "other founding"
    "It is of another subnet, which came to the same identifier: nothing was taken from it."


class RemoteHost:
    """One host of another node, as this host sees it. Times are of the caller's clock, in seconds."""

    __slots__ = ("address", "fails", "heard_at", "hid", "judged_at")

    def __init__(self, hid: bytes, address: Address, heard_at: float) -> None:
        self.hid = hid
        self.address = address
        self.heard_at = heard_at
        "Of its last sign of life, to whomever."
        self.fails = 0
        "Requests in a row that it has left without an answer here; what others count is their way to it."
        self.judged_at = -math.inf
        "When it last answered here, or was found silent."


class RemoteNode:
    """Another node, with at most 8 of its hosts.

    It starts empty; `learn` fills it.

    Args:
        entry: whom it is about: identity and tag are taken from it.
        config: limits.

    Attributes:
        identity: of the subnet.
        tag: of its founding.
        epoch: of the newest view that the node itself has told, which requests to it carry; None where none is known.
        size: live hosts of it, told or not.
    """

    __slots__ = ("_config", "_hearsay_epoch", "_hosts", "epoch", "identity", "size", "tag")

    def __init__(self, entry: NodeEntry, config: HostSetConfig) -> None:
        self.identity = entry.identity
        self.tag = entry.tag
        self.epoch: int | None = None
        self.size = entry.size
        self._config = config
        self._hearsay_epoch: int | None = None
        "Oldest epoch of what others told; told on while the node itself has told none."
        self._hosts: dict[bytes, RemoteHost] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def get(self, hid: bytes) -> RemoteHost | None:
        """The host of that name."""
        return self._hosts.get(hid)

    @property
    def usable(self) -> list[RemoteHost]:
        """Hosts worth asking: those that were not silent too often."""
        return [host for host in self._hosts.values() if host.fails < self._config.fails_max]

    # ---- what others tell ----------------------------------------------------------------------------------------

    def learn(self, entry: NodeEntry, now: float, rng: Random, *, firsthand: bool, private: bool = False) -> Learnt:
        """Take in a set.

        Args:
            entry: the set.
            now: the time.
            rng: chooses among hosts that are equally fit to be left out.
            firsthand: a host of the node itself tells it, so that the sender's tag is the entry's.
            private: private addresses are believed, whatever the settings say: see `in_private`.
        """
        if entry.tag != self.tag or entry.identity != self.identity:
            return Learnt.OTHER_FOUNDING
        known = -1 if self.epoch is None else self.epoch
        told = [host for host in entry.hosts[:HOSTS_MAX] if self._believes(host, private=private)]
        if firsthand and entry.view_epoch > known:
            outcome = Learnt.REPLACED
            listed = {host.hid for host in told}
            self._hosts = {hid: host for hid, host in self._hosts.items() if hid in listed}
            self.epoch = entry.view_epoch
        else:
            outcome = Learnt.OLDER if entry.view_epoch < known else Learnt.UNITED
        if self.epoch is None and (self._hearsay_epoch is None or entry.view_epoch < self._hearsay_epoch):
            self._hearsay_epoch = entry.view_epoch
        if self.epoch is None or (firsthand and outcome is not Learnt.OLDER):
            self.size = entry.size
        for host in told:
            self._take(host, now, add=outcome is not Learnt.OLDER)
        self._make_room(rng)
        return outcome

    def _believes(self, told: HostRef, *, private: bool) -> bool:
        if not 0 <= told.age_s <= self._config.age_max_s:
            return False
        known = self._hosts.get(told.hid)
        if known is not None and known.address == told.address:
            return True
        return reaches(told.address, allow_private=private or self._config.allow_private)

    def _take(self, told: HostRef, now: float, *, add: bool) -> None:
        heard_at = now - told.age_s
        host = self._hosts.get(told.hid)
        if host is None:
            if add:
                self._hosts[told.hid] = RemoteHost(told.hid, told.address, heard_at)
            return
        # Of two of one age the larger address, so that the order in which they come does not matter.
        if (heard_at, told.address) <= (host.heard_at, host.address):
            return
        if told.address != host.address:
            host.address, host.fails = told.address, 0
        host.heard_at = heard_at
        if host.fails >= self._config.fails_max and heard_at > host.judged_at:
            # It has shown itself to others since it was silent here: it is worth one try, not more.
            host.fails = self._config.fails_max - 1

    def _make_room(self, rng: Random) -> None:
        """Leave out who was silent too often, then who was heard of longest ago, then anybody, until 8 are left."""
        while len(self._hosts) > HOSTS_MAX:
            silent = [host for host in self._hosts.values() if host.fails >= self._config.fails_max]
            unfit = silent or list(self._hosts.values())
            oldest = min(host.heard_at for host in unfit)
            # One at a time: the overflow is 8 at most.
            del self._hosts[rng.choice([host.hid for host in unfit if host.heard_at == oldest])]

    # ---- what this host finds ------------------------------------------------------------------------------------

    def answered(self, hid: bytes, now: float) -> None:
        """A host has answered: whatever it missed before is forgiven."""
        host = self._hosts.get(hid)
        if host is not None:
            host.fails = 0
            host.heard_at = max(host.heard_at, now)
            host.judged_at = now

    def silent(self, hid: bytes, sent_at: float, now: float) -> None:
        """A request that was sent to a host at `sent_at` has been left without an answer for too long.

        Many requests may be under way to it at once; those that one silence swallows are one fail.
        """
        host = self._hosts.get(hid)
        if host is not None and sent_at >= host.judged_at:
            host.fails += 1
            host.judged_at = now
            if not self.usable:
                # Better an old hint of the neighbours than to give the node up; and after a power cut the subnet counts
                # its views from the start again. A set without hosts that the node itself told is another matter.
                self.epoch = self._hearsay_epoch = None

    # ---- what is told on -----------------------------------------------------------------------------------------

    @property
    def told_epoch(self) -> int:
        """The epoch that others are told: no host that is known is older."""
        return (self._hearsay_epoch if self.epoch is None else self.epoch) or 0

    def is_well_known(self, now: float) -> bool:
        """Whether others need not tell of it: enough usable hosts, of which one was heard of not long ago."""
        usable = self.usable
        if len(usable) < min(self.size, ENOUGH_HOSTS):
            return False
        since = now - self._config.age_max_s / 2.0
        return any(host.heard_at >= since for host in usable)

    def entry(self, now: float, rtt: RttEstimator) -> NodeEntry:
        """The node as others are told of it, youngest hosts first.

        The epoch is one that no host in it is older than. Who is told it a second time must not take hosts for younger
        than they are, so ages are rounded up.
        """
        fit = [host for host in self.usable if now - host.heard_at <= self._config.age_max_s]
        fit.sort(key=lambda host: (-host.heard_at, host.hid))
        return NodeEntry(
            identity=self.identity,
            tag=self.tag,
            view_epoch=self.told_epoch,
            size=self.size,
            hosts=tuple([_told(host, now, rtt) for host in fit]),
        )


def _told(host: RemoteHost, now: float, rtt: RttEstimator) -> HostRef:
    mean_s = rtt.mean_s(host.address)
    return HostRef(
        hid=host.hid,
        address=host.address,
        age_s=age_s(host.heard_at, now),
        fails=host.fails,
        rtt_ms=0 if mean_s is None else max(1, round(1000.0 * mean_s)),
    )


def age_s(heard_at: float, now: float) -> int:
    """Whole seconds since then, rounded up: hearsay may make a host look older, never younger."""
    return max(0, math.ceil(now - heard_at))


@functools.lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def reaches(address: Address, *, allow_private: bool) -> bool:
    """Whether hosts of other subnets may be told this address, and believe it (mDHT design, section 13).

    A private one names a stranger of the reader's own link. Unlike those, link-local IPv6 addresses serve nobody even
    in a laboratory: they need a scope, which is not told.
    """
    host, port = address
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_link_local:
            return False
        found = _wrapped(found) or found
    if not 0 < port <= 0xFFFF or found.is_multicast or found.is_unspecified:
        return False
    return allow_private or found.is_global


@functools.lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def in_private(address: Address) -> bool:
    """Whether somebody who is seen at this address is in a private network that this host is in too.

    A datagram from a private address comes from within: such networks are routed among each other, as in an office with
    several subnets, and private addresses mean the same hosts to both sides. To others they are not told.
    """
    return reaches(address, allow_private=True) and not reaches(address, allow_private=False)


def same_family(one: Address, other: Address) -> bool:
    """Whether two addresses are both of IPv4, or both of IPv6."""
    return (":" in one[0]) == (":" in other[0])


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in an IPv6 one that reaches as far as that: mapped, 6to4, or translated."""
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner
