"""What of a node is shown, and where: on the link, in the DHT, to sites by z2z, and to whoever probes it on the path.

A policy is a TOML file with a table for each place:

    [dht]
    show = ["blocks", "location"]     # or true for all, false for nothing
    blocks = ["ffmpeg", "http*"]      # only these; likewise modules
    location_km = 100                 # rounded to so much
    addresses = "public"              # or "all", or "none"

    [sites]
    keys = ["office"]                 # of z2z: under which it is exported

A place without a table is as in `DEFAULT`. Name, public key, ports and life of the record are always shown.
"""

import difflib
import fnmatch
import math
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final

import msgspec

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import STEP_DEGREES, mesh_degrees
from netserv_discovery.record import WITHIN_MAX_KM, Limits, NodeRecord
from netserv_discovery.versions import Offer, folded
from z2z.addresses import Scope, classify
from z2z.errors import LocalProtocolError as KeyWordError
from z2z.keys import normalise

ITEMS: Final = ("blocks", "modules", "limits", "load", "location", "operator")
"What may be hidden of a record; its addresses have a rule of their own."
PATTERNS_MAX: Final = 256
"Names in one list: as many as a node has blocks."
SITE_KEYS_MAX: Final = 16
"Each is one more service on the links of others."
LOCATION_KM_MAX: Final = 5_000
MISTAKES_MAX: Final = 5
"Told at once; more would hide the first."
_KM_OF_DEGREE: Final = 111.195
"Of a meridian."
_HALF_DIAGONAL: Final = math.sqrt(0.5)
"Of a square of side 1."


class Where(StrEnum):
    """Places; the value is the name of the table."""

    LINK = "link"
    DHT = "dht"
    SITES = "sites"
    PROBE = "probe"


class Reach(StrEnum):
    """Which addresses are shown."""

    ALL = "all"
    "But for loopback, which nobody else can use, unless there are no others."
    PUBLIC = "public"
    NONE = "none"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown in one place."""

    show: frozenset[str] | None = frozenset(ITEMS)
    "None: nothing at all."
    blocks: tuple[str, ...] = ()
    "Patterns; none: all."
    modules: tuple[str, ...] = ()
    location_km: float = 0.0
    "0: as it is."
    addresses: Reach = Reach.ALL
    keys: tuple[str, ...] = ()
    "Of z2z; for sites only."


class Policy(msgspec.Struct, frozen=True):
    """What is shown where."""

    views: Mapping[Where, View]

    def view(self, where: Where) -> View:
        """What is shown in that place."""
        return self.views[where]


DEFAULT: Final = Policy(
    MappingProxyType(
        {
            Where.LINK: View(),
            # As z2z: private addresses lead strangers nowhere, and tell them how the site is built.
            Where.DHT: View(addresses=Reach.PUBLIC),
            Where.SITES: View(show=None, addresses=Reach.PUBLIC),
            Where.PROBE: View(),
        }
    )
)
"Without a file: all but to sites, in the DHT with public addresses only."


def parse_policy(text: str) -> Policy:
    """The policy of a TOML text.

    Raises:
        LocalProtocolError: it says what cannot be meant; the text names the first mistakes.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LocalProtocolError(f"not TOML: {error}") from error
    reader = _Reader()
    policy = reader.read(table)
    if reader.mistakes:
        more = len(reader.mistakes) - MISTAKES_MAX
        told = "; ".join(reader.mistakes[:MISTAKES_MAX])
        raise LocalProtocolError(told + (f"; and {more} more" if more > 0 else ""))
    return policy


def with_sites(policy: Policy, keys: Iterable[str]) -> Policy:
    """The same, with more keys of z2z under which the node is exported.

    Raises:
        LocalProtocolError: one says nothing, or they are too many.
    """
    sites = policy.view(Where.SITES)
    show = frozenset(ITEMS) if sites.show is None else sites.show
    words = tuple(dict.fromkeys((*sites.keys, *keys)))
    if len(words) > SITE_KEYS_MAX:
        raise LocalProtocolError(f"{len(words)} keys of z2z; at most {SITE_KEYS_MAX} are possible")
    for word in words:
        try:
            normalise(word)
        except KeyWordError as error:
            raise LocalProtocolError(str(error)) from error
    view = msgspec.structs.replace(sites, show=show, keys=words)
    return Policy(MappingProxyType(dict(policy.views) | {Where.SITES: view}))


def with_private(policy: Policy) -> Policy:
    """The same, with private addresses told in the DHT and to sites."""
    views = dict(policy.views)
    for where in (Where.DHT, Where.SITES):
        views[where] = msgspec.structs.replace(policy.view(where), addresses=Reach.ALL)
    return Policy(MappingProxyType(views))


def shown(record: NodeRecord, where: Where, policy: Policy = DEFAULT) -> NodeRecord | None:
    """The record as it is shown in a place; None if it is not (`hidden_because` says why).

    Args:
        record: whole.
        where: the place.
        policy: the operator's.
    """
    if hidden_because(record, where, policy):
        return None
    view = policy.view(where)
    show = view.show or frozenset()
    location, within_km = record.location if "location" in show else None, record.within_km
    if location is not None and view.location_km > _KM_OF_DEGREE * STEP_DEGREES:
        mesh = mesh_degrees(view.location_km / _KM_OF_DEGREE)
        location = location.rounded(mesh)
        within_km = min(math.ceil(within_km + mesh * _KM_OF_DEGREE * _HALF_DIAGONAL), WITHIN_MAX_KM)
    return msgspec.structs.replace(
        record,
        addresses=_addresses(record.addresses, view.addresses),
        blocks=_offers(record.blocks, view.blocks) if "blocks" in show else (),
        modules=_offers(record.modules, view.modules) if "modules" in show else (),
        limits=record.limits if "limits" in show else Limits(),
        load=record.load if "load" in show else 0,
        location=location,
        within_km=within_km,
        operator=record.operator if "operator" in show else "",
    )


