"""Whether an item of another site may be shown on this link, and with which addresses. A core without I/O."""

import unicodedata
from enum import Enum
from typing import Final

import msgspec

from dhtboot.limits import TokenBuckets
from z2z.address_map import NO_MAP, AddressMap
from z2z.addresses import Interface, Scope, classify, own_prefix
from z2z.errors import RemoteProtocolError
from z2z.policy_rules import NO_RULES, Rules, Ruling
from z2z.seal import Opened, Site
from z2z.service_item import ServiceItem
from z2z.trust import Trust, Verdict

NEW_SITES_BURST: Final = 100
NEW_SITES_PER_HOUR: Final = 20
"""Sites met for the first time that are believed at first use: whoever makes them up by the thousand must not fill the
link. An office that starts with more of them gets them within hours, or lists them (`z2z identity trust`)."""


class Why(Enum):
    """Kinds of refusals, as they are counted."""

    OWN = "own"
    SITE = "site"
    "It is not believed, or not yet."
    NAME = "name"
    POLICY = "policy"
    ADDRESS = "address"
    FULL = "full"


class RefusedError(RemoteProtocolError):
    """A value is sound but not for this link; another look may end otherwise."""

    def __init__(self, why: Why, reason: str, opened: Opened) -> None:
        super().__init__(reason)
        self.why = why
        self.opened = opened


class Admission:
    """The door of one importer.

    Args:
        site: this one, whose own exports are not imported.
        trust: the sites that are believed.
        addresses: what a router between the others and this link translates.
        rules: of the administrator.
    """

    def __init__(self, site: Site, trust: Trust, addresses: AddressMap = NO_MAP, rules: Rules = NO_RULES) -> None:
        self._site, self._trust, self._addresses = site, trust, addresses
        self.rules = rules
        self._newcomers = TokenBuckets(rate_per_s=NEW_SITES_PER_HOUR / 3_600, burst=NEW_SITES_BURST)
        self.own: tuple[Interface, ...] = ()
        "Addresses of this host, with their prefixes."

    def admit(self, opened: Opened) -> ServiceItem:
        """Return the item as this link may see it.

        Raises:
            RefusedError: it may not.
        """
        if self._site.id in opened.hops:
            raise RefusedError(Why.OWN, "it is this site's own export", opened)
        verdict = self._trust.judge(opened.site, opened.writer)
        if verdict not in {Verdict.KNOWN, Verdict.NEW}:
            raise RefusedError(Why.SITE, self._trust.reason(verdict, opened.site, opened.writer), opened)
        if any(unicodedata.category(char) == "Cc" for char in opened.item.display_name):
            raise RefusedError(Why.NAME, "its name has control characters", opened)
        ruling = self.ruling(opened)
        if not ruling.allowed:
            raise RefusedError(Why.POLICY, ruling.by, opened)
        return self._sift(opened)

    def meet(self, opened: Opened, now: float) -> bool:
        """Whether its site is new here, and to be remembered.

        Raises:
            RefusedError: so many others were new just before that it has to wait.
        """
        if self._trust.judge(opened.site, opened.writer) is not Verdict.NEW:
            return False
        if self._newcomers.take("", now):
            raise RefusedError(
                Why.SITE,
                f"site {opened.site.name!r} is new, as {NEW_SITES_BURST} others were just before, perhaps made up; "
                f"{NEW_SITES_PER_HOUR} an hour are let in, and at once what is listed (z2z identity trust)",
                opened,
            )
        return True

    def ruling(self, opened: Opened) -> Ruling:
        """What the administrator's rules say of it."""
        names = self._trust.names_of(opened.site, opened.writer)
        return self.rules.judge_import(opened.item, names, opened.writer)

    def _sift(self, opened: Opened) -> ServiceItem:
        """Return the item with the addresses that clients of this link may be sent to."""
        here = self._addresses.apply(opened.item)
        kept, lost = [], list(here.lost)
        for address in here.item.addresses:
            scope, prefix = classify(address), own_prefix(address, self.own)
            if address in here.mapped:  # the administrator knows who answers there
                kept.append(address)
            elif scope not in {Scope.PUBLIC, Scope.PRIVATE}:
                lost.append(f"{address} is {scope.value}")
            elif prefix is not None:
                lost.append(f"{address} lies in {prefix} of this host, where it is on the link already or a stranger")
            else:
                kept.append(address)
        if not kept:
            raise RefusedError(Why.ADDRESS, "; ".join(lost) or "it has no address", opened)
        return msgspec.structs.replace(here.item, addresses=tuple(kept))
