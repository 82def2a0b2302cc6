"""A laboratory whose hosts stand in a row, as on the path of a flow: host, routers between subnets, host."""

from tools.netlab_host import Host, Subnet
from tools.netlab_lab import Lab


def chain(lab: Lab, *names: str) -> list[Host]:
    """Build hosts in a row with one subnet between two neighbours; all but the first and the last one are routers.

    The subnets are `10.N.0.0/24` and `2001:db8:N::/64` with N from 1 on; each host has a route to every one of them.
    On a router `eth0` leads to the first host and `eth1` to the last one.
    """
    links = [
        lab.subnet(f"link{number}", f"10.{number}.0.0/24", f"2001:db8:{number}::/64") for number in range(1, len(names))
    ]
    hosts = []
    for number, name in enumerate(names):
        here = links[max(number - 1, 0) : number + 1]
        hosts.append(lab.host(name, *here) if len(here) == 1 else lab.router(name, *here))
    for number, host in enumerate(hosts):
        lines = []
        for far, link in enumerate(links):
            if link not in host.interfaces.values():
                neighbour, between = (
                    (hosts[number + 1], links[number]) if far > number else (hosts[number - 1], links[number - 1])
                )
                ways = zip(link.networks, _addresses(neighbour, between), strict=True)
                lines += [f"route replace {network} via {gateway}" for network, gateway in ways]
        lab.ip("\n".join(lines), host.namespace)
    return hosts


def _addresses(host: Host, subnet: Subnet) -> list[str]:
    """Addresses of a host in a subnet, IPv4 first."""
    interface = next(name for name, there in host.interfaces.items() if there is subnet)
    return [str(address.ip) for address in host.addresses[interface]]
