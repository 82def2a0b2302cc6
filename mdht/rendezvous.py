"""Entry points of the overlay from what the user wrote; the one door of `mdht` to dnspython (RFC 2782).

`HOST:PORT` and `[v6]:PORT` name one. A bare DOMAIN is asked for its SRV records `_mdht._udp.DOMAIN` first, and stands
for itself at the default port when it has none.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.rdtypes.IN.SRV
import dns.resolver
import msgspec
import trio

from dhtboot.ids import Address
from mdht.errors import LocalProtocolError, UnreachableError

log = logging.getLogger(__name__)

DEFAULT_PORT: Final = 27183
SERVICE: Final = "_mdht._udp"
LOOKUP_S: Final = 5.0
"Seconds for one DNS question with its repetitions; a join without an answer goes on with other entry points."
TARGETS_MAX: Final = 16
"SRV targets that are used, in their order: a join needs one that answers."
ADDRESSES_MAX: Final = 32

_NAME_MAX: Final = 253
_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")


class EntryPoint(msgspec.Struct, frozen=True):
    """What the user wrote, taken apart."""

    host: str
    "A numeric address in its canonical form, or a name in lower case without a final dot."
    port: int | None = None
    "None where the user left it open."

    @property
    def numeric(self) -> bool:
        """Whether the host is an address, not a name."""
        return _address_of(self.host) is not None

    def __str__(self) -> str:
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SrvTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One SRV record."""

    priority: int
    weight: int
    port: int
    host: str


def parse(text: str) -> EntryPoint:
    """Take a `--bootstrap` argument apart.

    Raises:
        LocalProtocolError: it is neither an address nor a name, or the port is out of range.
    """
    host, port = _split(text.strip())
    address = _address_of(host)
    if address is not None:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise _refusal(text, "a link-local address means nothing to other nodes; peers on the link need no entry")
        return EntryPoint(str(address), port)
    name = host.removesuffix(".").lower()
    labels = name.split(".")
    if len(name) > _NAME_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refusal(text, "no such host name can exist")
    if labels[-1].isdecimal():
        raise _refusal(text, "an IPv4 address has four numbers from 0 to 255")
    return EntryPoint(name, port)


def srv_order(targets: Iterable[SrvTarget], rng: Random) -> list[SrvTarget]:
    """Return targets in the order in which to try them: by priority, within one by weighted chance (RFC 2782)."""
    ordered: list[SrvTarget] = []
    # Those of weight 0 come first within a priority, which gives them a very small chance when others have weight.
    waiting = sorted(targets, key=lambda target: (target.priority, target.weight, target.host, target.port))
    while waiting:
        peers = [target for target in waiting if target.priority == waiting[0].priority]
        drawn, running = rng.randint(0, sum(target.weight for target in peers)), 0
        for target in peers:
            running += target.weight
            if running >= drawn:
                ordered.append(target)
                waiting.remove(target)
                break
    return ordered


async def resolve(text: str, rng: Random, *, resolver: dns.asyncresolver.Resolver | None = None) -> tuple[Address, ...]:
    """Return the addresses behind one `--bootstrap` argument, in the order in which to try them.

    Args:
        text: `HOST:PORT`, `[v6]:PORT`, `DOMAIN` or `HOST`.
        rng: draws among SRV targets of one priority.
        resolver: asks these name servers; those of the system when None.

    Raises:
        LocalProtocolError: the text is no entry point.
        UnreachableError: the name has no address, or says that it offers no entry point.
    """
    entry = parse(text)
    if entry.numeric:
        return ((entry.host, entry.port or DEFAULT_PORT),)
    if entry.port is None and "." in entry.host:
        found = await _resolve_domain(entry.host, rng, resolver or _system_resolver())
        if found:
            return found
    return await _host_addresses(entry.host, entry.port or DEFAULT_PORT)


async def _resolve_domain(domain: str, rng: Random, resolver: dns.asyncresolver.Resolver | None) -> tuple[Address, ...]:
    """Return the addresses of a domain's SRV targets, none when it has no SRV records."""
    if resolver is None:
        return ()
    targets = await _srv_targets(domain, resolver)
    if not targets:
        return ()
    if [target.host for target in targets] == [""]:
        raise UnreachableError(f"{domain} says by DNS that it has no entry point ({SERVICE} SRV is '.')")
    found: list[Address] = []
    for target in srv_order(targets, rng)[:TARGETS_MAX]:
        found += await _target_addresses(target, resolver)
    if not found:
        raise UnreachableError(f"none of the entry points of {domain} has an address: {_listed(targets)}")
    return tuple(dict.fromkeys(found))[:ADDRESSES_MAX]


def _split(text: str) -> tuple[str, int | None]:
    """Return host and port text, as URLs do: IPv6 stands in brackets when a port follows."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_v6(host):
            raise _refusal(text, "brackets hold an IPv6 address, as in [2001:db8::1]:27183")
        return host, _port(text, rest[1:]) if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, _port(text, port) if colon else None


def _port(text: str, port: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise _refusal(text, f"port {port!r} is not within 1..65535")
    return int(port)


def _refusal(text: str, reason: str) -> LocalProtocolError:
    return LocalProtocolError(f"bootstrap {text[:80]!r}: {reason}; expected HOST:PORT, [v6]:PORT or DOMAIN")


def _is_v6(host: str) -> bool:
    return isinstance(_address_of(host), ipaddress.IPv6Address)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _listed(targets: Sequence[SrvTarget]) -> str:
    return ", ".join(f"{target.host}:{target.port}" for target in targets[:TARGETS_MAX])


def _system_resolver() -> dns.asyncresolver.Resolver | None:
    try:
        return dns.asyncresolver.Resolver()
    except dns.exception.DNSException as error:  # no /etc/resolv.conf, as on a lone link
        log.debug("no DNS servers: %s", error)
        return None


async def _srv_targets(domain: str, resolver: dns.asyncresolver.Resolver) -> list[SrvTarget]:
    """Return the SRV records of a domain, none when it has none or DNS does not answer."""
    try:
        answer = await resolver.resolve(f"{SERVICE}.{domain}.", "SRV", lifetime=LOOKUP_S)
    except (dns.exception.DNSException, OSError) as error:
        log.debug("no SRV records of %s: %s", domain, error)
        return []
    return [
        SrvTarget(
            priority=record.priority,
            weight=record.weight,
            port=record.port,
            host=record.target.to_text(omit_final_dot=True).removesuffix("."),
        )
        for record in answer
        if isinstance(record, dns.rdtypes.IN.SRV.SRV)
    ]


async def _target_addresses(target: SrvTarget, resolver: dns.asyncresolver.Resolver) -> list[Address]:
    found: list[Address] = []
    for kind in ("A", "AAAA") if target.port and target.host else ():
        try:
            answer = await resolver.resolve(f"{target.host}.", kind, lifetime=LOOKUP_S)
        except (dns.exception.DNSException, OSError) as error:
            log.debug("no %s records of %s: %s", kind, target.host, error)
            continue
        found += ((record.address, target.port) for record in answer)
    return found


async def _host_addresses(host: str, port: int) -> tuple[Address, ...]:
    """Ask the system, which knows /etc/hosts and names of the link too."""
    try:
        with trio.fail_after(2 * LOOKUP_S):
            infos = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError, trio.TooSlowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no answer in time"
        raise UnreachableError(f"bootstrap {host}: {reason}; check the name, or give a numeric HOST:PORT") from error
    found = dict.fromkeys((str(info[4][0]).partition("%")[0], port) for info in infos)
    return tuple(found)[:ADDRESSES_MAX]
