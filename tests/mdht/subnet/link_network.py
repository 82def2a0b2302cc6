"""The link of the experiments, with hosts that are a membership and nothing else."""

from mdht.experiments.link_run import TAG, Host, LinkOf, hid_of
from mdht.subnet.membership import Membership
from mdht.subnet.messages import State

__all__ = ["TAG", "Host", "LinkNetwork", "LinkOf", "hid_of", "sees"]


class LinkNetwork(LinkOf[Host]):
    def make(self, number: int, membership: Membership) -> Host:
        return Host(number, membership)


def sees(host: Host) -> dict[int, State]:
    """State of every member that a host knows, by number."""
    return {int.from_bytes(member.hid, "big"): member.state for member in host.membership.view}
