"""How a running host stands, as its user is told."""

from dhtboot.ids import NodeRef, format_address, id_bytes
from mdht.link_running import RunningHost
from mdht.results import RingNode, Status


def status_of(host: RunningHost, writer: bytes, uptime_s: float) -> Status:
    """The state of a host at this moment.

    Args:
        host: of one link.
        writer: public key that signs what is put through it.
        uptime_s: since the program was started.
    """
    part, table = host.core.part, host.table
    counted, took = table.counters, host.lookups
    subnet = host.core.subnet
    return Status(
        node="" if subnet is None else f"{subnet.identity.node_id(host.network):040x}",
        subnet="" if subnet is None else subnet.tag.hex(),
        host=host.core.hid.hex(),
        writer=writer.hex(),
        network=host.network,
        interfaces=host.interfaces,
        phase=host.phase,
        addresses=tuple(format_address(address) for address in host.addresses),
        uptime_s=uptime_s,
        members=tuple(format_address(address) for address in host.members),
        link_mode=host.link_mode,
        emulated=host.core.membership.reach.mode.emulated,
        without_copies=host.core.membership.reach.mode.left_out,
        merges=host.core.counters["merges"],
        role=host.role,
        why=host.why,
        mapped_port=None if host.ports is None else host.ports.status(),
        contacts=host.contacts,
        neighbours=tuple(name_of(host, node) for node in host.neighbours),
        ring=tuple(_on_ring(host, node) for node in host.neighbours),
        structural_changes=0 if part is None else part.step.state.changes.made,
        policy=host.policy,
        policy_adopted=host.policy_adopted,
        records=len(table),
        record_bytes=table.bytes_held,
        lookups={f"{bound:g}": count for bound, count in took.within().items()},
        lookups_s=took.total_s,
        cached=host.cached[0],
        cached_bytes=host.cached[1],
        counters={
            **host.totals(),
            "stored": counted.stored,
            "evicted": counted.evicted,
            **{f"refused_{code.name.lower()}": count for code, count in counted.refused.items()},
        },
    )


def name_of(host: RunningHost, node: NodeRef) -> str:
    """A node as its user knows it: by the address of a host of it."""
    if not node.address[1] and not node.address[0]:
        return "here"
    address = host.address_of(node)
    return id_bytes(node.id).hex() if address is None else format_address(address)


def _on_ring(host: RunningHost, node: NodeRef) -> RingNode:
    address, rtt_s = host.address_of(node), host.rtt_s(node)
    return RingNode(
        node=id_bytes(node.id).hex(),
        address="" if address is None else format_address(address),
        rtt_ms=None if rtt_s is None else round(rtt_s * 1e3, 3),
    )
