"""The node tells others of itself: blocks, modules and limits, on the link and in the DHT, as its operator wants it.

Only this file of `netserv run` and `index_search` reach the floor of discovery: controller, containers and packet path
know nothing of it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from netserv.controller.config import DiscoveryConfig
from netserv.controller.policy import Policy as Rules
from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.node_state import NodeState
from netserv_discovery.advertiser import AdvertiserSettings, Running, advertising, load_now, own_addresses
from netserv_discovery.advertising import Facts
from netserv_discovery.covers import read_covers
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import DiscoveryError
from netserv_discovery.location import Location, parse_location
from netserv_discovery.own_key import Identity
from netserv_discovery.policy import DEFAULT, parse_policy, with_private, with_sites
from netserv_discovery.record import Limits
from netserv_discovery.text_files import read_text
from netserv_discovery.versions import Offer

Modules = Callable[[], tuple[tuple[str, str], ...]]
"Name and version of those that are active."


@asynccontextmanager
async def advertised(
    config: DiscoveryConfig, rules: Rules, state: NodeState, modules: Modules
) -> AsyncIterator[Running | None]:
    """Tell of the node while the context lasts, if its settings say so; afterwards all is taken back.

    Args:
        config: whether, and what.
        rules: of the operator, whose blocks and caps are told.
        state: who the node is.
        modules: that run now.

    Yields:
        What does it; None where the settings say that nothing is told.

    Raises:
        NetservError: a setting is wrong, or a port or link cannot be used.
    """
    if not config.advertise:
        yield None
        return
    settings, location = _settings(config, rules)

    def facts() -> Facts:
        return Facts(
            node_id=state.node_id,
            addresses=own_addresses(),
            blocks=tuple(Offer(name, version) for name, version in sorted(rules.blocks.items())),
            modules=tuple(Offer(name, version) for name, version in sorted(set(modules()))),
            limits=Limits(modules=rules.caps.modules_per_publisher_max, ttl_s=rules.caps.ttl_max_s),
            load=load_now(),
            location=location,
            operator=config.operator,
        )

    identity = Identity(key=state.key, node_id=state.node_id, where=state.key_file)
    try:
        async with advertising(identity, facts, settings) as running:
            yield running
    except DiscoveryError as error:
        raise SystemRefusedError(f"the node cannot be advertised: {error}") from error


def _settings(config: DiscoveryConfig, rules: Rules) -> tuple[AdvertiserSettings, Location | None]:
    """How it is advertised.

    Raises:
        LocalProtocolError: the settings say what cannot be.
    """
    try:
        policy = DEFAULT if config.policy is None else parse_policy(read_text(config.policy, "policy"))
        policy = with_sites(policy, config.sites) if config.sites else policy
        policy = with_private(policy) if config.allow_private else policy
        cover = read_covers((), config.secret_file)[0]
        location = parse_location(config.location) if config.location else None
    except DiscoveryError as error:
        raise LocalProtocolError(f"discovery: {error}") from error
    dht = DhtSettings(bootstrap=config.bootstrap, allow_private=config.allow_private)
    return AdvertiserSettings(policy=policy, cover=cover, dht=dht, joins=rules.dependencies.fetch), location
