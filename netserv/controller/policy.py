"""What the operator of a node allows: publishers, caps, blocks, and how publishers show what traffic is theirs."""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from netserv.container.installation import Account
from netserv.forwarding.filters import Prefix
from netserv.modules.manifest import FailurePolicy, PortWish
from netserv.signaling.gist.addresses import GIST_PORT

IpAddress: TypeAlias = IPv4Address | IPv6Address

TTL_MAX_S: Final = 86_400
"A day, where the operator says nothing (NetServ design, section 2)."
BUNDLE_BYTES_MAX: Final = 64 << 20
"The unpacker takes no more."
ALL_FAILURES: Final[tuple[FailurePolicy, ...]] = ("open", "closed", "reload")


class Way(StrEnum):
    """How a publisher shows that traffic is his (NetServ design, section 4)."""

    PREFIX = "prefix"
    "The operator has configured its prefix."
    ROUTABILITY = "routability"
    "The host that the traffic goes to serves the one-time password of the request."


class PublisherRules(msgspec.Struct, frozen=True, kw_only=True):
    """What one publisher may do here."""

    account: Account
    keys: tuple[bytes, ...]
    "Public keys that sign his requests and his bundles."
    ports: tuple[PortWish, ...] = ()
    "That his modules may listen on."
    address: IpAddress | None = None
    "Of his container, as the thesis gives one to each; nothing here needs it."
    sandbox_dir: Path | None = None
    "Where his modules keep their data; None: a directory of the node's choice."
    modules_max: int | None = None
    "None: as for all publishers."


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """The most that this node takes on."""

    ttl_max_s: int = TTL_MAX_S
    modules_per_publisher_max: int = 16
    "Those of one publisher share a container of 64 MiB."
    containers_max: int = 100
    "Publishers with modules at a time: 5 MB each when they idle."
    bundle_bytes_max: int = BUNDLE_BYTES_MAX


class DependencyRules(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the node fetches modules that others need, and whose: they run in the container of who needs them."""

    fetch: bool = False
    "Otherwise a module that needs what is not here is refused."
    publishers: Mapping[str, tuple[bytes, ...]] = MappingProxyType({})
    "Keys, by name, of those whose index records and bundles are believed; of one version the first one's is taken."
    bundle_bytes_max: int = 16 << 20
    timeout_s: float = 60.0
    "For all that one module needs: as long as one download may take."
    searches_max: int = 4
    "At a time, of all publishers; of one there is one at a time."

    def keys_beside(self, key: bytes) -> tuple[bytes, ...]:
        """All keys of who has this one; none if nothing of his is fetched."""
        return next((keys for keys in self.publishers.values() if key in keys), ()) if self.fetch else ()

    def name_of(self, key: bytes) -> str:
        """Who has a key; the key itself where nobody here has it."""
        return next((name for name, keys in self.publishers.items() if key in keys), key.hex()[:16])


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    publishers: Mapping[str, PublisherRules] = MappingProxyType({})
    caps: Caps = Caps()
    blocks: Mapping[str, str] = MappingProxyType({})
    "Name and version of the building blocks on offer."
    failure: FailurePolicy = "open"
    "Of modules whose own wish is not among the next ones."
    failures_allowed: tuple[FailurePolicy, ...] = ALL_FAILURES
    ways: tuple[Way, ...] = (Way.PREFIX,)
    "Tried in this order."
    routability_port: int = 80
    "Fixed: a publisher who could name it would have the node call any service."
    ports_never: frozenset[int] = frozenset({GIST_PORT})
    "No module gets packets to these, and signalling is always among them."
    dependencies: DependencyRules = DependencyRules()

    def keys_of(self, user: str) -> tuple[bytes, ...]:
        """Public keys of a publisher; none for one that is not known."""
        rules = self.publishers.get(user)
        return () if rules is None else rules.keys

    def modules_max(self, user: str) -> int:
        """How many modules he may have here."""
        own = self.publishers[user].modules_max
        return self.caps.modules_per_publisher_max if own is None else own

    def failure_of(self, wish: FailurePolicy) -> FailurePolicy:
        """What happens to the packets of a module that fails."""
        return wish if wish in self.failures_allowed else self.failure

    def owner_of(self, destination: Prefix) -> str | None:
        """A publisher in whose configured prefixes another prefix lies, even in part."""
        for name, rules in self.publishers.items():
            if any(overlap(destination, own) for own in rules.account.prefixes):
                return name
        return None


def overlap(one: Prefix, other: Prefix) -> bool:
    """Whether two prefixes share an address."""
    return one.version == other.version and one.overlaps(other)


def within(inner: Prefix, outer: Prefix) -> bool:
    """Whether all of a prefix lies in another one."""
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer
