"""Who a subnet is: the identity from which all its hosts derive one node identifier (mDHT design, section 1)."""

import functools
import ipaddress
from collections.abc import Iterable
from enum import Enum
from random import Random
from typing import Final, TypeAlias

import msgspec

from dhtboot.ids import hash_id
from mdht.errors import LocalProtocolError

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DATA_MAX: Final = 64
"Bytes of an identity's data: the longest is a configured name."
SALT_BYTES: Final = 8
TAG_BYTES: Final = 8
"Drawn at each founding, so that two subnets that derive the same identity are told apart."
NO_TAG: Final = bytes(TAG_BYTES)
"Of a host that is in no subnet yet."
POLICY_MAX: Final = 40
"Characters of a policy's name: the longest has 38."
OVERLAY_MAX: Final = 63
"Bytes of an overlay's name."
NODE_IDS_REMEMBERED_MAX: Final = 4096
"As many as the nodes that a host knows: each is named in many datagrams."
_DOMAIN: Final = b"mdht1"
_RANDOM_BYTES: Final = 16
_UNIQUE_LOCAL: Final = ipaddress.IPv6Network("fc00::/7")


class Kind(Enum):
    """What an identity is made from; the value travels on the wire."""

    PREFIX_4 = b"P4"
    "A global IPv4 network: 4 bytes of address, 1 of prefix length."
    PREFIX_6 = b"P6"
    "A global or unique local IPv6 network: 16 bytes, 1 of prefix length."
    RANDOM = b"RN"
    "16 random bytes: a private network, of which there are many alike."
    NAME = b"CN"
    "A configured name, UTF-8."
    GATEWAY = b"GW"
    "Public IPv4 address as others see it (4 bytes), private network (4) and prefix length (1); by choice only."


_LENGTHS: Final = {
    Kind.PREFIX_4: range(5, 6),
    Kind.PREFIX_6: range(17, 18),
    Kind.RANDOM: range(_RANDOM_BYTES, _RANDOM_BYTES + 1),
    Kind.NAME: range(1, DATA_MAX + 1),
    Kind.GATEWAY: range(9, 10),
}


class Identity(msgspec.Struct, frozen=True):
    """What the hosts of a subnet agree on; it stays while one of them lives."""

    kind: Kind
    data: bytes
    salt: bytes = b""
    "8 bytes after a conflict with another subnet of the same identity, else empty."

    def __post_init__(self) -> None:
        if len(self.data) not in _LENGTHS[self.kind]:
            raise ValueError(f"{len(self.data)} bytes of data in an identity of kind {self.kind.name}")
        if len(self.salt) not in {0, SALT_BYTES}:
            raise ValueError(f"a salt is {SALT_BYTES} bytes or none, not {len(self.salt)}")

    def node_id(self, overlay: str) -> int:
        """The identifier of the subnet in the overlay of that name, 160 bits.

        Of what is hashed, name and data have their length before them, and the kind has two bytes: no two identities
        share their bytes, not even a name with a salt and a longer name without one.

        Raises:
            LocalProtocolError: the name is empty or too long.
        """
        return _node_id(self, overlay)

    def salted(self, tag: bytes) -> "Identity":
        """The identity of the younger of two subnets that derived the same one: its tag becomes its salt."""
        return Identity(self.kind, self.data, tag)


@functools.lru_cache(maxsize=NODE_IDS_REMEMBERED_MAX)
def _node_id(identity: Identity, overlay: str) -> int:
    name = overlay_bytes(overlay)
    data = bytes((len(identity.data),)) + identity.data
    return hash_id(_DOMAIN + bytes((len(name),)) + name + identity.kind.value + data + identity.salt)


class Subnet(msgspec.Struct, frozen=True):
    """One founding of a subnet: its identity, and what tells it from another one of the same identity."""

    identity: Identity
    tag: bytes
    "8 bytes, spread with the identity."
    policy: str = ""
    """Name of the replication policy that its founder has chosen for all its hosts, spread with the identity; empty
    where none was told."""

    def __post_init__(self) -> None:
        if len(self.tag) != TAG_BYTES or self.tag == NO_TAG:
            raise ValueError(f"a tag is {TAG_BYTES} bytes, not all of them 0")
        if len(self.policy) > POLICY_MAX:
            raise ValueError(f"the name of a policy has at most {POLICY_MAX} characters")

    @property
    def salted(self) -> Identity:
        """The identity that its hosts take in a conflict in which it gives way: they found a subnet of that anew.

        With another tag: a link hears by that, and by the salt, that its subnet has become another one.
        """
        return self.identity.salted(self.tag)


def new_tag(rng: Random) -> bytes:
    """The tag of a new founding."""
    tag = NO_TAG
    while tag == NO_TAG:
        tag = rng.randbytes(TAG_BYTES)
    return tag


def overlay_bytes(overlay: str) -> bytes:
    """The name of an overlay in UTF-8.

    Raises:
        LocalProtocolError: it is empty or too long.
    """
    name = overlay.encode()
    if not 1 <= len(name) <= OVERLAY_MAX:
        raise LocalProtocolError(f"the name of an overlay has 1 to {OVERLAY_MAX} bytes, {overlay!r} has {len(name)}")
    return name


def thesis_id(network: Network) -> int:
    """The identifier that the thesis gives a subnet: the hash of its network address. For comparison only."""
    return hash_id(network.network_address.packed)


def named(name: str) -> Identity:
    """The identity of a configured name.

    Raises:
        LocalProtocolError: it is empty or too long.
    """
    data = name.encode()
    if not 1 <= len(data) <= DATA_MAX:
        raise LocalProtocolError(f"the name of a subnet has 1 to {DATA_MAX} bytes, {name!r} has {len(data)}")
    return Identity(Kind.NAME, data)


def gateway(public: ipaddress.IPv4Address, private: ipaddress.IPv4Network) -> Identity:
    """The identity of a private network behind a public address; both may change, so it is used by choice only."""
    return Identity(Kind.GATEWAY, public.packed + _prefix(private))


def derive(interfaces: Iterable[Interface], rng: Random, *, name: str | None = None) -> Identity:
    """The identity that a founder gives its subnet; whoever hears a sibling adopts that one's instead.

    Args:
        interfaces: the host's addresses on the link.
        rng: draws the identity of a private network: two homes on 192.168.1.0/24 must not be one.
        name: configured name, which comes before all else.

    Raises:
        LocalProtocolError: the name is empty or too long.
    """
    if name is not None:
        return named(name)
    found = list(interfaces)
    for address in found:
        if isinstance(address, ipaddress.IPv4Interface) and address.ip.is_global:
            return Identity(Kind.PREFIX_4, _prefix(address.network))
    for address in found:
        if isinstance(address, ipaddress.IPv6Interface) and (address.ip.is_global or address.ip in _UNIQUE_LOCAL):
            return Identity(Kind.PREFIX_6, _prefix(address.network))
    return Identity(Kind.RANDOM, rng.randbytes(_RANDOM_BYTES))


def gives_way(mine: tuple[float, bytes], other: tuple[float, bytes]) -> bool:
    """Whether the subnet founded as (seconds ago, tag) gives way to another of the same identity: the younger does.

    Where both are of one age the one with the larger tag gives way, so both come to the same answer.
    """
    my_age_s, my_tag = mine
    other_age_s, other_tag = other
    return (my_age_s, other_tag) < (other_age_s, my_tag)


def _prefix(network: Network) -> bytes:
    return network.network_address.packed + bytes((network.prefixlen,))
