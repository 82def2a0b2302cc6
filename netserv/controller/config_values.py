"""What stands in `netserv.toml`: tables, and texts in them. Each mistake is told with its key in the file."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from mdht.signing import public_key_from
from netserv.errors import LocalProtocolError
from netserv.forwarding.filters import Prefix
from netserv.modules.errors import BundleError
from netserv.modules.manifest import PortWish
from netserv.signaling.gist.addresses import GIST_PORT

T = TypeVar("T")
PortNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=3_600.0)]

LIST_MAX: Final = 1_024
"Prefixes of one publisher, or of whom modules are fetched: a packet, or a record, is looked up among them."


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


def read_key(where: str, text: str) -> bytes:
    """A public key."""
    key = public_key_from(text)
    if key is None:
        raise LocalProtocolError(f"{where}: 32 bytes in base64 are needed, as `netserv key show` prints them")
    return key


def read_port(where: str, text: str) -> PortWish:
    """A port, `tcp/8080`."""
    proto, _, number = text.partition("/")
    try:
        wish = msgspec.convert({"proto": proto, "port": int(number) if number.isascii() else 0}, PortWish)
    except (msgspec.ValidationError, BundleError, ValueError):
        raise LocalProtocolError(f'{where}: {text[:40]!r} is no port; write "tcp/8080" or "udp/5060"') from None
    if wish.port == GIST_PORT:
        raise LocalProtocolError(f"{where}: port {GIST_PORT} is that of signalling")
    return wish


def read_prefixes(where: str, texts: tuple[str, ...], *, all_allowed: bool) -> tuple[Prefix, ...]:
    """Prefixes; the one of all addresses only where that is allowed."""
    if len(texts) > LIST_MAX:
        raise LocalProtocolError(f"{where}: more than {LIST_MAX} prefixes")
    return tuple(_prefix(f"{where}[{number}]", text, all_allowed) for number, text in enumerate(texts))


def _prefix(where: str, text: str, all_allowed: bool) -> Prefix:
    try:
        prefix = ip_network(text)
    except ValueError:
        raise LocalProtocolError(
            f'{where}: {text[:40]!r} is no prefix; write an address, or "10.1.0.0/16" with no bits behind its length'
        ) from None
    if prefix.prefixlen == 0 and not all_allowed:
        raise LocalProtocolError(f"{where}: {text} is everybody's traffic, and no publisher's")
    return prefix


def read_address(where: str, text: str) -> str:
    """An IP address, as it is written usually."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise LocalProtocolError(f"{where}: {text[:40]!r} is no IP address") from None


def read_path(text: str | None) -> Path | None:
    """A path."""
    return None if text is None else Path(text)


def read_table(where: str, table: Any, kind: type[T]) -> T:
    """A table of the file."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise LocalProtocolError(_in_words(where, str(error), kind)) from None


def _in_words(where: str, text: str, kind: type[Any]) -> str:
    """What msgspec says, with the path as the file has it."""
    reason, _, path = text.partition(" - at `$")
    key = where + path.rstrip("`")
    if "unknown field" in reason and not path:
        names = ", ".join(field.name for field in msgspec.structs.fields(kind))
        return f"{where}: {reason[0].lower()}{reason[1:]}; there are {names}"
    return f"{key}: {reason[0].lower()}{reason[1:]}"
