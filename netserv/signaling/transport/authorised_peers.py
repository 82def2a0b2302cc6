"""The authorised peer database: which peers may have an association with this node (RFC 5971 section 4.4.2).

An ordered list; the first entry that fits a peer decides. Its file form has one entry a line:

    allow dns *.isp.example 192.0.2.0/24
    allow sha256 9f86d0...15b0f00a08
    deny any *

that is, what to do, the namespace of the identity, the identity, and the range that the peer's address is in (its
scope; all addresses where none is given). `#` begins a comment.
"""

import ipaddress
import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import PackedAddress

ENTRIES_MAX: Final = 1_000
"Read through for each new association; a network has hundreds of signalling neighbours at most."
FINGERPRINT: Final = "sha256:"
"Before the digest of a certificate in a list of names."

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Namespace(Enum):
    """What kind of name an identity is."""

    DNS = "dns"
    "dNSName of the peer's certificate, or its common name where it has none (section 5.7.3.1)."
    SHA256 = "sha256"
    "Digest of the certificate itself, 64 hexadecimal digits: for certificates that nobody has signed."
    ANY = "any"
    "Every peer, also one without a certificate."


class PeerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list."""

    allow: bool
    namespace: Namespace
    identity: str
    scope: Network | None = None
    "None: every address."

    def fits(self, address: PackedAddress, names: Sequence[str]) -> bool:
        """Whether this entry is about a peer of that address which has shown these names."""
        if self.scope is not None:
            peer = ipaddress.ip_address(address)
            if peer.version != self.scope.version or peer not in self.scope:
                return False
        match self.namespace:
            case Namespace.ANY:
                return True
            case Namespace.SHA256:
                return FINGERPRINT + self.identity in names
            case Namespace.DNS:
                return any(_same_domain(self.identity, name) for name in names if not name.startswith(FINGERPRINT))


AuthorisedPeers: TypeAlias = tuple[PeerEntry, ...]

EVERYBODY: Final[AuthorisedPeers] = (PeerEntry(allow=True, namespace=Namespace.ANY, identity="*"),)
"Where no list is given: associations are as open as the datagrams before them."


def allowed(peers: AuthorisedPeers, address: PackedAddress, names: Sequence[str]) -> bool:
    """Whether a peer may have an association; one that no entry fits may not.

    Args:
        peers: the list.
        address: of the peer.
        names: that it has proved, as `transport.tls.names_of` gives them; none on plain TCP.
    """
    return next((entry.allow for entry in peers if entry.fits(address, names)), False)


def authorised_peers(text: str) -> AuthorisedPeers:
    """Read the file form.

    Raises:
        LocalProtocolError: a line is no entry; the text names it and what is wrong.
    """
    entries: list[PeerEntry] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            entries.append(_entry(words))
        except ValueError as error:
            raise LocalProtocolError(f"line {number} of the list of authorised peers: {error}") from error
        if len(entries) > ENTRIES_MAX:
            raise LocalProtocolError(f"more than {ENTRIES_MAX} authorised peers; use wildcards, as in *.isp.example")
    return tuple(entries)


def _entry(words: list[str]) -> PeerEntry:
    if len(words) not in {3, 4}:
        raise ValueError("it has 3 or 4 words: allow or deny, dns, sha256 or any, an identity, and perhaps a prefix")
    verb, namespace, identity = words[:3]
    if verb not in {"allow", "deny"}:
        raise ValueError(f"{verb!r} is neither allow nor deny")
    if namespace not in {each.value for each in Namespace}:
        raise ValueError(f"{namespace!r} is no namespace: dns, sha256 or any")
    kind = Namespace(namespace)
    if kind is Namespace.ANY and identity != "*":
        raise ValueError("the identity in the namespace any is *")
    if kind is Namespace.SHA256:
        identity = identity.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", identity):
            raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    scope = ipaddress.ip_network(words[3]) if len(words) == 4 else None
    return PeerEntry(allow=verb == "allow", namespace=kind, identity=identity, scope=scope)


def _same_domain(identity: str, name: str) -> bool:
    """Compare without case; `*` may be the leftmost label of either and stands for one or more labels."""
    ours, theirs = identity.lower().rstrip("."), name.lower().rstrip(".")
    return ours == theirs or _covers(ours, theirs) or _covers(theirs, ours)


def _covers(pattern: str, name: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) > len(pattern[1:])
