"""Whether a subnet is a node of the overlay or a client, by whether others reach its hosts (mDHT design, section 13).

A node of which nobody is reached would be asked in vain, and its records not found. Such a subnet takes no place in the
overlay: it asks the nodes that are in it, and nobody lists it. One of its hosts decides, the others follow.
"""

from dhtboot.bootstrap_client import BootstrapClient, Phase
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Effect, Send
from dhtboot.ids import NodeRef
from mdht.subnet.face import Face
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.hostset import in_private
from mdht.subnet.hostset_handout import Own
from mdht.subnet.in_step import InStep
from mdht.subnet.membership import Membership
from mdht.subnet.reachability import Verdict


class Outside:
    """One host's part.

    Args:
        face: towards other subnets, with what is known of how they reach this host.
        step: with the siblings.
        membership: who they are.
    """

    def __init__(self, face: Face, step: InStep, membership: Membership) -> None:
        self._face = face
        self._step = step
        self._membership = membership

    @property
    def unlisted(self) -> bool:
        """Whether others are not to be told of this host; one that does not know yet is as its siblings are."""
        verdict = self._face.reach.verdict
        return verdict is Verdict.UNREACHED or (verdict is Verdict.UNKNOWN and self._step.client)

    @property
    def all_unlisted(self) -> bool:
        """Whether no host that answers for the node is reached; who has not said so yet is as this one is."""
        if not self.unlisted:
            return False
        view = self._membership.view
        return not any(member.unlisted is False for hid in view.ready if (member := view.get(hid)) is not None)

    @property
    def must_change(self) -> bool:
        """Whether the node is to become a client, or a client a node, and it is this host that sees to it."""
        # The list of what is known is made last: this is asked after each datagram, and nearly always ends before.
        changed = self.all_unlisted != self._step.client and self._step.ready()[:1] == [self._membership.hid]
        return changed and bool(self.known)

    @property
    def known(self) -> list[NodeRef]:
        """Nodes by which this one can come into the overlay; others may have given one up that is not reached."""
        return contacts_of(self._face.core) or self._face.nodes.usable()

    def change_in_place(self, now: float, *, client: bool) -> bool:
        """Take or give up the node's place, where that goes without joining; whether it does."""
        core = self._face.core
        if isinstance(core, ChordNode) or not core.contacts:
            return False
        self._step.change(now, client=client)
        core.upkeep.look_up_self(now)
        core.set_timers()
        return True

    def tell(self) -> bool:
        """Have heartbeats tell the siblings how this host is reached; whether that is news."""
        report, now = self._membership.report, (self._face.reach.mapped, self.unlisted)
        news = (report.mapped, report.unlisted) != now
        report.mapped, report.unlisted = now
        if news:
            self._membership.view.changed()
        return news

    def find_out(self, now: float) -> list[Send]:
        """A way into the overlay is known; what the node will be there may depend on what a probe shows."""
        reach = self._face.reach
        return reach.begin(now) if reach.verdict is Verdict.UNKNOWN and reach.translated else []

    def report(self, client: BootstrapClient, own: Own, now: float) -> list[Effect]:
        """Have the node put on the server's list, which has it where the server sees this host, or taken off it."""
        reach = self._face.reach
        mapped = reach.mapped is not None and reach.mapped == reach.seen
        if not own.client and (mapped or own.reached_directly(allow_private=in_private(client.server))):
            return client.report(now)
        return [] if client.phase is Phase.ASKING else client.leave(now)
