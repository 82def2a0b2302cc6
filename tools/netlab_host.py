"""A link, a host and a router of the laboratory, each as a Linux network namespace."""

import ipaddress
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

from tools import netlab_keeper as keeper
from tools.netlab_avahi import Avahi
from tools.netlab_capture import Capture, capture_words
from tools.netlab_process import LabError, Process

if TYPE_CHECKING:
    from tools.netlab_lab import Lab

RUN_S: Final = 30.0
"Default limit of one command on a host."
SEARCH_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"A plain user's PATH has no `ip` and no `avahi-daemon` on Debian."

HOST_SETTINGS: Final[Mapping[str, int | str]] = {
    # Addresses are chosen here: duplicate address detection only costs a second, router solicitations only noise.
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/dad_transmits": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv4/ping_group_range": "0 0",  # the one group that every user namespace has may ping without privileges
}
ROUTER_SETTINGS: Final[Mapping[str, int | str]] = {**HOST_SETTINGS, "ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
BRIDGE_SETTINGS: Final[Mapping[str, int | str]] = {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1}
"""The bridge only carries frames: without IPv6 it sends none itself."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def environment(directory: Path, host: str) -> dict[str, str]:
    """Return the environment of a host's programs: state, configuration and D-Bus of their own, and the mark."""
    home = directory / host
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_"))}
    return kept | {
        "PATH": SEARCH_PATH,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={home / 'bus'}",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # a log is only worth reading when it is up to date
        keeper.MARK: str(directory),
    }


class Subnet:
    """One link: a bridge in a namespace of its own, with one port per interface of a host."""

    def __init__(self, lab: "Lab", name: str, ipv4: str, ipv6: str | None, first: int = 2) -> None:
        self.name, self._lab = name, lab
        self.namespace = f"{lab.name}-{name}"
        self.networks: list[Network] = [ipaddress.ip_network(net) for net in (ipv4, ipv6) if net is not None]
        self.hosts: list[Host] = []
        self._switches: set[int] = set()
        self.gateways: list[Interface] = []
        "Addresses of the first router, one per family."
        self._free = {net: itertools.count(first) for net in self.networks}  # number 1 is kept for the first router
        lab.create_namespace(self.namespace, BRIDGE_SETTINGS)
        # Without snooping the bridge floods all multicast, as a plain switch does.
        lab.ip("link add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up", self.namespace)

    def link(self, up: bool) -> None:
        """Let the switch of this subnet work or fail: no frame passes between any two hosts, though links stay up."""
        self._lab.ip(f"link set br0 {'up' if up else 'down'}", self.namespace)

    def filter_multicast(self, host: "Host", *, to_host: bool, from_host: bool) -> None:
        """Let no multicast pass to a host, or from it; unicast and broadcast do.

        A bridge filters what leaves it by a port. So the host gets a switch of its own, which hangs on the other one.
        """
        number = self.hosts.index(host) + 1
        switch, near, far = f"sw{number}", f"u{number}", f"d{number}"
        if number not in self._switches:
            self._switches.add(number)
            self._lab.ip(
                f"link add {switch} type bridge mcast_snooping 0 forward_delay 0\nlink set {switch} up\n"
                f"link add {near} type veth peer name {far}\nlink set {near} master {switch}\nlink set {near} up\n"
                f"link set {far} master br0\nlink set {far} up\nlink set p{number} master {switch}",
                self.namespace,
            )
        for port, filters in ((far, to_host), (near, from_host)):
            flood = "off" if filters else "on"
            self._lab.ip(f"link set {port} type bridge_slave mcast_flood {flood}", self.namespace)

    def capture(self, pcap_filter: str) -> Capture:
        """Begin to record the frames of this link that match a filter of pcap-filter(7)."""
        numbers = itertools.count(1)
        stems = (self._lab.directory / f"{self.name}-{number}" for number in numbers)
        stem = next(stem for stem in stems if not stem.with_suffix(".log").exists())
        words = [*self._lab.entry(self.namespace), *capture_words("br0", stem.with_suffix(".pcap"), pcap_filter)]
        process = Process(
            words, stem.with_suffix(".log"), env=environment(self._lab.directory, ""), stdin=None, stdout=None
        )
        self._lab.processes.append(process)
        return Capture(process, stem.with_suffix(".pcap"))

    def plug_into(self, other: "Subnet") -> None:
        """Connect the switches of two subnets, which are one link from now on; their hosts keep their addresses."""
        here, there = f"to-{other.name}"[:15], f"to-{self.name}"[:15]
        self._lab.ip(f"link add {here} netns {self.namespace} type veth peer name {there} netns {other.namespace}")
        self._lab.ip(f"link set {here} master br0\nlink set {here} up", self.namespace)
        self._lab.ip(f"link set {there} master br0\nlink set {there} up", other.namespace)

    def attach(self, host: "Host", interface: str) -> list[Interface]:
        """Plug a host in; return the addresses it is to take."""
        port = f"p{len(self.hosts) + 1}"
        self._lab.ip(
            f"link add {port} netns {self.namespace} type veth peer name {interface} netns {host.namespace}",
        )
        self._lab.ip(f"link set {port} master br0\nlink set {port} up", self.namespace)
        self.hosts.append(host)
        first_router = host.forwards and not self.gateways
        taken: list[Interface] = []
        for net in self.networks:
            number = 1 if first_router else next(self._free[net])
            if number >= net.num_addresses - 1:
                raise LabError(f"subnet {self.name}: no address is left in {net}")
            taken.append(ipaddress.ip_interface(f"{net[number]}/{net.prefixlen}"))
        if first_router:
            self.gateways = taken
        return taken


class Host:
    """One machine: a network namespace with an interface per subnet, and a directory for its state.

    A router is a host that forwards between its subnets; as on any plain router, multicast stays on its link.
    """

    def __init__(self, lab: "Lab", name: str, subnets: tuple[Subnet, ...], *, forwards: bool) -> None:
        self.name, self.lab, self.forwards = name, lab, forwards
        self.namespace = f"{lab.name}-{name}"
        self.directory = lab.directory / name
        for part in ("config", "state", "cache", "data", "run"):
            (self.directory / part).mkdir(parents=True, mode=0o700)
        self.interfaces: dict[str, Subnet] = {}
        self.addresses: dict[str, list[Interface]] = {}
        self._logs = itertools.count(1)
        lab.create_namespace(self.namespace, ROUTER_SETTINGS if forwards else HOST_SETTINGS)
        lab.ip("link set lo up", self.namespace)
        for number, subnet in enumerate(subnets):
            interface = f"eth{number}"
            self.interfaces[interface] = subnet
            self.addresses[interface] = subnet.attach(self, interface)
        self.link(up=True)

    @property
    def interface(self) -> str:
        """The first interface."""
        return next(iter(self.interfaces))

    @property
    def ipv4(self) -> str:
        """The IPv4 address of the first interface."""
        return next(str(address.ip) for address in self.addresses[self.interface] if address.version == 4)

    @property
    def ipv6(self) -> str | None:
        """The global IPv6 address of the first interface, where its subnet has a prefix."""
        return next((str(address.ip) for address in self.addresses[self.interface] if address.version == 6), None)

    def link(self, up: bool, subnet: Subnet | None = None) -> None:
        """Set the interfaces of this host up or down, or only the one in `subnet`.

        Coming up restores addresses and default routes, which the kernel forgets when an interface goes down.
        """
        names = [name for name, there in self.interfaces.items() if subnet in (None, there)]
        lines = [f"link set {name} {'up' if up else 'down'}" for name in names]
        if up:
            for name in names:
                lines += [
                    f"address replace {address} dev {name}{' nodad' if address.version == 6 else ''}"
                    for address in self.addresses[name]
                ]
        self.lab.ip("\n".join(lines), self.namespace)
        if up:
            self.set_default_routes()

    def set_default_routes(self) -> None:
        """Route everything else through the first router of the first subnet, where there is one."""
        if self.forwards or not self.interfaces:
            return
        for gateway in self.interfaces[self.interface].gateways:
            self.lab.ip(f"route replace default via {gateway.ip} dev {self.interface}", self.namespace)

    def forward_port(
        self, port: int, host: "Host", *, to: int | None = None, protocol: str = "udp", on: bool = True
    ) -> None:
        """As a router made by `Lab.nat`: pass on to a host what comes to a port of its own outer address.

        Args:
            port: of the router.
            host: behind it.
            to: port of the host; the same by default.
            protocol: `udp` or `tcp`.
            on: whether to begin with it, or to end it.
        """
        there = f"{host.ipv4}:{to or port}"
        rule = ["-i", self.interface, "-p", protocol, "--dport", str(port), "-j", "DNAT", "--to", there]
        self.run("iptables", "-t", "nat", "-A" if on else "-D", "PREROUTING", *rule)

    def command(self, *argv: str) -> list[str]:
        """Return the words that run `argv` on this host, for a process of one's own."""
        return [*self.lab.entry(self.namespace, self.directory), *argv]

    def run(
        self,
        *argv: str,
        timeout: float = RUN_S,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this host to its end, in the host's directory.

        Args:
            *argv: the program and its arguments.
            timeout: seconds until it is killed.
            check: whether a status other than 0 is an error.
            env: additions to the host's environment.
            stdin: what it reads on its standard input.

        Raises:
            LabError: it takes too long, or fails while `check` is set; the text has its output.
        """
        return self.lab.run(
            self.command(*argv), timeout=timeout, check=check, env={**self.environment, **(env or {})}, stdin=stdin
        )

    def popen(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        log: str | None = None,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
    ) -> Process:
        """Start a program on this host; the end of the laboratory kills it.

        Args:
            *argv: the program and its arguments.
            env: additions to the host's environment.
            log: name of the file in the host's directory that gets its output; a new one by default.
            stdin: what it reads; nothing by default.
            stdout: where its standard output goes instead of the log.
        """
        path = self.directory / (log or f"{Path(argv[0]).name}-{next(self._logs)}.log")
        process = Process(
            self.command(*argv), path, env={**self.environment, **(env or {})}, stdin=stdin, stdout=stdout
        )
        self.lab.processes.append(process)
        return process

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this host's programs."""
        return environment(self.lab.directory, self.name)

    @staticmethod
    def program(name: str) -> str:
        """Return the path of a console script of this Python's environment, such as `z2z`."""
        path = Path(sys.executable).parent / name
        if not path.exists():
            raise LabError(f"{path} does not exist: install the distribution first (make test does)")
        return str(path)

    def z2z(self, *arguments: str, env: Mapping[str, str] | None = None, log: str | None = None) -> Process:
        """Start `z2z` with these arguments on this host."""
        return self.popen(self.program("z2z"), *arguments, env=env, log=log)

    def mac(self, interface: str) -> str:
        """Return the hardware address of an interface."""
        return self.run("cat", f"/sys/class/net/{interface}/address").stdout.strip()

    def start_avahi(self, *, loopback: bool = False, host_name: str | None = None, reflects: bool = False) -> Avahi:
        """Start a D-Bus, where there is none yet, and Avahi, and wait until Avahi is ready.

        Args:
            loopback: whether Avahi serves the loopback interface too.
            host_name: the first label of its name; the host's own by default.
            reflects: whether it repeats on each of its links what it hears on the others.

        Raises:
            LabError: one of them does not start; the text has its log.
        """
        avahi = Avahi(self, loopback=loopback, host_name=host_name or self.name, reflects=reflects)
        avahi.wait_ready()
        return avahi
