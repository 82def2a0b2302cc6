"""NetServ nodes on the links of this machine, by DNS-SD: `_netserv._udp`."""

import time
from collections.abc import Callable, Sequence

import trio

from netserv_discovery.console.items import NodeSeen, Offer
from netserv_discovery.console.node_seen import node_seen
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import Tell, counted
from netserv_discovery.errors import RemoteProtocolError
from netserv_discovery.link_text import SERVICE_TYPE, record_of_txt, unpack_txt
from z2z.cli_look import txt_strings
from z2z.errors import LinkError
from z2z.mdns.link_io import MdnsLink, open_link
from z2z.mdns.messages import ServiceChanged, ServiceEvent, ServiceFound, ServiceLost, ServiceRefused
from z2z.reports import endpoints, shown
from z2z.service_item import ServiceItem


class LinkSource:
    """Links that are browsed.

    Args:
        interfaces: gives those of the links at the time.
        unix_now: seconds.
    """

    name = "link"
    title = "Nodes on the link"

    def __init__(self, interfaces: Callable[[], Sequence[str]], unix_now: Callable[[], float] = time.time) -> None:
        self._choose, self._unix_now = interfaces, unix_now
        self._interfaces: Sequence[str] = ()
        self._seen: dict[str, NodeSeen] = {}

    async def snapshot(self) -> View:
        """What is known now; more comes in by `changes`."""
        nodes = dict(sorted(self._seen.items()))
        return View(items={"nodes": nodes}, why=f"{counted(len(nodes), 'node')} on {', '.join(self._interfaces)}")

    async def changes(self, tell: Tell) -> None:
        """Browse.

        Raises:
            LinkError: an interface cannot be used, or there is none.
        """
        self._seen.clear()
        self._interfaces = self._choose()
        if not self._interfaces:
            raise LinkError("no interface but loopback is up and has an address; name one with --interface")
        async with trio.open_nursery() as nursery:
            for interface in self._interfaces:
                nursery.start_soon(self._browse, interface, tell)
            tell(await self.snapshot())

    async def _browse(self, interface: str, tell: Tell) -> None:
        async with open_link(interface) as link, link.browse(SERVICE_TYPE) as events:
            async for event in events:
                self._take(link, event)
                tell(await self.snapshot())

    def _take(self, link: MdnsLink, event: ServiceEvent) -> None:
        match event:
            case ServiceFound(item=item) | ServiceChanged(item=item):
                self._seen[_key(link, item.instance)] = node_on_link(item, link.interface, self._unix_now())
            case ServiceLost(instance=instance):
                self._seen.pop(_key(link, instance), None)
            case ServiceRefused(instance=instance, reason=reason):
                name = shown(instance)
                self._seen[_key(link, instance)] = NodeSeen(
                    node=name, name=name, way="link", interface=link.interface, notes=(f"left out: {reason}",)
                )


def _key(link: MdnsLink, instance: bytes) -> str:
    return f"{link.interface}/{instance.hex()}"


def node_on_link(item: ServiceItem, interface: str, unix_now: float) -> NodeSeen:
    """What the console shows of an announced node: its signed record, or what it says without one."""
    name = item.display_name
    try:
        strings = unpack_txt(item.txt)
        record = record_of_txt(strings, unix_now)
    except RemoteProtocolError as error:
        return NodeSeen(
            node=name,
            name=name,
            way="link",
            interface=interface,
            where=endpoints(item),
            blocks=tuple(Offer(name=subtype.removeprefix("_")) for subtype in item.subtypes),
            notes=(f"not signed: {error}", *txt_strings(item.txt)),
        )
    return node_seen(record, "link", interface=interface, name=name)
