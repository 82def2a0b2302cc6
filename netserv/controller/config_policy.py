"""What the operator allows whom, as `netserv.toml` has it: all of its tables that make up the `Policy`."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec

from netserv.container.installation import Account, Limits
from netserv.controller.config_values import (
    LIST_MAX,
    Count,
    PortNumber,
    Seconds,
    Table,
    read_address,
    read_key,
    read_path,
    read_port,
    read_prefixes,
    read_table,
)
from netserv.controller.policy import (
    BUNDLE_BYTES_MAX,
    TTL_MAX_S,
    Caps,
    DependencyRules,
    Policy,
    PublisherRules,
    Way,
)
from netserv.errors import LocalProtocolError
from netserv.modules.blocks import BLOCKS
from netserv.modules.manifest import FailurePolicy
from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.publishers import KEYS_MAX, PUBLISHERS_MAX
from netserv.signaling.nslp.values import Dependency, read_word


class _Caps(Table, frozen=True):
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=31_536_000)] = TTL_MAX_S
    modules_per_publisher: Count = 16
    containers: Count = 100
    bundle_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=BUNDLE_BYTES_MAX)] = BUNDLE_BYTES_MAX


class _Authorization(Table, frozen=True):
    ways: tuple[Way, ...] = (Way.PREFIX,)
    routability_port: PortNumber = 80
    ports_never: tuple[PortNumber, ...] = ()


class _Dependencies(Table, frozen=True):
    fetch: bool = False
    publishers: dict[str, str | tuple[str, ...]] = msgspec.field(default_factory=dict)
    bundle_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=BUNDLE_BYTES_MAX)] = DependencyRules().bundle_bytes_max
    timeout_s: Seconds = DependencyRules().timeout_s
    searches: Annotated[int, msgspec.Meta(ge=1, le=64)] = DependencyRules().searches_max


class _Blocks(Table, frozen=True):
    offered: tuple[str, ...] | None = None
    extra: dict[str, str] = msgspec.field(default_factory=dict)


class _Limits(Table, frozen=True):
    memory_bytes: Annotated[int, msgspec.Meta(ge=16 << 20, le=1 << 40)] = Limits().memory_bytes
    cpu_share: Annotated[float, msgspec.Meta(gt=0.0, le=1_024.0)] = Limits().cpu_share
    pids: Annotated[int, msgspec.Meta(ge=4, le=32_768)] = Limits().pids
    disk_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = Limits().disk_bytes
    descriptors: Annotated[int, msgspec.Meta(ge=32, le=65_536)] = Limits().descriptors


class _Publisher(Table, frozen=True):
    key: str | tuple[str, ...]
    address: str | None = None
    ports: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    connects: tuple[str, ...] = ()
    sandbox_dir: str | None = None
    modules: Count | None = None
    limits: _Limits = _Limits()


def read_policy(
    tables: Mapping[str, Any], *, failure: FailurePolicy, failures_allowed: tuple[FailurePolicy, ...], advertised: bool
) -> Policy:
    """The policy of a file.

    Args:
        tables: all of it.
        failure: what becomes of the packets of a module that fails.
        failures_allowed: what its publisher may want instead.
        advertised: the node is in the DHT.

    Raises:
        LocalProtocolError: it says what cannot be.
    """
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
        failure=failure,
        failures_allowed=failures_allowed,
        ways=rules.ways,
        routability_port=rules.routability_port,
        ports_never=frozenset((GIST_PORT, *rules.ports_never)),
        dependencies=_dependencies(
            read_table("dependencies", tables.get("dependencies", {}), _Dependencies), advertised=advertised
        ),
    )


def _dependencies(table: _Dependencies, *, advertised: bool) -> DependencyRules:
    if table.fetch and not advertised:
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
