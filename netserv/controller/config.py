"""Settings of a node: `netserv.toml`, read strictly, each mistake told with its file and key.

The tables below are the file; `NodeConfig` is what the node gets of it. `netserv.toml.example` shows all of it.
"""

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from mdht.signing import public_key_from
from netserv.container.installation import Account, Limits
from netserv.controller.http_process import UID, HttpRules
from netserv.controller.policy import ALL_FAILURES, BUNDLE_BYTES_MAX, TTL_MAX_S, Caps, Policy, PublisherRules, Way
from netserv.errors import LocalProtocolError
from netserv.forwarding.filters import Prefix
from netserv.modules.blocks import BLOCKS
from netserv.modules.errors import BundleError
from netserv.modules.manifest import FailurePolicy, PortWish
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.daemon_config import Catching, DaemonConfig
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.publishers import KEYS_MAX, PUBLISHERS_MAX
from netserv.signaling.nslp.values import Dependency, read_word
from netserv.signaling.profiles import Profile

Plane: TypeAlias = Literal["auto", "xdp", "netfilter"]
PortNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=3_600.0)]
T = TypeVar("T")

FILE_MAX: Final = 16 << 20
"Bytes: as many publishers as a node may know, with 250 bytes each."
LIST_MAX: Final = 1_024
"Prefixes or ports of one publisher: a packet that is sent is looked up among them."
_SECTIONS: Final = ("node", "signaling", "caps", "authorization", "download", "discovery", "blocks", "publishers")
_STATE_DIR: Final = "/var/lib/netserv"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class _Node(_Table, frozen=True):
    id: str | None = None
    state_dir: str = _STATE_DIR
    control: str = DEFAULT_NAME
    metrics: str | None = None
    plane: Plane = "auto"
    failure: FailurePolicy = "open"
    failures_allowed: tuple[FailurePolicy, ...] = ALL_FAILURES


class _Signaling(_Table, frozen=True):
    interceptor: Catching = "auto"
    interfaces: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    profile: Profile = "netserv"
    validity_s: Annotated[float, msgspec.Meta(ge=1.0, le=3_600.0)] = 30.0
    port: PortNumber = GIST_PORT
    tls: bool = False
    tls_only: bool = False
    tls_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_authorities: str | None = None
    tls_clients_must_show: bool = False
    authorised_peers: str | None = None
    public_probes: bool = False
    thesis_mode: bool = False
    sign_entries: bool = False


class _Caps(_Table, frozen=True):
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=31_536_000)] = TTL_MAX_S
    modules_per_publisher: Count = 16
    containers: Count = 100
    bundle_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=BUNDLE_BYTES_MAX)] = BUNDLE_BYTES_MAX


class _Authorization(_Table, frozen=True):
    ways: tuple[Way, ...] = (Way.PREFIX,)
    routability_port: PortNumber = 80
    ports_never: tuple[PortNumber, ...] = ()


class _Download(_Table, frozen=True):
    schemes: tuple[Literal["http", "https"], ...] = ("http", "https")
    ports: tuple[PortNumber, ...] = (80, 443)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    deadline_s: Seconds = 60.0
    quiet_s: Seconds = 10.0
    redirects: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    authorities: str | None = None
    uid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = UID


class _Discovery(_Table, frozen=True):
    advertise: bool = False
    policy: str | None = None
    operator: str = ""
    location: str = ""
    bootstrap: tuple[str, ...] = ()


class _Blocks(_Table, frozen=True):
    offered: tuple[str, ...] | None = None
    extra: dict[str, str] = {}


class _Limits(_Table, frozen=True):
    memory_bytes: Annotated[int, msgspec.Meta(ge=16 << 20, le=1 << 40)] = Limits().memory_bytes
    cpu_share: Annotated[float, msgspec.Meta(gt=0.0, le=1_024.0)] = Limits().cpu_share
    pids: Annotated[int, msgspec.Meta(ge=4, le=32_768)] = Limits().pids
    disk_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = Limits().disk_bytes
    descriptors: Annotated[int, msgspec.Meta(ge=32, le=65_536)] = Limits().descriptors


