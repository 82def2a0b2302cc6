"""Two live foundings of one identifier that meet in the overlay: one takes another identifier (mDHT design, section 1).

They derive one identity when their links have the same prefix: a pool of addresses whose links do not hear each other,
a local prefix that was set up twice. Whoever knows hosts of the one, and is spoken to by the other, asks the former
(`face_claims`); if these live he names them to the newcomer. Hosts of both then tell each other their ages, and go by
the same two numbers. The later founding gives way, or the one that was refused where no host of the other is reached.
"""

import math
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.conflict import Claim as Founding
from mdht.subnet.conflict import Meeting, Outcome, Shared, settle_conflict
from mdht.subnet.face_claims import Claim, Claims
from mdht.subnet.face_messages import Contest, Contested, Knock, Occupied, OverlayDatagram
from mdht.subnet.face_nodes import NodeTable, contact, pseudo_address
from mdht.subnet.face_speech import Speech
from mdht.subnet.hostset_handout import Own
from mdht.subnet.push import Peer

CONTEST_S: Final = 3.0
"Hosts of the other founding have so long to answer; a cookie and a lost datagram are within it."
GOING_S: Final = 120.0
"Within so long a founding that gives way has done so, and hosts of it that do not answer mean nothing."
HOSTS_ASKED_MAX: Final = 3
AGE_MAX_S: Final = 0xFFFF_FFFF
APART: Final = Meeting(all_reach_all=False, rtt_s=math.inf, key=Shared.NONE)
"What hosts of both sides would find when they ping each other is not looked at: two links stay two nodes."


class Rivals:
    """One host's part.

    Args:
        node_id: of its node.
        overlay: name of the overlay.
        own: what this host tells of itself, now.
        is_alone: whether it knows no other node, as one does that was refused.
        speech: makes datagrams.
        nodes: those whose hosts are known.
        claim_s: hosts of a former founding have so long to show that they are there.
        rng: unpredictable.
        counters: of claims.

    Attributes:
        claims: to identifiers of other nodes.
        founded_at: when its subnet was founded.
        gives_way: whether its subnet must take another identifier.
    """

    def __init__(
        self,
        node_id: int,
        overlay: str,
        own: Callable[[], Own],
        is_alone: Callable[[], bool],
        speech: Speech,
        nodes: NodeTable,
        claim_s: float,
        rng: Random,
        counters: Counter[str],
    ) -> None:
        self.claims = Claims(claim_s)
        self.founded_at = 0.0
        self.gives_way = False
        self._node_id = node_id
        self._overlay = overlay
        self._own = own
        self._is_alone = is_alone
        self._speech = speech
        self._nodes = nodes
        self._rng = rng
        self._counters = counters
        self._refuted: list[Claim] = []
        self._answer_by = math.inf
        self._theirs_until = -math.inf

    # ---- of other nodes' identifiers ---------------------------------------------------------------------------------

    def ask_former(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Send]:
        """Ask the hosts of nodes that others claim whether they are still there; the claimant is heard after that.

        Whose claim is refuted by this datagram is told who has the node.
        """
        sends = [send for claim in self._refuted for send in self._refuse(claim, now)]
        self._refuted.clear()
        for entry in self._nodes.claims:
            address = pseudo_address(entry.identity.node_id(self._overlay))
            own = entry.tag == datagram.tag and entry.identity == datagram.identity
            node = self._nodes.get(address)
            begins = self.claims.note(address, entry, now, datagram if own else None, source)
            self._counters["claims"] += begins
            for host in node.usable if begins and node is not None else ():
                knock = Knock(number=self._rng.getrandbits(64))
                sends.append(self._speech.datagram(host.address, Peer(0, b"", host.address), knock, now))
        self._nodes.claims.clear()
        return sends

    def refute(self, node: Address) -> None:
        """A host of a node lives: whoever claims that node is wrong."""
        claim = self.claims.refute(node)
        if claim is not None:
            self._refuted.append(claim)

    def _refuse(self, claim: Claim, now: float) -> list[Send]:
        if claim.datagram is None:
            return []
        node_id = claim.entry.identity.node_id(self._overlay)
        named = self._speech.named([contact(node_id)], now)
        peer = Peer(node_id, claim.datagram.hid, claim.source)
        return [self._speech.datagram(pseudo_address(node_id), peer, Occupied(), now, entries=named)]

    # ---- of its own --------------------------------------------------------------------------------------------------

    def _occupied(self, datagram: OverlayDatagram, now: float) -> list[Send]:
        """Hosts of another founding of this node are named: tell some of them how old this one is.

        A node that others know is not refused: whoever says so lies, or a cut of the overlay has ended.
        """
        own = self._own()
        named = [one for one in datagram.named if one.identity == own.identity and one.tag != own.tag]
        hosts = [host for one in named for host in one.hosts][:HOSTS_ASKED_MAX]
        if not named or own.identity.salt or self._answer_by < math.inf or not self._is_alone():
            return []
        self._answer_by = now + CONTEST_S
        contest = Contest(age_s=self._age_s(now))
        peers = [Peer(self._node_id, host.hid, host.address) for host in hosts]
        return [self._speech.datagram(pseudo_address(self._node_id), peer, contest, now) for peer in peers]

    def hear(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Send]:
        """A host under this node's own identifier says something, or another one of such hosts."""
        own, body = self._own(), datagram.body
        if isinstance(body, Occupied):
            return self._occupied(datagram, now)
        if datagram.tag == own.tag or datagram.identity != own.identity:
            return []
        match body:
            case Contest(age_s=theirs):
                mine = self._age_s(now)
                self._settle(mine, theirs, datagram.tag, now)
                answer = Contested(age_s=mine, other_age_s=theirs)
                peer = Peer(self._node_id, datagram.hid, source)
                return [self._speech.datagram(pseudo_address(self._node_id), peer, answer, now)]
            case Contested(age_s=theirs, other_age_s=mine) if self._answer_by < math.inf:
                self._answer_by = math.inf
                self._settle(mine, theirs, datagram.tag, now)
        return []

    def tick(self, now: float) -> None:
        """Act on the time: nobody of the other founding can be reached, but its place is taken."""
        if now >= self._answer_by:
            self._answer_by = math.inf
            self.gives_way = now >= self._theirs_until

    def next_deadline(self) -> float:
        """When to call `tick`, and look at the claims that have expired; `math.inf` for never."""
        return min(self._answer_by, self.claims.next_deadline())

    def _age_s(self, now: float) -> int:
        return min(max(0, int(now - self.founded_at)), AGE_MAX_S)

    def _settle(self, my_age_s: int, other_age_s: int, other_tag: bytes, now: float) -> None:
        """A subnet that has taken another identifier once does not do so again, whatever anybody says.

        Where the other one gives way some of its hosts are gone already while others are still named.
        """
        own = self._own()
        mine, other = Founding(my_age_s, own.tag), Founding(other_age_s, other_tag)
        outcome = settle_conflict(mine, other, APART, unicast_merge=False)
        if outcome is Outcome.STAY:
            self._theirs_until = now + GOING_S
        self.gives_way = self.gives_way or (outcome is Outcome.SALT and not own.identity.salt)
