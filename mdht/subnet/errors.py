"""Errors of the link between the hosts of a subnet."""

from mdht.errors import RemoteProtocolError


class WireError(RemoteProtocolError):
    """A datagram that no correct host sends; the text says what is wrong with it."""
