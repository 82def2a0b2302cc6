"""Claims to names: the steps of probing, and who wins when two hosts want one name (RFC 6762 sections 8 and 9).

An import is a guest on the link. A device of the link always wins against it, so that no device ever has to rename
itself; the tie-breaking of the RFC decides only between importers, which know each other by their host names.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from z2z.mdns.messages import (
    IMPORT_HOST_PREFIX,
    Address4,
    Address6,
    ConflictReason,
    Name,
    Record,
    Registration,
    Srv,
    Txt,
    fold,
    identity,
)
from z2z.mdns.wire import rdata_bytes


class ClaimState(Enum):
    """How far a claim is."""

    WAITING = auto()
    "A random moment before the first probe, or a second after a lost tie-break."
    PROBED_ONCE = auto()
    PROBED_TWICE = auto()
    PROBED_THRICE = auto()
    HELD = auto()
    STANDBY = auto()
    "Another importer serves the same item under it (`standby`)."
    GONE = auto()


class ClaimInput(Enum):
    """What happens to a claim."""

    TIMER = auto()
    TIE_LOST = auto()
    TAKEN = auto()
    SERVED = auto()
    "By another importer, with the same item."
    TAKE_OVER = auto()
    RESTART = auto()


class ClaimAction(Enum):
    """What the responder does about it."""

    PROBE = auto()
    HOLD = auto()
    DEFER = auto()
    YIELD = auto()
    STAND_BY = auto()
    START = auto()


_PROBING: Final = (
    ClaimState.WAITING,
    ClaimState.PROBED_ONCE,
    ClaimState.PROBED_TWICE,
    ClaimState.PROBED_THRICE,
)
_LIVING: Final = (*_PROBING, ClaimState.HELD, ClaimState.STANDBY)

TRANSITIONS: Final[Mapping[tuple[ClaimState, ClaimInput], tuple[ClaimState, ClaimAction]]] = {
    (ClaimState.WAITING, ClaimInput.TIMER): (ClaimState.PROBED_ONCE, ClaimAction.PROBE),
    (ClaimState.PROBED_ONCE, ClaimInput.TIMER): (ClaimState.PROBED_TWICE, ClaimAction.PROBE),
    (ClaimState.PROBED_TWICE, ClaimInput.TIMER): (ClaimState.PROBED_THRICE, ClaimAction.PROBE),
    (ClaimState.PROBED_THRICE, ClaimInput.TIMER): (ClaimState.HELD, ClaimAction.HOLD),
    **{(state, ClaimInput.TIE_LOST): (ClaimState.WAITING, ClaimAction.DEFER) for state in _PROBING},
    **{(state, ClaimInput.TAKEN): (ClaimState.GONE, ClaimAction.YIELD) for state in _LIVING},
    **{
        (state, ClaimInput.SERVED): (ClaimState.STANDBY, ClaimAction.STAND_BY) for state in (*_PROBING, ClaimState.HELD)
    },
    (ClaimState.STANDBY, ClaimInput.TAKE_OVER): (ClaimState.HELD, ClaimAction.HOLD),
    **{(state, ClaimInput.RESTART): (ClaimState.WAITING, ClaimAction.START) for state in _LIVING},
}
"A missing pair is a bug of the responder, not of a peer: peers cannot cause it."


class Claim:
    """One unique name that we want or hold, for one registration (instance) or for several (host)."""

    def __init__(self, name: Name, *, is_host: bool) -> None:
        self.name = name
        self.key = fold(name)
        self.is_host = is_host
        self.state = ClaimState.WAITING
        self.owners: dict[Hashable, None] = {}
        "Registrations that need it, in the order in which they came."

    @property
    def is_held(self) -> bool:
        """Whether the name is ours."""
        return self.state is ClaimState.HELD

    @property
    def is_probing(self) -> bool:
        """Whether it is being found out if the name is free."""
        return self.state in _PROBING

    @property
    def is_standing_by(self) -> bool:
        """Whether another importer has the name, with the same item."""
        return self.state is ClaimState.STANDBY

    def step(self, happening: ClaimInput) -> ClaimAction:
        """Take the one legal step."""
        self.state, action = TRANSITIONS[self.state, happening]
        return action


class Rank:
    """Decides which of two importers that hold one name keeps it: both come to opposite results.

    Args:
        ipv4: by which this host is seen on the link.
        ipv6: the same, link-local.
    """

    def __init__(self, ipv4: IPv4Address | None, ipv6: IPv6Address | None) -> None:
        self._ipv4, self._ipv6 = ipv4, ipv6

    def keeps(
        self, reason: ConflictReason, ours: Iterable[Record], theirs: Iterable[Record], source: str, *, same: bool
    ) -> bool:
        """Tell whether we keep a name that another host uses too.

        Args:
            reason: what the other one is.
            ours: our records of that name.
            theirs: the other one's, as heard.
            source: its address.
            same: whether they do not contradict ours.
        """
        if reason is ConflictReason.LOCAL_DEVICE:
            return False
        if not same:
            kinds = {record.data.rrtype for record in theirs}
            return compare_proposals([record for record in ours if record.data.rrtype in kinds], theirs) > 0
        address = ip_address(source.partition("%")[0])
        if isinstance(address, IPv4Address):
            return self._ipv4 is None or self._ipv4 >= address
        if self._ipv4 is not None:  # two hosts that see each other by both families compare by one of them only
            return True
        return self._ipv6 is None or self._ipv6 >= address


def touched_names(claims: Mapping[Name, Claim], records: Iterable[Record]) -> dict[Name, list[Record]]:
    """Return the records that touch names of ours, by name: SRV and TXT of instances, addresses of hosts."""
    touched: dict[Name, list[Record]] = {}
    for record in records:
        claim = claims.get(fold(record.name))
        kinds = (Address4, Address6) if claim is not None and claim.is_host else (Srv, Txt)
        if claim is not None and isinstance(record.data, kinds):
            touched.setdefault(claim.key, []).append(record)
    return touched


def is_import(records: Iterable[Record]) -> bool:
    """Tell whether records of an instance name come from an importer of this program."""
    return any(
        record.data.target[:1] and record.data.target[0].lower().startswith(IMPORT_HOST_PREFIX)
        for record in records
        if isinstance(record.data, Srv)
    )


def compare_proposals(ours: Iterable[Record], theirs: Iterable[Record]) -> int:
    """Return 1 if our record set is lexicographically later and wins, -1 if theirs is, 0 if they are equal (8.2.1)."""
    mine, other = _sorted_proposals(ours), _sorted_proposals(theirs)
    return (mine > other) - (mine < other)


def _sorted_proposals(records: Iterable[Record]) -> list[tuple[int, bytes]]:
    return sorted((record.data.rrtype, rdata_bytes(record.data)) for record in records)


def differing(ours: Sequence[Record], theirs: Iterable[Record]) -> list[Record]:
    """Return the records of theirs that contradict ours: same name and type, other data (RFC 6762 section 9)."""
    known = {identity(record) for record in ours}
    kinds = {record.data.rrtype for record in ours}
    return [record for record in theirs if record.data.rrtype in kinds and identity(record) not in known]


def conflict_reason(
    registration: Registration, theirs: Sequence[Record], addresses: Iterable[Record]
) -> ConflictReason:
    """Return what a claimant of our instance name is.

    Args:
        registration: what we want to publish.
        theirs: the claimant's SRV and TXT, as far as seen.
        addresses: A and AAAA records of the same message.
    """
    if not is_import(theirs):
        return ConflictReason.LOCAL_DEVICE
    other = next(record.data for record in theirs if isinstance(record.data, Srv))
    item = registration.item
    if fold(other.target)[0] == registration.host_label.lower():
        return ConflictReason.SAME_ITEM  # of one site and address; other data have reached one of us sooner
    same_port = (other.priority, other.weight, other.port) == (item.priority, item.weight, item.port)
    texts = {record.data.data for record in theirs if isinstance(record.data, Txt)}
    reached = {
        record.data.address
        for record in addresses
        if isinstance(record.data, Address4 | Address6) and fold(record.name) == fold(other.target)
    }
    if same_port and texts <= {item.txt} and reached & set(item.addresses):
        return ConflictReason.SAME_ITEM
    return ConflictReason.OTHER_IMPORT