class _Publisher(_Table, frozen=True):
    key: str | tuple[str, ...]
    address: str | None = None
    ports: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    connects: tuple[str, ...] = ()
    sandbox_dir: str | None = None
    modules: Count | None = None
    limits: _Limits = _Limits()


class DiscoveryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the node is found."""

    advertise: bool = False
    "Tell others of the node by `netserv_discovery`."
    policy: Path | None = None
    "What is told where; None: as discovery has it."
    operator: str = ""
    location: str = ""
    "Latitude and longitude, `40.7,-74.0`; empty: nobody is told."
    bootstrap: tuple[str, ...] = ()
    "Entry points of the DHT, where no node of it runs on this machine."


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    daemon: DaemonConfig
    "Of its signalling."
    policy: Policy
    http: HttpRules
    discovery: DiscoveryConfig
    plane: Plane
    metrics: str | None
    "`[ADDRESS:]PORT` for Prometheus."


def load_config(path: Path) -> NodeConfig:
    """The settings of a file.

    Raises:
        LocalProtocolError: it cannot be read, or says what cannot be; the text names file, key and remedy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    if len(data) > FILE_MAX:
        raise LocalProtocolError(f"{path}: more than {FILE_MAX} bytes")
    try:
        return read_config(data.decode())
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path}: not UTF-8") from None
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{path}: {error}") from None


