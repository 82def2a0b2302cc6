"""With which members multicast does not pass, and who gets copies by unicast because of that (mDHT design, section 12).

Each direction is looked at by itself. Whoever does not hear a member by multicast says so in its heartbeats, and that
member sends it copies of all that is meant for all. As long as two hosts know nothing of each other, each sends copies
to the other one. Multicasts go out always, so that everybody notices when they pass again.
"""

import math
from collections import OrderedDict
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.bounded import remember
from mdht.subnet.effects import LinkMode, LinkModeChanged
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import COPIES_MAX, Here, State
from mdht.subnet.silence import Silence
from mdht.subnet.view import Member, View

SPEAKERS_MAX: Final = 2048
"Hosts of which is known when they were heard: twice the members of a subnet."
ASKERS_MAX: Final = 64
"Hosts that hear nobody, and have asked who is there."
ASKED_S: Final = 2.0
"Each gets copies for so long, and by then is a member."


class _Way:
    """From one host to this one, and back."""

    __slots__ = ("all_at", "deaf", "group_at", "steady_since", "unheard")

    def __init__(self) -> None:
        self.group_at = -math.inf
        "When it was heard by multicast."
        self.steady_since = -math.inf
        "Since when that has happened without a gap."
        self.all_at = -math.inf
        "When a hello or a heartbeat of it has come, perhaps as a copy."
        self.unheard = False
        "This host does not hear it by multicast."
        self.deaf = False
        "It says that it does not hear this host."


