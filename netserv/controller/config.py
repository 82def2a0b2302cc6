"""Settings of a node: `netserv.toml`, read strictly, each mistake told with its file and key.

The tables below and those of the policy are the file; `NodeConfig` is what the node gets of it. `netserv.toml.example`
shows all of it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from netserv.controller.config_policy import read_policy
from netserv.controller.config_values import (
    PortNumber,
    Seconds,
    Table,
    read_address,
    read_path,
    read_prefixes,
    read_table,
)
from netserv.controller.http_process import UID, HttpRules
from netserv.controller.policy import ALL_FAILURES, Policy
from netserv.errors import LocalProtocolError
from netserv.forwarding.base import DEADLINE_S
from netserv.modules.manifest import FailurePolicy
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.daemon_config import Catching, DaemonConfig
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.profiles import Profile

Plane: TypeAlias = Literal["auto", "xdp", "netfilter", "xdp+stack"]

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


class _Node(Table, frozen=True):
    id: str | None = None
    state_dir: str = _STATE_DIR
    control: str = DEFAULT_NAME
    metrics: str | None = None
    plane: Plane = "auto"
    packet_deadline_ms: Annotated[float, msgspec.Meta(ge=0.5, le=1_000.0)] = DEADLINE_S * 1_000.0
    failure: FailurePolicy = "open"
    failures_allowed: tuple[FailurePolicy, ...] = ALL_FAILURES


class _Signaling(Table, frozen=True):
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


class _Download(Table, frozen=True):
    schemes: tuple[Literal["http", "https"], ...] = ("http", "https")
    ports: tuple[PortNumber, ...] = (80, 443)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    deadline_s: Seconds = 60.0
    quiet_s: Seconds = 10.0
    redirects: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    authorities: str | None = None
    uid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = UID


class _Discovery(Table, frozen=True):
    advertise: bool = False
    policy: str | None = None
    operator: str = ""
    location: str = ""
    bootstrap: tuple[str, ...] = ()
    allow_private: bool = False
    sites: tuple[str, ...] = ()
    secret_file: str | None = None


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
        policy=read_policy(
            tables, failure=node.failure, failures_allowed=node.failures_allowed, advertised=discovery.advertise
        ),
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
