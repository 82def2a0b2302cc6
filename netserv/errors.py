"""Errors of NetServ: whose fault it is decides the class."""


class NetservError(Exception):
    """Base of every error that `netserv` raises on purpose."""


class LocalProtocolError(NetservError):
    """The caller broke the rules of an interface; the text says what to change."""


class RemoteProtocolError(NetservError):
    """A peer broke the rules of the protocol."""


class UnreachableError(NetservError):
    """Nobody answered, or this machine cannot get there."""


class SystemRefusedError(NetservError):
    """The operating system does not give what is needed; the text names it and the remedy."""
