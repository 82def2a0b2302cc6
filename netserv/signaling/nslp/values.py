"""What stands in the headers, as values: `read_...` takes the text of one, `write_...` gives it back."""

import base64
import binascii
import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from netserv.signaling.gist.addresses import PackedAddress, address_text
from netserv.signaling.gist.objects.mri import RADIUS_MAX, Area
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.text import check_printable, shown

Prefix: TypeAlias = IPv4Network | IPv6Network
Property: TypeAlias = tuple[str, str]

NONCE_BYTES: Final = 16
DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
LIST_MAX: Final = 32
"Parts of one value: dependencies, properties, ports, probed items. The largest module of the thesis has 3."
URL_MAX: Final = 2_048
"Characters; more than that web servers refuse as well."
PROTOCOLS: Final = ("tcp", "udp", "sctp", "dccp")
"Those that have ports."
DIGEST_SCHEME: Final = "sha256"

_MODULE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:[._][A-Za-z0-9-]+)*")
_VERSION: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:-]{0,63}")
_ITEM: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGITS: Final = re.compile(r"[0-9]{1,12}")


class ModuleRef(msgspec.Struct, frozen=True, gc=False):
    """A module of one version, `NetServ.apps.NetMonitor_1.0.0`."""

    name: str
    version: str

    def __post_init__(self) -> None:
        if len(self.name) > 128 or _MODULE_NAME.fullmatch(self.name) is None:
            raise NslpError(f"{shown(self.name)} is no name of a module: letters, digits and -, in parts with dots")
        if _VERSION.fullmatch(self.version) is None:
            raise NslpError(f"{shown(self.version)} is no version: up to four numbers with dots between")

    def __str__(self) -> str:
        return f"{self.name}_{self.version}"

    @classmethod
    def read(cls, text: str) -> "ModuleRef":
        """The module of `name_version`."""
        name, _, version = text.rpartition("_")
        if not name:
            raise NslpError(f"target {shown(text)} is not name_version")
        return cls(name, version)


class Dependency(msgspec.Struct, frozen=True, gc=False):
    """A module or block that a module needs."""

    name: str
    least_version: str | None = None

    def __post_init__(self) -> None:
        if len(self.name) > 128 or _MODULE_NAME.fullmatch(self.name) is None:
            raise NslpError(f"{shown(self.name)} is no name of a module or block")
        if self.least_version is not None and _VERSION.fullmatch(self.least_version) is None:
            raise NslpError(f"{shown(self.least_version)} is no version")

    def __str__(self) -> str:
        return self.name if self.least_version is None else f"{self.name}>={self.least_version}"


class Around(msgspec.Struct, frozen=True, gc=False):
    """For the nodes around a place of the flow, not for those on its path (thesis 7.5.2), `bubble 3`."""

    area: Area
    radius: int
    "IP hops, 1 to 15."

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= RADIUS_MAX:
            raise NslpError(f"around: a radius has 1 to {RADIUS_MAX} IP hops")

    def __str__(self) -> str:
        return f"{self.area.name.lower()} {self.radius}"


class Flow(msgspec.Struct, frozen=True, gc=False):
    """From where to where a request travels, `src>dst`."""

    source: PackedAddress
    destination: PackedAddress

    def __post_init__(self) -> None:
        if len(self.source) not in {4, 16} or len(self.source) != len(self.destination):
            raise NslpError("a flow has two addresses of one family")

    def __str__(self) -> str:
        return f"{address_text(self.source)}>{address_text(self.destination)}"

    def swapped(self) -> "Flow":
        """The other way."""
        return Flow(self.destination, self.source)


def read_around(text: str) -> Around:
    """`bubble`, `balloon` or `hose`, and a number of IP hops."""
    word, _, radius = text.partition(" ")
    area = next((area for area in Area if area.name.lower() == word), None)
    if area is None or _DIGITS.fullmatch(radius) is None:
        raise NslpError(f"around: {shown(text)} is not bubble, balloon or hose with a number of hops")
    return Around(area, int(radius))


def version_numbers(version: str) -> tuple[int, ...]:
    """A version as what can be compared; final zeros do not count."""
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def read_dependencies(text: str) -> tuple[Dependency, ...]:
    """`name` or `name>=1.2`, comma separated."""
    found = []
    for part in _parts("dependencies", text):
        name, relation, version = part.partition(">=")
        found.append(Dependency(name, version if relation else None))
    return tuple(found)


def write_list(values: tuple[object, ...]) -> str:
    """Comma separated, as all lists are written."""
    return ",".join(str(value) for value in values)


def read_ports(text: str) -> tuple[int, ...]:
    """Port numbers, comma separated."""
    ports = tuple(_number("filter-port", part) for part in _parts("filter-port", text))
    if any(not 1 <= port <= 65_535 for port in ports):
        raise NslpError("filter-port: a port is 1 to 65535")
    return ports


