"""The rules of an administrator: which services may be exported and imported (`--policy`). No I/O.

A policy only narrows. What z2z protects by itself, as private addresses and types for remote control, an `allow` does
not lift: that is said by an option, so that no change of the file can open more than the command line did.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from z2z.service_item import ServiceItem

Direction: TypeAlias = Literal["export", "import"]
DIRECTIONS: Final[tuple[Direction, Direction]] = ("export", "import")


class Ruling(msgspec.Struct, frozen=True):
    """What becomes of one service."""

    allowed: bool
    by: str
    "`policy rule 2 denies it: not for the street`; empty without a policy."


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[rule]]`; a service matches if it fits each condition that there is."""

    number: int
    "Its place in the file, from 1."
    directions: frozenset[Direction]
    allows: bool
    types: frozenset[str] = frozenset()
    "Canonical; empty for all."
    names: tuple[re.Pattern[str], ...] = ()
    "For folded instance names; empty for all."
    sites: frozenset[str] = frozenset()
    "Folded names of sites; with `keys` empty for all."
    keys: frozenset[bytes] = frozenset()
    "Public keys of sites."
    reason: str = ""

    @property
    def takes_all(self) -> bool:
        """Whether every service of its directions matches."""
        return not (self.types or self.names or self.sites or self.keys)

    def matches(self, item: ServiceItem, sites: Iterable[str], key: bytes) -> bool:
        """Whether a service fits; `sites` are the names that its origin is known by."""
        if self.types and item.service_type not in self.types:
            return False
        if (self.sites or self.keys) and key not in self.keys and self.sites.isdisjoint(map(str.casefold, sites)):
            return False
        if not self.names:
            return True
        name = folded(item.display_name)
        return any(pattern.fullmatch(name) for pattern in self.names)

    @property
    def ruling(self) -> Ruling:
        """What it says."""
        verb = "allows" if self.allows else "denies"
        return Ruling(self.allows, f"policy rule {self.number} {verb} it" + (f": {self.reason}" if self.reason else ""))


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """All rules in order; the first that matches decides, then the default of the direction."""

    rules: tuple[Rule, ...] = ()
    denied_by_default: frozenset[Direction] = frozenset()

    def judge_export(self, item: ServiceItem) -> Ruling:
        """What becomes of a service of this link."""
        return self._judge("export", item, (), b"")

    def judge_import(self, item: ServiceItem, sites: Iterable[str], key: bytes) -> Ruling:
        """What becomes of a service of another site.

        Args:
            item: the service.
            sites: names that its site is known by, as far as they were verified.
            key: the site's public key, which has signed it.
        """
        return self._judge("import", item, tuple(sites), key)

    @property
    def by_site_name(self) -> tuple[int, ...]:
        """Numbers of the rules that go by names of sites, not only by keys."""
        return tuple(rule.number for rule in self.rules if rule.sites)

    def _judge(self, direction: Direction, item: ServiceItem, sites: tuple[str, ...], key: bytes) -> Ruling:
        for rule in self.rules:
            if direction in rule.directions and rule.matches(item, sites, key):
                return rule.ruling
        if direction in self.denied_by_default:
            return Ruling(allowed=False, by=f"no rule of the policy allows its {direction}")
        return Ruling(allowed=True, by="no rule of the policy matches, and its default allows it" if self.rules else "")


NO_RULES: Final = Rules()


def folded(text: str) -> str:
    """Return a name as names are compared: canonical caseless matching (Unicode, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def name_pattern(text: str) -> re.Pattern[str]:
    """Return what matches folded names: `*` any characters, `?` one, `[abc]` one of them.

    The expressions that `fnmatch` makes do not search back over what a `*` has taken, so that no name is slow.
    """
    return re.compile(fnmatch.translate(folded(text)))
