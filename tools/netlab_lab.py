"""The laboratory: builds subnets, hosts and routers, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tools import netlab_keeper as keeper
from tools.netlab_avahi import Avahi
from tools.netlab_host import RUN_S, SEARCH_PATH, Host, Subnet, environment
from tools.netlab_process import LabError, Process

START_S: Final = 15.0
"Longest wait for namespaces and mounts: they take 0.1 s on an idle machine."
EXIT_S: Final = keeper.SWEEP_S + 5.0
"Longest wait for the keeper at the end."
NAME_MAX: Final = 24
"Characters of a name: the path of the host's D-Bus socket must stay under 108 bytes."

PROGRAMS: Final = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "dbus-daemon": "dbus-daemon",
    "dbus-send": "dbus-bin",
    "avahi-daemon": "avahi-daemon",
    "avahi-browse": "avahi-utils",
    "avahi-publish": "avahi-utils",
}
"Each program that a laboratory starts, with its Debian package."


class Lab:
    """A laboratory: a context manager that builds subnets and hosts, and leaves nothing behind.

    As root it works directly, else in a user namespace of its own, where the user is root over nothing else.
    """

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.subnets: dict[str, Subnet] = {}
        self.hosts: dict[str, Host] = {}
        self._keeper: subprocess.Popen[str] | None = None
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        if missing := sorted({PROGRAMS[name] for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None}):
            raise LabError(f"missing Debian packages: {' '.join(missing)}")
        self._directory = Path(tempfile.mkdtemp(prefix=keeper.PREFIX, dir=keeper.ROOT))
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._keeper = subprocess.Popen(
            ["unshare", *user, "--mount", "--net", sys.executable, "-I", keeper.__file__, str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if name != keeper.MARK} | {"PATH": SEARCH_PATH},
            start_new_session=True,  # out of reach of the terminal's Ctrl-C
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline().strip()
        if said != keeper.READY:
            self.close()
            raise LabError(f"this machine gives us no namespaces: {said or 'no reason given'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process and remove every trace; a second call does nothing."""
        if self._keeper is None:
            return
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()  # the keeper does the work, as it would if this process had been killed
        try:
            self._keeper.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper.stdout.close()
        self._keeper = None
        for process in self.processes:
            process.wait(EXIT_S)
        shutil.rmtree(self.directory, ignore_errors=True)  # the keeper may not have come that far

    @property
    def directory(self) -> Path:
        """The directory of this laboratory; each host has one of its own below."""
        if self._directory is None:
            raise LabError("a laboratory is used in a with statement")
        return self._directory

    @property
    def name(self) -> str:
        """A random name, the prefix of all namespaces."""
        return self.directory.name.removeprefix(keeper.PREFIX)

    def subnet(self, name: str, ipv4: str = "198.51.100.0/24", ipv6: str | None = None, *, first: int = 2) -> Subnet:
        """Add a subnet with an IPv4 network and perhaps an IPv6 prefix, whose hosts have numbers from `first` on."""
        self._check_name(name)
        self.subnets[name] = Subnet(self, name, ipv4, ipv6, first)
        return self.subnets[name]

    def host(self, name: str, *subnets: Subnet) -> Host:
        """Add a host with an interface in each subnet; the default route goes through the first subnet's router."""
        self._check_name(name)
        self.hosts[name] = Host(self, name, subnets, forwards=False)
        return self.hosts[name]

    def router(self, name: str, *subnets: Subnet) -> Host:
        """Add a router between subnets; their hosts that lack a default route get one."""
        self._check_name(name)
        self.hosts[name] = Host(self, name, subnets, forwards=True)
        for subnet in subnets:
            for host in subnet.hosts:
                host.set_default_routes()
        return self.hosts[name]

    def nat(self, name: str, outside: Subnet, inside: Subnet) -> Host:
        """Add a router that hides the hosts of `inside` behind its address in `outside`, which has a router already.

        As the usual one in a home it lets in only what answers; `Host.forward_port` makes an exception.
        """
        if shutil.which("iptables", path=SEARCH_PATH) is None:
            raise LabError("missing Debian packages: iptables")
        router = self.router(name, outside, inside)
        for gateway in outside.gateways:
            if gateway.version == 4:
                self.ip(f"route replace default via {gateway.ip} dev {router.interface}", router.namespace)
        router.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", router.interface, "-j", "MASQUERADE")
        return router

    def start_avahi(self, *hosts: Host) -> list[Avahi]:
        """Start Avahi on several hosts at once: each needs a second to claim its name."""
        started = [Avahi(host, loopback=False, host_name=host.name) for host in hosts]
        for avahi in started:
            avahi.wait_ready()
        return started

    def _check_name(self, name: str) -> None:
        if not name.replace("-", "").isalnum() or not name.isascii() or len(name) > NAME_MAX:
            raise LabError(f"{name!r} is no name: letters, digits and hyphens, at most {NAME_MAX}")
        if name in self.subnets or name in self.hosts:
            raise LabError(f"there is a {name!r} already")

    def entry(self, namespace: str | None = None, wd: Path | None = None) -> list[str]:
        """Return the words before a command that make it run in one of this laboratory's namespaces."""
        if self._keeper is None:
            raise LabError("a laboratory is used in a with statement")
        return keeper.entry(self.directory, self._keeper.pid, namespace, wd)

    def run(
        self,
        words: list[str],
        *,
        timeout: float = RUN_S,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `Host.run` says how."""
        env = environment(self.directory, "") if env is None else env
        try:
            done = subprocess.run(
                words,
                input=stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
                env=env,
                encoding="utf-8",
                errors="surrogateescape",
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{' '.join(words)} did not end within {timeout:g} s: {error.stderr or b''!r}") from error
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(words)} ended with status {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def ip(self, lines: str, namespace: str | None = None) -> None:
        """Run commands of the program `ip` in one process, in one namespace."""
        options = ["-n", namespace] if namespace else []
        self.run([*self.entry(), "ip", *options, "-batch", "-"], stdin=f"{lines}\n")

    def create_namespace(self, namespace: str, settings: Mapping[str, int | str]) -> None:
        """Create a network namespace with kernel settings (paths below `/proc/sys/net`)."""
        self.ip(f"netns add {namespace}")
        script = "\n".join(f"echo '{value}' > /proc/sys/net/{path}" for path, value in settings.items())
        self.run([*self.entry(namespace), "sh", "-ec", script])
