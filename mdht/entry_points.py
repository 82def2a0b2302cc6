"""Addresses of hosts that may be in the overlay, from whatever source, as a search for it needs them."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from dhtboot.ids import Address
from mdht.state import SavedContact
from mdht.subnet.bounded import remember

KNOWN_MAX: Final = 256
"Of more, those heard of longest ago are forgotten."
SAVED_MAX: Final = 64
"Contacts of an earlier run that are tried beside the entry points."


class EntryPoints:
    """Those that one host knows.

    Args:
        saved: hosts that have answered in an earlier run.
    """

    def __init__(self, saved: Iterable[SavedContact] = ()) -> None:
        self._known: OrderedDict[Address, None] = OrderedDict()
        for contact in [*saved][:SAVED_MAX]:
            self.add((contact.host, contact.port))

    def add(self, address: Address) -> bool:
        """Take one in; whether it was not known."""
        new = address not in self._known
        remember(self._known, address, None, KNOWN_MAX)
        return new

    def others(self, own: Iterable[Address]) -> list[Address]:
        """All but those of this host itself."""
        mine = set(own)
        return [address for address in self._known if address not in mine]
