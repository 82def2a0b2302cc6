"""The one door to netifaces: the interfaces of this host and their addresses."""

import fcntl
import ipaddress
import socket
import struct
from typing import Any, Final, TypeAlias

import netifaces

from mdht.errors import LocalProtocolError

InterfaceAddress: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_FAMILIES: Final = (netifaces.AF_INET, netifaces.AF_INET6)
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 0x1
"netdevice(7); netifaces does not tell flags."


def interfaces() -> tuple[str, ...]:
    """Return the names of the interfaces, in the kernel's order."""
    return tuple(netifaces.interfaces())


def interface_addresses(name: str) -> tuple[InterfaceAddress, ...]:
    """Return the addresses of an interface with their prefixes, IPv4 first, scope ids stripped.

    Raises:
        LocalProtocolError: there is no such interface.
    """
    try:
        families = netifaces.ifaddresses(name)
    except ValueError as error:
        raise LocalProtocolError(f"no interface {name!r}; there are: {', '.join(interfaces())}") from error
    return tuple(
        _read_address(entry["addr"], entry.get("netmask", ""))
        for family in _FAMILIES
        for entry in families.get(family, ())
        if "addr" in entry
    )


def host_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return all addresses of this host, those of loopback last."""
    found = [address.ip for name in interfaces() for address in interface_addresses(name) if not address.is_link_local]
    return sorted(found, key=lambda address: address.is_loopback)


def default_interface() -> str:
    """Return the interface of the default route, else the first one that is up and has an address.

    Raises:
        LocalProtocolError: only loopback has an address.
    """
    defaults = netifaces.gateways().get("default", {})
    for family in _FAMILIES:
        if family in defaults:
            return str(defaults[family][1])
    # Hosts of a lone link have no default route, but neighbours all the same.
    for name in interfaces():
        if is_up(name) and any(not address.is_loopback for address in interface_addresses(name)):
            return name
    raise LocalProtocolError(
        "no interface but loopback is up and has an address; connect one, or name it with --interface"
    )


def gateway4(names: tuple[str, ...]) -> ipaddress.IPv4Address | None:
    """Return the IPv4 gateway on one of these interfaces, or that of the default route where none is named."""
    gateways: Any = netifaces.gateways()  # its type is a union of all that it may hold
    found = [entry for entry in gateways.get(netifaces.AF_INET, ()) if entry[1] in names]
    default = gateways.get("default", {}).get(netifaces.AF_INET)
    if default is not None and (not names or default[1] in names):
        found.insert(0, default)
    # A route for IPv4 may lead to an IPv6 address (RFC 5549), where none of these protocols is spoken.
    return next((ipaddress.IPv4Address(entry[0]) for entry in found if ":" not in entry[0]), None)


def is_up(name: str) -> bool:
    """Say whether an interface is up; one that has just gone is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
        except OSError:
            return False
    _name, flags = struct.unpack_from("16sh", answer)
    return bool(flags & _IFF_UP)


def _read_address(address: str, netmask: str) -> InterfaceAddress:
    """Join netifaces' two texts; its IPv6 masks come as `ffff:ffff::` or `ffff:ffff::/32`."""
    bare, _, _scope = address.partition("%")
    mask, _, bits = netmask.partition("/")
    if not bits and mask:
        bits = str(int(ipaddress.ip_address(mask)).bit_count())
    return ipaddress.ip_interface(f"{bare}/{bits}" if bits else bare)
