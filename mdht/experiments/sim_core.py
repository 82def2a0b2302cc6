"""Makes the core of a simulated host, as `mdht.link_host` makes that of a real one."""

from random import Random
from typing import Final

from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.ids import Address
from mdht.experiments.sim_host import SimHost
from mdht.keeping.config import KeepingConfig
from mdht.keeping.keeper import Keeper
from mdht.records import Copy, lawful
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import Identity, Subnet, named
from mdht.subnet.kept import Kept
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.merging import Merging
from mdht.subnet.merging_config import MergingConfig
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig

OVERLAY: Final = "experiment"
OVERLAY_HASH: Final = bytes(20)
SERVER: Final[Address] = ("192.0.2.1", 27184)


def identity_of(link: int) -> Identity:
    """The identity of the subnet of a link, by a configured name."""
    return named(f"link {link}")


def make_core(
    host: SimHost,
    seed: int,
    config: NodePartConfig,
    membership_config: MembershipConfig,
    keeping: KeepingConfig | None,
    identity: Identity,
    now: float,
) -> SubnetHost:
    """A host's core, for its present start.

    Args:
        host: its name, its link, and what it remembers.
        seed: of all chance of the run.
        config: of its part of the node.
        membership_config: of its membership.
        keeping: of what keeps records; None where there are none.
        identity: of the subnet that it founds.
        now: the time.
    """
    again = f" {host.incarnation}" if host.incarnation > 1 else ""
    rng = Random(f"{seed} host {host.number}{again}")
    hid = host.number.to_bytes(8, "big")
    membership = Membership(hid, host.incarnation, (host.address,), OVERLAY_HASH, membership_config, rng)
    kept = None
    if host.kept is not None:
        subnet, since = host.kept
        kept = Kept(subnet=subnet, fingerprint=b"", founded_s=host.ended_at - since, left_s=now - host.ended_at)
    founding_config = FoundingConfig(policy="" if keeping is None else keeping.policy)
    merging = Merging(membership, OVERLAY, MergingConfig(), rng)
    founding = Founding(hid, lambda: identity, kept, founding_config, rng, merging)

    def make_part(subnet: Subnet, now: float) -> NodePart:
        def make_client(on_contact: OnContact) -> BootstrapClient:
            node_id = subnet.identity.node_id(OVERLAY)
            return BootstrapClient(node_id, SERVER, ClientConfig(), rng, on_contact=on_contact)

        return NodePart(subnet, OVERLAY, membership, lambda: (host.address,), config, make_client, rng, now)

    if keeping is None:
        return SubnetHost(membership, founding, make_part)

    def make_records(subnet: Subnet, part: NodePart, former: list[Copy], now: float) -> Keeper:
        # To check all signatures would take the time of the whole simulation.
        addresses, policy = (host.address,), subnet.policy
        return Keeper(membership, part, lambda: addresses, keeping, lawful, rng, now, former, policy=policy)

    return SubnetHost(membership, founding, make_part, make_records, now=now)
