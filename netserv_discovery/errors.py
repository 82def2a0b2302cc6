"""Errors of discovery: whose fault it is decides the class."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why something from outside is not used; the value is the name of its counter."""

    MALFORMED = "malformed"
    "Not in the form that every correct sender writes."
    TOO_LONG = "too_long"
    VERSION = "version"
    "Of a version that we do not read."
    BAD_SIGNATURE = "bad_signature"
    "Forged or damaged."
    EXPIRED = "expired"
    TOO_FAR_AHEAD = "too_far_ahead"
    "Issued in the future, or for longer than anything may be."
    WRONG_NAME = "wrong_name"
    "A node id that is made from a key, and this is another key."
    WRONG_PLACE = "wrong_place"
    "Under a key that it does not belong to."
    SUPERSEDED = "superseded"
    "Of the same signer there is a newer one: an old one that somebody has put again."
    UNBELIEVED = "unbelieved"
    "Signed by a publisher who is not on the list."
    TOO_MANY = "too_many"
    "More than are looked at."


class DiscoveryError(Exception):
    """Base of every error that `netserv_discovery` raises on purpose; its text is one line for the terminal."""


class LocalProtocolError(DiscoveryError):
    """The caller or the user asked for something that cannot be; the text names the cause and the remedy."""


class RemoteProtocolError(DiscoveryError):
    """Bytes from outside (a record, a packet, TXT data) break the rules and are refused."""

    def __init__(self, message: str, *, code: Refusal = Refusal.MALFORMED) -> None:
        super().__init__(message)
        self.code = code


class UnreachableError(DiscoveryError):
    """Nobody answered, or this machine cannot get there."""
