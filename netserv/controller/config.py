"""Settings of a node: `netserv.toml`, read strictly, each mistake told with its file and key.

The tables below are the file; `NodeConfig` is what the node gets of it. `netserv.toml.example` shows all of it.
"""

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from netserv.container.installation import Account, Limits
from netserv.controller.config_values import (
    LIST_MAX,
    read_address,
    read_key,
    read_path,
    read_port,
    read_prefixes,
    read_table,
)
from netserv.controller.http_process import UID, HttpRules
from netserv.controller.policy import (
    ALL_FAILURES,
    BUNDLE_BYTES_MAX,
    TTL_MAX_S,
    Caps,
    DependencyRules,
    Policy,
    PublisherRules,
    Way,
)
from netserv.errors import LocalProtocolError
from netserv.forwarding.base import DEADLINE_S
from netserv.modules.blocks import BLOCKS
from netserv.modules.manifest import FailurePolicy
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.daemon_config import Catching, DaemonConfig
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.publishers import KEYS_MAX, PUBLISHERS_MAX
from netserv.signaling.nslp.values import Dependency, read_word
from netserv.signaling.profiles import Profile

Plane: TypeAlias = Literal["auto", "xdp", "netfilter", "xdp+stack"]
PortNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=3_600.0)]

FILE_MAX: Final = 16 << 20
"Bytes: as many publishers as a node may know, with 250 bytes each."
_SECTIONS: Final = (
    "node",
    "signaling",
    "caps",
    "authorization",
    "download",
    "discovery",
    "dependencies",
    "blocks",
    "publishers",
)
_STATE_DIR: Final = "/var/lib/netserv"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class _Node(_Table, frozen=True):
    id: str | None = None
    state_dir: str = _STATE_DIR
    control: str = DEFAULT_NAME
    metrics: str | None = None
    plane: Plane = "auto"
    packet_deadline_ms: Annotated[float, msgspec.Meta(ge=0.5, le=1_000.0)] = DEADLINE_S * 1_000.0
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
    allow_private: bool = False
    sites: tuple[str, ...] = ()
    secret_file: str | None = None


class _Dependencies(_Table, frozen=True):
    fetch: bool = False
    publishers: dict[str, str | tuple[str, ...]] = {}
    bundle_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=BUNDLE_BYTES_MAX)] = DependencyRules().bundle_bytes_max
    timeout_s: Seconds = DependencyRules().timeout_s
    searches: Annotated[int, msgspec.Meta(ge=1, le=64)] = DependencyRules().searches_max


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
    allow_private: bool = False
    "Private addresses are told there as well: networks that have them are routed among each other."
    sites: tuple[str, ...] = ()
    "Keys of z2z, beside those of the policy, under which the node is shown to sites."
    secret_file: Path | None = None
    "Phrase of z2z that hides it there from all but those that have it."


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    daemon: DaemonConfig
    "Of its signalling."
    policy: Policy
    http: HttpRules
    discovery: DiscoveryConfig
    plane: Plane
    packet_deadline_s: float
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
    node = read_table("node", tables.get("node", {}), _Node)
    signaling = read_table("signaling", tables.get("signaling", {}), _Signaling)
    discovery = read_table("discovery", tables.get("discovery", {}), _Discovery)
    return NodeConfig(
        daemon=_daemon(node, signaling),
        policy=_policy(node, discovery, tables),
        http=_http(read_table("download", tables.get("download", {}), _Download)),
        discovery=DiscoveryConfig(
            advertise=discovery.advertise,
            policy=read_path(discovery.policy),
            operator=discovery.operator,
            location=discovery.location,
            bootstrap=discovery.bootstrap,
            allow_private=discovery.allow_private,
            sites=discovery.sites,
            secret_file=read_path(discovery.secret_file),
        ),
        plane=node.plane,
        packet_deadline_s=node.packet_deadline_ms / 1_000.0,
        metrics=node.metrics,
    )


def _daemon(node: _Node, signaling: _Signaling) -> DaemonConfig:
    fields = msgspec.structs.asdict(signaling)
    paths = ("tls_certificate", "tls_key", "tls_authorities", "authorised_peers")
    fields |= {name: read_path(fields[name]) for name in paths}
    fields["tls"] = signaling.tls or signaling.tls_only
    fields["neighbours"] = tuple(
        packed(read_address(f"signaling.neighbours[{number}]", text))
        for number, text in enumerate(signaling.neighbours)
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


def _policy(node: _Node, discovery: _Discovery, tables: Mapping[str, Any]) -> Policy:
    caps = read_table("caps", tables.get("caps", {}), _Caps)
    rules = read_table("authorization", tables.get("authorization", {}), _Authorization)
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
        blocks=_blocks(read_table("blocks", tables.get("blocks", {}), _Blocks)),
        failure=node.failure,
        failures_allowed=node.failures_allowed,
        ways=rules.ways,
        routability_port=rules.routability_port,
        ports_never=frozenset((GIST_PORT, *rules.ports_never)),
        dependencies=_dependencies(
            read_table("dependencies", tables.get("dependencies", {}), _Dependencies), discovery
        ),
    )


def _dependencies(table: _Dependencies, discovery: _Discovery) -> DependencyRules:
    if table.fetch and not discovery.advertise:
        raise LocalProtocolError(
            "dependencies.fetch: modules are looked for in the DHT, where the node is with discovery.advertise = true"
        )
    if table.fetch and not table.publishers:
        raise LocalProtocolError("dependencies.publishers: anybody may say where a bundle is; name whom to believe")
    if len(table.publishers) > LIST_MAX:
        raise LocalProtocolError(f"dependencies.publishers: more than {LIST_MAX}")
    return DependencyRules(
        fetch=table.fetch,
        publishers={name: _keys(f"dependencies.publishers.{name}", keys) for name, keys in table.publishers.items()},
        bundle_bytes_max=table.bundle_bytes,
        timeout_s=table.timeout_s,
        searches_max=table.searches,
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
    table = read_table(where, value, _Publisher)
    account = Account(
        name=name,
        limits=Limits(**msgspec.structs.asdict(table.limits)),
        prefixes=read_prefixes(f"{where}.prefixes", table.prefixes, all_allowed=False),
        connects=read_prefixes(f"{where}.connects", table.connects, all_allowed=True),
    )
    return PublisherRules(
        account=account,
        keys=_keys(f"{where}.key", table.key),
        ports=tuple(read_port(f"{where}.ports[{number}]", text) for number, text in enumerate(table.ports)),
        address=None if table.address is None else ip_address(read_address(f"{where}.address", table.address)),
        sandbox_dir=read_path(table.sandbox_dir),
        modules_max=table.modules,
    )


def _keys(where: str, keys: str | tuple[str, ...]) -> tuple[bytes, ...]:
    texts = (keys,) if isinstance(keys, str) else keys
    if not 1 <= len(texts) <= KEYS_MAX:
        raise LocalProtocolError(f"{where}: one key, or a list of 1 to {KEYS_MAX}")
    return tuple(read_key(where, text) for text in texts)


def _http(table: _Download) -> HttpRules:
    return HttpRules(
        schemes=table.schemes,
        ports=table.ports,
        allow=read_prefixes("download.allow", table.allow, all_allowed=True),
        deny=read_prefixes("download.deny", table.deny, all_allowed=True),
        deadline_s=table.deadline_s,
        quiet_s=table.quiet_s,
        redirects_max=table.redirects,
        authorities=read_path(table.authorities),
        uid=table.uid,
    )
