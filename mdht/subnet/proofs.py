"""Which datagrams of a link are believed where hosts sign (mDHT design, section 14, level 2).

Whatever makes or ends a membership must be signed by the host that it speaks of. All else is believed of a host that
has signed something by the same start. Signatures cost time, so they are verified last, and not without limit.
"""

from collections import Counter, OrderedDict
from enum import Enum
from typing import Final

from dhtboot.ids import Address
from dhtboot.limits import TokenBuckets
from mdht.subnet.bounded import remember
from mdht.subnet.host_keys import host_name, is_signed
from mdht.subnet.messages import Ping
from mdht.subnet.replay import ProvenWindows, Seen
from mdht.subnet.wire import Opened

SOURCE_RATE_PER_S: Final = 50.0
"Verified, and pings answered, for one source: a host says few of either in a second, and some may share an address."
SOURCE_BURST: Final = 100.0
KNOWN_RATE_PER_S: Final = 1_000.0
"For all sources from which somebody was verified lately; 0.15 s of processor time in each second at most."
KNOWN_BURST: Final = 2_000.0
"All of 1,024 members answer a ping, ping a newcomer or start at once."
STRANGE_RATE_PER_S: Final = 200.0
"For all others together, so that made-up sources keep nobody out who is in: 0.03 s in each second."
STRANGE_BURST: Final = 1_100.0
"Whoever comes to a link of 1,024 members hears all of them for the first time."
SOURCES_MAX: Final = 4_096
"Sources remembered, about 200 bytes each."
_ALL: Final = ""
"The one member of the buckets that all share."


class Verdict(Enum):
    """What is done with a datagram; the value is the name of its counter."""

    BELIEVED = "believed"
    DUPLICATE = "duplicate"
    REPLAYED = "replayed"
    UNSIGNED = "unsigned"
    "It must be signed and is not: its sender goes without host keys."
    SIGNED = "signed"
    "The other way round: it is signed, where hosts do not sign."
    FORGED = "forged"
    "It is not signed by the host in whose name it is."
    UNPROVEN = "unproven"
    "It need not be signed, but its sender has not yet said anything that is."
    NOT_VERIFIED = "not_verified"
    "Too many have come at a time."
    UNANSWERED = "unanswered"
    "So many pings have: each answer is signed."


class Proofs:
    """One host's judgement of what it hears on one link.

    Attributes:
        counters: of what was verified, for whoever measures.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._windows = ProvenWindows()
        self._sources = TokenBuckets(rate_per_s=SOURCE_RATE_PER_S, burst=SOURCE_BURST, members_max=SOURCES_MAX)
        self._known = TokenBuckets(rate_per_s=KNOWN_RATE_PER_S, burst=KNOWN_BURST)
        self._strange = TokenBuckets(rate_per_s=STRANGE_RATE_PER_S, burst=STRANGE_BURST)
        self._pings = TokenBuckets(rate_per_s=SOURCE_RATE_PER_S, burst=SOURCE_BURST, members_max=SOURCES_MAX)
        self._all_pings = TokenBuckets(rate_per_s=KNOWN_RATE_PER_S, burst=KNOWN_BURST)
        self._proved_from: OrderedDict[str, None] = OrderedDict()

    def judge(self, opened: Opened, source: Address, now: float) -> Verdict:
        """Say what is to be done with a datagram, and remember it.

        Args:
            opened: what it says.
            source: where it comes from.
            now: the time.
        """
        header, message = opened.header, opened.message
        if not is_signed(message):
            if isinstance(message, Ping):
                # Who asks matters to nobody: the answer goes where the question came from.
                wait_s = self._pings.take(source[0], now) or self._all_pings.take(_ALL, now)
                return Verdict.UNANSWERED if wait_s else Verdict.BELIEVED
            return _CLAIMED[self._windows.claim(header.hid, header.incarnation, header.seq)]
        if opened.proof is None:
            return Verdict.UNSIGNED
        if host_name(opened.proof.public_key) != header.hid:
            return Verdict.FORGED
        seen = self._windows.look(header.hid, header.incarnation, header.seq)
        if seen is not Seen.FRESH:
            return _CLAIMED[seen]
        if not self._may_verify(source[0], now):
            return Verdict.NOT_VERIFIED
        self.counters["signatures_verified"] += 1
        if not opened.proof.holds():
            return Verdict.FORGED
        self._windows.prove(header.hid, header.incarnation, header.seq)
        remember(self._proved_from, source[0], None, SOURCES_MAX)
        return Verdict.BELIEVED

    def _may_verify(self, host: str, now: float) -> bool:
        if self._sources.take(host, now):
            return False
        shared = self._known if host in self._proved_from else self._strange
        return not shared.take(_ALL, now)


_CLAIMED: Final = {
    Seen.FRESH: Verdict.BELIEVED,
    Seen.DUPLICATE: Verdict.DUPLICATE,
    Seen.OLD: Verdict.REPLAYED,
    None: Verdict.UNPROVEN,
}
