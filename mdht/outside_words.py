"""Why a subnet is a client of the overlay, or a host of it is not named to others; and what the user can do."""

from typing import Literal

from dhtboot.ids import format_address
from mdht.subnet.node_part import NodePart
from mdht.subnet.reachability import Reachability, Verdict


def role_of(part: NodePart | None) -> Literal["node", "client"]:
    """Whether the subnet has a place in the overlay, or only asks."""
    return "client" if part is not None and part.step.client else "node"


def why(part: NodePart | None, port: int, *, asks_router: bool = False) -> str:
    """Why others do not reach this host, or this subnet, and the remedy; empty where they do, as far as is known.

    Args:
        part: of the host, None as long as it is in no subnet.
        port: its own.
        asks_router: whether the router is asked to forward it; what came of that is told beside this.
    """
    if part is None or not (part.outside.unlisted or part.step.client):
        return ""
    reach = part.face.reach
    if reach.verdict is not Verdict.UNREACHED:
        return "hosts of other subnets reach no host of this one"
    whom = "" if part.step.client else "only other hosts of this subnet are reached; "
    return whom + _cause(reach, port, asks_router=asks_router)


def _cause(reach: Reachability, port: int, *, asks_router: bool) -> str:
    seen = "" if reach.seen is None else format_address(reach.seen)
    if reach.named is not None:
        named = format_address(reach.named)
        if asks_router:
            return (
                f"nothing arrives that others send to {named}, though the router forwards it; others see this host at "
                f"{seen or 'no address yet'}; look for a firewall here, or another router before that one"
            )
        if reach.seen is not None and reach.seen[0] != reach.named[0]:
            return f"others see this host at {seen}; --public {named} must have that address"
        return (
            f"nothing arrives that others send to {named}; forward UDP port {reach.named[1]} of the router to this host"
        )
    if reach.translated and reach.seen is not None:
        public = format_address((reach.seen[0], port))
        behind = f"others see this host at {seen}, where only answers get through"
        if asks_router:
            return behind
        return (
            f"{behind}; forward UDP port {port} of the router to this host, and start it with --public {public}, "
            "or have it ask the router: --map-port"
        )
    return f"nothing arrives that others send unasked; let UDP port {port} through the firewall"
