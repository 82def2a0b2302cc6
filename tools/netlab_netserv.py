"""NetServ nodes on routers of a laboratory, and a publisher on a host."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

import trio

from netserv.signaling.control_client import ControlClient
from netserv.signaling.status import Status
from tools.netlab_cgroups import with_cgroups
from tools.netlab_host import Host
from tools.netlab_process import Process, wait_until

READY_S: Final = 60.0
"A node imports, opens its plane and starts its zygote; on a machine that many laboratories share that takes seconds."
_SETTINGS: Final = """\
[node]
id = "{name}"
state_dir = "{state}"
control = "{control}"
plane = "{plane}"
[download]
allow = ["10.0.0.0/8", "2001:db8::/32"]
[discovery]
{discovery}
"""
ADVERTISED: Final = """\
advertise = true
operator = "Laboratory"
"""
"What a node has to have for `discovery`, so that others are told of it."
PATIENCE_S: Final = 12.0
"Until a module is in a state."


class Publisher:
    """Who deploys modules from a host.

    Args:
        host: his.
        user: his name.
    """

    def __init__(self, host: Host, user: str = "alice") -> None:
        self.host, self.user, self._netserv = host, user, host.program("netserv")
        made = json.loads(self.run("key", "new", f"{user}.pem", "--user", user, "--json"))
        self.key = base64.b64encode(bytes.fromhex(made["public_key"])).decode()

    @property
    def identity(self) -> list[str]:
        """The options that say who he is."""
        return ["--key", f"{self.user}.pem", "--user", self.user]

    @property
    def table(self) -> str:
        """What `netserv.toml` says of him: he may do all that concerns his subnets."""
        prefixes = json.dumps([str(each) for subnet in self.host.interfaces.values() for each in subnet.networks])
        return f'[publishers.{self.user}]\nkey = "{self.key}"\nprefixes = {prefixes}\nconnects = {prefixes}\n'

    def run(self, *words: str) -> str:
        """Run `netserv` on his host; what it prints."""
        return self.host.run(self._netserv, *words).stdout

    def start(self, *words: str, log: str) -> Process:
        """Start `netserv` there."""
        return self.host.popen(self._netserv, *words, log=log)

    def deploy(self, bundle: str, toward: Host, *words: str) -> list[dict[str, Any]]:
        """Deploy a bundle; what was known on the way, the end last."""
        said = self.run("deploy", bundle, "--toward", toward.ipv4, *self.identity, "--json", *words)
        return [json.loads(line) for line in said.splitlines()]

    def remove(self, module: str, toward: Host) -> None:
        """Remove a module."""
        self.run("remove", module, "--toward", toward.ipv4, *self.identity, "--json")


class RunningNode:
    """`netserv run` on a host, from now on; `ready` waits until it is.

    Args:
        host: where.
        tables: of `netserv.toml`: its publishers, and what else the node is to have.
        plane: how packets get to modules.
        discovery: lines of that table; without them nobody is told of it.
    """

    def __init__(self, host: Host, tables: str, *, plane: str = "auto", discovery: str = "") -> None:
        self.host, self._starts, self._control = host, 0, str(host.directory / "control")
        state = host.directory / "state-of-node"
        text = _SETTINGS.format(name=host.name, state=state, control=self._control, plane=plane, discovery=discovery)
        (host.directory / "netserv.toml").write_text(text + tables, encoding="utf-8")
        self.process = self._start()

    def _start(self) -> Process:
        self._starts += 1
        words = with_cgroups(self.host.program("netserv"), "run", "netserv.toml", "-v")
        return self.host.popen(*words, log=f"node-{self._starts}.log")

    def ready(self) -> None:
        """Wait until it is ready."""
        self.process.wait_for("is ready", READY_S)

    def start(self) -> None:
        """Start it again, and wait until it is ready."""
        self.process = self._start()
        self.ready()

    def ensure(self) -> None:
        """Start it again where the end of a test has ended it, as it does with all that this test has started."""
        if self.process.poll() is not None:
            self.start()

    def status(self) -> Status:
        """How it stands; without a command, as it is asked often."""
        return trio.run(ControlClient(self._control).status)

    def modules(self) -> list[dict[str, Any]]:
        """What it says of each module."""
        return list(self.status().node["modules"])

    def module(self, module: str) -> dict[str, Any] | None:
        """What it says of a module."""
        found = [one for one in self.modules() if one["module"] == module]
        return found[0] if found else None

    def state(self, module: str) -> str | None:
        """Of a module; None if there is none."""
        found = self.module(module)
        return None if found is None else str(found["state"])

    def container(self, user: str) -> dict[str, Any]:
        """What it says of the container of a publisher."""
        (found,) = [one for one in self.status().node["containers"] if one["account"] == user]
        return dict(found)

    def packets(self) -> dict[str, int]:
        """What all filters together have counted; it is looked at once a second."""
        total: dict[str, int] = {}
        for placed in self.status().node["placed"].values():
            for name, count in placed["packets"].items():
                total[name] = total.get(name, 0) + count
        return total

    def wait_for(self, module: str, state: str | None, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a module is in a state."""
        wait_until(lambda: self.state(module) == state, timeout_s, f"{module} {state}", lambda: self.process.log)


def start_nodes(publishers: Iterable[Publisher], *routers: Host, plane: str = "auto") -> list[RunningNode]:
    """Run a node on each router, for these publishers, and wait until they are ready."""
    tables = "".join(publisher.table for publisher in publishers)
    started = [RunningNode(host, tables, plane=plane) for host in routers]
    for node in started:
        node.ready()
    return started
