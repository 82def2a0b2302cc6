"""Which filters may want the same packets: they get them one after the other, in the order of their numbers."""

from collections.abc import Mapping

from netserv.forwarding.filters import PacketFilter, Prefix


def may_share(one: PacketFilter, other: PacketFilter) -> bool:
    """Whether a packet may belong to both; prematches are not compared."""
    if one.proto != other.proto or one.destination.version != other.destination.version:
        return False
    common = bool(set(one.ports) & set(other.ports))
    same_way = common and _meet(one.destination, other.destination) and _meet(one.source, other.source)
    if same_way:  # so do their reverse flows
        return True
    # A packet to a port of one, from a port of the other: the ports do not exclude each other.
    crossed = _meet(one.destination, other.source) and _meet(one.source, other.destination)
    return crossed and (one.reverse or other.reverse)


def _meet(one: Prefix | None, other: Prefix | None) -> bool:
    if one is None or other is None:
        return True
    return one.version == other.version and (one.overlaps(other))


def later(number: int, filters: Mapping[int, PacketFilter]) -> tuple[int, ...]:
    """Filters after this one that may want the same packets."""
    wanted = filters[number]
    return tuple(sorted(each for each, other in filters.items() if each > number and may_share(wanted, other)))
