"""Whether an item of another site may be shown on this link, and with which addresses. A core without I/O."""

import unicodedata

import msgspec

from z2z.address_map import NO_MAP, AddressMap
from z2z.addresses import Interface, Scope, classify, own_prefix
from z2z.errors import RemoteProtocolError
from z2z.policy_rules import NO_RULES, Rules, Ruling
from z2z.seal import Opened, Site
from z2z.service_item import ServiceItem
from z2z.trust import Trust, Verdict


class RefusedError(RemoteProtocolError):
    """A value is sound but not for this link; another look may end otherwise."""

    def __init__(self, reason: str, opened: Opened, *, expected: bool = False) -> None:
        super().__init__(reason)
        self.opened = opened
        self.expected = expected
        "Every set-up with several sites has such values: of interest only to who asks for details."


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
        self.own: tuple[Interface, ...] = ()
        "Addresses of this host, with their prefixes."

    def admit(self, opened: Opened) -> ServiceItem:
        """Return the item as this link may see it.

        Raises:
            RefusedError: it may not.
        """
        if self._site.id in opened.hops:
            raise RefusedError("it is this site's own export", opened, expected=True)
        verdict = self._trust.judge(opened.site, opened.writer)
        if verdict not in {Verdict.KNOWN, Verdict.NEW}:
            raise RefusedError(self._trust.reason(verdict, opened.site, opened.writer), opened)
        if any(unicodedata.category(char) == "Cc" for char in opened.item.display_name):
            raise RefusedError("its name has control characters", opened)
        ruling = self.ruling(opened)
        if not ruling.allowed:
            raise RefusedError(ruling.by, opened)
        return self._sift(opened)

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
            raise RefusedError("; ".join(lost) or "it has no address", opened)
        return msgspec.structs.replace(here.item, addresses=tuple(kept))
