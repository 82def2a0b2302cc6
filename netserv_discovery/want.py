"""What somebody looks for."""

from typing import Final

import msgspec

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import Location
from netserv_discovery.record import NodeRecord
from netserv_discovery.versions import Need, Offer

LIMIT_MAX: Final = 100
"Nodes of one answer; each is asked by PING."
NEEDS_MAX: Final = 32
"Blocks, and as many modules: what one SETUP may depend on."


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that are looked for. All that is said must hold.

    Raises:
        LocalProtocolError: it says nothing, or too much.
    """

    blocks: tuple[Need, ...] = ()
    modules: tuple[Need, ...] = ()
    node_id: str | None = None
    near: Location | None = None
    "Nearest to there come first."
    radius_km: float | None = None
    "Not farther than that from `near`."
    here: Location | None = None
    "Where this machine is, if it knows: round trips tell then which nodes cannot be where they say."
    limit: int = 5
    ping: bool = True
    "Ask nodes whether they are there; without it records are believed."

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIMIT_MAX:
            raise LocalProtocolError(f"limit {self.limit}: say 1 to {LIMIT_MAX} nodes")
        if len(self.blocks) > NEEDS_MAX or len(self.modules) > NEEDS_MAX:
            raise LocalProtocolError(f"at most {NEEDS_MAX} blocks and {NEEDS_MAX} modules can be asked for at once")
        if not (self.blocks or self.modules or self.node_id or self.near):
            raise LocalProtocolError("say what to look for: a block, a module, a node's name, or a place to be near to")
        if self.radius_km is not None and (self.near is None or not self.radius_km > 0):
            raise LocalProtocolError("a radius is a number of kilometres over 0 around a place: say near where, too")

    def met_by(self, blocks: tuple[Offer, ...], modules: tuple[Offer, ...]) -> bool:
        """Whether all blocks and modules are there."""
        return all(need.met_by(blocks) for need in self.blocks) and all(need.met_by(modules) for need in self.modules)

    def excludes(self, record: NodeRecord) -> bool:
        """Whether a node is another one than is looked for, whatever it offers."""
        return self.node_id is not None and record.node_id != self.node_id
