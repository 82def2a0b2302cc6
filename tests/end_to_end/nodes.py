"""Nodes that run modules in a laboratory, and a publisher who deploys them."""

import json
from subprocess import CompletedProcess
from typing import Any

import trio

from netserv.signaling.control_client import ControlClient
from netserv.signaling.status import Status
from tests.end_to_end.sites import PATIENCE_S, command, json_lines
from tools.netlab import Host, Process, wait_until
from tools.netlab_cgroups import with_cgroups


class RunningNode:
    """`netserv run` on a host.

    Args:
        host: where.
        publishers: tables of `netserv.toml`.
        plane: how packets get to modules.
        advertise: tell others of it.
        discovery: more lines of that table.
    """

    def __init__(
        self, host: Host, publishers: str, plane: str = "auto", *, advertise: bool = False, discovery: str = ""
    ) -> None:
        self.host, self._starts = host, 0
        self._settings = f"""
[node]
id = "{host.name}"
state_dir = "{host.directory}/state-of-node"
control = "{host.directory}/control"
plane = "{plane}"
[discovery]
advertise = {"true" if advertise else "false"}
operator = "Laboratory"
{discovery}
[download]
allow = ["10.0.0.0/8"]
{publishers}
"""
        (host.directory / "netserv.toml").write_text(self._settings)
        self.process = self.start()

    def start(self) -> Process:
        """Start it, and wait until it is ready."""
        self._starts += 1
        words = with_cgroups(self.host.program("netserv"), "run", "netserv.toml", "-v")
        self.process = self.host.popen(*words, log=f"node-{self._starts}.log")
        self.process.wait_for("is ready")
        return self.process

    def ensure(self) -> None:
        """Start it again where the end of a test has ended it, as it does with all that this test has started."""
        if self.process.poll() is not None:
            self.start()

    def status(self) -> Status:
        """How it stands."""
        return trio.run(ControlClient(str(self.host.directory / "control")).status)

    def module(self, module: str) -> dict[str, Any] | None:
        """What it says of a module."""
        found = [one for one in self.status().node["modules"] if one["module"] == module]
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


class PublisherHost:
    """A publisher on a host.

    Args:
        host: where.
        user: his name.
        toward: the other end of the path.
    """

    def __init__(self, host: Host, user: str, toward: Host) -> None:
        self.host, self.user, self.toward = host, user, toward
        line = command(host, "netserv", "key", "new", f"{user}.pem", "--user", user).stdout
        self.public_key = line.split('"')[1]
        self.signed = ("--key", f"{user}.pem", "--user", user)

    def build(self, name: str, text: str, manifest: str = "", version: str = "1.0.0") -> str:
        """Pack and sign a module of one file; the name of the bundle's file."""
        source = self.host.directory / f"{name}-{version}"
        source.mkdir()
        lines = f'name = "{name}"\nversion = "{version}"\nentry = "code_of:Module"\n{manifest}\n'
        (source / "module.toml").write_text(lines)
        (source / "code_of.py").write_text(text)
        bundle = f"{name}_{version}.zip"
        done = command(self.host, "netserv", "module", "build", source.name, "--key", f"{self.user}.pem", "-o", bundle)
        assert done.returncode == 0, done
        return bundle

    def deploy(self, bundle: str, *arguments: str) -> list[tuple[str, int, str]]:
        """Deploy it; node, code and text of each node at the end, nearest first."""
        done = self.run("deploy", bundle, *arguments)
        lines = json_lines(done.stdout)
        assert lines, done
        return nodes_of(lines[-1])

    def remove(self, module: str, *arguments: str) -> list[tuple[str, int, str]]:
        """Remove it."""
        done = self.run("remove", module, *arguments)
        assert done.stdout, done
        return nodes_of(json.loads(done.stdout))

    def run(self, word: str, what: str, *arguments: str) -> CompletedProcess[str]:
        """Run a command towards the other end."""
        return command(
            self.host, "netserv", word, what, "--toward", self.toward.ipv4, *self.signed, "--json", *arguments
        )


def nodes_of(line: dict[str, Any]) -> list[tuple[str, int, str]]:
    """What a line says of each node."""
    return [(node["node_id"], node["code"], node["text"]) for node in line["nodes"]]
