"""NetServ nodes on the links of this machine, by DNS-SD: `_netserv._udp`."""

import time
from collections.abc import Callable, Sequence

from netserv_discovery.console.items import NodeSeen, Offer
from netserv_discovery.console.node_seen import node_seen
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import Tell, counted
from netserv_discovery.errors import RemoteProtocolError
from netserv_discovery.link_io import LinkChange, open_links, usable_interfaces
from netserv_discovery.link_text import record_of_txt, unpack_txt
from z2z.cli_look import txt_strings
from z2z.reports import endpoints
from z2z.service_item import ServiceItem


class LinkSource:
    """Links that are browsed.

    Args:
        interfaces: of the links; none: all that are up.
        unix_now: seconds.
    """

    name = "link"
    title = "Nodes on the link"

    def __init__(self, interfaces: Sequence[str], unix_now: Callable[[], float] = time.time) -> None:
        self._wanted, self._unix_now = interfaces, unix_now
        self._used: Sequence[str] = ()
        # No more than the cache of the querier holds, from which they are told.
        self._seen: dict[str, NodeSeen] = {}
        self._refused = 0

    async def snapshot(self) -> View:
        """What is known now; more comes in by `changes`."""
        nodes = dict(sorted(self._seen.items()))
        refused = f"; {counted(self._refused, 'announcement')} refused" if self._refused else ""
        return View(items={"nodes": nodes}, why=f"{counted(len(nodes), 'node')} on {', '.join(self._used)}{refused}")

    async def changes(self, tell: Tell) -> None:
        """Browse.

        Raises:
            LocalProtocolError: an interface cannot be used, or there is none.
        """
        self._seen.clear()
        self._used = usable_interfaces(self._wanted)
        async with open_links(self._used) as links, links.browse() as changes:
            tell(await self.snapshot())
            async for change in changes:
                self._take(change)
                self._refused = links.counters["refused"]
                tell(await self.snapshot())

    def _take(self, change: LinkChange) -> None:
        key = f"{change.interface}/{change.instance}"
        if change.item is None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = node_on_link(change.item, change.interface, self._unix_now())


def node_on_link(item: ServiceItem, interface: str, unix_now: float) -> NodeSeen:
    """What the console shows of an announced node: its signed record, or what it says without one."""
    name = item.display_name
    try:
        record = record_of_txt(unpack_txt(item.txt), unix_now)
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
