"""Starts and stops a host: sockets, state directory, entry points, presence on its link, or on each of its links.

async with open_mdht(MdhtConfig(), writer) as node:
    await node.put(key, b"value", ttl_s=300)
    found = await node.get(key)
"""

import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from dhtboot.ids import Address, format_address
from mdht import netifaces_io, rendezvous
from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError
from mdht.host_tasks import HostTasks, OnEvent
from mdht.link_config import LinkConfig
from mdht.link_driver import Faults
from mdht.link_io import open_link
from mdht.links import LinkPlan, by_link, plans
from mdht.signing import SigningKey
from mdht.state import StateDirectory
from mdht.subnet.identity import named

__all__ = ["Mdht", "MdhtConfig", "open_mdht"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_mdht(
    config: MdhtConfig, writer: SigningKey, *, on_event: OnEvent | None = None, faults: Faults | None = None
) -> AsyncIterator[Mdht]:
    """Be a host of the link's subnet while the context lasts; at its end it hands its records over and says goodbye.

    A lone host works; its subnet joins others as soon as an entry point answers. Records can be put and got at once:
    that waits until the host has come to its subnet. With interfaces of several links it is a host on each.

    Args:
        config: settings.
        writer: signs what is put through this host.
        on_event: is told of members that come and go, of subnets that this host comes to, of those that become one, and
            of multicast that does not pass; and on which link, by the host there.
        faults: what goes wrong on purpose, for tests.

    Raises:
        LocalProtocolError: a port, directory, interface or entry point cannot be used; the text says what to change.
        UnreachableError: the bootstrap server's name has no address.
    """
    for text in config.bootstrap:
        rendezvous.parse(text)
    if config.subnet is not None:
        named(config.subnet)  # refuses one that is too long
    found = plans(config, by_link({name: netifaces_io.interface_addresses(name) for name in _interfaces(config)}))
    server = None if config.server is None else (await rendezvous.resolve(config.server, random.SystemRandom()))[0]
    async with AsyncExitStack() as stack:
        hosts = [await _open_host(stack, config, plan, server, writer, on_event, faults) for plan in found]
        _introduce(hosts, config)
        async with trio.open_nursery() as nursery:
            for each in hosts:
                each.start_in(nursery)
            try:
                yield Mdht([each.host for each in hosts], writer)
            finally:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as leaving:
                        for each in hosts:
                            leaving.start_soon(each.leave)
                for each in hosts:
                    each.carrier.cancel()
                nursery.cancel_scope.cancel()


async def _open_host(
    stack: AsyncExitStack,
    config: MdhtConfig,
    plan: LinkPlan,
    server: Address | None,
    writer: SigningKey,
    on_event: OnEvent | None,
    faults: Faults | None,
) -> HostTasks:
    """Open its directory and its sockets."""
    state = None
    if config.state_dir is not None:
        directory = config.state_dir if plan.directory is None else config.state_dir / plan.directory
        state = stack.enter_context(StateDirectory.open(directory, time.time()))
    link_config = LinkConfig(
        overlay=config.network,
        interfaces=plan.interfaces,
        alone=not plan.interfaces,
        host=config.host,
        port=plan.port,
        fall_back=not plan.port_required,
    )
    link = await stack.enter_async_context(open_link(link_config))
    return HostTasks(config, plan, server, writer, link, state, on_event, faults)


def _introduce(hosts: list[HostTasks], config: MdhtConfig) -> None:
    """Tell the hosts of each other: what is in an overlay on one link is so on the others."""
    for each in hosts:
        for other in hosts:
            if other is not each and other.host.addresses:
                each.entry_points.add(other.host.addresses[0])
    for address in config.peers:
        if not any(each.reaches(address) for each in hosts):
            where = format_address(address)
            log.warning("peer %s is no address of the link; hosts elsewhere are named with --bootstrap", where)


def _interfaces(config: MdhtConfig) -> tuple[str, ...]:
    """The interfaces whose links' subnets to be in."""
    if not config.presence:
        return ()
    if config.interfaces:
        return tuple(dict.fromkeys(config.interfaces))
    try:
        return (netifaces_io.default_interface(),)
    except LocalProtocolError as error:
        log.warning("no peers are sought on the link: %s", error)
        return ()