def read_protocol(text: str) -> str:
    """`udp` and the like."""
    if text not in PROTOCOLS:
        raise NslpError(f"filter-proto {shown(text)} is none of {' '.join(PROTOCOLS)}")
    return text


def read_prefix(text: str) -> Prefix:
    """An address, or a prefix without host bits."""
    try:
        return ip_network(text)
    except ValueError:
        raise NslpError(
            f"filter-dst {shown(text)} is no prefix: an address, /, its length, and no bits behind"
        ) from None


def write_prefix(prefix: Prefix) -> str:
    """A prefix of one address is written as that address."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)


def read_url(text: str) -> str:
    """An http or https URL."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or len(text) > URL_MAX or not text.isascii() or " " in text:
        raise NslpError(f"{shown(text)} is no http or https URL of at most {URL_MAX} characters")
    return text


def read_word(text: str) -> str:
    """Name of a publisher or of a node."""
    if _WORD.fullmatch(text) is None:
        raise NslpError(f"name {shown(text)} is not of letters, digits and . _ @ + : -, 64 characters at most")
    return text


def read_items(text: str) -> tuple[str, ...]:
    """Words of a PROBE."""
    items = _parts("probe", text)
    for item in items:
        if _ITEM.fullmatch(item) is None:
            raise NslpError(f"probe item {shown(item)} is not of a-z, 0-9 and -, 32 characters at most")
    if not items:
        raise NslpError("header probe is empty")
    return items


def read_properties(text: str) -> tuple[Property, ...]:
    """`k=v,k2=v2`; a value has no comma."""
    found: dict[str, str] = {}
    for part in _parts("properties", text):
        key, equals, value = part.partition("=")
        if not equals or _KEY.fullmatch(key) is None:
            raise NslpError(f"property {shown(part)} is not key=value, the key of letters, digits and _ . -")
        if key in found:
            raise NslpError(f"property {key} comes twice")
        found[key] = value
    return tuple(found.items())


def write_properties(properties: tuple[Property, ...]) -> str:
    """`k=v,k2=v2`."""
    return ",".join(f"{key}={value}" for key, value in properties)


def read_ttl(text: str) -> int:
    """Seconds, 1 or more."""
    seconds = _number("ttl", text)
    if not seconds:
        raise NslpError("ttl 0 asks for nothing; REMOVE ends what is there")
    return seconds


def read_expires(text: str) -> int:
    """Unix time."""
    return _number("expires", text)


def read_length(text: str) -> int:
    """Bytes."""
    return _number("body-length", text)


def read_digest(text: str) -> bytes:
    """`sha256:` and 64 hex digits."""
    scheme, _, digits = text.partition(":")
    if scheme != DIGEST_SCHEME:
        raise NslpError(f"digest {shown(text)} is not {DIGEST_SCHEME}:<hex>")
    return _hex("digest", digits, DIGEST_BYTES)


def write_digest(digest: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"{DIGEST_SCHEME}:{digest.hex()}"


def read_nonce(text: str) -> bytes:
    """16 bytes in hex."""
    return _hex("nonce", text, NONCE_BYTES)


def read_flow(text: str) -> Flow:
    """`src>dst`."""
    # A zone means nothing on another machine, and `packed` would lose it.
    source, _, destination = text.replace("%", " ").partition(">")
    try:
        return Flow(ip_address(source).packed, ip_address(destination).packed)
    except ValueError:
        raise NslpError(f"flow {shown(text)} is not SOURCE>DESTINATION, two addresses") from None


def read_password(text: str) -> str:
    """A one-time password."""
    check_printable("password", text)
    if not 0 < len(text) <= 128:
        raise NslpError("a password has 1 to 128 characters")
    return text


def read_session(text: str) -> bool:
    """Whether the session is to be kept."""
    if text not in {"long", "short"}:
        raise NslpError(f"session {shown(text)} is neither long nor short")
    return text == "long"


def read_signature(text: str) -> bytes:
    """64 bytes in base64; one text for each, so that nobody makes another one of it."""
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != SIGNATURE_BYTES or base64.b64encode(signature).decode() != text:
        raise NslpError("a signature is 64 bytes in base64")
    return signature


def write_signature(signature: bytes) -> str:
    """In base64."""
    return base64.b64encode(signature).decode()


def _parts(name: str, text: str) -> tuple[str, ...]:
    parts = tuple(text.split(",")) if text else ()
    if len(parts) > LIST_MAX:
        raise NslpError(f"{name} has more than {LIST_MAX} parts")
    if len(set(parts)) < len(parts):
        raise NslpError(f"{name} names one thing twice")
    return parts


def _number(name: str, text: str) -> int:
    if _DIGITS.fullmatch(text) is None:
        raise NslpError(f"{name} {shown(text)} is no number of up to 12 digits")
    return int(text)


def _hex(name: str, text: str, size: int) -> bytes:
    if len(text) == 2 * size and all(digit in "0123456789abcdefABCDEF" for digit in text):
        return bytes.fromhex(text)
    raise NslpError(f"{name} is {size} bytes, {2 * size} hex digits")