class Reach:
    """One host's view of the ways to the others.

    Args:
        hid: own name.
        view: the other members.
        silence: how long periods are, and whether this host was late.
        config: times and limits.
    """

    def __init__(self, hid: bytes, view: View, silence: Silence, config: MembershipConfig) -> None:
        self._hid = hid
        self._view = view
        self._silence = silence
        self._config = config
        self._ways: OrderedDict[bytes, _Way] = OrderedDict()
        self._broken: dict[bytes, _Way] = {}
        self._askers: OrderedDict[bytes, tuple[Address, float]] = OrderedDict()
        self._started_at = self._group_at = -math.inf
        self._told = LinkModeChanged(mode=LinkMode.MULTICAST, members=0, emulated=0, unheard=0, deaf=0, left_out=0)

    # ---- what is heard -------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """This host listens from now on."""
        self._started_at = now

    def heard_by_group(self, hid: bytes, now: float) -> None:
        """A datagram of another host has come by multicast, which may have come as a copy before."""
        way = self._way(hid)
        if now - way.group_at > self._silence.limit_s():
            way.steady_since = now
        way.group_at = self._group_at = now

    def heard(self, hid: bytes, now: float) -> None:
        """A hello or heartbeat of another host has come, by whichever way."""
        self._way(hid).all_at = now

    def on_here(self, hid: bytes, here: Here) -> None:
        """A member says whom it hears; one that knows nobody yet says nothing."""
        if here.size > 1:
            way = self._way(hid)
            way.deaf = here.heard == 0 or self._hid in here.unheard
            self._sort(hid, way)

    def on_asker(self, hid: bytes, address: Address, now: float) -> None:
        """Somebody hears nobody, and asks who is there."""
        remember(self._askers, hid, (address, now + ASKED_S), ASKERS_MAX)
        if self._view.get(hid) is not None:
            self._way(hid).deaf = True
            self._sort(hid, self._way(hid))

    def came_in(self, hid: bytes, now: float) -> None:
        """A member has come in; multicast passes to and from it unless something speaks against that.

        One of hearsay has a few periods to be heard: a newcomer speaks more often than others.
        """
        way = self._way(hid)
        way.deaf = hid in self._askers
        patience_s = self._patience_s()
        if now - way.group_at > patience_s:
            # It has spoken to all, and not by multicast, though this host listens; or this host hears nobody at all.
            listens = now - self._started_at > self._silence.limit_s()
            way.unheard = (listens and now - way.all_at <= patience_s) or not self.hears(now)
            if not way.unheard:
                way.group_at = now - patience_s + self._config.unheard_heartbeats * self._silence.period_s()
        self._sort(hid, way)

    def hears(self, now: float) -> bool:
        """Whether anybody is heard by multicast."""
        return now - self._group_at <= self._patience_s()

    # ---- what follows --------------------------------------------------------------------------------------------

    def look(self, now: float) -> list[LinkModeChanged]:
        """Judge anew who is heard; what is in use when that has changed. Once in a period of heartbeats is enough."""
        live = self._view.live
        if not self._silence.is_patient(now):
            for member in live:
                if member.state is not State.SUSPECT:
                    self._judge(member, now)
        self._forget(live)
        mode = self._mode(len(live), now)
        before, self._told = self._told, mode
        others = mode.mode is LinkMode.PARTLY and mode.emulated != before.emulated
        return [mode] if mode.mode is not before.mode or others or mode.left_out != before.left_out else []

    @property
    def mode(self) -> LinkModeChanged:
        """What was in use at the last look."""
        return self._told

    def unheard(self) -> list[bytes]:
        """Live members that this host does not hear by multicast, in the order of their names."""
        return sorted(hid for hid, way in self._broken.items() if way.unheard and self._live(hid) is not None)

    def copies(self, now: float) -> list[Address]:
        """Where copies of what is told to all go beside the group."""
        if not self._broken and not self._askers:
            return []
        members = [member.addresses[0] for member in self._needing(now)][:COPIES_MAX]
        for hid in [hid for hid, (_, until) in self._askers.items() if until < now]:
            del self._askers[hid]
        askers = [address for hid, (address, _) in self._askers.items() if hid not in self._broken]
        return members + askers

    def _needing(self, now: float) -> list[Member]:
        """Members that do not hear this host, or of which nothing is known since they are not heard."""
        patience_s, found = self._patience_s(), []
        for hid, way in sorted(self._broken.items()):
            member = self._live(hid)
            if member is not None and member.addresses and (way.deaf or now - way.all_at > patience_s):
                found.append(member)
        return found

    def _mode(self, members: int, now: float) -> LinkModeChanged:
        ways = self._broken.values()
        mode = LinkMode.MULTICAST if not ways else LinkMode.PARTLY if len(ways) < members else LinkMode.EMULATED
        return LinkModeChanged(
            mode=mode,
            members=members,
            emulated=len(ways),
            unheard=sum(way.unheard for way in ways),
            deaf=sum(way.deaf for way in ways),
            left_out=max(0, len(self._needing(now)) - COPIES_MAX),
        )

    def _judge(self, member: Member, now: float) -> None:
        way = self._way(member.hid)
        if way.group_at == way.all_at == -math.inf and not way.unheard:
            way.group_at = now  # forgotten among made-up names: it has its time again
        if not way.unheard:
            way.unheard = now - way.group_at > self._patience_s()
        elif now - way.group_at <= self._silence.limit_s():
            way.unheard = now - way.steady_since < self._config.heard_again_s
        self._sort(member.hid, way)

    def _sort(self, hid: bytes, way: _Way) -> None:
        if way.unheard or way.deaf:
            self._broken[hid] = way
        else:
            self._broken.pop(hid, None)

    def _forget(self, live: list[Member]) -> None:
        """Who is no member any more needs nothing."""
        names = {member.hid for member in live}
        for hid in [hid for hid in self._broken if hid not in names]:
            way = self._broken.pop(hid)
            way.unheard = way.deaf = False

    def _way(self, hid: bytes) -> _Way:
        way = self._broken.get(hid) or self._ways.get(hid) or _Way()
        remember(self._ways, hid, way, SPEAKERS_MAX)
        return way

    def _live(self, hid: bytes) -> Member | None:
        member = self._view.get(hid)
        return member if member is not None and member.live else None

    def _patience_s(self) -> float:
        config = self._config
        return max(config.unheard_heartbeats * self._silence.period_s(), config.unheard_min_s)
