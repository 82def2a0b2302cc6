"""Whose is the traffic that a SETUP asks for? Prefixes that the operator has configured, or reverse routability.

The ways are tried in the operator's order (NetServ design, section 4; thesis 6.1.2). What no way may grant is refused
before: every address there is, ports of signalling, other protocols.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final, TypeAlias

import msgspec

from netserv.controller.policy import IpAddress, Policy, PublisherRules, Way, within
from netserv.forwarding.filters import PROTOCOLS, PacketFilter, Prefix
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.requests import Setup
from netserv.signaling.nslp.values import Flow, ModuleRef

PATH: Final = "/.well-known/netserv/"
"Where the host that traffic goes to serves the one-time password, behind it the module (RFC 8615)."
_PASSWORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEX: Final = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_BASE64_CHARACTERS: Final = 22
"6 bits each: 128 bits."
_HEX_CHARACTERS: Final = 32
_DIFFERENT_MIN: Final = 8
"128 random bits in hex have less once in ten million times; a typed word or a counter has less as a rule."


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """The packets are the publisher's."""

    packets: PacketFilter | None
    "None: the module gets no packets."
    way: Way | None


class Unproven(msgspec.Struct, frozen=True, kw_only=True):
    """They are, if that host serves the password."""

    packets: PacketFilter
    address: IpAddress
    password: str


Outcome: TypeAlias = Granted | Unproven


def authorise(setup: Setup, flow: Flow, rules: PublisherRules, policy: Policy) -> Outcome:
    """Say by which way a publisher may have the packets that he asks for.

    Args:
        setup: what he asks for.
        flow: along which it has come.
        rules: what he may do here.
        policy: of the operator.

    Raises:
        NslpError: by none (403); the text says why.
    """
    packets = wanted_packets(setup, flow, policy)
    if packets is None:
        return Granted(packets=None, way=None)
    reasons = []
    for way in policy.ways:
        outcome = _WAYS[way](setup, packets, rules, policy)
        if not isinstance(outcome, str):
            return outcome
        reasons.append(outcome)
    raise NslpError("; ".join(reasons) or "this node lets no module have packets", code=Code.FORBIDDEN)


def wanted_packets(setup: Setup, flow: Flow, policy: Policy) -> PacketFilter | None:
    """The packets that a SETUP asks for; None for none.

    Raises:
        NslpError: nobody gets them (403).
    """
    if setup.filter_proto is None:
        return None
    if setup.filter_proto not in PROTOCOLS:
        raise _refusal(f"this node filters {' and '.join(sorted(PROTOCOLS))}, not {setup.filter_proto}")
    never = next((port for port in setup.filter_ports if port in policy.ports_never), None)
    if never is not None:
        raise _refusal(f"packets to port {never} go to no module")
    destination = setup.filter_dst or ip_network(flow.source)
    _check_destination(destination)
    return PacketFilter(proto=setup.filter_proto, ports=setup.filter_ports, destination=destination)


def check_path(module: ModuleRef) -> str:
    """Where the password of a module is served."""
    return f"{PATH}{module}"


def shows_password(body: bytes, password: str) -> bool:
    """Whether what a host serves is the password, compared in constant time; a line's end behind it does not count."""
    return hmac.compare_digest(body.rstrip(b"\r\n"), password.encode())


def _by_prefix(_setup: Setup, packets: PacketFilter, rules: PublisherRules, _policy: Policy) -> Outcome | str:
    if any(within(packets.destination, own) for own in rules.account.prefixes):
        return Granted(packets=packets, way=Way.PREFIX)
    return f"{packets.destination} is not in the prefixes of {rules.account.name}"


def _by_routability(setup: Setup, packets: PacketFilter, rules: PublisherRules, policy: Policy) -> Outcome | str:
    destination = packets.destination
    if destination.prefixlen != destination.max_prefixlen:
        return "routability is shown of one address, not of a prefix"
    owner = policy.owner_of(destination)
    if owner not in {None, rules.account.name}:
        return f"{destination.network_address} is in the prefixes of another publisher"
    if setup.password is None:
        return "without a password routability cannot be shown"
    if not _hard_to_guess(setup.password):
        return "a one-time password has 128 random bits: 22 characters of base64url, or 32 hex digits"
    return Unproven(packets=packets, address=ip_address(destination.network_address), password=setup.password)


def _hard_to_guess(password: str) -> bool:
    if _PASSWORD.fullmatch(password) is None or len(set(password)) < _DIFFERENT_MIN:
        return False
    return len(password) >= (_HEX_CHARACTERS if _HEX.fullmatch(password) else _BASE64_CHARACTERS)


def _check_destination(destination: Prefix) -> None:
    """Refuse what cannot be one publisher's."""
    if destination.prefixlen == 0:
        raise _refusal(f"{destination} is everybody's traffic")
    first = destination.network_address
    if first.is_multicast or first.is_loopback or first.is_unspecified or first.is_link_local:
        raise _refusal(f"{destination} is no host's own traffic")
    if first.version == 4 and int(destination.broadcast_address) == 0xFFFF_FFFF:
        raise _refusal(f"{destination} is no host's own traffic")


def _refusal(text: str) -> NslpError:
    return NslpError(text, code=Code.FORBIDDEN)


_WAYS: Final[Mapping[Way, Callable[[Setup, PacketFilter, PublisherRules, Policy], Outcome | str]]] = {
    Way.PREFIX: _by_prefix,
    Way.ROUTABILITY: _by_routability,
}
