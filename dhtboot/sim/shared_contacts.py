"""One object for each contact of a run: hundreds of thousands of tables in one memory hold the same few."""

from dhtboot.ids import Address, Contacts, NodeRef, id_from


class SharedContacts(Contacts):
    """Gives the contact of a sender, the same object each time."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, NodeRef] = {}

    def of(self, sender: bytes, address: Address) -> NodeRef:
        """The contact that a packet comes from."""
        known = self._known.get(sender)
        if known is None or (known.address is not address and known.address != address):
            known = self._known[sender] = NodeRef(id_from(sender), address)
        return known