def read_config(text: str) -> NodeConfig:
    """The settings of a text.

    Raises:
        LocalProtocolError: it says what cannot be.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LocalProtocolError(f"not TOML: {error}") from None
    strange = [name for name in tables if name not in _SECTIONS]
    if strange:
        raise LocalProtocolError(f"{strange[0]}: no such table; there are {', '.join(_SECTIONS)}")
    node = _converted("node", tables.get("node", {}), _Node)
    signaling = _converted("signaling", tables.get("signaling", {}), _Signaling)
    discovery = _converted("discovery", tables.get("discovery", {}), _Discovery)
    return NodeConfig(
        daemon=_daemon(node, signaling),
        policy=_policy(node, tables),
        http=_http(_converted("download", tables.get("download", {}), _Download)),
        discovery=DiscoveryConfig(
            advertise=discovery.advertise,
            policy=_path(discovery.policy),
            operator=discovery.operator,
            location=discovery.location,
            bootstrap=discovery.bootstrap,
        ),
        plane=node.plane,
        metrics=node.metrics,
    )


def _converted(where: str, table: Any, kind: type[T]) -> T:
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


def _daemon(node: _Node, signaling: _Signaling) -> DaemonConfig:
    fields = msgspec.structs.asdict(signaling)
    paths = ("tls_certificate", "tls_key", "tls_authorities", "authorised_peers")
    fields |= {name: _path(fields[name]) for name in paths}
    fields["tls"] = signaling.tls or signaling.tls_only
    fields["neighbours"] = tuple(
        packed(_address(f"signaling.neighbours[{number}]", text)) for number, text in enumerate(signaling.neighbours)
    )
    try:
        return DaemonConfig(
            state_dir=Path(node.state_dir),
            node_id=node.id,
            control=node.control,
            catching=fields.pop("interceptor"),
            **fields,
        )
    except LocalProtocolError as error:
        raise LocalProtocolError(f"signaling: {error}") from None


def _policy(node: _Node, tables: Mapping[str, Any]) -> Policy:
    caps = _converted("caps", tables.get("caps", {}), _Caps)
    rules = _converted("authorization", tables.get("authorization", {}), _Authorization)
    if len(set(rules.ways)) < len(rules.ways):
        raise LocalProtocolError("authorization.ways: names one way twice")
    return Policy(
        publishers=_publishers(tables.get("publishers", {})),
        caps=Caps(
            ttl_max_s=caps.ttl_s,
            modules_per_publisher_max=caps.modules_per_publisher,
            containers_max=caps.containers,
            bundle_bytes_max=caps.bundle_bytes,
        ),
        blocks=_blocks(_converted("blocks", tables.get("blocks", {}), _Blocks)),
        failure=node.failure,
        failures_allowed=node.failures_allowed,
        ways=rules.ways,
        routability_port=rules.routability_port,
        ports_never=frozenset((GIST_PORT, *rules.ports_never)),
    )


def _blocks(table: _Blocks) -> dict[str, str]:
    offered = tuple(BLOCKS) if table.offered is None else table.offered
    for number, name in enumerate(offered):
        if name not in BLOCKS:
            raise LocalProtocolError(f"blocks.offered[{number}]: no block {name[:40]!r}; there are {', '.join(BLOCKS)}")
    for name, version in table.extra.items():
        try:
            Dependency(name, version)
        except NslpError as error:
            raise LocalProtocolError(f'blocks.extra.{name}: {error}; write name = "version"') from None
    return {name: BLOCKS[name] for name in offered} | table.extra


def _publishers(table: Any) -> dict[str, PublisherRules]:
    if not isinstance(table, dict):
        raise LocalProtocolError("publishers: write a table for each, [publishers.NAME]")
    if len(table) > PUBLISHERS_MAX:
        raise LocalProtocolError(f"publishers: more than {PUBLISHERS_MAX}")
    found = {name: _publisher(name, value) for name, value in table.items()}
    taken: dict[bytes, str] = {}
    for name, rules in found.items():
        for key in rules.keys:
            other = taken.setdefault(key, name)
            if other != name:
                raise LocalProtocolError(f"publishers.{name}.key: is that of {other}, too; each has a key of his own")
    return found


def _publisher(name: str, value: Any) -> PublisherRules:
    where = f"publishers.{name}"
    try:
        read_word(name)
    except NslpError as error:
        raise LocalProtocolError(f"{where}: {error}") from None
    table = _converted(where, value, _Publisher)
    texts = (table.key,) if isinstance(table.key, str) else table.key
    if not 1 <= len(texts) <= KEYS_MAX:
        raise LocalProtocolError(f"{where}.key: one key, or a list of 1 to {KEYS_MAX}")
    account = Account(
        name=name,
        limits=Limits(**msgspec.structs.asdict(table.limits)),
        prefixes=_prefixes(f"{where}.prefixes", table.prefixes, all_allowed=False),
        connects=_prefixes(f"{where}.connects", table.connects, all_allowed=True),
    )
    return PublisherRules(
        account=account,
        keys=tuple(_key(f"{where}.key", text) for text in texts),
        ports=tuple(_port(f"{where}.ports[{number}]", text) for number, text in enumerate(table.ports)),
        address=None if table.address is None else ip_address(_address(f"{where}.address", table.address)),
        sandbox_dir=_path(table.sandbox_dir),
        modules_max=table.modules,
    )


def _http(table: _Download) -> HttpRules:
    return HttpRules(
        schemes=table.schemes,
        ports=table.ports,
        allow=_prefixes("download.allow", table.allow, all_allowed=True),
        deny=_prefixes("download.deny", table.deny, all_allowed=True),
        deadline_s=table.deadline_s,
        quiet_s=table.quiet_s,
        redirects_max=table.redirects,
        authorities=_path(table.authorities),
        uid=table.uid,
    )


def _key(where: str, text: str) -> bytes:
    key = public_key_from(text)
    if key is None:
        raise LocalProtocolError(f"{where}: 32 bytes in base64 are needed, as `netserv key show` prints them")
    return key


def _port(where: str, text: str) -> PortWish:
    proto, _, number = text.partition("/")
    try:
        wish = msgspec.convert({"proto": proto, "port": int(number) if number.isascii() else 0}, PortWish)
    except (msgspec.ValidationError, BundleError, ValueError):
        raise LocalProtocolError(f'{where}: {text[:40]!r} is no port; write "tcp/8080" or "udp/5060"') from None
    if wish.port == GIST_PORT:
        raise LocalProtocolError(f"{where}: port {GIST_PORT} is that of signalling")
    return wish


def _prefixes(where: str, texts: tuple[str, ...], *, all_allowed: bool) -> tuple[Prefix, ...]:
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


def _address(where: str, text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise LocalProtocolError(f"{where}: {text[:40]!r} is no IP address") from None


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
