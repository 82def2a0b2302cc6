"""What this machine tells of itself when it is probed: interfaces, addresses, uptime and load."""

import os

from mdht.errors import LocalProtocolError as GoneError
from mdht.netifaces_io import interface_addresses, interfaces
from netserv.signaling.handler import InterfaceFacts, NodeFacts


def node_facts(uptime_s: float) -> NodeFacts:
    """Look at this machine.

    Args:
        uptime_s: of the daemon.
    """
    return NodeFacts(interfaces=_interfaces(), uptime_s=uptime_s, load=os.getloadavg())


def _interfaces() -> tuple[InterfaceFacts, ...]:
    """Those with an address that others can reach."""
    found = []
    for name in interfaces():
        try:
            addresses = interface_addresses(name)
        except GoneError:  # between the two looks
            continue
        shown = tuple(str(each) for each in addresses if not each.is_loopback and not each.is_link_local)
        if shown:
            found.append(InterfaceFacts(name, shown))
    return tuple(found)
