"""Nodes that this one has had to do with: whom an off-path request is told, beside those that its operator names."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from netserv.signaling.gist.addresses import GIST_PORT, PackedAddress
from netserv.signaling.gist.service import SiiHandle

KNOWN_MAX: Final = 64
"Nodes; whoever is told of an off-path request tells it to its own."
KNOWN_S: Final = 3_600.0
"Since the last word of it."


class Acquaintances:
    """Adjacent nodes, by the address that they have towards this one.

    Args:
        named: those that the operator names, whether they were ever heard or not.
    """

    def __init__(self, named: Callable[[], Sequence[PackedAddress]]) -> None:
        self._named = named
        self._heard: OrderedDict[PackedAddress, float] = OrderedDict()

    def heard(self, peer: SiiHandle | None, now: float) -> None:
        """A message of a peer has come. A host without a node sends from another port, and is nobody to tell."""
        if peer is None or peer.port != GIST_PORT:
            return
        self._heard[peer.address] = now
        self._heard.move_to_end(peer.address)
        if len(self._heard) > KNOWN_MAX:
            self._heard.popitem(last=False)

    def all(self, now: float) -> list[PackedAddress]:
        """Whom to tell; the named ones first."""
        known = dict.fromkeys(self._named())
        known.update(dict.fromkeys(address for address, at in self._heard.items() if now - at < KNOWN_S))
        return list(known)
