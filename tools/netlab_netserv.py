"""NetServ nodes on routers of a laboratory, and a publisher on a host."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

import trio

from netserv.signaling.control_client import ControlClient
from tools.netlab_cgroups import with_cgroups
from tools.netlab_host import Host
from tools.netlab_process import Process

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
"""


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


def start_nodes(publishers: Iterable[Publisher], *routers: Host, plane: str = "auto") -> list[Process]:
    """Run a node on each router, for these publishers, and wait until they are ready."""
    tables = "".join(publisher.table for publisher in publishers)
    started = []
    for host in routers:
        text = _SETTINGS.format(
            name=host.name,
            state=host.directory / "node",
            control=_control(host),
            plane=plane,
        )
        (host.directory / "netserv.toml").write_text(text + tables, encoding="utf-8")
        program = host.program("netserv")
        started.append(host.popen(*with_cgroups(program, "run", "netserv.toml", "-v"), log="node.log"))
    for process in started:
        process.wait_for("is ready", READY_S)
    return started


def node_status(host: Host) -> dict[str, Any]:
    """What the node of a host says of modules, containers and packets; without a command, as it is asked often."""
    return trio.run(ControlClient(_control(host)).status).node


def _control(host: Host) -> str:
    return str(host.directory / "control")
