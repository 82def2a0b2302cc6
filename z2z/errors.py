"""Errors of the bridge."""


class Z2zError(Exception):
    """Base of every error that `z2z` raises on purpose; its text is one line for the terminal."""


class LocalProtocolError(Z2zError):
    """The caller or the user asked for something that cannot be; the text names the cause and the remedy."""


class RemoteProtocolError(Z2zError):
    """Bytes from outside (a packet, a record, a stream line) break the rules and are refused."""


class StoreError(Z2zError):
    """A store could not do its work."""


class LinkError(Z2zError):
    """An interface is missing, down, or does not let us send multicast."""
