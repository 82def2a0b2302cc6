"""The headers of requests: where each may and must stand, and which field it is (NetServ design, section 2)."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from netserv.signaling.nslp import values
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.text import Header, check_header, shown


class Method(StrEnum):
    """First word of a text."""

    SETUP = "SETUP"
    REMOVE = "REMOVE"
    PROBE = "PROBE"
    TRIGGER = "TRIGGER"
    RESPONSE = "RESPONSE"


class HeaderRule(msgspec.Struct, frozen=True):
    """One header."""

    field: str
    "Of the request's value."
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    allowed: frozenset[Method]
    mandatory: frozenset[Method] = frozenset()


_METHODS: Final = {"S": Method.SETUP, "R": Method.REMOVE, "P": Method.PROBE, "T": Method.TRIGGER}


def _rule(
    field: str, where: str, read: Callable[[str], Any], write: Callable[[Any], str] = str, mandatory: str = ""
) -> HeaderRule:
    allowed = frozenset(_METHODS[letter] for letter in where)
    return HeaderRule(field, read, write, allowed, frozenset(_METHODS[letter] for letter in mandatory))


def _write_session(long: bool) -> str:
    return "long" if long else "short"


RULES: Final[Mapping[str, HeaderRule]] = {
    "dependencies": _rule("dependencies", "S", values.read_dependencies, values.write_list),
    "filter-port": _rule("filter_ports", "S", values.read_ports, values.write_list),
    "filter-proto": _rule("filter_proto", "S", values.read_protocol),
    "filter-dst": _rule("filter_dst", "S", values.read_prefix, values.write_prefix),
    "notification": _rule("notification", "SR", values.read_url),
    "node-id": _rule("node_id", "SRPT", values.read_word),
    "probe": _rule("items", "P", values.read_items, values.write_list, mandatory="P"),
    "properties": _rule("properties", "S", values.read_properties, values.write_properties),
    "ttl": _rule("ttl_s", "S", values.read_ttl, mandatory="S"),
    "url": _rule("url", "S", values.read_url, mandatory="S"),
    "digest": _rule("digest", "S", values.read_digest, values.write_digest, mandatory="S"),
    "around": _rule("around", "SRP", values.read_around),
    "session": _rule("long_session", "SRP", values.read_session, _write_session),
    "password": _rule("password", "S", values.read_password),
    "user": _rule("user", "SRPT", values.read_word, mandatory="SR"),
    "nonce": _rule("nonce", "SRP", values.read_nonce, bytes.hex),
    "expires": _rule("expires", "SRP", values.read_expires),
    "flow": _rule("flow", "SRP", values.read_flow),
    "body-length": _rule("body_length", "T", values.read_length, mandatory="T"),
    "signature": _rule("signature", "SRPT", values.read_signature, values.write_signature),
}
"""In the order in which they are written; unknown ones stand before the signature. A signature is demanded of whatever
has a user: `check_signed`."""


def read_fields(method: Method, headers: tuple[Header, ...]) -> dict[str, Any]:
    """The fields of a request; an optional header without a value is as good as none.

    Raises:
        NslpError: a header out of place, missing, or with a value that it cannot have.
    """
    given = dict(headers)
    for name, rule in RULES.items():
        if name in given and method not in rule.allowed:
            raise NslpError(f"header {name} has no meaning in {method}")
        if method in rule.mandatory and not given.get(name):
            raise NslpError(f"header {name} is {'empty' if name in given else 'missing'}")
    if "signature" in given and headers[-1][0] != "signature":
        raise NslpError(f"header {headers[-1][0]} stands behind the signature, which does not cover it")
    fields: dict[str, Any] = {rule.field: rule.read(given[name]) for name, rule in RULES.items() if given.get(name)}
    fields["others"] = tuple((name, value) for name, value in headers if name not in RULES)
    return fields


def write_fields(request: object) -> list[Header]:
    """The headers of a request's fields."""
    found: list[Header] = []
    for name, rule in RULES.items():
        if name == "signature":
            found += getattr(request, "others", ())
        value = getattr(request, rule.field, None)
        if not _absent(value):
            found.append((name, rule.write(value)))
    return found


def check_fields(request: object) -> None:
    """See that each field would be read back as it is, so that text and caller meet the same checks.

    Raises:
        NslpError: the fault.
    """
    for name, rule in RULES.items():
        value = getattr(request, rule.field, None)
        if _absent(value):
            continue
        text = rule.write(value)
        check_header(name, text)
        if rule.read(text) != value:
            raise NslpError(f"header {name} cannot say {shown(repr(value))}")
    others: tuple[Header, ...] = getattr(request, "others", ())
    if len({name for name, _ in others}) < len(others):
        raise NslpError("an unknown header comes twice")
    for name, value in others:
        check_header(name, value)
        if name in RULES:
            raise NslpError(f"header {name} is not an unknown one")


def check_signed(user: str | None, signature: bytes | None) -> None:
    """See that whoever names himself has signed; a PROBE of nobody need not be.

    Raises:
        NslpError: no signature.
    """
    if user is not None and signature is None:
        raise NslpError("header signature is missing", code=Code.UNAUTHORIZED)


def _absent(value: object) -> bool:
    """Whether a field has what an absent header means; 0 is a number."""
    return value is None or value is False or value == ()
