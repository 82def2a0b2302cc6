"""Lookups of hosts on the internet of the experiments."""

from dhtboot.effects import Send
from dhtboot.overlay import OnOwner
from mdht.experiments.internet import Internet
from mdht.experiments.sim_host import SimHost
from mdht.subnet.effects import Multicast, Unicast


def find_owner(net: Internet, host: SimHost, key: int, on_owner: OnOwner) -> None:
    """Have a host look for the node responsible for a key; see `dhtboot.overlay.find_owner`."""
    if host.core is not None and host.core.part is not None:
        wanted = host.core.part.find_owner(key, net.now, on_owner)
        net.perform(host, [effect for effect in wanted if isinstance(effect, Send | Multicast | Unicast)])