def hidden_because(record: NodeRecord, where: Where, policy: Policy = DEFAULT) -> str:
    """Why a record is not shown in a place, with the remedy; empty if it is."""
    view = policy.view(where)
    if view.show is None:
        return f"the policy shows nothing ([{where}] show = false)"
    if where is Where.SITES and not view.keys:
        return 'no site is named; say under which keys of z2z: [sites] keys = ["office"]'
    if view.addresses is not Reach.NONE and not _addresses(record.addresses, view.addresses):
        if view.addresses is Reach.PUBLIC and record.addresses:
            return f'no address is public; for a site with private ones say [{where}] addresses = "all"'
        return "the node has no address"
    return ""


def _addresses(addresses: tuple[bytes, ...], reach: Reach) -> tuple[bytes, ...]:
    if reach is Reach.NONE:
        return ()
    scopes = [(each, classify(ip_address(each))) for each in addresses]
    if reach is Reach.PUBLIC:
        return tuple(each for each, scope in scopes if scope is Scope.PUBLIC)
    usable = tuple(each for each, scope in scopes if scope in {Scope.PUBLIC, Scope.PRIVATE})
    return usable or addresses


def _offers(offers: tuple[Offer, ...], patterns: tuple[str, ...]) -> tuple[Offer, ...]:
    if not patterns:
        return offers
    return tuple(each for each in offers if any(fnmatch.fnmatchcase(folded(each.name), one) for one in patterns))


class _Reader:
    """Collects mistakes on the way."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def read(self, table: Mapping[str, Any]) -> Policy:
        """The policy, sound only if there is no mistake."""
        self._known(table, tuple(Where), "")
        views = {where: self._view(where, table.get(where)) for where in Where}
        return Policy(MappingProxyType(views))

    def _view(self, where: Where, table: Any) -> View:
        default = DEFAULT.view(where)
        if table is None:
            return default
        if not isinstance(table, dict):
            self.mistakes.append(f"{where}: a table is needed: [{where}] in a line of its own")
            return default
        known = ("show", "blocks", "modules", "location_km", "addresses")
        self._known(table, (*known, "keys") if where is Where.SITES else known, f"[{where}] ")
        # Who names keys means to be shown there.
        show = table.get("show", where is Where.SITES or default.show is not None)
        return View(
            show=self._show(where, show),
            blocks=tuple(folded(each) for each in self._words(where, table, "blocks", PATTERNS_MAX)),
            modules=tuple(folded(each) for each in self._words(where, table, "modules", PATTERNS_MAX)),
            location_km=self._km(where, table.get("location_km", 0)),
            addresses=self._reach(where, table.get("addresses", default.addresses)),
            keys=self._keys(where, table),
        )

    def _show(self, where: Where, value: Any) -> frozenset[str] | None:
        if isinstance(value, bool):
            return frozenset(ITEMS) if value else None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._wrong(where, "show", f"true, false, or a list of {', '.join(ITEMS)}", value)
            return None
        for each in value:
            if each not in ITEMS:
                self.mistakes.append(f"[{where}] show: unknown item {each[:40]!r}: {_hint(each, ITEMS)}")
        return frozenset(value)

    def _words(self, where: Where, table: Mapping[str, Any], name: str, words_max: int) -> tuple[str, ...]:
        value = table.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self._wrong(where, name, "a list of names, * for any letters", value)
        elif not value:
            self._wrong(where, name, f"never empty: to hide all {name}, leave them out of show", value)
        elif len(value) > words_max:
            self.mistakes.append(f"[{where}] {name}: {len(value)} names; at most {words_max}")
        else:
            return tuple(value)
        return ()

    def _km(self, where: Where, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LOCATION_KM_MAX:
            self._wrong(where, "location_km", f"a number of kilometres, 0 to {LOCATION_KM_MAX}", value)
            return 0.0
        return float(value)

    def _reach(self, where: Where, value: Any) -> Reach:
        if value not in tuple(Reach):
            self._wrong(where, "addresses", '"all", "public" or "none"', value)
            return Reach.NONE
        return Reach(value)

    def _keys(self, where: Where, table: Mapping[str, Any]) -> tuple[str, ...]:
        words = self._words(where, table, "keys", SITE_KEYS_MAX) if where is Where.SITES else ()
        for word in words:
            try:
                normalise(word)
            except KeyWordError as error:
                self.mistakes.append(f"[{where}] keys: {error}")
        return words

    def _known(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in known:
                self.mistakes.append(f"{where}unknown key {key[:40]!r}: {_hint(key, known)}")

    def _wrong(self, where: Where, key: str, right: str, value: object) -> None:
        self.mistakes.append(f"[{where}] {key} is {right}, not {repr(value)[:60]}")


def _hint(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"{close[0]} is meant?" if close else f"there are {', '.join(known)}"
