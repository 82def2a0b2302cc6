"""Whom an importer believes: sites are known by their keys (z2z design, section 5). No I/O.

A site's name is what people see (`Printer (office)`), and anybody can call himself so; his key nobody else has. So the
first key that is seen under a name is remembered, and another one under that name is refused. Or only keys that the
user has listed are believed.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from z2z.errors import LocalProtocolError, Z2zError
from z2z.seal import Site, site_id

KNOWN_MAX: Final = 4_096
"Sites; the importer shows 800 services."
KEY_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


class Known(msgspec.Struct, frozen=True, order=True):
    """A key that is believed under a name."""

    name: str
    key: bytes
    "Ed25519 public key of the site, 32 bytes."


class Policy(Enum):
    """What becomes of sites that nobody has listed."""

    FIRST_USE = "first-use"
    "The first key under a name is remembered."
    LISTED = "listed"
    "Refused."
    ANYBODY = "anybody"
    "Believed, whatever is known."


class Verdict(Enum):
    """What to do with an item."""

    KNOWN = "known"
    NEW = "new"
    "Believed from now on: to be remembered."
    CHANGED = "changed"
    "Another key is known under that name."
    STRANGER = "stranger"
    "It is not listed."
    FULL = "full"
    "So many are known that no more are remembered."


class Trust:
    """The sites that one importer knows.

    Args:
        policy: for those that it does not.
        known: keys with their names; one name may have several, as while a site changes its key.
    """

    def __init__(self, policy: Policy, known: Iterable[Known] = ()) -> None:
        self._policy = policy
        self._known: dict[str, set[bytes]] = {}
        self.replace(known)

    @property
    def known(self) -> frozenset[Known]:
        """All of them."""
        return frozenset(Known(name, key) for name, keys in self._known.items() for key in keys)

    def replace(self, known: Iterable[Known]) -> bool:
        """Know these and no others from now on; whether that is a change."""
        listed = frozenset(known)
        if listed == self.known:
            return False
        self._known = {}
        for one in listed:
            self._known.setdefault(folded(one.name), set()).add(one.key)
        return True

    def judge(self, site: Site, key: bytes) -> Verdict:
        """What is to be done with an item that a site has signed; nothing is remembered yet."""
        if self._policy is Policy.ANYBODY:
            return Verdict.KNOWN
        if self._policy is Policy.LISTED:
            listed = any(key in keys for keys in self._known.values())
            return Verdict.KNOWN if listed else Verdict.STRANGER
        keys = self._known.get(folded(site.name))
        if keys is not None:
            return Verdict.KNOWN if key in keys else Verdict.CHANGED
        return Verdict.FULL if len(self._known) >= KNOWN_MAX else Verdict.NEW

    def names_of(self, site: Site, key: bytes) -> frozenset[str]:
        """Names, folded, that an item's site has by right: those of its key, where a listing says whose that is."""
        if self._policy is Policy.LISTED:
            return frozenset(name for name, keys in self._known.items() if key in keys)
        return frozenset([folded(site.name)])

    def remember(self, site: Site, key: bytes) -> Known:
        """Believe a key under a name from now on."""
        known = Known(folded(site.name), key)
        self._known.setdefault(known.name, set()).add(key)
        return known

    def reason(self, verdict: Verdict, site: Site, key: bytes) -> str:
        """Why an item is refused, and what to do if it should not be."""
        match verdict:
            case Verdict.CHANGED:
                former = ", ".join(sorted(site_id(each).hex() for each in self._known[folded(site.name)]))
                return (
                    f"site {site.name!r} was known by key {former} and shows {site_id(key).hex()}: somebody else calls "
                    "himself so (if he may, give one of them another --site), or it has a new key (in that case: "
                    f"z2z identity forget {site.name!r})"
                )
            case Verdict.STRANGER:
                return f"site {site.name!r}, key {site_id(key).hex()}, is not listed in the file of --trust"
            case _:
                return f"{KNOWN_MAX} sites are known already; forget some: z2z identity forget NAME"


def folded(name: str) -> str:
    """A site's name as names are compared."""
    return name.casefold()


def listing(known: Iterable[Known]) -> str:
    """The lines of a file of keys, in order."""
    return "".join(f"{one.key.hex()} {one.name}\n" for one in sorted(known))


def read_listing(text: str) -> list[Known]:
    """The keys in such a file: a line each, 64 hexadecimal digits and a name; `#` begins a remark.

    Raises:
        LocalProtocolError: a line is none; the text says which and why.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if bare:
            found.append(_read_line(bare, number))
    return found


def _read_line(line: str, number: int) -> Known:
    key, _, name = line.partition(" ")
    name = name.strip()
    if not KEY_HEX.fullmatch(key):
        raise LocalProtocolError(f"line {number}: {key[:80]!r} is no key of 64 hexadecimal digits")
    public_key = bytes.fromhex(key)
    try:
        return Known(folded(Site(id=site_id(public_key), name=name).name), public_key)
    except Z2zError as error:
        raise LocalProtocolError(f"line {number}: {error}") from error
