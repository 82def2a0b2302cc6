"""Subnets and the overlay's ring, as the running nodes of this user see them: `mdht run`, and those inside z2z."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import trio

from mdht.errors import MdhtError, UnreachableError
from mdht.results import MappedPort, Status
from netserv_discovery.console.items import RingPlace, SubnetSeen
from netserv_discovery.console.node_places import NodePlace, control_of
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import Tell, counted, look_again_and_again

ANSWER_S: Final = 2.0
"For the answer of one node."


class MdhtSource:
    """The running nodes.

    Args:
        places: gives where nodes may run.
    """

    name = "mdht"
    title = "Overlay (mdht)"

    def __init__(self, places: Callable[[], Sequence[NodePlace]]) -> None:
        self._places = places

    async def snapshot(self) -> View:
        """Ask every node.

        Raises:
            UnreachableError: none runs.
        """
        found: dict[str, SubnetSeen] = {}

        async def ask(place: NodePlace) -> None:
            status = await _status(place)
            for each in () if status is None else (status, *status.others):
                found[f"{place.directory}/{each.host}"] = subnet_seen(each, place.by)

        async with trio.open_nursery() as nursery:
            for place in self._places():
                nursery.start_soon(ask, place)
        if not found:
            raise UnreachableError("no node of this user runs; start one with `mdht run`, or z2z")
        subnets = dict(sorted(found.items()))
        return View(items={"subnets": subnets}, why=counted(len(subnets), "running node"))

    async def changes(self, tell: Tell) -> None:
        """Ask again and again: nodes tell their state only when asked."""
        await look_again_and_again(self, tell)


async def _status(place: NodePlace) -> Status | None:
    """How the node of a directory stands, None where there is none."""
    client = control_of(place)
    with trio.move_on_after(ANSWER_S):
        try:
            return None if client is None else await client.status()
        except MdhtError:
            return None
    return None


def subnet_seen(status: Status, by: Literal["mdht", "z2z"]) -> SubnetSeen:
    """What the console shows of a node."""
    return SubnetSeen(
        network=status.network,
        node=status.node,
        subnet=status.subnet,
        host=status.host,
        by=by,
        interfaces=status.interfaces,
        addresses=status.addresses,
        members=status.members,
        phase=status.phase,
        role=status.role,
        why=status.why,
        link_mode=status.link_mode,
        policy=status.policy,
        records=status.records,
        record_bytes=status.record_bytes,
        contacts=status.contacts,
        port=_port_text(status.mapped_port),
        ring=tuple(
            RingPlace(node=each.node, address=each.address, rtt_ms=_shown_ms(each.rtt_ms)) for each in status.ring
        ),
    )


def _port_text(port: MappedPort | None) -> str:
    if port is None:
        return ""
    return f"{port.outside} opened by the router" if port.outside else f"none opened: {port.why}"


def _shown_ms(rtt_ms: float | None) -> float | None:
    """Two digits: a mean that creeps is no news."""
    return None if rtt_ms is None else float(f"{rtt_ms:.2g}")
