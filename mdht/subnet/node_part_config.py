"""Settings of a host's part of its node."""

import msgspec

from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.search import SearchConfig


class NodePartConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    overlay: OverlayConfig = KademliaConfig()
    "Chord or Kademlia, with the settings of a node that is one host."
    face: FaceConfig = FaceConfig()
    search: SearchConfig = SearchConfig()
    rota: bool = True
    "One host at a time looks after the neighbours; else each does in every period, as the thesis' text reads."
    round_s: float = 1.0
    "A round is over after so long: all that answer have answered."
    ask_s: float = 0.3
    "Between two questions to siblings for what they know of the node's neighbours."
    asks_max: int = 5
    gather_s: float = 0.05
    "A host that begins waits so long for the rest of what a sibling tells."
    alone_s: float = 5.0
    "If nobody is there who could tell it begins by itself after so long."
    joins_max: int = 3
    "Ways into the overlay that are tried before a founder begins a ring of its own."

    def __post_init__(self) -> None:
        for name in ("round_s", "ask_s", "gather_s", "alone_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.asks_max < 1 or self.joins_max < 1:
            raise ValueError("asks_max and joins_max must be at least 1")
