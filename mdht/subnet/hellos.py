"""Hello to all, and by unicast to those who may not hear it otherwise (mDHT design, section 12)."""

import math
from collections.abc import Iterable
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.effects import Effect, Unicast
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Want
from mdht.subnet.peers import Peers
from mdht.subnet.reach import Reach
from mdht.subnet.view import View, rank
from mdht.subnet.voice import Voice

ASK_AGAIN_S: Final = 0.2
"Whoever has heard nobody by then hears no multicast, or is alone."
UNANSWERED_S: Final = 0.5
"Whoever hears members by then and gets no answer may not be heard himself."
WANT_COPY: Final = Want.ANSWER | Want.COPY


class Hellos:
    """One host's.

    Args:
        hid: own name.
        view: the other members.
        voice: makes the messages.
        reach: knows whether anybody is heard by multicast.
        config: times and limits.

    Attributes:
        peers: addresses where hosts of the link may be who are no members.
    """

    def __init__(self, hid: bytes, view: View, voice: Voice, reach: Reach, config: MembershipConfig) -> None:
        self.peers = Peers(config.peers_s)
        self._hid = hid
        self._view = view
        self._voice = voice
        self._reach = reach
        self._answers = config.answers
        self._started_at = math.inf

    def start(self, now: float) -> None:
        """This host has come to the link."""
        self._started_at = now

    def say(self, now: float) -> list[Effect]:
        """Hello to all; to a few members too by unicast, where none of them has answered yet."""
        deaf = now - self._started_at > ASK_AGAIN_S and not self._reach.hears(now)
        want = WANT_COPY if deaf else Want.ANSWER
        said: list[Effect] = [self._voice.hello(want), *self.to_peers(now)]
        if self._voice.subnet is None and now - self._started_at > UNANSWERED_S:
            members = [self._view.get(hid) for hid in rank(self._hid, self._view.ready)[: self._answers]]
            said += self._to([member.addresses[0] for member in members if member is not None], now)
        return said

    def to_peers(self, now: float) -> list[Unicast]:
        """To those who are known, and no members."""
        members = {address for member in self._view.live for address in member.addresses}
        return self._to(self.peers.strangers(members, now), now)

    def present(self, address: Address) -> Unicast:
        """Hello to one member that may not know this host, which wants no answer."""
        return Unicast(address, self._voice.hello(Want.NOTHING).message, to_all=True)

    def _to(self, addresses: Iterable[Address], now: float) -> list[Unicast]:
        hello = self._voice.hello(Want.ANSWER if self._reach.hears(now) else WANT_COPY).message
        return [Unicast(address, hello, to_all=True) for address in addresses]
