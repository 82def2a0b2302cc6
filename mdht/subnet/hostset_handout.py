"""Which hosts of its own subnet a host tells to another node (mDHT design, section 5)."""

import msgspec

from dhtboot.ids import Address, id_bytes
from mdht.subnet.hostset import age_s, reaches
from mdht.subnet.identity import Identity
from mdht.subnet.messages import HOSTS_MAX, HostRef, NodeEntry, Standing
from mdht.subnet.view import View, rank


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What a host tells of itself and of its subnet."""

    identity: Identity
    tag: bytes
    hid: bytes
    addresses: tuple[Address, ...]
    ready: bool
    "Whether it answers for the subnet."
    direct: bool = True
    "Others see it at an address of its own."
    mapped: Address | None = None
    "Where others reach it, if that is no address of its own."
    unlisted: bool = False
    "Others do not reach it unasked."
    client: bool = False
    "Its node has no place in the overlay."

    def standing(self, *, allow_private: bool) -> Standing | None:
        """How it stands with hosts that are told private addresses, or are not."""
        if self.client:
            return Standing.CLIENT
        listed = self.direct and self.reached_directly(allow_private=allow_private)
        return None if listed else Standing.UNLISTED

    def reached_directly(self, *, allow_private: bool) -> bool:
        """Whether such hosts reach it at an address of its own, as far as is known."""
        known = any(reaches(address, allow_private=allow_private) for address in self.addresses)
        return known and not self.unlisted and self.mapped is None


def asker_name(node_id: int, hid: bytes) -> bytes:
    """What hosts are ranked by for an asker: its node, and the host of it that asks."""
    return id_bytes(node_id) + hid


def set_for(asker: bytes, own: Own, view: View, now: float, *, allow_private: bool) -> NodeEntry:
    """The 8 hosts by highest random weight for this asker, of those that are ready and are reached from afar.

    So askers of one node, and nodes, get different hosts, which spreads the load; and a host that comes or goes changes
    one of an asker's 8.
    """
    names = view.ready + ([own.hid] if own.ready else [])
    hosts: list[HostRef] = []
    for hid in rank(asker, names):
        member = view.get(hid)
        host = own if member is None else member
        addresses = host.addresses if host.mapped is None else (host.mapped, *host.addresses)
        address = next((one for one in addresses if reaches(one, allow_private=allow_private)), None)
        if address is not None and not host.unlisted:
            age = 0 if member is None else age_s(member.heard_at, now)
            hosts.append(HostRef(hid=hid, address=address, age_s=age))
            if len(hosts) == HOSTS_MAX:
                break
    size = len(view.live) + 1
    return NodeEntry(identity=own.identity, tag=own.tag, view_epoch=view.epoch, size=size, hosts=tuple(hosts))


def wants_set(held: int | None, epoch: int) -> bool:
    """Whether the reply to a request takes a fresh set along.

    Args:
        held: epoch of the asker's set, which its request carries; None where it has none from this node itself.
        epoch: of the view here.
    """
    return held is None or epoch > held
